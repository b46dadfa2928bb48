"""A small supervised model finds each planted class in subjects it has not seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import ndimage
from scipy import signal as dsp
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from biofm.datasets.simulate import TRUTH, simulate

RATE_HZ = 100
INDEPENDENT = [0, 1, 6, 7, 8, 9, 10, 11]
COLUMNS = ("rhythm", "ectopy", "conduction", "st", "structure")
RHYTHM_FEATURES = 9


def features(x_mv: NDArray[np.float64]) -> NDArray[np.float64]:
    """From [12, 1000]: nine numbers about the beats, then the median beat of eight leads."""
    drift = ndimage.median_filter(x_mv[:, ::5], size=(1, 17))
    x = x_mv[INDEPENDENT] - np.repeat(drift, 5, axis=1)[INDEPENDENT]
    slope = np.abs(np.diff(x, axis=1)).sum(axis=0)
    strength = ndimage.gaussian_filter1d(slope, 3)
    peaks, _ = dsp.find_peaks(strength, height=0.35 * np.percentile(strength, 98), distance=25)
    around = np.arange(-38, 52)
    inside = peaks[(peaks > 38) & (peaks < x.shape[1] - 52)]
    beats = x[:, inside[:, None] + around].transpose(1, 0, 2)
    median = np.median(beats, axis=0)
    odd = np.sort(np.abs(beats - median).mean(axis=(1, 2))) / np.abs(median).mean()
    intervals = np.diff(peaks) / RATE_HZ
    relative = intervals / np.median(intervals)
    before_qrs = beats[:, 0:4, 8:28]
    rhythm = [
        60 / intervals.mean(),
        np.log(60 / np.median(intervals)),
        np.log(relative.std() + 0.01),
        np.log(np.abs(np.diff(relative)).mean() + 0.01),
        relative.min(),
        relative.max(),
        odd[-1],
        odd[-2],
        np.log((before_qrs - np.median(before_qrs, axis=0)).std() + 1e-3),
    ]
    return np.concatenate([rhythm, median[:, ::2].ravel()])


def test_a_small_model_recovers_every_planted_class(tmp_path: Path) -> None:
    root = simulate("ptbxl", tmp_path / "twin", records=1000, seed=11, progress=False)
    truth = pl.read_parquet(root / TRUTH)
    inputs = []
    for ecg_id in truth["ecg_id"]:
        stem = root / f"records100/{ecg_id // 1000 * 1000:05d}/{ecg_id:05d}_lr.dat"
        inputs.append(features(np.fromfile(stem, "<i2").reshape(-1, 12).T / 1000))
    x = np.array(inputs)
    test = truth["fold"].is_in([7, 8, 9, 10]).to_numpy()
    assert not set(truth["subject"].to_numpy()[test]) & set(truth["subject"].to_numpy()[~test])

    rhythm, morphology = x[:, :RHYTHM_FEATURES], x[:, RHYTHM_FEATURES:]
    components = PCA(60, random_state=0).fit(morphology[~test]).transform(morphology)
    x = np.concatenate([rhythm, components], axis=1)
    auroc = {}
    for column in COLUMNS:
        for value in truth[column].unique().sort():
            if value in ("none", "normal"):
                continue
            y = (truth[column] == value).to_numpy()
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
            score = model.fit(x[~test], y[~test]).decision_function(x[test])
            auroc[value] = float(roc_auc_score(y[test], score))
    report = ", ".join(f"{name} {value:.3f}" for name, value in auroc.items())
    print(f"macro {np.mean(list(auroc.values())):.3f}: {report}")
    assert len(auroc) == 14, report
    assert np.mean(list(auroc.values())) >= 0.9, report
    assert min(auroc.values()) >= 0.8, f"a planted class is not to be found: {report}"
