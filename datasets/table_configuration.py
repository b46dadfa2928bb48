"""`dataset.yaml`: how a folder of a user's own files becomes recordings, told without code.

One row of a table is one recording. The YAML says which columns hold what, where the files of a row
lie, and what is in them. It is read like every other configuration: an unknown key or an impossible
value is an error that names the file and the key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from ..configuration import read_config
from ..signals import channel_id
from ..signals.vocabulary import unit
from .subjects import sex_named

FILE = "dataset.yaml"

_OPTIONS: dict[str, tuple[str, ...]] = {
    "wfdb": (),
    "edf": (),
    "npy": ("rate_hz", "axes", "scale", "offset", "trim_zeros"),
    "hdf5": ("rate_hz", "axes", "array", "row_ids", "scale", "offset", "trim_zeros"),
    "csv": ("rate_hz", "time", "time_scale", "span", "scale", "offset"),
    "parquet": ("rate_hz", "time", "time_scale", "span", "scale", "offset"),
}
"""Format → the options that mean something for it, beside those that every signal has."""

_NEEDED = {"npy": ("rate_hz", "axes"), "hdf5": ("rate_hz", "axes", "array")}


@dataclass(frozen=True)
class TableSignal:
    """Channels of one modality in one kind of file."""

    modality: str
    """What it is: ecg, ppg, acc, hr, resp, spo2, eeg, eog, emg, bp, counts, eda or temp."""
    format: Literal["wfdb", "edf", "npy", "hdf5", "csv", "parquet"]
    """What the file is. WFDB and EDF state rate and unit themselves; others are told below."""
    channels: dict[str, str]
    """Name, label, column or index (from 0) in the file → channel of biofm's vocabulary."""
    path: str = "{path}"
    """Where a row's file lies below the root; `{column}` stands for what that column of the row says.
    A row in which such a column is empty has no such signal. WFDB: with or without `.hea`."""
    rate_hz: float | None = None
    """Samples a second, where they are evenly spaced and the file does not say it."""
    scale: float = 1.0
    """What a number in the file is multiplied by to be in the modality's unit (0.001 for µV → mV)."""
    offset: float = 0.0
    """What is then added."""
    time: str | None = None
    """CSV, Parquet: the column with the time of each row, where they are unevenly spaced."""
    time_scale: float = 1.0
    """Seconds in one unit of `time`: 0.001 for milliseconds."""
    span: float | str | None = None
    """With `time`, for totals such as steps: over how long from its time on a value was counted, in
    seconds, or the column that says it in units of `time`. Counts need it; at a `rate_hz` a value is
    the total of one interval."""
    axes: str | None = None
    """npy, HDF5: the array's axes in order, of N (recordings), T (time) and C (channels): CT, TC, NTC."""
    array: str | None = None
    """HDF5: the name of the array in the file, such as `tracings` or `group/ecg`."""
    row_ids: str | None = None
    """HDF5: the array that holds the id of each place on the axis N, which `row` then names."""
    trim_zeros: bool = False
    """npy, HDF5: cut off the samples at both ends at which every channel is 0; second 0 is then the
    first sample that is left."""

    def __post_init__(self) -> None:
        unit(self.modality)  # an unknown modality is told before its channels are
        if not self.channels:
            raise ValueError(f"channels: name at least one channel of {self.modality}")
        for channel in self.channels.values():
            channel_id(self.modality, channel)
        if len(set(self.channels.values())) < len(self.channels):
            raise ValueError(f"channels: one channel is named twice in {self.channels}")
        allowed = ("modality", "format", "channels", "path", *_OPTIONS[self.format])
        for option in fields(self):
            if option.name not in allowed and getattr(self, option.name) != option.default:
                raise ValueError(
                    f"{option.name} means nothing for format {self.format}, which has "
                    f"{', '.join(_OPTIONS[self.format]) or 'no options'}; leave it out"
                )
        for name in _NEEDED.get(self.format, ()):
            if getattr(self, name) is None:
                raise ValueError(f"{name} is needed for format {self.format}")
        if self.format in ("csv", "parquet") and (self.rate_hz is None) == (self.time is None):
            raise ValueError(
                f"a {self.format} signal needs either rate_hz (rows evenly spaced) or time (the "
                "column that says when each row was measured)"
            )
        if self.span is not None and self.time is None:
            raise ValueError("span goes with time; values at a rate_hz are totals of one interval")
        if self.modality == "counts" and self.time is not None and self.span is None:
            raise ValueError("span is needed: over how long were the counts of a row counted?")
        _above_0("rate_hz", 1 if self.rate_hz is None else self.rate_hz)
        _above_0("time_scale", self.time_scale)
        _above_0("span", self.span if isinstance(self.span, float) else 1)
        if self.axes is not None:
            self._check_axes(self.axes)

    def _check_axes(self, axes: str) -> None:
        if "T" not in axes or set(axes) - set("NTC") or len(set(axes)) < len(axes):
            raise ValueError(
                f"axes must name T (time) and, where the array has them, N (recordings) and C "
                f"(channels), each once, not {axes!r}"
            )
        indices = [str(key) for key in self.channels]
        if not all(index.isdecimal() for index in indices):
            raise ValueError(f"channels of an array are indices from 0, not {indices}")
        if "C" not in axes and indices != ["0"]:
            raise ValueError(f"an array of axes {axes} has one channel, of index 0, not {indices}")
        if self.row_ids is not None and "N" not in axes:
            raise ValueError(f"row_ids needs an axis N, which axes {axes} do not have")

    @property
    def names(self) -> dict[str, str]:
        """`channels` with text for every key, which YAML may have read as a number."""
        return {str(key): channel for key, channel in self.channels.items()}


@dataclass(frozen=True)
class TableLabels:
    """One label set, made of columns of the table; exactly one of the three kinds."""

    set: str
    """Name of the label set."""
    flags: tuple[str, ...] = ()
    """Columns of 0 and 1 (or false and true): the column's name is a label where it says 1."""
    classes: tuple[str, ...] = ()
    """Columns that name a class; empty for none."""
    separator: str | None = None
    """Stands between several classes in one cell."""
    quantities: tuple[str, ...] = ()
    """Columns with a measured number, which becomes the label's value; empty for not measured."""

    def __post_init__(self) -> None:
        if sum(map(bool, (self.flags, self.classes, self.quantities))) != 1:
            raise ValueError(f"labels {self.set!r}: name flags, classes or quantities, one of them")
        if self.separator is not None and not (self.separator and self.classes):
            raise ValueError(f"labels {self.set!r}: separator stands between several classes")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the table that it is made of."""
        return self.flags + self.classes + self.quantities


@dataclass(frozen=True)
class TableAnnotations:
    """A file with a row for each thing in a recording: beats, sleep epochs, measured values."""

    path: str
    """Where a row's file lies below the root, with `{column}` as in `signals`."""
    onset: str
    """Column with the time at which it begins."""
    format: Literal["csv", "parquet"] = "csv"
    """What the file is."""
    time_scale: float = 1.0
    """Seconds in one unit of `onset` and of `duration` where that is a column."""
    duration: float | str = 0.0
    """How long it lasts: a column, or a number of seconds for all."""
    code: str | None = None
    """Column that says what it is."""
    codes: dict[str, str | None] = field(default_factory=dict)
    """What that column says → annotation code (`beat:N`, `stage:N2`, `rhythm:AFIB`); null leaves it
    out, and anything else in the column is an error."""
    kind: str | None = None
    """Instead of `code`, for measured values: what they are, such as `hr` (bpm) or `sbp` (mmHg)."""
    value: str | None = None
    """Column with the measured value; rows in which it is empty are left out."""

    def __post_init__(self) -> None:
        _above_0("time_scale", self.time_scale)
        coded = self.code is not None and bool(self.codes)
        measured = self.kind is not None and self.value is not None
        if coded == measured or (self.code is None) == (self.kind is None):
            raise ValueError(
                f"annotations {self.path!r}: name either code and codes (classes), or kind and value "
                "(measured values)"
            )
        wrong = [code for code in self.codes.values() if code and not re.match("[a-z_]+:.", code)]
        if self.kind is not None and not re.fullmatch("[a-z_0-9]+", self.kind):
            wrong.append(self.kind)
        if wrong:
            raise ValueError(
                f"annotations {self.path!r}: {wrong[0]!r} is no annotation code; expected beat:N, "
                "stage:N2 or the like for a class, hr or the like for a measured value"
            )


@dataclass(frozen=True)
class TableIntervals:
    """A file of the intervals between heart beats, one after another (RR intervals).

    The first begins at second 0 and each where the last one ended; every interval becomes an
    annotation `hr` of its length with the value 60 / length in bpm.
    """

    path: str
    """Where a row's file lies below the root, with `{column}` as in `signals`."""
    format: Literal["text", "csv", "parquet"] = "text"
    """What the file is; text is numbers with spaces, commas or line ends between them."""
    column: str | None = None
    """CSV, Parquet: the column with the intervals."""
    time_scale: float = 1.0
    """Seconds in one unit of the intervals: 0.001 for milliseconds."""

    def __post_init__(self) -> None:
        _above_0("time_scale", self.time_scale)
        if (self.format == "text") != (self.column is None):
            raise ValueError(
                f"intervals {self.path!r}: column is for csv and parquet, which need it"
            )


@dataclass(frozen=True)
class TableJoin:
    """A second table with more columns of the same recordings."""

    table: str
    """CSV or Parquet file, from the folder of the YAML; it may lack recordings."""
    by: str
    """The column that both tables have, and that names a recording once in this one."""


@dataclass(frozen=True)
class Description:
    """A whole `dataset.yaml`."""

    name: str
    """The data set's short name, of lower-case letters, digits and underscores; subjects begin with it."""
    table: str
    """CSV or Parquet file with one row a recording, from the folder of the YAML."""
    signals: tuple[TableSignal, ...]
    """What is read of each recording."""
    root: Path | None = None
    """The folder that all paths count from; null for the folder of the YAML."""
    title: str = "not stated"
    """The data set's full name."""
    licence: str = "not stated"
    """Under which terms it may be used."""
    citation: str = "not stated"
    """The paper or page to cite."""
    path: str = "path"
    """Column that says where a recording lies below the root; no path may lead out of it."""
    record: str | None = None
    """Column with the recording's name, which occurs once; null for the path's last part without
    its suffix."""
    subject: str | None = None
    """Column that says whose recording it is; null where nobody knows, as an empty cell does."""
    fold: str | None = None
    """Column with the number of the fold; null for splits by a hash of the subject."""
    age: str | None = None
    """Column with the age in years; every age above 89 becomes 90."""
    sex: str | None = None
    """Column that says male or female (or m, f, or what `sexes` says)."""
    sexes: dict[str, str] = field(default_factory=dict)
    """What the column `sex` writes → male or female."""
    device: str | None = None
    """Column with the model of the device; no serial number."""
    site: str | None = None
    """Column that says where it was recorded, by a number or a short name."""
    row: str | None = None
    """Column with the recording's place in a file of many: counted from 0, or its id in `row_ids`."""
    join: TableJoin | None = None
    """A second table; null for none."""
    labels: tuple[TableLabels, ...] = ()
    """Labels of whole recordings."""
    annotations: tuple[TableAnnotations, ...] = ()
    """Files with what happens when in a recording."""
    intervals: tuple[TableIntervals, ...] = ()
    """Files of intervals between beats."""
    time_zero: Literal["as_written", "first_value"] = "as_written"
    """Where a recording's times count from: as the files have it, or the earliest value of its
    unevenly spaced signals, for times that are dates (Unix time), which no shard may hold."""

    def __post_init__(self) -> None:
        if not re.fullmatch("[a-z_][a-z0-9_]*", self.name):
            raise ValueError(
                f"name must be of lower-case letters, digits and underscores, not {self.name!r}"
            )
        if not self.signals:
            raise ValueError("signals: name at least one")
        named = [(s.modality, channel) for s in self.signals for channel in s.channels.values()]
        if twice := [pair for pair in named if named.count(pair) > 1]:
            raise ValueError(f"signals: {twice[0][0]} {twice[0][1]} is named twice; name it once")
        for word in self.sexes.values():
            sex_named(word)
        if (self.row is not None) != any("N" in (s.axes or "") for s in self.signals):
            raise ValueError(
                "row, the column with a recording's place, and an axis N in the axes of a signal "
                "need each other"
            )
        if self.time_zero == "first_value" and any(s.time is None for s in self.signals):
            raise ValueError("time_zero: first_value needs signals that all have a time column")
        if any(s.trim_zeros for s in self.signals) and (
            len(self.signals) > 1 or self.annotations or self.intervals
        ):
            raise ValueError(
                "trim_zeros moves second 0, so that other signals and annotations would no longer fit"
            )

    @property
    def paths(self) -> tuple[str, ...]:
        """The patterns of all files of a recording: signals, then annotations, then intervals."""
        signals = tuple(signal.path for signal in self.signals)
        annotations = tuple(part.path for part in self.annotations)
        return signals + annotations + tuple(part.path for part in self.intervals)


def read_description(path: Path) -> Description:
    """The description in a YAML file. Raises `ValueError` naming the file and the key."""
    try:
        return read_config(Description, path)
    except ValueError as error:
        raise ValueError(f"{error}; docs/your-data.md explains every key") from None


def placeholders(pattern: str) -> list[str]:
    """The columns that a path pattern names, in their order."""
    return re.findall(r"\{([^{}]*)\}", pattern)


def columns_of(description: Description) -> list[str]:
    """Every column of the tables that the description needs."""
    single = ("record", "subject", "fold", "age", "sex", "device", "site", "row")
    said: list[str | None] = [getattr(description, name) for name in single]
    named = [name for name in said if name is not None]
    if description.record is None:
        named.append(description.path)
    named += [column for labels in description.labels for column in labels.columns]
    for pattern in description.paths:
        # `{path}` is the column that `path` names, whatever that one is called.
        named += [description.path if n == "path" else n for n in placeholders(pattern)]
    return list(dict.fromkeys(named))


def _above_0(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be above 0, not {value}")
