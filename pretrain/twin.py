"""The embedded default: shards of the synthetic twin, made when a run asks for them and they are not there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

TWIN = "data/twin/shards"
"""Where the default config looks for shards, below the working folder."""
RECORDS = 2000
"""Ten-second recordings of the twin."""


def ensure_twin(shards: Sequence[str]) -> None:
    """Simulate and shard the twin if it is among `shards` and absent."""
    if TWIN not in shards or Path(TWIN, "index.parquet").is_file():
        return
    from ..datasets.simulate import simulate
    from ..shards.build import build

    tree = Path(TWIN).parent / "ptbxl"
    print(
        f"SYNTHETIC  no recordings were named: simulating {RECORDS} of them in {tree}", flush=True
    )
    if not tree.exists():
        simulate("ptbxl", tree, records=RECORDS)
    build("ptbxl", [tree], Path(TWIN))
