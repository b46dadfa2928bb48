"""The server gets the mean of the updates within the rounding, and nothing else of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Error, Message
from flwr.common import bytes_to_ndarray
from flwr.common.secure_aggregation.quantization import dequantize
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage

from biofm.federated.cohort import Cohort
from biofm.federated.configuration import FederatedConfig, PrivacyConfig, RealityConfig
from biofm.federated.division import TRAIN
from biofm.federated.grids import InProcessGrid
from biofm.federated.reality import drops_out
from biofm.federated.secure import CLIPPED, LEVELS, rounding
from biofm.federated.server import Run
from biofm.federated.strategies import STRATEGIES

Federate = Callable[..., list[Run]]

SENT = tuple(name for name, strategy in STRATEGIES.items() if strategy.exchanged != "none")


@pytest.fixture
def masked(small_config: FederatedConfig) -> FederatedConfig:
    return replace(small_config, privacy=PrivacyConfig(secure_aggregation=True), rounds=1)


def tolerance(cohort: Cohort) -> float:
    """What the rounding may come to, and as much again for float32."""
    return 2 * rounding([len(client.of(TRAIN)) for client in cohort.clients.values()])


def test_the_masked_mean_is_the_plain_one_within_the_rounding(
    masked: FederatedConfig, small_cohort: Cohort, federate: Federate
) -> None:
    config = replace(masked, strategies=SENT)
    plain = federate(replace(config, privacy=PrivacyConfig(), out=config.out.with_name("plain")))
    limit = tolerance(small_cohort)
    assert limit < 2e-5
    for open_, secret in zip(plain, federate(config), strict=True):
        assert open_.arrays.keys() == secret.arrays.keys()
        moved = 0.0
        for key in open_.arrays:
            one, other = open_.arrays[key].numpy(), secret.arrays[key].numpy()
            assert one.dtype == other.dtype
            assert one.shape == other.shape
            np.testing.assert_allclose(one, other, rtol=0, atol=limit, err_msg=key)
            moved = max(moved, float(np.abs(one - other).max()))
        assert moved > 0, "it was rounded"
        assert not secret.loss, "losses are not masked"
        assert not secret.refused


def test_rounds_go_on_where_somebody_drops_out(masked: FederatedConfig, federate: Federate) -> None:
    """By the same as without masks, from whoever is left."""
    config = replace(
        masked, rounds=4, strategies=("fedavg", "ditto"), reality=RealityConfig(dropout=0.1)
    )
    plain = federate(replace(config, privacy=PrivacyConfig(), out=config.out.with_name("plain")))
    for open_, secret in zip(plain, federate(config), strict=True):
        rounds = [(t.asked, t.answered) for t in secret.traffic if t.kind == "train"]
        assert rounds == [(t.asked, t.answered) for t in open_.traffic if t.kind == "train"]
        assert (4, 3) in rounds, "choose another seed"
        assert all(answered >= 3 for _, answered in rounds), "choose another seed"
        for key in open_.arrays:
            # The rounding of each round, and what the next ones make of it.
            np.testing.assert_allclose(
                open_.arrays[key].numpy(), secret.arrays[key].numpy(), rtol=0, atol=1e-4
            )


def test_a_round_of_too_few_leaves_everything_as_it_is(
    masked: FederatedConfig, subjects: list[str], federate: Federate
) -> None:
    reality = RealityConfig(dropout=0.6)
    seed = next(s for s in range(50) if sum(drops_out(reality, s, 1, n) for n in subjects[:4]) == 2)
    config = replace(masked, seed=seed, strategies=("fedavg",))
    run = federate(replace(config, reality=reality))[0]
    still = federate(replace(config, local=replace(config.local, rate=1e-12)))[0]
    moved = federate(config)[0]
    for key in run.arrays:
        told, begun, after = (one.arrays[key].numpy() for one in (run, still, moved))
        np.testing.assert_allclose(told, begun, rtol=0, atol=1e-5)
        assert np.abs(after - begun).max() > 1e-4
    assert [(t.asked, t.answered) for t in run.traffic if t.kind == "train"] == [(4, 2)]
    assert not run.refused


@pytest.mark.parametrize("stage", Stage.all())
def test_a_client_may_be_lost_at_any_time(
    stage: str,
    masked: FederatedConfig,
    subjects: list[str],
    federate: Federate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sum is that of all who sent theirs, whenever in the round the client goes."""
    config = replace(masked, strategies=("fedavg",), rounds=2)
    plain = InProcessGrid._secured
    lost: list[str] = []

    def losing(grid: InProcessGrid, message: Message, subject: str) -> Message:
        record = message.content.config_records[RECORD_KEY_CONFIGS]
        if lost and subject == subjects[1]:
            return Message(Error(1, "gone"), reply_to=message)
        if (
            subject == subjects[1]
            and record[Key.STAGE] == stage
            and message.metadata.group_id == "2"
        ):
            lost.append(stage)
            return Message(Error(1, "gone"), reply_to=message)
        return plain(grid, message, subject)

    monkeypatch.setattr(InProcessGrid, "_secured", losing)
    secret = federate(config)[0]
    assert lost == [stage]
    there = 4 if stage == Stage.UNMASK else 3
    assert [t.answered for t in secret.traffic if t.kind == "train"] == [4, there]
    monkeypatch.setattr(
        "biofm.federated.participants.drops_out",
        lambda reality, seed, round, who: there == 3 and round == 2 and who == subjects[1],
    )
    open_ = replace(config, privacy=PrivacyConfig(), out=config.out.with_name("plain"))
    for key, array in federate(open_)[0].arrays.items():
        np.testing.assert_allclose(array.numpy(), secret.arrays[key].numpy(), rtol=0, atol=5e-5)


@pytest.mark.parametrize("clients", [1, 2])
def test_a_sum_of_two_is_no_secret(
    clients: int, masked: FederatedConfig, subjects: list[str], federate: Federate
) -> None:
    config = replace(masked, strategies=("fedavg",), excluded=tuple(subjects[clients:]))
    with pytest.raises(
        ValueError, match=f"secure_aggregation: a round asks {clients} clients, and it takes 3"
    ):
        federate(config)


def test_what_a_client_sends_says_nothing_of_its_update(
    masked: FederatedConfig, federate: Federate, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(masked, strategies=("fedavg",))
    replies: list[Message] = []
    plain = InProcessGrid.send_and_receive

    def listening(
        grid: InProcessGrid, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        found = plain(grid, messages, timeout=timeout)
        replies.extend(found)
        return found

    monkeypatch.setattr(InProcessGrid, "send_and_receive", listening)
    once = federate(config)[0]
    again = [*replies]
    replies.clear()
    federate(config)
    seen = 0
    for first, second in zip(again, replies, strict=True):
        if RECORD_KEY_CONFIGS not in first.content.config_records:
            continue
        # Nothing goes up in the clear: no arrays, no losses, the number of windows alone.
        assert not any(len(record) for record in first.content.array_records.values())
        told = first.content.config_records[RECORD_KEY_CONFIGS]
        if Key.MASKED_PARAMETERS not in told:
            continue
        seen += 1
        other = second.content.config_records[RECORD_KEY_CONFIGS]
        vectors = []
        for record in (told, other):
            parts = record[Key.MASKED_PARAMETERS]
            assert isinstance(parts, list)
            vectors.append(np.concatenate([bytes_to_ndarray(p).ravel() for p in parts]))  # type: ignore[arg-type] # bytes
        # The same update, under other masks: nothing in common, and spread over all that is possible.
        assert abs(np.corrcoef(vectors[0], vectors[1])[0, 1]) < 0.2
        assert vectors[0].std() == pytest.approx(2**32 / np.sqrt(12), rel=0.1)
        assert np.abs(dequantize([vectors[0]], CLIPPED, LEVELS)[0]).max() > 1000
    assert seen == 4
    assert len(once.arrays) == 4


def test_bytes_are_those_of_masks_and_keys_too(masked: FederatedConfig, federate: Federate) -> None:
    config = replace(masked, strategies=("fedavg",))
    secret = federate(config)[0]
    plain = federate(replace(config, privacy=PrivacyConfig(), out=config.out.with_name("plain")))[0]
    up, up_plain = (next(t.up for t in run.traffic if t.kind == "train") for run in (secret, plain))
    # A masked number has 8 bytes, a plain one 4.
    assert 2 * up_plain * 0.9 < up < 2 * up_plain * 1.5
