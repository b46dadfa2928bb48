"""One implementation, two engines: Flower's simulation and the in-process grid say the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from biofm.federated.configuration import FederatedConfig, PrivacyConfig, RealityConfig
from biofm.federated.encoders import assigned
from biofm.federated.keeping import path_of
from biofm.federated.server import Run
from biofm.federated.simulate import _run
from biofm.federated.strategies import STRATEGIES

TOLERANCE = 1e-6
"""Between engines: one trains clients as a batch, the other each by itself, and sums go in another order."""


Federate = Callable[..., list[Run]]


def on_flower(config: FederatedConfig) -> list[Run]:
    """As `biofm federated simulate --engine flower` runs it, on Ray."""
    return _run(replace(config, engine="flower"), assigned(config)[0])


def assert_agree(config: FederatedConfig, one: list[Run], other: list[Run], out: Path) -> None:
    """What came of the rounds, and what every client kept in `config.out` and in `out`."""
    assert [run.strategy for run in one] == [run.strategy for run in other] == [*config.strategies]
    for a, b in zip(one, other, strict=True):
        assert not a.refused
        assert not b.refused
        assert a.arrays.keys() == b.arrays.keys()
        for key in a.arrays:
            np.testing.assert_allclose(
                a.arrays[key].numpy(), b.arrays[key].numpy(), rtol=0, atol=TOLERANCE, err_msg=key
            )
        assert a.loss == pytest.approx(b.loss, abs=TOLERANCE)
        assert [vars(t) for t in a.traffic] == [vars(t) for t in b.traffic]
        assert_kept_alike(config, out, a.strategy)


def assert_kept_alike(
    config: FederatedConfig, out: Path, strategy: str, atol: float = TOLERANCE
) -> None:
    files = sorted(config.out.glob(f"clients/*/{strategy}.npz"))
    assert len(files) == 4
    for file in files:
        with np.load(file) as mine, np.load(out / file.relative_to(config.out)) as theirs:
            assert set(mine) == set(theirs)
            for key in mine:
                if mine[key].dtype.kind == "f":
                    np.testing.assert_allclose(
                        mine[key], theirs[key], rtol=0, atol=atol, err_msg=f"{file} {key}"
                    )
                else:
                    assert np.array_equal(mine[key], theirs[key]), f"{file} {key}"


def test_every_strategy_says_the_same_on_both_engines(
    small_config: FederatedConfig, federate: Federate
) -> None:
    assert set(small_config.strategies) == set(STRATEGIES)
    here = federate(small_config)
    there = replace(small_config, out=small_config.out.with_name("flower"))
    assert_agree(small_config, here, on_flower(there), there.out)
    # What agrees has learned something: the parameters are not those that all begin with.
    for run in here:
        assert all(run.arrays[key].numpy().any() for key in run.arrays)
    assert all(len(run.arrays) > 0 for run in here if STRATEGIES[run.strategy].exchanged != "none")


def test_what_goes_wrong_goes_wrong_the_same_on_both_engines(
    small_config: FederatedConfig, federate: Federate
) -> None:
    reality = RealityConfig(participation=0.75, dropout=0.3, stragglers=0.5, poisoned=1)
    config = replace(
        small_config, rounds=4, reality=reality, strategies=("fedavg", "ditto", "fedrep")
    )
    here = federate(config)
    there = replace(config, out=config.out.with_name("flower"))
    assert_agree(config, here, on_flower(there), there.out)
    rounds = [t for run in here for t in run.traffic if t.kind == "train"]
    assert {t.asked for t in rounds} == {3}
    assert any(t.answered < t.asked for t in rounds)


def test_masked_sums_are_the_same_on_both_engines(
    small_config: FederatedConfig, federate: Federate
) -> None:
    """With somebody dropping out. Changes are rounded at random: on each engine by another generator."""
    config = replace(
        small_config,
        strategies=("fedavg", "fedper"),
        rounds=3,
        reality=RealityConfig(dropout=0.1),
        privacy=PrivacyConfig(secure_aggregation=True),
    )
    here = federate(config)
    there = replace(config, out=config.out.with_name("flower"))
    for a, b in zip(here, on_flower(there), strict=True):
        rounds = [(t.asked, t.answered) for t in a.traffic if t.kind == "train"]
        assert (4, 3) in rounds, "choose another seed"
        assert rounds == [(t.asked, t.answered) for t in b.traffic if t.kind == "train"]
        for key in a.arrays:
            one, other = (run.arrays[key].numpy() for run in (a, b))
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-4, err_msg=key)


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_the_same_seed_gives_the_same_bytes(
    small_config: FederatedConfig, federate: Federate
) -> None:
    first = federate(small_config)
    again = replace(small_config, out=small_config.out.with_name("again"))
    other = replace(small_config, out=small_config.out.with_name("other"), seed=1)
    second = federate(again)
    federate(other)
    for a, b in zip(first, second, strict=True):
        assert [a.arrays[k].data for k in a.arrays] == [b.arrays[k].data for k in b.arrays]
    files = sorted(small_config.out.glob("clients/*/*.npz"))
    assert len(files) == 4 * len(STRATEGIES)
    for file in files:
        name = file.relative_to(small_config.out)
        assert file.read_bytes() == (again.out / name).read_bytes()
        assert file.read_bytes() != (other.out / name).read_bytes()


def test_the_number_of_threads_does_not_matter(
    small_config: FederatedConfig, federate: Federate
) -> None:
    with threads(1):
        federate(small_config)
    again = replace(small_config, out=small_config.out.with_name("again"))
    with threads(3):
        federate(again)
    for name in small_config.strategies:
        assert_kept_alike(small_config, again.out, name)


def test_alone_a_client_keeps_what_it_keeps_among_others(
    small_config: FederatedConfig, federate: Federate
) -> None:
    """Without exchange the others are no matter."""
    config = replace(small_config, strategies=("local", "base"))
    federate(config)
    one = path_of(
        config.out, sorted(p.name for p in (config.out / "clients").iterdir())[1], "local"
    )
    others = {p.name for p in (config.out / "clients").iterdir()} - {one.parent.name}
    alone = replace(config, out=config.out.with_name("alone"), excluded=(*config.excluded, *others))
    federate(alone)
    for name in config.strategies:
        file = one.with_stem(name)
        with np.load(file) as mine, np.load(alone.out / file.relative_to(config.out)) as theirs:
            for key in ("test.own", "validation.own"):
                np.testing.assert_allclose(mine[key], theirs[key], rtol=0, atol=TOLERANCE)
