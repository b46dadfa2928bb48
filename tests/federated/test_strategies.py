"""A round of each strategy, written out for each client; and what of it travels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from biofm.federated.cohort import Cohort, cohort_of
from biofm.federated.configuration import FederatedConfig, LocalConfig, StrategyName
from biofm.federated.division import TRAIN
from biofm.federated.learners import Head, Params
from biofm.federated.local import Batches, Descent, Part, chosen, descend, spread
from biofm.federated.participants import Participants
from biofm.federated.server import Run
from biofm.federated.strategies import STRATEGIES, alone, one_round, part_of
from biofm.models.pretrained import load_model

Federate = Callable[..., list[Run]]

HEAD = Head(6, 3, 4)
LOCAL = LocalConfig(steps=5, rate=0.2, decay=0.01, proximal=0.7, pull=0.9)
CLIENTS = 3


def part() -> Part:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(CLIENTS, 12, 6, generator=random)
    truth = torch.randint(0, 3, (CLIENTS, 12), generator=random)
    return Part({"x": x}, truth, torch.ones(CLIENTS, 12))


def batches() -> Batches:
    random = torch.Generator().manual_seed(1)
    return Batches(torch.randint(0, 12, (CLIENTS, 5, 8), generator=random), torch.ones(CLIENTS, 5))


def drawn(seed: int) -> Params:
    random = torch.Generator().manual_seed(seed)
    return {k: torch.randn(v.shape, generator=random) for k, v in HEAD.initial(0).items()}


def plain(params: Params, names: list[str], anchor: Params, pull: float, c: int) -> Params:
    """One client's steps on `names` by autograd; the rest stays."""
    now = {k: v.clone() for k, v in params.items()}
    data, steps = chosen(part(), c), chosen(batches(), c)
    for rows in steps.rows:
        leaves = {k: v.clone().requires_grad_() for k, v in now.items()}
        logits = HEAD.outputs(leaves, {"x": data.inputs["x"][rows]})
        loss = torch.nn.functional.cross_entropy(logits, data.truth[rows])
        for k in names:
            loss = loss + pull / 2 * ((leaves[k] - anchor[k]) ** 2).sum()
            loss = loss + LOCAL.decay / 2 * (leaves[k] ** 2).sum()
        slopes = torch.autograd.grad(loss, [leaves[k] for k in names])
        for k, slope in zip(names, slopes, strict=True):
            now[k] = now[k] - LOCAL.rate * slope
    return now


@pytest.mark.parametrize(
    "name", [n for n, s in STRATEGIES.items() if s.learner == "head" and n != "local"]
)
def test_a_round_is_what_its_paper_says(name: StrategyName) -> None:
    strategy = STRATEGIES[name]
    start = drawn(0)
    received = part_of(start, strategy.exchanged)
    kept = [part_of(drawn(7 + c), strategy.personal) for c in range(CLIENTS)]
    personal = {k: torch.stack([one[k] for one in kept]) for k in kept[0]}
    sent, after, _ = one_round(
        name, HEAD, LOCAL, spread(received, CLIENTS), personal, part(), batches()
    )
    for c in range(CLIENTS):
        whole = {**received, **kept[c]} if strategy.exchanged == "hidden" else dict(received)
        everything, hidden, output = list(start), [*list(start)[:2]], [*list(start)[2:]]
        mine: Params = {}
        if name == "fedavg":
            wanted = plain(whole, everything, whole, 0.0, c)
        elif name == "fedprox":
            wanted = plain(whole, everything, received, LOCAL.proximal, c)
        elif name == "fedper":
            both = plain(whole, everything, whole, 0.0, c)
            wanted, mine = part_of(both, "hidden"), part_of(both, "output")
        elif name == "fedrep":
            first = plain(whole, output, whole, 0.0, c)
            second = plain(first, hidden, whole, 0.0, c)
            wanted, mine = part_of(second, "hidden"), part_of(second, "output")
        else:
            assert name == "ditto"
            wanted = plain(whole, everything, whole, 0.0, c)
            mine = plain(kept[c], everything, received, LOCAL.pull, c)
        assert sent.keys() == wanted.keys() == received.keys()
        assert after.keys() == mine.keys() == kept[c].keys()
        for found, truth in ((sent, wanted), (after, mine)):
            for key, value in truth.items():
                torch.testing.assert_close(found[key][c], value, rtol=0, atol=2e-6)


def test_layers_are_told_apart_by_name() -> None:
    params = HEAD.initial(0)
    assert list(part_of(params, "hidden")) == ["hidden.weight", "hidden.bias"]
    assert list(part_of(params, "output")) == ["output.weight", "output.bias"]
    assert part_of(params, "all") == params
    assert part_of(params, "none") == {}


def test_alone_goes_on_as_the_rounds_went(small_config: FederatedConfig) -> None:
    config = replace(small_config, local=LOCAL, rounds=6)
    assert alone("fedprox", config)[0].pull == LOCAL.proximal
    assert alone("ditto", config)[0].pull == LOCAL.pull
    assert alone("fedavg", config)[0].pull == 0
    # Without exchange, the steps of the rounds are made alone.
    assert alone("local", config)[1] == config.personal.steps + 6 * LOCAL.steps
    assert alone("fedavg", config)[1:] == (config.personal.steps, config.personal.every)
    assert alone("base", config)[1:] == (config.base.steps, config.base.every)
    ratio = alone("bias_norm", config)[0].rate / alone("fedavg", config)[0].rate
    assert ratio == pytest.approx(LOCAL.adapter_rate / LOCAL.rate)


def test_rounds_of_two_clients_are_averaged_by_their_windows(
    small_config: FederatedConfig, subjects: list[str], federate: Federate
) -> None:
    """FedAvg from first to last, with the averaging in plain numpy."""
    config = replace(small_config, excluded=tuple(subjects[2:]), strategies=("fedavg",), rounds=3)
    run = federate(config)[0]
    cohort = cohort_of(config, load_model(config.models[0]))
    own = Participants(cohort, {s: n for n, s in enumerate(cohort.clients)})
    learner = own.learner("fedavg")
    now = learner.initial(config.seed)
    windows = np.array([len(c.of(TRAIN)) for c in cohort.clients.values()])
    assert len(windows) == 2
    assert windows[0] != windows[1]
    losses = {}
    for round in (1, 2, 3):
        each, loss_C = descend(
            learner,
            Descent(config.local.rate, config.local.decay),
            list(now),
            spread(now, 2),
            spread(now, 2),
            own.part("fedavg", TRAIN),
            own._batches(own.subjects, round, config.local.steps, config.local.batch),
        )
        now = {
            k: torch.from_numpy(np.average(v.numpy(), axis=0, weights=windows)).float()
            for k, v in each.items()
        }
        losses[round] = float(np.average(loss_C.numpy(), weights=windows))
    for key, value in now.items():
        np.testing.assert_allclose(run.arrays[key].numpy(), value.numpy(), rtol=0, atol=1e-6)
    assert run.loss == pytest.approx(losses, abs=1e-6)


@pytest.mark.parametrize("name", ["fedper", "fedrep"])
def test_of_split_heads_the_hidden_layer_alone_travels(
    name: StrategyName, small_config: FederatedConfig, small_cohort: Cohort, federate: Federate
) -> None:
    config = replace(small_config, strategies=(name,))
    run = federate(config)[0]
    assert sorted(run.arrays) == ["hidden.bias", "hidden.weight"]
    width = small_cohort.model.dim
    bytes_each = 4 * (width + 1) * config.hidden
    rounds = [t for t in run.traffic if t.kind == "train"]
    # Flower's arrays carry a header of numpy's beside the numbers.
    for one in rounds:
        for seen in (one.down, one.up):
            assert 4 * bytes_each <= seen <= 4 * (bytes_each + 2 * 128)
