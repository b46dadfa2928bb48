"""Mean and deviation from sums of clients are those of all their values together."""

from __future__ import annotations

import numpy as np
import torch

from biofm.federated.messages import (
    record_to_scaling,
    record_to_sums,
    scaling_to_record,
    sums_to_record,
)
from biofm.federated.scaling import own_sums, scaling_of


def test_sums_of_clients_are_the_scaling_of_all() -> None:
    random = np.random.default_rng(0)
    x = [random.normal(3, 2, (n, 5)) for n in (4, 30, 11)]
    y = [random.normal(100, 20, (len(one), 2)) for one in x]
    y[0][:, 1] = np.nan
    y[1][3, 0] = np.nan
    found = scaling_of([own_sums(a, b) for a, b in zip(x, y, strict=True)])
    for mean, deviation, values in (
        (found.centre, found.spread, np.concatenate(x)),
        (found.mean, found.deviation, np.concatenate(y)),
    ):
        np.testing.assert_allclose(mean, np.nanmean(values, axis=0), rtol=1e-6)
        np.testing.assert_allclose(deviation, np.nanstd(values, axis=0), rtol=1e-6)


def test_what_does_not_vary_is_not_blown_up() -> None:
    x = np.full((6, 1), 1e4)
    found = scaling_of([own_sums(x, None)])
    assert found.spread.tolist() == [1.0]
    assert found.centre.tolist() == [1e4]
    assert len(found.mean) == len(found.deviation) == 0


def test_a_client_that_states_nothing_of_a_quantity_does_no_harm() -> None:
    stated = np.array([[1.0], [3.0]])
    found = scaling_of([own_sums(None, stated), own_sums(None, np.full((5, 1), np.nan))])
    assert (found.mean.item(), found.deviation.item()) == (2.0, 1.0)


def test_with_own_takes_the_embeddings_scaling_alone() -> None:
    random = np.random.default_rng(0)
    everybody = scaling_of([own_sums(random.normal(size=(9, 3)), random.normal(size=(9, 2)))])
    own = scaling_of([own_sums(random.normal(size=(9, 3)), None)])
    found = everybody.with_own(own)
    assert torch.equal(found.centre, own.centre)
    assert torch.equal(found.spread, own.spread)
    assert torch.equal(found.mean, everybody.mean)
    assert torch.equal(found.deviation, everybody.deviation)


def test_sums_and_scaling_travel_unchanged() -> None:
    random = np.random.default_rng(0)
    sums = own_sums(random.normal(size=(9, 3)), random.normal(size=(9, 2)))
    back = record_to_sums(sums_to_record(sums))
    assert {k: v.tolist() for k, v in back.items()} == {k: v.tolist() for k, v in sums.items()}
    scaling = scaling_of([back])
    again = record_to_scaling(scaling_to_record(scaling))
    assert torch.equal(again.centre, scaling.centre)
    assert torch.equal(again.spread, scaling.spread)
    assert torch.equal(again.mean, scaling.mean)
    assert torch.equal(again.deviation, scaling.deviation)
    # A client that tells nothing sends arrays without elements.
    nothing = record_to_sums(sums_to_record(own_sums(None, None)))
    assert len(scaling_of([nothing]).centre) == 0
