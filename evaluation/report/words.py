"""What figures are called in a report, and what they say, in a sentence for readers of either trade."""

from __future__ import annotations

from collections.abc import Iterable

from ..tasks import Kind, Task

NAMES = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "f1": "F1",
    "macro_f1": "macro F1",
    "F2": "Fβ (β = 2)",
    "G2": "Gβ (β = 2)",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "challenge_score": "Challenge score",
    "accuracy": "accuracy",
    "kappa": "kappa",
    "mae": "MAE",
    "rmse": "RMSE",
    "mean_error": "mean error",
    "sd_error": "SD of errors",
    "correlation": "correlation",
}

SENTENCES = {
    "auroc": "AUROC: how often a record with the class scores higher than one without it (0.5 is guessing).",
    "average_precision": "Average precision (area under the precision-recall curve): guessing reaches the "
    "share of records with the class.",
    "f1": "F1: 2 TP / (2 TP + FP + FN).",
    "macro_f1": "Macro F1: the mean over the classes counted of 2 TP / (2 TP + FP + FN).",
    "F2": "Fβ and Gβ weigh a missed label more than a false one, each record by 1 / its number of labels, as "
    "the CPSC 2018 benchmark does.",
    "challenge_score": "Challenge score: 1 is the truth, 0 is always answering sinus rhythm; the official "
    "table gives part of the credit for harmless confusions.",
    "accuracy": "Accuracy: the share of windows whose class is right.",
    "kappa": "Kappa (Cohen's): agreement beyond chance, of all windows together; 0 is chance, 1 perfect.",
    "sensitivity": "Sensitivity: the share of those with the class that were found.",
    "specificity": "Specificity: the share of those without the class that were not called.",
    "mae": "MAE: mean absolute error of all windows; by subject: the mean over subjects of their own MAE.",
    "rmse": "RMSE: root of the mean squared error.",
    "mean_error": "Mean error: model less reference; above 0 the model reads too high.",
    "sd_error": "SD of errors: their standard deviation over all windows.",
    "correlation": "Correlation (Pearson's) of all windows: differences between people alone can make it high.",
}

UNITS = {
    "sbp": "mmHg",
    "dbp": "mmHg",
    "map": "mmHg",
    "hr": "beats/min",
    "co": "L/min",
    "ci": "L/min/m²",
    "sv": "mL",
    "si": "mL/m²",
    "svr": "dyn·s/cm⁵",
    "svri": "dyn·s·m²/cm⁵",
}
"""Quantity, in lower case → the unit that its shards hold it in."""

CHOSEN_BY: dict[Kind, str] = {
    "multilabel": "the mean AUROC of every class that validation has and lacks",
    "multiclass": "kappa",
    "regression": "less the mean absolute error, in units of each quantity's spread (0 is best)",
}
"""What `probes.goodness` is."""

INTERVALS = "In brackets: 95 % intervals by bootstrap over test subjects, who are drawn with all their records."
BRACKETS = "In brackets: 95 % intervals over test subjects."
STRETCHED = (
    "*: this figure is itself biased by repeated records, and its interval was widened to hold it."
)


def metric_of(figure: str) -> str:
    """The metric of a figure's key: `macro auroc` and `mae by subject SBP` are of `auroc` and `mae`."""
    return figure.removeprefix("macro ").split(" ")[0]


def name_of(figure: str) -> str:
    """What a figure is called, without the quantity it is of: `macro auroc` → `macro AUROC`."""
    macro = "macro " if figure.startswith("macro ") else ""
    subject = " by subject" if " by subject" in figure else ""
    metric = metric_of(figure)
    return f"{macro}{NAMES.get(metric, metric)}{subject}"


def quantity_of(figure: str) -> str:
    """The quantity a figure is of: `mae by subject SBP` → `SBP`."""
    return figure.removeprefix(metric_of(figure)).removeprefix(" by subject").strip()


def with_unit(quantity: str) -> str:
    """`SBP` → `SBP (mmHg)`; as it is where the unit is not known."""
    unit = UNITS.get(quantity.lower())
    return f"{quantity} ({unit})" if unit else quantity


def sentences(figures: Iterable[str]) -> str:
    """What the metrics of these figures say, each once."""
    figures = list(figures)
    macro = any(figure.startswith("macro ") for figure in figures)
    metrics = dict.fromkeys("F2" if m == "G2" else m for m in map(metric_of, figures))
    said = [SENTENCES[metric] for metric in metrics if metric in SENTENCES]
    return " ".join([*(["Macro: the mean over the classes counted."] if macro else []), *said])


def of_thresholds(task: Task) -> str:
    """How records are called, where the task has thresholds."""
    if task.threshold is None:
        return ""
    best = {"max_f1": "F1", "max_g2": "Gβ"}[task.threshold]
    return (
        f"A record is called where its score reaches the class's threshold, which has the best {best} on "
        "validation."
    )
