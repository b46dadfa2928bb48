"""Blocks in time that are hidden: how many, where, and of what."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from biofm.models.masks import Mask
from biofm.models.tokenizer import PatchConfig, Patcher, Patches
from biofm.pretrain.objectives.masking import block_mask
from biofm.signals import LEADS_12, MISSING
from biofm.signals.randomness import uniform
from biofm.signals.windows import Batch, Windows

STREAM = "ecg-100hz"
PATCH = PatchConfig(samples=10)


def make_batch(rows: int, patches: int, first: int = 0, epoch: int = 0) -> Batch:
    samples = torch.zeros(rows, 12, 10 * patches, dtype=torch.int16)
    windows = Windows("ecg", 100.0, LEADS_12, samples, torch.ones(rows, 12), torch.zeros(rows, 12))
    positions = torch.arange(first, first + rows)
    return Batch({STREAM: windows}, 7, epoch, positions, positions, positions)


def patches_of(batch: Batch) -> Patches:
    return Patcher(PATCH).patches(batch.streams[STREAM])


def draw(batch: Batch, ratio: float, block: int, *, joint: bool = True) -> Mask:
    return block_mask(batch, patches_of(batch), joint=joint, ratio=ratio, block=block)


def slow_hidden(batch: Batch, N: int, blocks: int, block: int, row: int) -> list[bool]:
    """A row as it is defined: entries in order, of which those with the smallest numbers are blocks."""
    entries = N - blocks * block + blocks
    noise = uniform(batch.seed, batch.epoch, batch.positions, "blocks", entries)[row].tolist()
    chosen = sorted(range(entries), key=lambda entry: noise[entry])[:blocks]
    return [
        entry in chosen for entry in range(entries) for _ in range(block if entry in chosen else 1)
    ]


@given(
    N=st.integers(2, 60),
    block=st.integers(1, 20),
    ratio=st.floats(0.05, 0.95),
    joint=st.booleans(),
)
def test_blocks_are_those_of_the_definition(N: int, block: int, ratio: float, joint: bool) -> None:
    if block > N - 1:
        return
    batch = make_batch(3, N)
    mask = draw(batch, ratio, block, joint=joint)
    wanted = min(max(1, round(ratio * N / block)), (N - 1) // block)
    for row in range(3):
        expected = slow_hidden(batch, N, wanted, block, row)
        assert all(mask.hidden[row, lead].tolist() == expected for lead in range(12))
        seen = [n for n in range(N) if not expected[n]]
        assert mask.keep[row].tolist() == [seen] * (1 if joint else 12)
    assert torch.equal(mask.visible, ~mask.hidden)
    assert mask.attend is None or bool(mask.attend.all())


def test_every_way_to_lay_the_blocks_is_equally_likely() -> None:
    mask = draw(make_batch(6000, 6), 0.67, 2)
    found = Counter(tuple(row) for row in mask.hidden[:, 0].tolist())
    assert len(found) == 6  # two blocks among two single patches
    assert all(abs(times - 1000) < 120 for times in found.values())  # four deviations of 29


def test_rows_keep_their_blocks_in_any_batch_and_draw_others_in_another_epoch() -> None:
    whole = draw(make_batch(6, 30), 0.5, 5).hidden
    assert torch.equal(whole[3:5], draw(make_batch(2, 30, first=3), 0.5, 5).hidden)
    assert len({tuple(row) for row in whole[:, 0].tolist()}) == 6
    assert not torch.equal(whole, draw(make_batch(6, 30, epoch=1), 0.5, 5).hidden)


@pytest.mark.parametrize("joint", [True, False])
def test_missing_patches_are_neither_visible_nor_hidden(joint: bool) -> None:
    batch = make_batch(4, 30)
    alone = draw(batch, 0.5, 5, joint=joint).hidden
    samples = batch.streams[STREAM].samples
    samples[0, :, :140] = MISSING
    samples[1, 4] = MISSING
    samples[2] = MISSING
    mask, present = draw(batch, 0.5, 5, joint=joint), patches_of(batch).present_BCN
    assert torch.equal(mask.hidden[3], alone[3])
    assert not (mask.visible & mask.hidden).any()
    assert torch.equal((mask.visible | mask.hidden)[[0, 1, 3]], present[[0, 1, 3]])
    assert not (mask.visible | mask.hidden)[2].any()
    assert mask.attend is not None
    shown = mask.visible.any(dim=1, keepdim=True) if joint else mask.visible
    assert torch.equal(mask.attend, shown.gather(2, mask.keep))


def test_where_nothing_is_visible_nothing_is_hidden() -> None:
    batch = make_batch(2, 10)
    hidden = draw(batch, 0.5, 5).hidden[0, 0]
    samples = batch.streams[STREAM].samples.view(2, 12, 10, 10)
    samples[0][:, ~hidden] = MISSING
    mask = draw(batch, 0.5, 5)
    assert patches_of(batch).present_BCN[0].any()
    assert not mask.hidden[0].any()
    assert mask.hidden[1].any()


def test_a_block_as_long_as_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match="a block of 10 patches leaves nothing of a window of 10"):
        draw(make_batch(1, 10), 0.5, 10)
