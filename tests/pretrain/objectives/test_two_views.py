"""Views: stretches and changes of windows, drawn by position."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from biofm.models.encoder import EncoderConfig
from biofm.models.make_encoder import make_encoder
from biofm.models.tokenizer import PatchConfig
from biofm.pretrain.objectives.two_views import (
    ViewsConfig,
    check_widths,
    head,
    rows_there,
    two_views,
)
from biofm.signals import LEADS_12, MISSING
from biofm.signals.augmentations import AugmentConfig, augment
from biofm.signals.windows import Batch, Windows

STREAM = "ecg-100hz"
CROPS = ViewsConfig(crop_s=4.0, augment=AugmentConfig())
WHOLE = ViewsConfig(crop_s=None, augment=AugmentConfig(ops=("wander", "scale"), probability=1.0))


def make_batch(rows: int = 4, first: int = 0, *, complete: bool = True) -> Batch:
    """Sample t of a window is t, in its 12 leads."""
    samples = torch.arange(1000, dtype=torch.int16).expand(rows, 12, 1000).contiguous()
    scale, offset = torch.full((rows, 12), 1e-3), torch.zeros(rows, 12)
    windows = Windows("ecg", 100.0, LEADS_12, samples, scale, offset, complete)
    positions = torch.arange(first, first + rows)
    return Batch({STREAM: windows}, 7, 0, positions, positions, positions)


def rows_of(windows: Windows, rows: slice) -> Windows:
    samples, scale, offset = (x[rows] for x in (windows.samples, windows.scale, windows.offset))
    return replace(windows, samples=samples, scale=scale, offset=offset)


def test_crops_are_stretches_that_begin_anywhere_and_elsewhere_in_each_view() -> None:
    views = two_views(make_batch(300), STREAM, CROPS)
    assert views.samples.shape == (600, 12, 400)
    begins = views.samples[:, 0, 0].long()
    steps = torch.arange(400)
    assert torch.equal(
        views.samples.long(), (begins[:, None] + steps)[:, None].expand(600, 12, 400)
    )
    assert begins.min() >= 0
    assert begins.max() <= 600
    assert begins.min() < 20
    assert begins.max() > 580
    one, other = begins.chunk(2)
    assert abs(float(torch.corrcoef(torch.stack([one, other]).float())[0, 1])) < 0.2


def test_views_of_a_row_are_the_same_in_any_batch() -> None:
    both = two_views(make_batch(6), STREAM, ViewsConfig())
    alone = two_views(make_batch(2, first=3), STREAM, ViewsConfig())
    for start in (0, 6):
        part = rows_of(both, slice(start + 3, start + 5))
        mine = rows_of(alone, slice(start // 3, start // 3 + 2))
        torch.testing.assert_close(part.samples, mine.samples, equal_nan=True)


def test_whole_windows_are_changed_as_by_augment_view_after_view() -> None:
    batch = make_batch()
    both = two_views(batch, STREAM, WHOLE)
    for number in (0, 1):
        expected = augment(batch, WHOLE.augment, number).streams[STREAM]
        part = rows_of(both, slice(4 * number, 4 * number + 4))
        assert torch.equal(part.samples, expected.samples)
    assert both.complete
    assert not torch.equal(both.samples[:4], both.samples[4:])


def test_a_row_without_samples_is_not_there() -> None:
    encoder = make_encoder(EncoderConfig(depth=1, patch=PatchConfig(samples=50)))
    assert rows_there(encoder, make_batch(), STREAM, WHOLE).tolist() == [True] * 4
    batch = make_batch(complete=False)
    samples = batch.streams[STREAM].samples
    samples[0] = MISSING
    samples[1, 1:] = MISSING
    samples[2, :, 30:] = MISSING
    assert rows_there(encoder, batch, STREAM, WHOLE).tolist() == [False, True, True, True]
    samples[2, :, 20:] = MISSING  # less than half a patch is left
    assert rows_there(encoder, batch, STREAM, WHOLE).tolist() == [False, True, False, True]


def test_a_row_of_which_a_view_shows_nothing_takes_no_part() -> None:
    encoder = make_encoder(EncoderConfig(depth=1, patch=PatchConfig(samples=50)))
    batch = make_batch(200, complete=False)
    batch.streams[STREAM].samples[:, :, 300:] = MISSING
    views = two_views(batch, STREAM, CROPS)
    shown_V = encoder.tokenizer.patches(views).present_BCN.flatten(1).any(dim=1)
    both_B = shown_V[:200] & shown_V[200:]
    assert 0 < int(both_B.sum()) < int(shown_V.sum()) / 2
    assert torch.equal(rows_there(encoder, batch, STREAM, CROPS), both_B)


def test_a_head_has_two_layers() -> None:
    net = head(8, 16, 4)
    assert net(torch.randn(3, 8)).shape == (3, 4)
    assert sum(p.numel() for p in net.parameters()) == 9 * 16 + 2 * 16 + 17 * 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"crop_s": 0.0}, "crop_s must be above 0 s"),
        ({"crop_s": None, "augment": AugmentConfig()}, "both views would be the window as it is"),
    ],
)
def test_impossible_views_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ViewsConfig(**fields)
    with pytest.raises(ValueError, match="hidden and dim must be 1 or more, not 0 and 4"):
        check_widths(0, 4)


def test_a_crop_longer_than_the_windows_is_refused() -> None:
    with pytest.raises(ValueError, match="a stretch of 20 s holds 2000 samples"):
        two_views(make_batch(), STREAM, ViewsConfig(crop_s=20.0))
