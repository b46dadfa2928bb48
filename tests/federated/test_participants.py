"""What clients answer: who is late, who drops out, who is poisoned, and what each part holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from biofm.federated.cohort import Cohort, cohort_of
from biofm.federated.configuration import (
    DivisionConfig,
    FederatedConfig,
    RealityConfig,
    StrategyName,
)
from biofm.federated.division import TEST, TRAIN, VALIDATION
from biofm.federated.participants import Participants, stacked
from biofm.federated.reality import drops_out
from biofm.federated.strategies import STRATEGIES, part_of
from biofm.models.pretrained import load_model


def at_work(config: FederatedConfig, **others: object) -> Participants:
    cohort = cohort_of(config, load_model(config.models[0]))
    return Participants(cohort, {s: n for n, s in enumerate(cohort.clients)}, **others)  # type: ignore[arg-type] # as given


def test_inputs_have_unit_deviation_on_what_a_client_learns_from(
    small_config: FederatedConfig,
) -> None:
    participants = at_work(small_config)
    for name in ("fedavg", "base"):
        whole = participants.part(name, TRAIN)
        for c, client in enumerate(participants.cohort.clients.values()):
            count = len(client.of(TRAIN))
            assert whole.weight[c].sum() == count
            for values in whole.inputs.values():
                own = values[c, :count].double()
                if name == "base":
                    # Of one channel; what is exactly 0 is missing.
                    own = own[own != 0][:, None]
                assert own.mean(dim=0).abs().max() < 1e-4
                assert (own.std(dim=0, correction=0) - 1).abs().max() < 1e-3


@pytest.mark.parametrize("name", ["ditto", "fedper"])
def test_who_drops_out_sends_and_keeps_nothing(
    name: StrategyName, small_config: FederatedConfig
) -> None:
    config = replace(small_config, reality=RealityConfig(dropout=0.5))
    participants = at_work(config)
    begin = participants.learner(name).initial(0)
    received = part_of(begin, STRATEGIES[name].exchanged)
    before = {k: v.clone() for k, v in participants._personal(name).items()}
    said = participants.train(name, 1, received, participants.subjects)
    gone = [drops_out(config.reality, config.seed, 1, s) for s in participants.subjects]
    assert 0 < sum(gone) < 4, "choose another seed"
    for c, (sent, dropped) in enumerate(zip(said, gone, strict=True)):
        assert (sent is None) == dropped
        same = [torch.equal(v[c], before[k][c]) for k, v in participants.personal[name].items()]
        assert all(same) == dropped


def test_nobody_is_left_of_a_round_in_which_all_drop_out(small_config: FederatedConfig) -> None:
    participants = at_work(replace(small_config, reality=RealityConfig(dropout=1.0)))
    begin = participants.learner("fedavg").initial(0)
    assert participants.train("fedavg", 1, begin, participants.subjects) == [None] * 4


def test_a_straggler_sends_what_half_of_its_steps_came_to(small_config: FederatedConfig) -> None:
    local = replace(small_config.local, steps=6)
    late = at_work(replace(small_config, local=local, reality=RealityConfig(stragglers=1.0)))
    half = at_work(replace(small_config, local=replace(local, steps=3)))
    begin = late.learner("fedavg").initial(0)
    # The first windows drawn are the same, whatever the number of steps.
    for a, b in zip(
        late.train("fedavg", 1, begin, late.subjects),
        half.train("fedavg", 1, begin, half.subjects),
        strict=True,
    ):
        assert a is not None
        assert b is not None
        assert all(torch.equal(a.params[k], b.params[k]) for k in begin)
        assert a.loss == b.loss


def test_a_poisoned_client_sends_the_opposite_ten_times_over(small_config: FederatedConfig) -> None:
    clean = at_work(small_config)
    bad = at_work(replace(small_config, reality=RealityConfig(poisoned=1)))
    begin = clean.learner("fedavg").initial(0)
    moved = 0
    for a, b in zip(
        clean.train("fedavg", 1, begin, clean.subjects),
        bad.train("fedavg", 1, begin, bad.subjects),
        strict=True,
    ):
        assert a is not None
        assert b is not None
        if all(torch.equal(a.params[k], b.params[k]) for k in begin):
            continue
        moved += 1
        for k in begin:
            torch.testing.assert_close(
                b.params[k] - begin[k], -10 * (a.params[k] - begin[k]), atol=1e-5, rtol=1e-4
            )
    assert moved == 1


def test_some_clients_answer_as_they_would_among_all(small_config: FederatedConfig) -> None:
    participants = at_work(small_config)
    begin = participants.learner("fedavg").initial(0)
    everybody = participants.train("fedavg", 1, begin, participants.subjects)
    some = participants.subjects[1:3]
    for sent, wanted in zip(
        participants.train("fedavg", 1, begin, some), everybody[1:3], strict=True
    ):
        assert sent is not None
        assert wanted is not None
        assert sent.windows == wanted.windows
        for k in begin:
            torch.testing.assert_close(sent.params[k], wanted.params[k], rtol=0, atol=1e-6)


def test_what_is_said_at_the_end_is_probabilities_of_the_windows(
    small_config: FederatedConfig,
) -> None:
    participants = at_work(small_config)
    for name, strategy in STRATEGIES.items():
        begin = part_of(participants.learner(name).initial(0), strategy.exchanged)
        for subject, said in zip(
            participants.subjects,
            participants.finish(name, begin, participants.subjects),
            strict=True,
        ):
            assert (said.common is not None) == strategy.unseen
            client = participants.cohort.clients[subject]
            for models in (said.common, said.own):
                for split, role in (("validation", VALIDATION), ("test", TEST)):
                    if models is not None:
                        assert models[split].shape == (len(client.of(role)), 4)
                        np.testing.assert_allclose(models[split].sum(axis=1), 1, atol=1e-6)


def test_the_unseen_have_the_model_for_all_alone(small_config: FederatedConfig) -> None:
    config = replace(small_config, division=DivisionConfig("unseen"), strategies=("fedavg",))
    model = load_model(config.models[0])
    subjects = list(cohort_of(config, model).clients)
    cohort = cohort_of(config, model, judged=subjects[:1])
    own = cohort.clients[subjects[0]]
    assert not len(own.of(TRAIN))
    assert len(own.of(TEST)) == len(own.places)
    participants = Participants(cohort, {s: n for n, s in enumerate(subjects)})
    begin = participants.learner("fedavg").initial(0)
    said = participants.finish("fedavg", begin, subjects[:1])[0]
    assert said.own is None
    assert said.common is not None
    assert len(said.common["test"]) == len(own.places)


def test_balanced_loss_weighs_each_class_alike(small_config: FederatedConfig) -> None:
    participants = at_work(replace(small_config, loss="balanced"))
    whole = participants.part("fedavg", TRAIN)
    for c, client in enumerate(participants.cohort.clients.values()):
        truth = participants.cohort.truth.values[client.of(TRAIN)]
        weight = whole.weight[c, : len(truth)].double().numpy()
        totals = np.bincount(truth, weight)
        there = totals[totals > 0]
        np.testing.assert_allclose(there, len(truth) / len(there), rtol=1e-5)


def test_padding_weighs_nothing(small_cohort: Cohort) -> None:
    participants = Participants(small_cohort, {s: n for n, s in enumerate(small_cohort.clients)})
    each = [participants._part_of("head", s, TRAIN) for s in participants.subjects]
    counts = [len(one.weight) for one in each]
    assert len(set(counts)) > 1
    padded = stacked(each)
    assert (padded.weight > 0).sum(dim=1).tolist() == counts
    for c, one in enumerate(each):
        assert torch.equal(padded.inputs["x"][c, : counts[c]], one.inputs["x"])
        assert not padded.inputs["x"][c, counts[c] :].any()
