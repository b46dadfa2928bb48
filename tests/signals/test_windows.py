"""Batches of windows: physical units, missing samples, and moving to a device."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from biofm.signals import MISSING
from biofm.signals.windows import Batch, Windows, crop


def windows(samples: list[list[list[int]]], complete: bool = False) -> Windows:
    x_BCT = torch.tensor(samples, dtype=torch.int16)
    scale_BC = torch.full(x_BCT.shape[:2], 0.5)
    offset_BC = torch.full(x_BCT.shape[:2], 2.0)
    channels = ("I", "II")[: x_BCT.shape[1]]
    return Windows("ecg", 100.0, channels, x_BCT, scale_BC, offset_BC, complete)


def test_missing_samples_are_zero_and_flagged() -> None:
    x_BCT, missing_BCT = windows([[[4, MISSING], [-4, 0]]]).physical()
    assert x_BCT.tolist() == [[[4.0, 0.0], [0.0, 2.0]]]
    assert missing_BCT.tolist() == [[[False, True], [False, False]]]


def test_complete_windows_give_the_same_without_looking() -> None:
    samples = [[[4, 7], [-4, 0]]]
    for looked, told in zip(
        windows(samples).physical(), windows(samples, complete=True).physical(), strict=True
    ):
        assert torch.equal(looked, told)


def test_changed_windows_hold_physical_samples_and_where_they_are_missing() -> None:
    made = windows([[[4, MISSING, 7], [-4, 0, 2]]])
    x_BCT, missing_BCT = made.physical()
    changed = made.changed(x_BCT * 10, missing_BCT, complete=False)
    assert changed.samples.isnan().tolist() == missing_BCT.tolist()
    found_BCT, gone_BCT = changed.physical()
    assert found_BCT.tolist() == [[[40.0, 0.0, 55.0], [0.0, 20.0, 30.0]]]
    assert torch.equal(gone_BCT, missing_BCT)
    cut = crop(changed, 0.01, 0.02)
    assert cut.physical()[0].tolist() == [[[0.0, 55.0], [20.0, 30.0]]]
    whole = windows([[[4, 7]]], complete=True)
    again = whole.changed(*whole.physical(), complete=True)
    assert torch.equal(again.physical()[0], whole.physical()[0])
    assert not again.physical()[1].any()
    moved = changed.to("meta").physical()
    assert all(part.is_meta for part in moved)


def test_a_batch_moves_as_a_whole_and_keeps_its_place_in_the_run() -> None:
    positions, rows, subjects = torch.tensor([5]), torch.tensor([2]), torch.tensor([1])
    batch = Batch({"ecg-100hz": windows([[[1, 2]]])}, 3, 4, positions, rows, subjects)
    moved = batch.to("meta")
    assert len(moved) == len(batch) == 1
    assert (moved.seed, moved.epoch) == (3, 4)
    tensors = (moved.positions, moved.rows, moved.subjects, moved.streams["ecg-100hz"].samples)
    assert all(tensor.is_meta for tensor in tensors)


def counted(rate_hz: float, seconds: float, batch: int = 3) -> Windows:
    """Sample t of channel c of row b is b·10,000 + c·5,000 + t."""
    T = round(rate_hz * seconds)
    first_BC1 = torch.arange(batch)[:, None, None] * 10_000 + torch.arange(2)[:, None] * 5_000
    samples = (first_BC1 + torch.arange(T)).to(torch.int16)
    return Windows("acc", rate_hz, ("x", "y"), samples, torch.ones(batch, 2), torch.zeros(batch, 2))


@pytest.mark.parametrize(
    ("rate_hz", "start_s", "length_s", "first", "length"),
    [
        (100.0, 0.0, 2.5, 0, 250),
        (100.0, 1.234, 2.5, 123, 250),  # 123.4
        (100.0, 1.236, 2.5, 124, 250),  # 123.6
        (32.0, 1.234, 2.5, 39, 80),  # 39.488
        (0.5, 1.234, 4.0, 1, 2),  # 0.617
        (64.0, 7.5, 2.5, 480, 160),
        (12.5, 3.0, 1.0, 38, 12),  # 37.5 and 12.5, halves to the even one
    ],
)
def test_a_crop_begins_at_the_nearest_sample(
    rate_hz: float, start_s: float, length_s: float, first: int, length: int
) -> None:
    windows = counted(rate_hz, 10.0)
    cut = crop(windows, start_s, length_s)
    assert torch.equal(cut.samples, windows.samples[:, :, first : first + length])
    assert cut.scale is windows.scale
    assert (cut.modality, cut.rate_hz, cut.channels) == ("acc", rate_hz, ("x", "y"))
    rows = crop(windows, torch.full((3,), start_s), length_s)
    assert torch.equal(rows.samples, cut.samples)


@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=5),
    st.floats(0.05, 10),
    st.sampled_from([0.5, 12.5, 32.0, 100.0, 250.0]),
)
def test_each_row_has_a_stretch_of_its_own(
    shares: list[float], length_s: float, rate_hz: float
) -> None:
    windows = counted(rate_hz, 10.0, batch=len(shares))
    length = round(length_s * rate_hz)
    start_B = torch.tensor(shares, dtype=torch.float32) * (10.0 - length_s)
    if not length:
        with pytest.raises(ValueError, match="holds 0 samples of acc"):
            crop(windows, start_B, length_s)
        return
    cut = crop(windows, start_B, length_s)
    for row, start_s in enumerate(start_B.tolist()):
        first = min(round(start_s * rate_hz), windows.samples.shape[2] - length)
        assert torch.equal(cut.samples[row], windows.samples[row, :, first : first + length])


def test_a_crop_that_rounding_would_push_over_the_end_is_moved_back() -> None:
    windows = counted(1.0, 5.0)  # 3.5 s are four samples, and 1.5 s is nearest to the second
    assert torch.equal(crop(windows, 1.5, 3.5).samples, windows.samples[:, :, 1:])


def test_crops_that_cannot_be_are_refused_and_an_empty_batch_is_none() -> None:
    windows = counted(100.0, 10.0)
    with pytest.raises(
        ValueError, match=r"1010 samples of acc at 100 Hz.*between one sample and 10 s"
    ):
        crop(windows, 0.0, 10.1)
    assert crop(counted(100.0, 10.0, batch=0), 1.0, 2.0).samples.shape == (0, 2, 200)
