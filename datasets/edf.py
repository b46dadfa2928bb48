"""EDF, EDF+ and BDF: every channel at its own rate, as int16 where the file holds int16.

- `edfio` reads EDF: it maps the file and hands over a channel's own int16, so that a night of 27
  channels costs one pass over its bytes, a channel that nobody asks for nothing, and 1 Hz stays 1 Hz.
  MNE-Python would turn all of it into float64 at the highest rate of the file
  (`benchmarks/night.py` measures both).
- MNE-Python reads what `edfio` does not take: BDF (24 bit), and headers that bend the standard (NUL
  bytes, decimal commas). It goes rate by rate, so that nothing is resampled, and gives float32. It is
  also the reference in the tests.

The header is held against the size of the file before anything else is read (`edf_header`).

Shapes: C channels, T time. Format: Kemp et al. 1992 and 2003, https://www.edfplus.info/specs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import edfio
import numpy as np

from ..signals import MISSING, Signal
from ..signals.types import Samples
from ..signals.vocabulary import unit
from .edf_header import AGAIN, Header, read_header
from .registry import RecordError
from .wfdb16 import FACTORS

ALSO: dict[str, dict[str, float]] = {
    "mV": {"v": 1e3, "nv": 1e-6},
    "uV": {"v": 1e6, "nv": 1e-3},
    "mmHg": {"kpa": 7.50062},
    "bpm": {"": 1.0, "/min": 1.0, "1/min": 1.0},
    "%": {"": 1.0},
    "degC": {"c": 1.0, "°c": 1.0},
}
"""What EDF headers write beside `FACTORS`; heart rate and saturation often come without a unit."""

MNE_VOLTS = {"uV": 1e-6, "μV": 1e-6, "\xb5V": 1e-6, "mV": 1e-3}
"""The units that MNE-Python turns into volts, and their size; it leaves other values alone."""


class EdfAnnotation(NamedTuple):
    """A text of an EDF+ file, in seconds from the file's start; 0 s long where it says nothing."""

    onset_s: float
    duration_s: float
    text: str


@dataclass(frozen=True)
class EdfChannel:
    """One channel; `unit` is its physical dimension as the header spells it.

    `physical_range` and `digital_range` are the (lowest, highest) values that its header maps onto
    each other.
    """

    path: Path
    label: str
    unit: str
    rate_hz: float
    physical_range: tuple[float, float]
    digital_range: tuple[float, float]
    _load: Callable[[], Samples] = field(repr=False, compare=False)

    @property
    def samples(self) -> Samples:
        """[T], read anew at every access: int16, or float32 in `unit` where MNE-Python reads.

        EDF knows no missing samples: its lowest value, which stands for one here, is raised by one.
        """
        samples = self._load()
        if samples.dtype == np.int16:
            np.maximum(samples, MISSING + 1, out=samples)
        return samples

    @property
    def scale(self) -> float:
        """Of `samples`, in `unit`. Raises `RecordError` where the header's ranges are empty."""
        (low, high), (first, last) = self.physical_range, self.digital_range
        if low == high or first >= last:
            raise RecordError(
                f"{self.path}: channel {self.label!r} maps {first:g} to {last:g} onto {low:g} to "
                f"{high:g} {self.unit}, which gives its samples no unit; correct the header"
            )
        return (high - low) / (last - first)

    @property
    def offset(self) -> float:
        """Of `samples`, in `unit`: `physical = samples · scale + offset`."""
        return self.physical_range[0] - self.digital_range[0] * self.scale

    def factor(self, modality: str) -> float:
        """How many of the modality's unit one `unit` is. Raises `RecordError` where it is none."""
        wanted = unit(modality)
        if wanted == "au":
            return 1.0
        known = FACTORS.get(wanted, {}) | ALSO.get(wanted, {})
        spelt = self.unit.lower().replace("\xb5", "u").replace("μ", "u")
        if spelt not in known:
            raise RecordError(
                f"{self.path}: channel {self.label!r} is in {self.unit!r}; expected one of "
                f"{sorted(known)} for {modality}; correct the header, or leave the channel out"
            )
        return known[spelt]


@dataclass(frozen=True)
class EdfRecording:
    """A file; `private` are the words of its patient, recording and start fields that say something,
    for `Recording.private` alone."""

    path: Path
    channels: tuple[EdfChannel, ...]
    private: tuple[str, ...] = field(repr=False)
    annotations: tuple[EdfAnnotation, ...]
    duration_s: float

    def channel(self, label: str) -> EdfChannel:
        """The channel of that label. Raises `RecordError` where there is none, or several."""
        found = [channel for channel in self.channels if channel.label == label]
        if len(found) != 1:
            raise RecordError(
                f"{self.path}: expected one channel {label!r}, found {len(found)} among "
                f"{[channel.label for channel in self.channels]}; name one that is there"
            )
        return found[0]

    def signals(self, wanted: Mapping[str, tuple[str, str]]) -> tuple[Signal, ...]:
        """Some channels in the vocabulary's units: label → (modality, channel).

        Channels of one modality and rate are one `Signal`, in the order of `wanted`. Raises
        `RecordError` where a label is absent or occurs twice, or its unit is not the modality's.
        """
        groups: dict[tuple[str, float], list[str]] = {}
        for label, (modality, _) in wanted.items():
            rate_hz = self.channel(label).rate_hz
            groups.setdefault((modality, rate_hz), []).append(label)
        return tuple(
            self._signal(modality, rate_hz, {label: wanted[label][1] for label in labels})
            for (modality, rate_hz), labels in groups.items()
        )

    def _signal(self, modality: str, rate_hz: float, named: Mapping[str, str]) -> Signal:
        """Channels of one rate: label → channel of the vocabulary."""
        channels = [self.channel(label) for label in named]
        factors = [channel.factor(modality) for channel in channels]
        first = channels[0].samples
        samples = np.empty((len(channels), len(first)), first.dtype)
        samples[0] = first
        for row, channel in zip(samples[1:], channels[1:], strict=True):
            row[:] = channel.samples
        calibrated = [(c.scale * f, c.offset * f) for c, f in zip(channels, factors, strict=True)]
        scale, offset = np.array(calibrated, np.float32).T
        if samples.dtype == np.float32:
            samples *= np.array(factors, np.float32)[:, None]
            return Signal(modality, samples, rate_hz, tuple(named.values()))
        return Signal(modality, samples, rate_hz, tuple(named.values()), scale, offset)


def read_edf(path: Path) -> EdfRecording:
    """The EDF, EDF+ or BDF file at `path`; samples are read when a channel is asked for them.

    Raises `RecordError` on anything that is no such file, is cut short, or has gaps in time (EDF+D).
    """
    header = read_header(path)
    if header.bytes_a_sample == 3:
        return _with_mne(header)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a number of records that the file's size corrects
            edf = edfio.read_edf(path, lazy_load_data=True, header_encoding="latin-1")
            understood = edf.duration >= 0 and len(edf.signals) == len(header.ordinary)
    except (ValueError, LookupError):
        understood = False
    return _with_edfio(header, edf) if understood else _with_mne(header)


def _with_edfio(header: Header, edf: edfio.Edf) -> EdfRecording:
    try:
        if header.reserved.startswith("EDF+D") and not edf.is_continuous:
            raise _has_gaps(header.path)
        texts = edf.annotations
    except (ArithmeticError, LookupError, ValueError) as error:
        if isinstance(error, RecordError):
            raise
        raise RecordError(
            f"{header.path}: its EDF+ annotations cannot be read ({error!r}); {AGAIN}"
        ) from error

    def loader(signal: edfio.EdfSignal) -> Callable[[], Samples]:
        # A slice of everything, because `signal.digital` would keep what it has read.
        return lambda: signal.get_digital_slice(0, edf.duration)

    places = zip(header.ordinary, edf.signals, strict=True)
    return _recording(
        header,
        [_channel(header, place, loader(signal)) for place, signal in places],
        ((text.onset, text.duration, text.text) for text in texts),
    )


def _with_mne(header: Header) -> EdfRecording:
    import mne  # here, because it is slow to import and few files need it

    if header.reserved[3:5] == "+D":
        raise _has_gaps(header.path)
    read = mne.io.read_raw_edf if header.bytes_a_sample == 2 else mne.io.read_raw_bdf

    def loader(raw: Any, row: int, unit: str) -> Callable[[], Samples]:
        factor = 1 / MNE_VOLTS.get(unit, 1.0)
        return lambda: (raw.get_data(picks=[row])[0] * factor).astype(np.float32)

    channels: dict[int, EdfChannel] = {}
    texts: Any = ()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # dates, filters and ranges that we do not take from it
            for samples in {header.samples_a_record[place] for place in header.ordinary}:
                places = [i for i in header.ordinary if header.samples_a_record[i] == samples]
                others = [header.labels[i] for i in header.ordinary if i not in places]
                if overlap := sorted({header.labels[i] for i in places} & set(others)):
                    raise RecordError(
                        f"{header.path}: the label {overlap[0]!r} occurs at two rates, which "
                        "MNE-Python cannot tell apart; rename one"
                    )
                raw = read(header.path, exclude=others, encoding="latin1", verbose="ERROR")
                texts = raw.annotations
                for row, place in enumerate(places):
                    load = loader(raw, row, header.units[place])
                    channels[place] = _channel(header, place, load)
    except RecordError:
        raise
    except Exception as error:  # MNE-Python raises whatever its parts raise
        raise RecordError(
            f"{header.path}: neither edfio nor MNE-Python reads it ({error}); {AGAIN}"
        ) from error
    return _recording(
        header,
        [channels[place] for place in header.ordinary],
        ((text["onset"], text["duration"], str(text["description"])) for text in texts),
    )


def _channel(header: Header, place: int, load: Callable[[], Samples]) -> EdfChannel:
    """The channel at a place of the file."""
    return EdfChannel(
        header.path,
        header.labels[place],
        header.units[place],
        header.samples_a_record[place] / header.record_s,
        header.physical[place],
        header.digital[place],
        load,
    )


def _recording(
    header: Header,
    channels: Iterable[EdfChannel],
    texts: Iterable[tuple[float, float | None, str]],
) -> EdfRecording:
    annotations = [EdfAnnotation(float(o), float(d or 0), text) for o, d, text in texts]
    return EdfRecording(
        header.path,
        tuple(channels),
        header.private,
        tuple(sorted(annotations)),
        header.records * header.record_s,
    )


def _has_gaps(path: Path) -> RecordError:
    return RecordError(
        f"{path}: an EDF+D file whose data records leave gaps in time; expected one continuous "
        "recording; save it as EDF+C, one file for each stretch"
    )
