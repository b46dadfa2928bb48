"""Paper is to scale, every lead stands where it is expected, and missing samples are not drawn."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from biofm.evaluation.ecg_paper import draw_sheet, lay_out, paper, strips
from biofm.signals import LEADS_12


def twelve(seconds: float = 10.0, rate_hz: float = 100.0) -> np.ndarray:
    """Lead by lead a higher level, so that none is taken for another."""
    samples = round(seconds * rate_hz)
    level = np.arange(12)[:, None] / 10
    return level + np.sin(np.arange(samples) / 7) / 5


def test_twelve_leads_are_printed_as_everywhere() -> None:
    placed = strips(LEADS_12, 10.0)
    assert [s.lead for s in placed if s.row == 0] == ["I", "aVR", "V1", "V4"]
    assert [s.lead for s in placed if s.row == 2] == ["III", "aVF", "V3", "V6"]
    assert [(s.start_s, s.length_s) for s in placed if s.row == 0] == [
        (0.0, 2.5), (2.5, 2.5), (5.0, 2.5), (7.5, 2.5),
    ]  # fmt: skip
    rhythm = placed[-1]
    assert (rhythm.lead, rhythm.row, rhythm.start_s, rhythm.length_s) == ("II", 3, 0.0, 10.0)


def test_a_long_lead_goes_on_in_the_next_line_and_few_leads_get_one_each() -> None:
    long = strips(("I",), 25.0)
    assert [(s.row, s.start_s, s.length_s) for s in long] == [(0, 0, 10), (1, 10, 10), (2, 20, 5)]
    assert len(strips(("I",), 300.0)) == 6
    assert [(s.lead, s.row, s.length_s) for s in strips(("II", "V1"), 2.4)] == [
        ("II", 0, 2.4),
        ("V1", 1, 2.4),
    ]
    assert [s.row for s in strips(LEADS_12, 5.0)] == [0, 1, 2, 3, 4, 5]


def test_the_order_of_channels_does_not_matter() -> None:
    turned = tuple(reversed(LEADS_12))
    one, other = lay_out(twelve(), LEADS_12, 100.0), lay_out(twelve()[::-1], turned, 100.0)
    for a, b in zip(one.traces, other.traces, strict=True):
        np.testing.assert_array_equal(a, b)


def test_drawn_is_what_was_recorded_to_scale() -> None:
    x = twelve()
    x[1, 40:60] = np.nan
    sheet = lay_out(x, LEADS_12, 100.0)
    assert sheet.size_mm[0] == pytest.approx(250)
    axis = Figure().subplots()
    draw_sheet(axis, sheet, mark_s=(2.4, 2.6))
    # 10 mm a mV over 25 mm a second.
    assert axis.get_aspect() == pytest.approx(10 / 25)
    # Grid lines have a break after every two points.
    drawn = [np.asarray(line.get_xydata()) for line in axis.lines]
    traces = [t for t in drawn if len(t) >= 250 and not np.isnan(t[2]).any()]
    assert len(traces) == 13
    v5 = next(i for i, s in enumerate(sheet.strips) if s.lead == "V5")
    time_s, level = traces[v5].T
    np.testing.assert_allclose(time_s, 7.5 + np.arange(250) / 100)
    np.testing.assert_allclose(level - sheet.level_R[1], x[10, 750:1000])
    assert np.isnan(traces[-1][40:60, 1]).all()
    bottom, top = axis.get_ylim()
    everything = np.concatenate([t[:, 1] for t in traces])
    assert bottom < np.nanmin(everything) and np.nanmax(everything) < top  # noqa: PT018 # one claim, not two
    # The marked time begins in the first column and ends in the second.
    spans = [p.get_path().get_extents(p.get_patch_transform()) for p in axis.patches]
    edges = {(round(float(s.x0), 2), round(float(s.width), 2)) for s in spans}
    assert edges == {(2.4, 0.1), (2.5, 0.1), (2.4, 0.2)}


def test_rows_of_large_waves_are_further_apart() -> None:
    small, large = lay_out(twelve(), LEADS_12, 100.0), lay_out(3 * twelve(), LEADS_12, 100.0)
    apart = [-np.diff(sheet.level_R)[:2] for sheet in (small, large)]
    assert (apart[1] > apart[0]).all()


def test_boxes_of_one_and_five_millimetres() -> None:
    sheet = lay_out(twelve(), LEADS_12, 100.0)
    axis = Figure().subplots()
    draw_sheet(axis, sheet)
    upright = [np.asarray(line.get_xdata()) for line in axis.lines[:4:2]]
    steps = [np.unique(np.diff(np.unique(x[~np.isnan(x)])).round(6)) for x in upright]
    assert [s.tolist() for s in steps] == [[0.04], [0.2]]


def test_a_window_without_any_sample_is_an_empty_sheet() -> None:
    sheet = lay_out(np.full((12, 1000), np.nan), LEADS_12, 100.0)
    assert 40 < sheet.size_mm[1] < 200


def test_time_lines_for_a_plain_axis() -> None:
    axis = Figure().subplots()
    paper(axis, 10.0)
    assert axis.get_xlim() == (0, 10)
    every = np.sort(np.concatenate([axis.get_xticks(), axis.get_xticks(minor=True)]))
    np.testing.assert_allclose(every, np.arange(51) / 5)
    assert axis.get_xticks().tolist() == list(range(11))
