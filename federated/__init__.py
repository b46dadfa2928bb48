"""A head per subject over a frozen encoder, on Flower: strategies, engines, the rule of no harm, the report."""

import importlib.util
import os

# Flower reads it when it is imported, and would report every run to its makers.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
# Ray, which runs Flower's simulation, likewise.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

if importlib.util.find_spec("flwr") is None:
    raise ImportError(
        "federated learning needs Flower: pip install 'biofm[federated]', or in a clone "
        "pip install -c constraints.txt -e '.[federated]'"
    )
