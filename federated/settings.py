"""A federation's config as Flower carries it: plain values of a run, and what a node has of its own."""

from __future__ import annotations

from collections.abc import Mapping

from ..configuration import from_words
from .configuration import FederatedConfig

OWN = ("shards", "models", "out", "cache")
"""What a node may say itself: its files lie elsewhere."""
LISTS = ("shards", "models", "strategies", "splits", "excluded", "reality.missing")
"""Keys of several values, which Flower carries as one text: `a, b`."""

Values = Mapping[str, str | int | float | bool | bytes]


def settings(run: Values, node: Values) -> FederatedConfig:
    """The config of a run (`config`: a shipped config's name or a file; any other key as on the command line).

    Raises `ValueError` for keys that there are not, and for what only `biofm federated simulate` can do.
    """
    words = ["--config", str(run["config"])] if run.get("config") else []
    own = {key: node[key] for key in OWN if key in node}
    for key, value in {**run, **own}.items():
        if key == "config" or value == "":
            continue
        text = str(value).lower() if isinstance(value, bool) else str(value)
        many = key in LISTS and not text.startswith("[")
        words.append(f"--{key}={f'[{text}]' if many else text}")
    config = from_words(FederatedConfig, words)
    if len(config.models) > 1:
        raise ValueError(
            f"models: a run of Flower has one encoder, not {len(config.models)}; `biofm federated simulate` judges "
            "each subject with one that never saw it"
        )
    if config.division.kind == "unseen":
        raise ValueError(
            "division.kind unseen: who takes no part is chosen by `biofm federated simulate`; choose another"
        )
    return config
