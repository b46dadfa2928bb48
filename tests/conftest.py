"""What holds for every test: property tests are not timed, and in CI they do not vary."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile(
    "biofm", deadline=None, derandomize="CI" in os.environ, max_examples=50, print_blob=True
)
settings.load_profile("biofm")
