"""Augmented batches: which rows get what, the same however rows are dealt out, and what must never happen.

Shapes: B batch, C channels, T time, K operations.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from biofm.models.encoder import EncoderConfig
from biofm.models.stacked import StackedInput
from biofm.models.tokenizer import PatchConfig
from biofm.models.vit import ViTEncoder
from biofm.signals import LEADS_12, MISSING
from biofm.signals.augmentations import OPERATIONS, ST_MEM, AugmentConfig, augment
from biofm.signals.augmentations.augment import choose
from biofm.signals.augmentations.base import Draws
from biofm.signals.augmentations.electrodes import potentials
from biofm.signals.windows import Batch, Windows, crop

ALL = tuple(OPERATIONS)
EVERYTHING = AugmentConfig(ALL, layers=len(ALL), probability=1.0)


def batch_of(positions: list[int], epoch: int = 0, complete: bool = False) -> Batch:
    """Twelve leads at 250 Hz and motion at 50 Hz, which depend on the position alone."""
    streams = {}
    for modality, channels, rate_hz in (("ecg", LEADS_12, 250.0), ("acc", ("x", "y", "z"), 50.0)):
        T = round(4 * rate_hz)
        rows = [
            torch.randint(-900, 900, (len(channels), T), generator=torch.Generator().manual_seed(p))
            for p in positions
        ]
        digital = torch.stack(rows) if rows else torch.zeros(0, len(channels), T)
        samples = digital.to(torch.int16)
        if not complete:
            samples[:, 0, : T // 3] = MISSING
        scale = torch.full(samples.shape[:2], 1e-3)
        name = f"{modality}-{rate_hz:g}hz"
        streams[name] = Windows(
            modality, rate_hz, channels, samples, scale, torch.zeros_like(scale), complete
        )
    at = torch.tensor(positions, dtype=torch.int64)
    return Batch(streams, 7, epoch, at, at, at)


def physical(batch: Batch) -> list[tuple[Tensor, Tensor]]:
    return [windows.physical() for windows in batch.streams.values()]


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 4), st.integers(0, 2**40), st.integers(0, 5), st.integers(0, 1))
def test_rows_may_be_dealt_out_in_any_way(ranks: int, first: int, epoch: int, view: int) -> None:
    config = AugmentConfig(ALL, layers=4)
    positions = [first + i for i in range(8)]
    whole = physical(augment(batch_of(positions, epoch), config, view))
    for rank in range(ranks):
        part = physical(augment(batch_of(positions[rank::ranks], epoch), config, view))
        for (x_BCT, gone_BCT), (all_BCT, all_gone_BCT) in zip(part, whole, strict=True):
            assert torch.equal(gone_BCT, all_gone_BCT[rank::ranks])
            torch.testing.assert_close(x_BCT, all_BCT[rank::ranks], rtol=1e-4, atol=1e-5)


def test_the_same_batch_is_the_same_again_and_views_and_epochs_are_others() -> None:
    config = AugmentConfig(ALL, layers=4, probability=1.0)
    positions = list(range(16))

    def ecg(epoch: int, view: int) -> Tensor:
        return physical(augment(batch_of(positions, epoch), config, view))[0][0]

    torch.manual_seed(1)
    first = ecg(0, 0)
    torch.manual_seed(2)
    assert torch.equal(ecg(0, 0), first)
    for other in (ecg(0, 1), ecg(1, 0)):
        assert ((other - first).abs().amax(dim=(1, 2)) > 0).all()


def test_a_row_has_as_many_different_operations_as_layers() -> None:
    N = 20_000
    draws = Draws(0, 0, torch.arange(N), "", "augment 0")
    always_NK = choose(AugmentConfig(ST_MEM, probability=1.0), draws)
    assert (always_NK.sum(dim=1) == 2).all()
    assert (always_NK.float().mean(dim=0) - 2 / 8).abs().max() < 0.015
    pairs = torch.unique(always_NK, dim=0, return_counts=True)[1]
    assert len(pairs) == 8 * 7 // 2
    assert (pairs / N - 1 / 28).abs().max() < 0.007
    some_NK = choose(AugmentConfig(ST_MEM), draws)
    assert not (some_NK & ~always_NK).any()
    counts = torch.bincount(some_NK.sum(dim=1)) / N  # 1/4, 1/2 and 1/4
    torch.testing.assert_close(counts, torch.tensor([0.25, 0.5, 0.25]), atol=0.015, rtol=0)


def test_operations_are_applied_to_their_rows_alone_in_the_order_they_are_named() -> None:
    batch = batch_of(list(range(12)), complete=True)
    ops = ("flip", "scale", "sine")
    config = AugmentConfig(ops, layers=2)
    found_BCT = physical(augment(batch, config))[0][0]
    x_BCT = physical(batch)[0][0].double()
    draws = Draws(7, 0, batch.positions, "ecg-250hz", "augment 0 scale")
    apply_BK = choose(config, Draws(7, 0, batch.positions, "", "augment 0"))
    assert apply_BK.any(dim=0).all()
    assert (~apply_BK).any(dim=0).all()
    t_T = torch.arange(1000, dtype=torch.float64) / 1000
    for b in range(12):
        x_CT = x_BCT[b]
        rest_C1 = x_CT.mean(dim=1, keepdim=True)
        deviation = (x_CT - rest_C1).square().mean().sqrt()
        if apply_BK[b, 0]:
            x_CT = 2 * rest_C1 - x_CT
        if apply_BK[b, 1]:
            x_CT = rest_C1 + (x_CT - rest_C1) * 1.3 ** (2 * draws.uniform("gain")[b] - 1).double()
        if apply_BK[b, 2]:
            x_CT = x_CT + 0.3 * deviation * torch.sin(2 * torch.pi * 2 * t_T)
        torch.testing.assert_close(found_BCT[b].double(), x_CT, rtol=1e-4, atol=1e-5)
        if not apply_BK[b].any():
            assert torch.equal(found_BCT[b].double(), x_BCT[b])


def test_signals_of_one_time_are_cut_at_one_time() -> None:
    batch = batch_of(list(range(10)), complete=True)
    cut = physical(augment(batch, AugmentConfig(("cutout",), layers=1, probability=1.0)))
    begins_s, lengths_s = [], []
    for (new_BCT, _), (x_BCT, _), rate_hz in zip(cut, physical(batch), (250, 50), strict=True):
        cut_BT = (new_BCT != x_BCT).any(dim=1)
        begins_s.append(cut_BT.float().argmax(dim=1) / rate_hz)
        lengths_s.append(cut_BT.sum(dim=1) / rate_hz)
    long_B = lengths_s[0] > 0.1
    assert int(long_B.sum()) > 5
    assert float((begins_s[0] - begins_s[1])[long_B].abs().max()) < 2 / 50
    assert float((lengths_s[0] - lengths_s[1]).abs().max()) < 2 / 50


@pytest.mark.parametrize("name", [*ALL, "all"])
def test_nothing_becomes_nan_and_what_is_missing_stays_so(name: str) -> None:
    config = EVERYTHING if name == "all" else AugmentConfig((name,), layers=1, probability=1.0)
    batch = batch_of(list(range(6)))
    ecg = batch.streams["ecg-250hz"]
    samples = ecg.samples.clone()
    samples[1] = MISSING
    samples[2] = 0
    batch.streams["ecg-250hz"] = replace(ecg, samples=samples)
    for (x_BCT, gone_BCT), (_, before_BCT) in zip(
        physical(augment(batch, config)), physical(batch), strict=True
    ):
        assert x_BCT.isfinite().all()
        assert not x_BCT[gone_BCT].any()
        assert x_BCT.dtype == torch.float32
        if name in ("shift", "all"):
            assert gone_BCT.any()  # it moves with the signal
        else:
            assert gone_BCT[before_BCT].all()
        if name not in ("shift", "lead_dropout", "all"):
            assert torch.equal(gone_BCT, before_BCT)
    flat_CT = physical(augment(batch, AugmentConfig(ST_MEM, 8, 1.0)))[0][0][2]
    assert not flat_CT.any()  # relative noise of a signal that does not move


def test_shifted_gaps_move_with_the_signal() -> None:
    batch = batch_of(list(range(6)))
    _, before_BCT = physical(batch)[0]
    gone_BCT = physical(augment(batch, AugmentConfig(("shift",), 1, 1.0)))[0][1]
    draws = Draws(7, 0, batch.positions, "", "augment 0 shift")
    for b in range(6):
        by = int(draws.together("by")[b] * 0.3 * 1000)
        by = -by if draws.together("way")[b] < 0.5 else by
        moved_CT = before_BCT[b].roll(by, 1)
        moved_CT[:, slice(by) if by > 0 else slice(1000 + by, None)] = False
        assert torch.equal(gone_BCT[b], moved_CT)


def test_no_operations_are_the_batch_itself_and_empty_batches_pass() -> None:
    batch = batch_of([1, 2])
    assert augment(batch, AugmentConfig()) is batch
    empty = augment(batch_of([]), EVERYTHING)
    assert [x.shape for x, _ in physical(empty)] == [(0, 12, 1000), (0, 3, 200)]


def test_complete_windows_stay_so_unless_leads_may_be_lost() -> None:
    batch = batch_of([1, 2], complete=True)
    kept = augment(batch, AugmentConfig(ST_MEM, 8, 1.0))
    assert all(w.complete and not w.samples.isnan().any() for w in kept.streams.values())
    lost = augment(batch, AugmentConfig(("lead_dropout",), 1, 1.0)).streams["ecg-250hz"]
    assert not lost.complete
    assert torch.equal(lost.samples.isnan(), lost.physical()[1])


def test_half_precision_around_it_changes_nothing() -> None:
    batch = batch_of([1, 2, 3])
    plain = physical(augment(batch, EVERYTHING))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = physical(augment(batch, EVERYTHING))
    for (x, _), (y, _) in zip(plain, inside, strict=True):
        assert torch.equal(x, y)


def test_no_value_is_looked_at_so_that_a_gpu_need_not_be_waited_for() -> None:
    potentials.cache_clear()  # real and fake tensors must not meet
    with FakeTensorMode():
        batch = batch_of([])
        streams = {
            k: replace(
                w,
                samples=torch.zeros(4, *w.samples.shape[1:], dtype=torch.int16),
                scale=torch.zeros(4, len(w.channels)),
                offset=torch.zeros(4, len(w.channels)),
            )
            for k, w in batch.streams.items()
        }
        at = torch.zeros(4, dtype=torch.int64)
        found = augment(Batch(streams, 7, 0, at, at, at), EVERYTHING)
        assert found.streams["ecg-250hz"].samples.shape == (4, 12, 1000)
    potentials.cache_clear()


def test_models_read_lost_leads_as_leads_that_were_never_recorded() -> None:
    torch.manual_seed(0)
    patch = PatchConfig(rate_hz=250.0, samples=50)
    encoder = ViTEncoder(EncoderConfig(depth=1, patch=patch)).eval()
    batch = batch_of([3, 4, 5], complete=True)
    plain = batch.streams["ecg-250hz"]
    lost = augment(batch, AugmentConfig(("lead_dropout",), 1, 1.0)).streams["ecg-250hz"]
    gone_BCT = lost.physical()[1]
    assert gone_BCT.any()
    samples = plain.samples.masked_fill(gone_BCT, MISSING)
    recorded = replace(plain, samples=samples, complete=False)
    stacked = StackedInput(tuple(("ecg", lead, 250.0) for lead in LEADS_12))
    with torch.no_grad():
        torch.testing.assert_close(encoder(lost), encoder(recorded), rtol=1e-5, atol=1e-6)
        assert torch.equal(stacked({"ecg": lost}), stacked({"ecg": recorded}))
    cut = crop(lost, 1.0, 2.0)
    torch.testing.assert_close(cut.physical()[0], crop(recorded, 1.0, 2.0).physical()[0])
    assert torch.equal(cut.physical()[1], gone_BCT[..., 250:750])


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"ops": ("flipp",)}, r"unknown 'flipp'; did you mean flip\?.*There are shift, cutout"),
        ({"ops": ("flip", "flip")}, "each once, not flip, flip"),
        ({"ops": ("flip",)}, "between 1 and the number of ops, 1, not 2"),
        ({"layers": 0}, "layers must lie"),
        ({"probability": 0.0}, r"probability must lie in \(0, 1\], not 0"),
        ({"strength": 2.5}, r"strength must lie in \(0, 2\], not 2.5"),
    ],
)
def test_impossible_values_are_refused(made: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        AugmentConfig(**made)  # type: ignore[arg-type]


def test_mains_that_no_stream_can_hold_are_refused() -> None:
    batch = batch_of([0])
    slow = replace(batch, streams={"acc-50hz": batch.streams["acc-50hz"]})
    with pytest.raises(ValueError, match="at 50 Hz cannot hold powerline noise of 50 Hz: leave"):
        augment(slow, AugmentConfig(("powerline",), 1))
    mixed = physical(augment(batch, AugmentConfig(("powerline",), 1, 1.0)))
    assert torch.equal(mixed[1][0], physical(batch)[1][0])
    assert not torch.equal(mixed[0][0], physical(batch)[0][0])
