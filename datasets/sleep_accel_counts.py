"""Activity counts that the published code of sleep-accel derived from its motion, put back in time.

That code (github.com/ojwalch/sleep_classifiers, `outputs/features/`) writes, for each epoch that has motion,
heart rate and a stage, one number a line into files without times:

- `<id>_count_feature.out`: the activity counts of 15 s (`signals.activity`), interpolated to 1 Hz and averaged
  with a Gaussian of 50 s deviation around the middle of the epoch;
- `<id>_time_feature.out`: hours since the first of these epochs, which the files do not name;
- `<id>_psg_labels.out`: their stages.

The first epoch is the only one from which all stages agree with the subject's labels: so it was for each of
sixteen subjects looked at, all stages alike there and at most 95 % one epoch beside it. The code's timestamps put
the counts within half an epoch of the stages: their correlation with wake is highest at the same epoch and the one
before (0.46 both, 0.43 at the next one, mean of the sixteen).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..signals import Annotation, Signal
from .registry import RecordError
from .sleep_stages import EPOCH_S, STAGES

CHANNEL = "smoothed_counts"
ENDINGS = ("_count_feature.out", "_time_feature.out", "_psg_labels.out")
MAX_BYTES = 1 << 24
_AGAIN = "get the files again, or take the folder away"


def counts_files(base: Path, record: str) -> tuple[Path, ...] | None:
    """A subject's three files in a folder of any name in `base`; None where there are no counts.

    Raises `RecordError` where they lie in several folders.
    """
    found = sorted(base.glob(f"*/{record}{ENDINGS[0]}"))
    if len(found) > 1:
        raise RecordError(
            f"{found[0]} and {found[1]}: expected a subject's derived counts in one folder, found "
            f"{len(found)}: keep one of them"
        )
    return tuple(found[0].parent / f"{record}{ending}" for ending in ENDINGS) if found else None


def derived_counts(files: tuple[Path, ...], stages: tuple[Annotation, ...]) -> Signal:
    """One value every 30 s, NaN in epochs that the code left out. Raises `RecordError` naming the file."""
    values, hours, numbers = (_numbers(path) for path in files)
    if not len(values) == len(hours) == len(numbers):
        raise RecordError(
            f"{files[0]}: expected as many epochs as in the files beside it, found {len(values)} counts, "
            f"{len(hours)} times and {len(numbers)} stages; {_AGAIN}"
        )
    if values.min() < 0:
        raise RecordError(f"{files[0]}: expected counts from 0, found {values.min():g}; {_AGAIN}")
    epochs = np.rint(hours * 3600 / EPOCH_S).astype(np.int64)
    # Times are written with six decimals of an hour.
    if (
        epochs[0]
        or (np.diff(epochs) < 1).any()
        or np.abs(epochs * EPOCH_S / 3600 - hours).max() > 1e-5
    ):
        raise RecordError(
            f"{files[1]}: expected hours from 0 on that rise by whole epochs of {EPOCH_S:g} s; {_AGAIN}"
        )
    first = _first_epoch(files[2], epochs, numbers, stages)
    samples = np.full((1, int(epochs[-1]) + 1), np.nan, np.float32)
    samples[0, epochs] = values
    return Signal("counts", samples, 1 / EPOCH_S, (CHANNEL,), start_s=first * EPOCH_S)


def _first_epoch(
    path: Path,
    epochs: NDArray[np.int64],
    numbers: NDArray[np.float64],
    stages: tuple[Annotation, ...],
) -> int:
    """The one epoch of the night from which on all stages agree."""
    unknown = sorted(set(numbers) - set(STAGES))
    if unknown:
        raise RecordError(
            f"{path}: expected stages {sorted(STAGES)}, found {unknown[0]:g}; {_AGAIN}"
        )
    places = {name: place for place, name in enumerate(dict.fromkeys(STAGES.values()))}
    wanted = np.array([places[STAGES[int(number)]] for number in numbers])
    onsets = np.array([round(stage.onset_s / EPOCH_S) for stage in stages], dtype=np.int64)
    begin, end = int(onsets.min(initial=0)), int(onsets.max(initial=-1)) + 1
    scored = np.full(end - begin, -1)
    scored[onsets - begin] = [places[stage.code.removeprefix("stage:")] for stage in stages]
    fits = [
        first
        for first in range(len(scored) - int(epochs[-1]))
        if (scored[epochs + first] == wanted).all()
    ]
    if len(fits) != 1:
        raise RecordError(
            f"{path}: expected one epoch from which all {len(wanted)} stages are those of the subject's "
            f"labels, found {len(fits)}, so that the counts have no place in the night; {_AGAIN}"
        )
    return begin + fits[0]


def _numbers(path: Path) -> NDArray[np.float64]:
    """One finite number a line."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RecordError(f"{path}: larger than {MAX_BYTES} bytes, which no night is; {_AGAIN}")
        words = path.read_text(encoding="utf-8").split()
        values = np.array(words, dtype=np.float64)
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror}); {_AGAIN}") from error
    except ValueError as error:
        raise RecordError(f"{path}: expected a number a line, found {error}; {_AGAIN}") from error
    if not len(values) or not np.isfinite(values).all():
        raise RecordError(f"{path}: expected finite numbers, one a line; {_AGAIN}")
    return values
