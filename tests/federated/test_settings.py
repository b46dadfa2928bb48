"""A run's values as Flower carries them, and the app's pyproject.toml that allows them."""

from __future__ import annotations

import dataclasses
import io
import tomllib
import zipfile
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import pytest
from flwr.cli.build import build_fab_from_disk
from flwr.common.config import flatten_dict

import biofm.federated
from biofm.federated.configuration import FederatedConfig
from biofm.federated.settings import LISTS, settings

APP = Path(biofm.federated.__file__).resolve().parent
LEAST = {"models": "/m", "shards": "/a, /b", "task": "sleep_watch_hr_4"}


def declared() -> dict[str, Any]:
    """The keys that `flwr run` takes, and their defaults."""
    app = tomllib.loads((APP / "pyproject.toml").read_text())["tool"]["flwr"]["app"]
    return dict(flatten_dict(app["config"]))


def fields(config: type, before: str = "") -> dict[str, Any]:
    """Every field's type by dotted name."""
    found: dict[str, Any] = {}
    for name, hint in get_type_hints(config).items():
        if dataclasses.is_dataclass(hint):
            assert isinstance(hint, type)
            found |= fields(hint, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = hint
    return found


def test_flower_takes_every_key_of_the_config() -> None:
    """But `engine`: who is started by Flower runs on it."""
    assert {*declared(), "engine"} == {*fields(FederatedConfig), "config"}
    assert {
        name for name, hint in fields(FederatedConfig).items() if get_origin(hint) is tuple
    } == {*LISTS}


def test_the_bundle_holds_no_code() -> None:
    """Modules of its folder would come before those of other packages."""
    with zipfile.ZipFile(io.BytesIO(build_fab_from_disk(APP))) as bundle:
        assert sorted(bundle.namelist()) == [".info/CONTENT", "pyproject.toml"]


def test_values_of_a_run_override_its_config_and_a_node_says_where_its_files_are() -> None:
    run = {
        **declared(),
        **LEAST,
        "config": "federated/sleep_watch",
        "rounds": 3,
        "local.rate": 0.5,
        "strategies": "fedavg, ditto",
        "privacy.secure_aggregation": False,
    }
    config = settings(run, {"partition-id": 0, "shards": "/mine", "out": "/kept"})
    assert config.shards == ("/mine",)
    assert config.models == ("/m",)
    assert str(config.out) == "/kept"
    assert config.strategies == ("fedavg", "ditto")
    assert (config.rounds, config.local.rate) == (3, 0.5)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"rouns": 3}, "rouns"),
        ({"models": "/m, /n"}, "one encoder, not 2"),
        ({"division.kind": "unseen", "strategies": "fedavg"}, "biofm federated simulate"),
    ],
)
def test_what_a_run_cannot_do_is_said(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        settings({**LEAST, **more}, {})
