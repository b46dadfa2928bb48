"""Batches of windows: physical units, missing samples, and moving to a device."""

from __future__ import annotations

import torch

from biofm.signals import MISSING
from biofm.signals.windows import Batch, Windows


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


def test_a_batch_moves_as_a_whole_and_keeps_its_place_in_the_run() -> None:
    positions, rows, subjects = torch.tensor([5]), torch.tensor([2]), torch.tensor([1])
    batch = Batch({"ecg-100hz": windows([[[1, 2]]])}, 3, 4, positions, rows, subjects)
    moved = batch.to("meta")
    assert len(moved) == len(batch) == 1
    assert (moved.seed, moved.epoch) == (3, 4)
    tensors = (moved.positions, moved.rows, moved.subjects, moved.streams["ecg-100hz"].samples)
    assert all(tensor.is_meta for tensor in tensors)
