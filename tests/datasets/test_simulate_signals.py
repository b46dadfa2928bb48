"""The synthetic twin's signals: files wfdb accepts, leads that obey physics, planted facts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import wfdb
from numpy.typing import NDArray
from scipy import signal as dsp

from biofm.datasets.simulate import TRUTH, simulate
from biofm.datasets.simulate.dipole import DOWER, sum_gaussians
from biofm.datasets.simulate.noise import draw_noise, electrodes_to_leads
from biofm.datasets.simulate.ptbxl_tree import paths_of

LEADS = ["I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("twin") / "ptbxl"
    return simulate("ptbxl", folder, records=300, seed=7, progress=False)


@pytest.fixture(scope="module")
def truth(root: Path) -> pl.DataFrame:
    return pl.read_parquet(root / TRUTH)


def load_uv(root: Path, ecg_id: int, which: int = 1) -> NDArray[np.int16]:
    """[12, T] at 500 Hz, or at 100 Hz (`which` 0)."""
    return np.fromfile(root / f"{paths_of(ecg_id)[which]}.dat", "<i2").reshape(-1, 12).T


def average_beat_mv(root: Path, row: dict[str, object]) -> dict[str, NDArray[np.float64]]:
    """Lead → its median normal beat, 0.4 s before to 0.5 s after the middle of QRS, at 500 Hz."""
    times_s, codes = np.array(row["r_peaks_s"]), np.array(list(str(row["beats"])))
    at = np.rint(times_s[codes == "N"] * 500).astype(int)
    at = at[(at > 200) & (at < 5000 - 250)]
    x = load_uv(root, int(str(row["ecg_id"]))) / 1000
    beats = x[:, at[:, None] + np.arange(-200, 250)]
    median = np.median(beats, axis=1)
    # Zero is the level just before QRS, between P and Q.
    return dict(zip(LEADS, median - median[:, 165:172].mean(axis=1, keepdims=True), strict=True))


def rows_with(truth: pl.DataFrame, **planted: str) -> list[dict[str, object]]:
    """Quiet recordings whose planted fields are these and otherwise normal."""
    usual = {
        "rhythm": "sinus",
        "ectopy": "none",
        "conduction": "normal",
        "st": "none",
        "structure": "normal",
    }
    chosen = truth.filter(pl.col("noise") == "low")
    for column, value in (usual | planted).items():
        chosen = chosen.filter(pl.col(column) == value)
    assert len(chosen) >= 2, planted
    return list(chosen.iter_rows(named=True))


def test_wfdb_reads_every_file_and_agrees_on_checksums(root: Path, truth: pl.DataFrame) -> None:
    for ecg_id in truth["ecg_id"][:10]:
        for which, rate_hz in ((0, 100), (1, 500)):
            record = wfdb.rdrecord(str(root / paths_of(ecg_id)[which]), physical=False)
            assert record.fs == rate_hz
            assert record.sig_name == LEADS
            assert record.units == ["mV"] * 12
            assert record.adc_gain == [1000.0] * 12
            assert record.fmt == ["16"] * 12
            assert np.array_equal(record.d_signal.T, load_uv(root, ecg_id, which))
            # wfdb wraps its own sums to 16 bits unsigned, as PTB-XL's headers do.
            assert record.checksum == [c % 65536 for c in record.calc_checksum()]
            assert record.init_value == record.d_signal[0].tolist()


@pytest.mark.parametrize("which", [0, 1])
def test_leads_obey_einthoven_and_goldberger_to_a_microvolt(
    root: Path, truth: pl.DataFrame, which: int
) -> None:
    for ecg_id in truth["ecg_id"]:
        lead = dict(zip(LEADS, load_uv(root, ecg_id, which).astype(int), strict=True))
        assert np.array_equal(lead["I"] + lead["III"], lead["II"])
        assert np.abs(lead["AVR"] + (lead["I"] + lead["II"]) / 2).max() <= 0.5
        assert np.abs(lead["AVL"] - (lead["I"] - lead["III"]) / 2).max() <= 0.5
        assert np.abs(lead["AVF"] - (lead["II"] + lead["III"]) / 2).max() <= 0.5


def test_both_rates_hold_the_same_recording(root: Path, truth: pl.DataFrame) -> None:
    for ecg_id in truth["ecg_id"][:20]:
        low = load_uv(root, ecg_id, 0).astype(float)
        high = dsp.resample_poly(load_uv(root, ecg_id).astype(float), 1, 5, axis=1)
        inner = slice(50, -50)
        for lead in range(12):
            assert np.corrcoef(low[lead, inner], high[lead, inner])[0, 1] > 0.98


def test_normal_beats_look_like_an_ecg(root: Path, truth: pl.DataFrame) -> None:
    for row in rows_with(truth):
        lead = average_beat_mv(root, row)
        assert abs(lead["AVR"].min()) > lead["AVR"].max(), "aVR is not inverted"
        r = [lead[f"V{i}"][170:230].max() for i in range(1, 6)]
        s = [-lead[f"V{i}"][170:250].min() for i in range(1, 6)]
        assert r[0] < s[0], "V1 is not mainly negative"
        assert r[4] > s[4], "V5 is not mainly positive"
        assert np.argmax(r) >= 3, "R does not grow from V1 to V4 or V5"
        p = lead["II"][90:165]
        assert 0.03 < p.max() < 0.4, "no upright P in II"
        assert lead["V5"][290:380].max() > 0.05, "no upright T in V5"


def test_conduction_shows_in_the_beat(root: Path, truth: pl.DataFrame) -> None:
    def qrs_width_s(lead: dict[str, NDArray[np.float64]]) -> float:
        slope = np.sum([np.abs(np.gradient(x)) for x in lead.values()], axis=0)
        busy = np.flatnonzero(slope[150:260] > 0.12 * slope[150:260].max())
        return float(busy[-1] - busy[0]) / 500

    normal = [qrs_width_s(average_beat_mv(root, r)) for r in rows_with(truth)]
    assert np.median(normal) < 0.11
    for block in ("lbbb", "rbbb"):
        for row in rows_with(truth, conduction=block):
            lead = average_beat_mv(root, row)
            assert qrs_width_s(lead) > np.median(normal) + 0.02
            # The late QRS in V1 turns to the blocked side, and V6 turns the other way.
            v1, v6 = (lead[name][218:232].mean() for name in ("V1", "V6"))
            sign = -1 if block == "lbbb" else 1
            assert sign * v1 > 0.1
            assert sign * v6 < -0.1
    for row in rows_with(truth, conduction="first_degree_block"):
        assert float(str(row["pr_s"])) > 0.2
        p_at = 200 - (float(str(row["pr_s"])) - 0.015) * 500
        lead_2 = average_beat_mv(root, row)["II"]
        assert lead_2[round(p_at) - 5 : round(p_at) + 5].mean() > 0.02


def test_st_segments_are_moved(root: Path, truth: pl.DataFrame) -> None:
    st = slice(238, 262)  # 76 to 124 ms after the middle of QRS
    normal = np.median([average_beat_mv(root, r)["V5"][st].mean() for r in rows_with(truth)])
    for row in rows_with(truth, st="depression"):
        assert average_beat_mv(root, row)["V5"][st].mean() < normal - 0.08
    for row in rows_with(truth, st="elevation"):
        lead = average_beat_mv(root, row)
        assert max(lead["V2"][st].mean(), lead["AVF"][st].mean()) > 0.1


def test_a_simple_detector_finds_the_planted_heart_rate(root: Path, truth: pl.DataFrame) -> None:
    band = dsp.butter(2, (8, 30), "bandpass", fs=500, output="sos")
    errors = []
    for row in truth.filter(pl.col("ectopy") == "none").iter_rows(named=True):
        x = dsp.sosfiltfilt(band, load_uv(root, row["ecg_id"])[[0, 1, 7, 10]], axis=1)
        strength = np.convolve((x**2).sum(axis=0), np.ones(50), "same")
        height = 0.2 * np.percentile(strength, 98)
        peaks, _ = dsp.find_peaks(strength, height=height, distance=140)
        errors.append(abs(60 / np.mean(np.diff(peaks) / 500) / row["heart_rate_bpm"] - 1))
    assert np.median(errors) < 0.01
    assert np.mean(np.array(errors) < 0.05) > 0.95


def test_rhythms_have_their_rates_and_regularity(truth: pl.DataFrame) -> None:
    irregular: dict[str, list[float]] = {}
    for row in truth.filter(pl.col("ectopy") == "none").iter_rows(named=True):
        intervals = np.diff(row["r_peaks_s"])
        irregular.setdefault(row["rhythm"], []).append(intervals.std() / intervals.mean())
    assert min(irregular["af"]) > max(irregular["bradycardia"])
    assert np.median(irregular["sinus"]) < 0.06 < 0.12 < np.median(irregular["af"])
    rates = truth.group_by("rhythm").agg(
        low=pl.col("heart_rate_bpm").min(), high=pl.col("heart_rate_bpm").max()
    )
    limits = {row["rhythm"]: (row["low"], row["high"]) for row in rates.iter_rows(named=True)}
    assert limits["bradycardia"][1] < 60 < limits["sinus"][0] + 5
    assert limits["tachycardia"][0] > 100 > limits["sinus"][1] - 5


def test_premature_beats_come_early(truth: pl.DataFrame) -> None:
    for row in truth.filter((pl.col("ectopy") != "none") & (pl.col("rhythm") == "sinus")).iter_rows(
        named=True
    ):
        times_s, codes = np.array(row["r_peaks_s"]), np.array(list(row["beats"]))
        usual_s = np.median(np.diff(times_s))
        for i in np.flatnonzero(codes != "N"):
            assert times_s[i] - times_s[i - 1] < 0.8 * usual_s
            pause_s = times_s[i + 1] - times_s[i - 1]
            if codes[i] == "V":  # full compensation: the sinus node never noticed
                assert pause_s == pytest.approx(2 * usual_s, rel=0.2)
            else:
                assert pause_s < 1.85 * usual_s


def test_recordings_of_a_subject_resemble_each_other(root: Path, truth: pl.DataFrame) -> None:
    rows = rows_with(truth)
    beats = np.array([np.concatenate(list(average_beat_mv(root, r).values())) for r in rows])
    beats /= np.linalg.norm(beats, axis=1, keepdims=True)
    subjects = np.array([r["subject"] for r in rows])
    alike = beats @ beats.T
    np.fill_diagonal(alike, -1)
    with_twin = [i for i in range(len(rows)) if (subjects == subjects[i]).sum() > 1]
    assert len(with_twin) >= 6
    found = np.mean([subjects[alike[i].argmax()] == subjects[i] for i in with_twin])
    assert found > 0.6, f"nearest neighbour is the same subject for {found:.0%} only"


def test_noise_levels_are_what_the_truth_says() -> None:
    rng = np.random.default_rng(0)
    for level in ("low", "medium", "high"):
        parts = [draw_noise(rng, level, 5000, 500) for _ in range(40)]
        quiet = [(x, t) for x, t in parts if t.contacts == 0]
        # A precordial lead holds its electrode and a third of three others: power 1 + 3/9.
        total_uv = [1000 * x[2:].std() for x, _ in quiet]
        planted_uv = [np.sqrt(t.drift_uv**2 + t.muscle_uv**2 + t.mains_uv**2) for _, t in quiet]
        assert np.median(np.array(total_uv) / planted_uv) == pytest.approx(np.sqrt(4 / 3), rel=0.2)
    assert electrodes_to_leads().sum(axis=1) == pytest.approx(np.zeros(8), abs=1e-6)


def test_blockwise_sum_of_gaussians_equals_the_plain_one() -> None:
    rng = np.random.default_rng(1)
    centres_s, widths_s = rng.uniform(-1, 8, 90), rng.uniform(0.007, 0.09, 90)
    weights = DOWER @ rng.standard_normal((3, 90))
    t_s = np.arange(3456) / 500
    z = (t_s - centres_s[:, None]) / widths_s[:, None]
    plain = weights @ np.exp(-0.5 * z**2)
    assert sum_gaussians(centres_s, widths_s, weights, 3456, 500) == pytest.approx(plain, abs=2e-5)
