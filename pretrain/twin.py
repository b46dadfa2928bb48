"""The embedded default: shards of the synthetic twin, made when a run asks for them and they are not there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

TWIN = "data/twin/shards"
"""Where the default configs look for shards, below the working folder: 12-lead ECG."""
PRESSURE_TWIN = "data/twin_pressure/shards"
"""ECG, PPG and arterial pressure side by side."""
LAYOUTS = {TWIN: ("ptbxl", 2000), PRESSURE_TWIN: ("continuous_pressure", 400)}
"""Twin → whose layout it has, and how many recordings: of ten seconds, and of one to two minutes."""


def ensure_twin(shards: Sequence[str]) -> None:
    """Simulate and shard the twins that are among `shards` and absent."""
    for twin, (layout, records) in LAYOUTS.items():
        if twin in shards and not Path(twin, "index.parquet").is_file():
            _make(Path(twin), layout, records)


def _make(twin: Path, layout: str, records: int) -> None:
    from ..datasets.simulate import simulate
    from ..shards.build import build

    tree = twin.parent / layout
    print(
        f"SYNTHETIC  no recordings were named: simulating {records} of them in {tree}", flush=True
    )
    if not tree.exists():
        simulate(layout, tree, records=records)
    build(layout, [tree], twin)
