"""The embedded default: the synthetic twin's people as clients, and an encoder of their PPG that never saw them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..configuration import config_file, from_words
from ..pretrain.mae_run import Config
from ..pretrain.mae_shown import reconstructions, trivial
from ..pretrain.objectives.mae import MAE
from ..pretrain.run import Shown, run
from ..pretrain.twin import PRESSURE_TWIN, ensure_twin

PRETRAINING = "pretrain/mae_twin_ppg"
ENCODER = "data/twin_pressure/encoder/best"
"""Where the default config looks for the encoder, below the working folder."""


def ensure_clients(models: Sequence[str], shards: Sequence[str]) -> None:
    """Make the twin's shards, and the encoder by `configs/pretrain/mae_twin_ppg.yaml`, where asked for and absent."""
    if PRESSURE_TWIN in shards:
        ensure_twin(shards)
    if ENCODER in models and not Path(ENCODER, "config.json").is_file():
        print(
            "SYNTHETIC  no encoder was named: training one on the twin's other people", flush=True
        )
        config = from_words(Config, ["--config", str(config_file(PRETRAINING))])
        run(
            config,
            lambda encoder, stream: MAE(encoder, config.objective, stream),
            Shown(reconstructions, trivial),
        )
