"""The channel vocabulary: one table (modality, channel) → id, and the names that sources use.

Ids index learned channel embeddings, so rows are only ever appended. Order is never assumed
anywhere: channels are looked up by name, and an unknown name is an error that lists the known ones.
"""

from __future__ import annotations

UNITS: dict[str, str] = {
    "ecg": "mV",
    "ppg": "au",
    "acc": "g",
    "hr": "bpm",
    "resp": "au",
    "spo2": "%",
    "eeg": "uV",
    "eog": "uV",
    "emg": "uV",
    "bp": "mmHg",
    "counts": "counts",
    "eda": "uS",
    "temp": "degC",
}
"""Modality → the one physical unit it is kept in."""

LEADS_12 = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The standard 12-lead ECG in its standard order."""

CHANNELS: tuple[tuple[str, str], ...] = (
    *(("ecg", lead) for lead in LEADS_12),
    ("ppg", "ppg"),
    ("acc", "x"),
    ("acc", "y"),
    ("acc", "z"),
    ("hr", "hr"),
    ("resp", "thorax"),
    ("resp", "abdomen"),
    ("spo2", "spo2"),
    ("bp", "abp"),
    ("counts", "counts"),
    ("ecg", "chest"),
    ("ppg", "red"),
    ("ppg", "green"),
    ("ppg", "blue"),
    ("ppg", "infrared"),
    ("acc", "chest_x"),
    ("acc", "chest_y"),
    ("acc", "chest_z"),
    ("hr", "dhr"),
    ("resp", "flow"),
    ("resp", "pressure"),
    ("resp", "thermistor"),
    ("eeg", "Fz-Cz"),
    ("eeg", "Cz-Oz"),
    ("eeg", "C4-M1"),
    ("eeg", "C3-M2"),
    ("eeg", "F3-M2"),
    ("eeg", "F4-M1"),
    ("eeg", "O1-M2"),
    ("eeg", "O2-M1"),
    ("eeg", "Fpz-Cz"),
    ("eeg", "Pz-Oz"),
    ("eog", "left"),
    ("eog", "right"),
    ("emg", "chin"),
    ("emg", "leg"),
    ("emg", "trapezius"),
    ("counts", "steps"),
    ("eda", "wrist"),
    ("eda", "chest"),
    ("temp", "wrist"),
    ("temp", "chest"),
    ("counts", "smoothed_counts"),
)
"""Position in this table is the channel's id. Append only.

`ecg chest` is a single chest lead of unstated axis; `acc x y z` is worn at the wrist; `hr dhr` is a
rate derived beat by beat beside a device's averaged `hr`; `counts steps` are steps in an interval;
`counts smoothed_counts` are others' activity counts of 15 s, averaged over some minutes.
"""

ALIASES: dict[str, dict[str, str]] = {
    # MLII is the modified limb lead II of the MIT-BIH recordings; EKG is MESA's single lead (a
    # modified I).
    "ecg": {**{lead.lower(): lead for lead in LEADS_12}, "mlii": "II", "ekg": "I", "ecg": "I"},
    "ppg": {"pleth": "ppg", "bvp": "ppg"},
    "resp": {"thor": "thorax", "abdo": "abdomen"},
}
"""Modality → lower-cased name in a source → vocabulary name."""

_IDS = {pair: i for i, pair in enumerate(CHANNELS)}


def channel_id(modality: str, channel: str) -> int:
    """Id of a channel. Raises `KeyError` listing the modality's known channels."""
    try:
        return _IDS[modality, channel]
    except KeyError:
        raise KeyError(
            f"unknown channel {channel!r} of modality {modality!r}; "
            f"known: {known_channels(modality)}"
        ) from None


def channel_named(modality: str, name: str) -> str:
    """The vocabulary's channel for the name a source uses (`AVR` → `aVR`, `MLII` → `II`)."""
    if (modality, name) in _IDS:
        return name
    alias = ALIASES.get(modality, {}).get(name.strip().lower())
    if alias is None:
        raise KeyError(
            f"unknown {modality} channel name {name!r}; known: {known_channels(modality)} "
            f"and their aliases {sorted(ALIASES.get(modality, {}))}"
        )
    return alias


def known_channels(modality: str) -> list[str]:
    """The channels of one modality, or every modality where that one is unknown."""
    return [c for m, c in CHANNELS if m == modality] or sorted(UNITS)


def unit(modality: str) -> str:
    """Physical unit of a modality. Raises `KeyError` listing the modalities."""
    try:
        return UNITS[modality]
    except KeyError:
        raise KeyError(f"unknown modality {modality!r}; known: {sorted(UNITS)}") from None
