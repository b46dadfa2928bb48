"""The build's look at physiology: what is right passes, and each planted fault is found and named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biofm.datasets.registry import About, RecordRef
from biofm.datasets.simulate.pulse import draw_beats, lead, pulse
from biofm.shards import build as build_module
from biofm.shards import writing
from biofm.shards.build import build
from biofm.shards.configuration import BuildConfig, Fractions
from biofm.shards.physiology import CHECKS, facts_of, failures_of, summary_of
from biofm.signals import LEADS_12, Annotation, Recording, Series, Signal

SECONDS = 400
ROWS = [{"flat": 0.0, "clipped": 0.0}]
Change = Callable[[Recording], Recording]


def person(number: int) -> Recording:
    """Chest ECG, pulse, acceleration, a watch's heart rate, beats, heart rates every 2 s over 8 s."""
    rng = np.random.default_rng(number)
    time_s = np.arange(SECONDS)
    beats_s = draw_beats(rng, 75 + 15 * np.sin(2 * np.pi * time_s / 90 + number))
    ecg = Signal("ecg", lead(beats_s, SECONDS * 125, 125)[None].astype(np.float32), 125.0, ("II",))
    ppg = Signal("ppg", pulse(beats_s, SECONDS * 64, 64)[None].astype(np.float32), 64.0, ("ppg",))
    acc = np.zeros((3, SECONDS * 32), np.float32)
    acc[2] = 1
    inside = [(beats_s >= at) & (beats_s < at + 8) for at in range(0, SECONDS - 8, 2)]
    labels = [
        Annotation(2.0 * i, 8.0, "hr", float(60 / np.diff(beats_s[there]).mean()))
        for i, there in enumerate(inside)
    ]
    beats = [Annotation(float(at), 0.0, "beat:N") for at in beats_s]
    rates = np.array([label.value for label in labels], np.float32)
    return Recording(
        "made",
        f"r{number}",
        f"made-{number}",
        (ecg, ppg, Signal("acc", acc, 32.0, ("x", "y", "z"))),
        annotations=tuple(sorted([*labels, *beats], key=lambda a: a.onset_s)),
        series=(
            Series("hr", ("hr",), 2.0 * np.arange(len(rates), dtype=np.float64) + 4, rates[None]),
        ),
    )


def scaled(modality: str, factor: float) -> Change:
    def change(recording: Recording) -> Recording:
        return replace(
            recording,
            signals=tuple(
                replace(s, samples=s.samples * np.float32(factor)) if s.modality == modality else s
                for s in recording.signals
            ),
        )

    return change


def labels_moved(seconds: float, kind: str) -> Change:
    def change(recording: Recording) -> Recording:
        moved = [
            replace(a, onset_s=a.onset_s + seconds) if a.code.startswith(kind) else a
            for a in recording.annotations
        ]
        return replace(recording, annotations=tuple(sorted(moved, key=lambda a: a.onset_s)))

    return change


def another_pulse(recording: Recording) -> Recording:
    other = person(int(recording.record[1:]) + 3).signals[1]
    return replace(recording, signals=(recording.signals[0], other, recording.signals[2]))


def watch_late(recording: Recording) -> Recording:
    (series,) = recording.series
    return replace(recording, series=(replace(series, times_s=series.times_s + 40),))


def pulse_in_ms(recording: Recording) -> Recording:
    ecg, ppg, acc = recording.signals
    return replace(recording, signals=(ecg, replace(ppg, rate_hz=ppg.rate_hz / 1000), acc))


def failures(change: Change) -> str:
    facts = [(f"r{i}", facts_of(change(person(i)), ROWS)) for i in range(3)]
    return "\n".join(failures_of(summary_of(facts)))


def test_what_is_right_passes_and_every_check_that_applies_is_made() -> None:
    facts = facts_of(person(0), ROWS)
    assert set(facts) == {
        *("ecg_size", "acc_level", "hr_level", "hr_ecg_ppg", "hr_reported", "hr_labelled"),
        *("hr_label_lag", "beat_lag", "lengths", "labels_outside", "flat", "clipped", "missing"),
    }
    for name, value in facts.items():
        assert CHECKS[name].low <= value <= CHECKS[name].high, (name, value)
    assert facts["hr_ecg_ppg"] < 1
    assert abs(facts["hr_label_lag"]) <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (scaled("ecg", 1000), "peak to peak of the ECG, mV: the median of 3 records is 1"),
        (scaled("acc", 9.81), "acceleration, g .*: the median of 3 records is 9.81.*unit"),
        (labels_moved(20, "hr"), "labels come late, s: the median of 3 records is 20"),
        (labels_moved(-20, "hr"), "labels come late, s: the median of 3 records is -20"),
        (
            labels_moved(0.3, "beat"),
            "annotated beats come after R peaks.*is 0.[23].*shifted in time",
        ),
        (labels_moved(1000, "hr"), "labelled time without any signal.*shifted in time"),
        (another_pulse, "ECG against PPG, bpm.*not of one heart"),
        (
            pulse_in_ms,
            "longest of its waves against the shortest, times.*is 1e\\+03.*a unit of time",
        ),
        (watch_late, "against the reported one, bpm.*not of one time"),
    ],
)
def test_each_fault_is_found_and_named(change: Change, message: str) -> None:
    import re

    assert re.search(message, failures(change))


def test_signals_that_tell_nothing_are_not_judged() -> None:
    flat = Signal("ecg", np.zeros((1, 5000), np.float32), 100.0, ("II",))
    gone = Signal("ppg", np.full((1, 5000), np.nan, np.float32), 100.0, ("ppg",))
    few = (Annotation(0.0, 8.0, "hr", 60.0),)
    facts = facts_of(Recording("made", "r", "made-r", (flat, gone), annotations=few), ROWS)
    assert set(facts) == {"lengths", "labels_outside", "flat", "clipped", "missing"}


def test_labels_that_are_sparse_or_have_no_value_do_not_look_late() -> None:
    made = person(0)
    labels = [a for a in made.annotations if a.code == "hr"]
    sparse = tuple(replace(a, value=60.0 + i) for i, a in enumerate(labels[::20]))
    assert "hr_label_lag" not in facts_of(replace(made, annotations=sparse), ROWS)
    rng = np.random.default_rng(0)
    noise = tuple(replace(a, value=float(rng.uniform(60, 110))) for a in labels)
    assert facts_of(replace(made, annotations=noise), ROWS)["hr_label_lag"] == 0
    unknown = tuple(replace(a, value=None) for a in labels)
    assert "hr_labelled" not in facts_of(replace(made, annotations=unknown), ROWS)


class Source:
    """Twelve leads of which two limb leads are swapped, in some records or in most."""

    name = "made"

    def __init__(self, swapped: int) -> None:
        self.swapped = swapped

    def about(self, roots: Sequence[Path] = ()) -> About:
        return About("Made", "CC0", "none", "ecg", "none", "ten", "none")

    def find(self, roots: Sequence[Path]) -> list[RecordRef]:
        return [RecordRef(f"r{i}", f"made-{i}", Path(f"r{i}")) for i in range(10)]

    def read(self, ref: RecordRef) -> Recording:
        rng = np.random.default_rng(int(ref.record[1:]))
        one, two, *chest = rng.normal(size=(8, 2000))
        limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
        leads = np.array([*limb, *chest], np.float32)
        if int(ref.record[1:]) < self.swapped:
            leads[[0, 3]] = leads[[3, 0]]
        ecg = Signal("ecg", leads, 200.0, LEADS_12)
        return Recording("made", ref.record, ref.subject, (ecg,), {"SR": 100.0})

    def label_sets(self, roots: Sequence[Path]) -> dict[str, dict[str, list[str]]]:
        return {"rhythm": {"SR": ["SR"]}}


def built(out: Path, swapped: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    for module in (build_module, writing):
        monkeypatch.setattr(module, "source", lambda _: Source(swapped))
    config = BuildConfig(fractions=Fractions(1.0, 0.0, 0.0))
    return build("made", [Path("/none")], out, config, workers=1, progress=False)


def test_a_build_stops_where_most_records_are_wrong_and_reports_a_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = built(tmp_path / "few", 2, monkeypatch)["physiology"]["einthoven"]
    assert (said["records"], said["outside"], said["examples"]) == (10, 2, ["r0", "r1"])
    assert said["median"] == pytest.approx(0, abs=1e-5)
    with pytest.raises(ValueError, match=r"made is not what it should be:\s+residual of I \+ III"):
        built(tmp_path / "most", 8, monkeypatch)
    assert not (tmp_path / "most" / "shards.json").exists()


def test_a_series_with_long_gaps_misses_nothing() -> None:
    times_s = np.array([0.0, 5.0, 90_000.0, 90_300.0])
    rates = Series("hr", ("hr",), times_s, np.full((1, 4), 60, np.float32))
    recording = Recording("made", "r", "made-r", series=(rates,))
    assert set(facts_of(recording, ROWS)) == {"hr_level", "flat", "clipped"}
