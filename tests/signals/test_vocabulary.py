"""The channel table: ids never move, and every name that a source uses leads to one channel."""

from __future__ import annotations

import pytest

from biofm.signals import LEADS_12, channel_id, channel_named
from biofm.signals.vocabulary import ALIASES, CHANNELS, UNITS, unit


def test_the_twelve_leads_keep_their_ids() -> None:
    # Trained channel embeddings are indexed by these: a change would silently swap leads.
    assert [channel_id("ecg", lead) for lead in LEADS_12] == list(range(12))
    assert channel_id("ppg", "ppg") == 12
    assert channel_id("counts", "counts") == 21


def test_the_table_is_consistent() -> None:
    assert len(set(CHANNELS)) == len(CHANNELS)
    assert {modality for modality, _ in CHANNELS} <= UNITS.keys()
    for modality, names in ALIASES.items():
        for alias, channel in names.items():
            assert alias == alias.lower()
            channel_id(modality, channel)


@pytest.mark.parametrize(
    ("modality", "name", "channel"),
    [
        ("ecg", "AVR", "aVR"),
        ("ecg", "aVR", "aVR"),
        ("ecg", "avr", "aVR"),
        ("ecg", "v6", "V6"),
        ("ecg", " II ", "II"),
        ("ecg", "MLII", "II"),
        ("ppg", "Pleth", "ppg"),
        ("resp", "Thor", "thorax"),
    ],
)
def test_source_names_are_found(modality: str, name: str, channel: str) -> None:
    assert channel_named(modality, name) == channel


def test_unknown_names_are_errors_that_list_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"unknown ecg channel name 'VX'.*'V6'"):
        channel_named("ecg", "VX")
    with pytest.raises(KeyError, match=r"unknown channel 'aVr' of modality 'ecg'.*'aVR'"):
        channel_id("ecg", "aVr")
    with pytest.raises(KeyError, match=r"unknown modality 'egg'.*'ecg'"):
        unit("egg")
