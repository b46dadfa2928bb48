"""Numbers out of files of several formats, for recordings that a table describes.

Every file is taken for hostile: what it announces is held against bounds before anything is
allocated, nothing is unpickled, and an HDF5 file can refer to no other file.

Shapes: C channels, T time, N values.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..signals import Annotation, Series, Signal
from .edf import EdfRecording, read_edf
from .registry import RecordError
from .subjects import undated
from .table_configuration import TableAnnotations, TableIntervals, TableSignal
from .wfdb16 import WfdbRecord, read_wfdb

MOST_VALUES = 1 << 30
"""More numbers than any recording has (a night of 27 channels at 256 Hz has a fifth)."""

MOST_TEXT_BYTES = 1 << 26
COMPRESSED = (b"\x1f\x8b", b"\x28\xb5", b"\x78\x01", b"\x78\x9c", b"\x78\xda")
"""How gzip, zstandard and zlib begin, which polars would unpack to any size."""

UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""What a damaged table leads polars to; the second is no `Exception`."""

Opened: TypeAlias = dict[tuple[str, Path], WfdbRecord | EdfRecording]
"""Files of one recording that several signals are taken from."""


def read_signal(
    path: Path, how: TableSignal, row: str | None, opened: Opened
) -> tuple[tuple[Signal | Series, ...], tuple[str, ...]]:
    """The channels that `how` names in a file, and the file's private strings.

    `row` is the recording's place in a file of many. Raises `RecordError`.
    """
    if how.format == "wfdb":
        record = opened.get((how.format, path)) or read_wfdb(
            path.with_suffix("") if path.suffix == ".hea" else path
        )
        assert isinstance(record, WfdbRecord)
        opened[how.format, path] = record
        return (record.signal(how.modality, how.names),), record.private
    if how.format == "edf":
        edf = opened.get((how.format, path)) or read_edf(path)
        assert isinstance(edf, EdfRecording)
        opened[how.format, path] = edf
        wanted = {label: (how.modality, channel) for label, channel in how.names.items()}
        return edf.signals(wanted), edf.private
    channels = tuple(how.names.values())
    if how.format in ("npy", "hdf5"):
        read = _npy if how.format == "npy" else _hdf5
        values = read(path, how, row)[[int(index) for index in how.names]]
        return (_even(path, how, values, channels),), ()
    if how.time is None:
        values = np.stack(_columns(path, how.format, list(how.names)))
        return (_even(path, how, values, channels),), ()
    return (_uneven(path, how, channels),), ()


def _uneven(path: Path, how: TableSignal, channels: tuple[str, ...]) -> Series:
    """Columns with a time in every row, in the order of the times."""
    assert how.time is not None
    span = [how.span] if isinstance(how.span, str) else []
    times, *columns = _columns(path, how.format, [how.time, *how.names, *span])
    if not np.isfinite(times).all():
        raise RecordError(f"{path}: column {how.time!r} has an empty cell; give every row its time")
    order = np.argsort(times, kind="stable")
    spans_s = None
    if span:
        spans_s = columns.pop()[order] * how.time_scale
        if not (spans_s > 0).all():
            raise RecordError(f"{path}: column {span[0]!r} must be above 0 in every row")
    elif how.span is not None:
        spans_s = np.full(len(times), how.span)
    values = _scaled(np.stack(columns)[:, order], how)
    return Series(how.modality, channels, times[order] * how.time_scale, values, spans_s)


def _even(
    path: Path, how: TableSignal, values_CT: NDArray[Any], channels: tuple[str, ...]
) -> Signal | Series:
    """Values on an even grid in the modality's unit; counts are totals of the grid's intervals."""
    if how.trim_zeros:
        used = np.flatnonzero((values_CT != 0).any(axis=0))
        if not len(used):
            raise RecordError(
                f"{path}: every sample is 0 in every channel; leave the recording out"
            )
        values_CT = values_CT[:, used[0] : used[-1] + 1]
    assert how.rate_hz is not None
    values = _scaled(values_CT, how)
    if how.modality != "counts":
        return Signal(how.modality, values, how.rate_hz, channels)
    times_s = np.arange(values.shape[1]) / how.rate_hz
    spans_s = np.full(len(times_s), 1 / how.rate_hz)
    return Series(how.modality, channels, times_s, values, spans_s)


def _scaled(values: NDArray[Any], how: TableSignal) -> NDArray[np.float32]:
    """Values in the modality's unit; what is not finite is missing."""
    scaled = (values.astype(np.float64) * how.scale + how.offset).astype(np.float32)
    scaled[~np.isfinite(scaled)] = np.nan
    return scaled


def _npy(path: Path, how: TableSignal, row: str | None) -> NDArray[Any]:
    """[C, T] of an `.npy` file, which is mapped: a header that announces too much cannot be."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # numpy raises whatever a damaged header leads it to
        raise RecordError(
            f"{path}: expected a .npy file of numbers ({error!r}); write it with numpy.save"
        ) from error
    _check_numbers(path, array.shape, array.dtype, how)
    return _channels_by_time(array, how, _place(path, row, how, array.shape))


def _hdf5(path: Path, how: TableSignal, row: str | None) -> NDArray[Any]:
    """[C, T] of an array of an HDF5 file."""
    assert how.array is not None
    try:
        with h5py.File(path, "r", locking=False) as file:
            array = _own_array(path, file, how.array)
            _check_numbers(path, array.shape, array.dtype, how)
            if math.prod(array.chunks or ()) > MOST_VALUES:
                raise RecordError(f"{path}: {how.array!r} has chunks of {array.chunks}: too large")
            return _channels_by_time(array, how, _place(path, row, how, array.shape))
    except RecordError:
        raise
    except (OSError, RuntimeError, LookupError, ValueError, TypeError) as error:
        raise RecordError(f"{path}: the HDF5 file cannot be read ({error})") from error


def _own_array(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    """An array that lies in this file itself, whatever links the file has."""
    here: Any = file
    for part in name.strip("/").split("/"):
        link = here.get(part, getlink=True) if isinstance(here, h5py.Group) else None
        if link is None:
            known = sorted(here) if isinstance(here, h5py.Group) else []
            raise RecordError(f"{path}: no array {name!r} in it; there it has {known[:20]}")
        if not isinstance(link, h5py.HardLink):
            raise RecordError(f"{path}: {part!r} is a link to elsewhere, which is not followed")
        here = here[part]
    if not isinstance(here, h5py.Dataset):
        raise RecordError(f"{path}: {name!r} is a group of {sorted(here)[:20]}, not an array")
    if here.is_virtual or here.external:
        raise RecordError(f"{path}: {name!r} keeps its numbers in other files: not read")
    return here


def _check_numbers(path: Path, shape: tuple[int, ...], dtype: Any, how: TableSignal) -> None:
    """Hold an array against what it should be. Raises `RecordError`."""
    assert how.axes is not None
    if dtype.kind not in "iuf":
        raise RecordError(f"{path}: expected numbers, found {dtype}; store int or float")
    if len(shape) != len(how.axes) or 0 in shape:
        raise RecordError(
            f"{path}: expected an array of {len(how.axes)} axes {how.axes!r}, none of them empty, "
            f"found the shape {shape}; mend `axes`"
        )
    sizes = dict(zip(how.axes, shape, strict=True))
    most = max(int(index) for index in how.names)
    if most >= sizes.get("C", 1):
        raise RecordError(
            f"{path}: no channel {most}: the shape {shape} has {sizes.get('C', 1)} channels, counted "
            f"from 0, if its axes are {how.axes!r}; mend `axes` or `channels`"
        )
    if sizes["T"] < sizes.get("C", 1):
        raise RecordError(
            f"{path}: the shape {shape} would be {sizes['T']} samples of {sizes['C']} channels if its "
            f"axes were {how.axes!r}; turn T and C round in `axes`"
        )
    if sizes["T"] * sizes.get("C", 1) > MOST_VALUES:
        raise RecordError(f"{path}: a recording of shape {shape} is larger than any recording")


def _place(path: Path, row: str | None, how: TableSignal, shape: tuple[int, ...]) -> int | None:
    """The recording's place on the axis N; None without one."""
    assert how.axes is not None
    if "N" not in how.axes:
        return None
    count = shape[how.axes.index("N")]
    if how.row_ids is not None:
        ids = _ids(path, path.stat().st_mtime_ns, how.row_ids)
        place = ids.get(row or "", -1)
        what = f"an id of {how.row_ids!r}, which has {len(ids)}"
    else:
        place = int(row) if row is not None and row.isdecimal() else -1
        what = f"a place from 0 to {count - 1}"
    if not 0 <= place < count:
        raise RecordError(f"{path}: row {row!r} is not {what}; mend the table")
    return place


@lru_cache(maxsize=64)
def _ids(path: Path, changed_ns: int, name: str) -> dict[str, int]:
    """Id → place, of a file as it was at a time: one file serves thousands of recordings."""
    with h5py.File(path, "r", locking=False) as file:
        array = _own_array(path, file, name)
        text = h5py.check_string_dtype(array.dtype) is not None
        if (
            array.ndim != 1
            or len(array) > MOST_VALUES
            or (array.dtype.kind not in "iu" and not text)
        ):
            raise RecordError(
                f"{path}: {name!r} is no list of ids, but {array.dtype} {array.shape}"
            )
        ids = (array.asstr() if text else array)[:].tolist()
    return {str(one): place for place, one in enumerate(ids)}


def _channels_by_time(array: Any, how: TableSignal, place: int | None) -> NDArray[Any]:
    """One recording of an array as [C, T]."""
    assert how.axes is not None
    index = tuple(place if axis == "N" else slice(None) for axis in how.axes)
    values: NDArray[Any] = np.asarray(array[index])
    axes = how.axes.replace("N", "")
    return values.T if axes == "TC" else values.reshape(-1, values.shape[-1])


def read_annotations(path: Path, how: TableAnnotations) -> list[Annotation]:
    """The annotations in a file, in the order of its rows. Raises `RecordError`."""
    column = how.duration if isinstance(how.duration, str) else None
    names = [name for name in (how.onset, column, how.code, how.value) if name is not None]
    rows = _texts(path, how.format, names)
    onset_s = _numbers(path, rows[how.onset]) * how.time_scale
    if column is None:
        duration_s = np.full(len(rows), float(how.duration))
    else:
        duration_s = _numbers(path, rows[column]) * how.time_scale
    if not (np.isfinite(onset_s).all() and (duration_s >= 0).all()):
        raise RecordError(f"{path}: a row has no onset, or no duration of 0 or more; mend it")
    times = list(zip(onset_s.tolist(), duration_s.tolist(), strict=True))
    if how.kind is not None:
        assert how.value is not None
        values = _numbers(path, rows[how.value]).tolist()
        pairs = zip(times, values, strict=True)
        return [Annotation(*when, how.kind, v) for when, v in pairs if math.isfinite(v)]
    assert how.code is not None
    codes = {str(key): code for key, code in how.codes.items()} | {"": None}
    said = rows[how.code].cast(pl.String).fill_null("").to_list()
    if unknown := sorted(set(said) - set(codes)):
        raise RecordError(
            f"{path}: column {how.code!r} says {unknown[0]!r}, which `codes` does not name "
            f"({sorted(codes)[1:]}); add it, with null to leave it out"
        )
    named = zip(times, (codes[text] for text in said), strict=True)
    return [Annotation(*when, code) for when, code in named if code is not None]


def read_intervals(path: Path, how: TableIntervals) -> list[Annotation]:
    """The heart rate over each interval between beats. Raises `RecordError`."""
    if how.column is not None:
        (intervals,) = _columns(path, how.format, [how.column])
    else:
        intervals = _numbers(path, pl.Series("interval", _text(path).replace(",", " ").split()))
    seconds = intervals * how.time_scale
    if not (np.isfinite(seconds).all() and (seconds > 0).all()):
        raise RecordError(f"{path}: an interval is missing or not above 0; mend it")
    onsets_s = np.cumsum(seconds) - seconds
    pairs = zip(onsets_s.tolist(), seconds.tolist(), strict=True)
    return [Annotation(onset, length, "hr", 60 / length) for onset, length in pairs]


def _columns(path: Path, format: str, names: list[str]) -> list[NDArray[np.float64]]:
    """Columns of numbers [N], NaN where a cell is empty. Raises `RecordError`."""
    table = _texts(path, format, names)
    return [_numbers(path, table[name]) for name in names]


def _numbers(path: Path, column: pl.Series) -> NDArray[np.float64]:
    try:
        return column.cast(pl.Float64).fill_null(math.nan).to_numpy()
    except pl.exceptions.PolarsError as error:
        bad = column.filter(column.cast(pl.Float64, strict=False).is_null() & column.is_not_null())
        raise RecordError(
            f"{path}: column {column.name!r} holds {undated(bad[0])!r}, expected numbers or empty cells"
        ) from error


def _texts(path: Path, format: str, names: list[str]) -> pl.DataFrame:
    """Named columns as they are in a Parquet file, or as text of a CSV; at least one row."""
    names = list(dict.fromkeys(names))
    try:
        scan = scan_table(path, format)
        schema = scan.collect_schema()
        if absent := [name for name in names if name not in schema]:
            raise RecordError(f"{path}: no column {absent[0]!r}; it has {schema.names()[:30]}")
        rows = scan.select(pl.len()).collect().item()
        if not 0 < rows * len(names) <= MOST_VALUES:
            raise RecordError(f"{path}: found {rows} rows, expected a recording's")
        return scan.select(names).collect()
    except UNREADABLE as error:
        raise RecordError(f"{path}: expected a {format} file with {names}: {error}") from error
    except OSError as error:
        raise RecordError(f"{path}: the file cannot be read ({error.strerror or error})") from error


def scan_table(path: Path, format: str) -> pl.LazyFrame:
    """The table in a file, not yet read; the columns of a CSV are text without blanks around it.

    Raises `OSError`, `ValueError` on a compressed CSV.
    """
    if format == "parquet":
        if not path.is_file():
            raise FileNotFoundError(2, "no such file", str(path))
        scan = pl.scan_parquet(path, glob=False)
        kinds = scan.collect_schema().items()
        odd = [name for name, kind in kinds if kind.is_nested() or kind == pl.Object]
        return scan.drop(odd)
    with path.open("rb") as file:
        if file.read(2) in COMPRESSED:
            raise RecordError(f"{path}: a compressed CSV; unpack it first")
    scan = pl.scan_csv(path, infer_schema=False, glob=False)
    return scan.with_columns(pl.all().str.strip_chars()).with_columns(
        pl.when(pl.all() != "").then(pl.all()).name.keep()
    )


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_TEXT_BYTES:
            raise RecordError(f"{path}: larger than {MOST_TEXT_BYTES} bytes, which no list is")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: the file cannot be read ({error})") from error
