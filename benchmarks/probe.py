"""Linear probe of frozen encoders on PTB-XL's superclasses, beside what learned nothing.

    python benchmarks/probe.py SHARDS MODEL [MODEL …]      # the models: seeds of one configuration

- The shards are split as folds 1–7 (train), 8 (validation), 9–10 (test). Pretraining read the train split
  only; logistic regressions are fitted on train, their penalty is chosen on validation, and test is
  looked at once.
- Beside the model stand the same encoder untrained, and random convolution kernels with ridge regression
  (after Dempster et al. 2020, ROCKET), computed here on the same records; each with the seeds 0, 1, 2.
- Intervals are 95 % bootstrap intervals over patients, each resample holding every class; differences are
  paired: the same patients for both sides. Scores of several seeds are averaged inside a resample.

Shape suffixes: R records, K classes, F features.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from biofm import load_model
from biofm.models.encoder import ViTEncoder
from biofm.models.zoo import RandomKernels
from biofm.shards.index import MANIFEST
from biofm.shards.reader import DataConfig, WindowReader
from biofm.signals.windows import Windows

LABEL_SET = "superdiagnostic"
SPLITS = ("train", "validation", "test")
SEEDS = (0, 1, 2)
PENALTIES = 10.0 ** np.arange(-5, 1.1, 0.5)
KERNELS = 300
RESAMPLES = 1000

Floats = NDArray[np.float64]


class Records:
    """Windows, labels and subjects of the labelled records of each split."""

    def __init__(self, shards: str, window_s: float) -> None:
        classes = json.loads((Path(shards) / MANIFEST).read_text())["label_sets"][LABEL_SET]
        self.classes = sorted(classes)
        self.readers, self.labels, self.subjects, self.labelled = {}, {}, {}, {}
        for split in SPLITS:
            reader = WindowReader(DataConfig(shards=(shards,), window_s=window_s), split, seed=0)
            batches = reader.evaluation_batches(micro_batch=256, rank=0, ranks=1)
            rows = torch.cat([b.rows for b in batches]).numpy()
            codes = [
                {c["code"] for c in labels or []} for labels in reader.index["labels"].to_list()
            ]
            y_RK = np.array(
                [[bool(codes[r] & set(classes[k])) for k in self.classes] for r in rows]
            )
            self.readers[split] = reader
            self.labelled[split] = y_RK.any(axis=1)
            self.labels[split] = y_RK[self.labelled[split]]
            self.subjects[split] = reader.index["subject"].to_numpy()[rows][self.labelled[split]]

    def features(self, of: Callable[[Windows], Tensor]) -> dict[str, Floats]:
        """Features [R, F] of the labelled records of each split."""
        found = {}
        for split, reader in self.readers.items():
            batches = reader.evaluation_batches(micro_batch=128, rank=0, ranks=1)
            with torch.no_grad():
                parts = [of(b.streams[reader.stream]).double() for b in batches if len(b)]
            found[split] = torch.cat(parts).numpy()[self.labelled[split]]
        return found


def logistic(records: Records, features: dict[str, Floats]) -> tuple[Floats, float]:
    """Test scores [R, K] of logistic regressions, and the macro-AUROC on validation that chose them."""

    def fit(penalty: float, x: Floats, y: NDArray[np.bool_]) -> Callable[[Floats], Floats]:
        model = LogisticRegression(C=penalty, max_iter=2000).fit(x, y)
        return lambda z: np.asarray(model.predict_proba(z)[:, 1])

    return choose(records, features, PENALTIES, fit)


def ridge(records: Records, features: dict[str, Floats]) -> tuple[Floats, float]:
    """The same with ridge regression on the labels."""

    def fit(penalty: float, x: Floats, y: NDArray[np.bool_]) -> Callable[[Floats], Floats]:
        model = Ridge(alpha=penalty).fit(x, y.astype(float))
        return lambda z: np.asarray(model.predict(z))

    return choose(records, features, 10.0 ** np.arange(0, 6.1, 0.5), fit)


def choose(
    records: Records,
    features: dict[str, Floats],
    penalties: Floats,
    fit: Callable[[float, Floats, NDArray[np.bool_]], Callable[[Floats], Floats]],
) -> tuple[Floats, float]:
    """Fit on train for every penalty, keep the best on validation, score test with it."""
    scaler = StandardScaler().fit(features["train"])
    x = {split: scaler.transform(f) for split, f in features.items()}
    best: tuple[float, Floats] | None = None
    for penalty in penalties:
        models = [fit(penalty, x["train"], y) for y in records.labels["train"].T]
        validation = np.stack([m(x["validation"]) for m in models], axis=1)
        score = float(roc_auc_score(records.labels["validation"], validation))
        if best is None or score > best[0]:
            best = score, np.stack([m(x["test"]) for m in models], axis=1)
    assert best is not None
    return best[1], best[0]


def kernel_features(kernels: RandomKernels) -> Callable[[Windows], Tensor]:
    """Windows in physical units → their features."""
    return lambda windows: kernels(windows.physical()[0])


def macro(records: Records, scores: list[Floats], rows: NDArray[np.int64] | None = None) -> float:
    """Macro-AUROC on test, averaged over seeds."""
    y = records.labels["test"]
    rows = np.arange(len(y)) if rows is None else rows
    return float(np.mean([roc_auc_score(y[rows], s[rows]) for s in scores]))


def resamples(records: Records) -> list[NDArray[np.int64]]:
    """Rows of test, drawn by patient with replacement, every class present and absent in each."""
    generator = np.random.default_rng(0)
    patients, number = np.unique(records.subjects["test"], return_inverse=True)
    rows_of = [np.flatnonzero(number == i) for i in range(len(patients))]
    drawn: list[NDArray[np.int64]] = []
    while len(drawn) < RESAMPLES:
        rows = np.concatenate(
            [rows_of[i] for i in generator.integers(0, len(patients), len(patients))]
        )
        y = records.labels["test"][rows]
        if (y.any(axis=0) & ~y.all(axis=0)).all():
            drawn.append(rows)
    return drawn


def main(shards: str, folders: list[str]) -> None:
    """Print the table."""
    models = [load_model(folder) for folder in folders]
    if any(
        (m.encoder.config, m.window_s) != (models[0].encoder.config, models[0].window_s)
        for m in models
    ):
        raise SystemExit("the models must be seeds of one configuration: probe others on their own")
    records = Records(shards, models[0].window_s)
    train = records.readers["train"]
    rows: dict[str, list[tuple[Floats, float]]] = {
        "pretrained": [logistic(records, records.features(m.encoder)) for m in models],
        "untrained": [],
        f"{KERNELS} random kernels + ridge": [],
    }
    for seed in SEEDS:
        torch.manual_seed(seed)
        untrained = ViTEncoder(models[0].encoder.config).eval()
        rows["untrained"].append(logistic(records, records.features(untrained)))
        kernels = RandomKernels(
            len(train.channels), train.window_samples, kernels=KERNELS, seed=seed
        )
        features = records.features(kernel_features(kernels))
        rows[f"{KERNELS} random kernels + ridge"].append(ridge(records, features))

    counts = {split: len(y) for split, y in records.labels.items()}
    print(
        f"\n{LABEL_SET}, {len(records.classes)} classes {records.classes}; labelled records {counts}\n"
    )
    print("| features | seeds | validation | test macro-AUROC | 95 % interval |")
    print("|---|---|---|---|---|")
    draws = resamples(records)
    spread = {}
    for name, found in rows.items():
        scores = [s for s, _ in found]
        spread[name] = [macro(records, scores, draw) for draw in draws]
        each = ", ".join(f"{macro(records, [s]):.3f}" for s in scores)
        low, high = np.percentile(spread[name], [2.5, 97.5])
        print(
            f"| {name} | {len(scores)} | {np.mean([v for _, v in found]):.3f} "
            f"| {macro(records, scores):.3f} ({each}) | {low:.3f} to {high:.3f} |"
        )
    for name in list(rows)[1:]:
        paired = np.subtract(spread["pretrained"], spread[name])
        low, high = np.percentile(paired, [2.5, 97.5])
        point = macro(records, [s for s, _ in rows["pretrained"]]) - macro(
            records, [s for s, _ in rows[name]]
        )
        print(
            f"\npretrained − {name}: {point:+.3f}, paired 95 % interval {low:+.3f} to {high:+.3f}"
        )


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    main(sys.argv[1], sys.argv[2:])
