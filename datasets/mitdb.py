"""MIT-BIH Arrhythmia Database: 48 half-hour ambulatory ECGs of two leads (Moody & Mark, 2001).

- Beats and rhythms are the reference annotations (`.atr`): about 110,000 beats, each looked at by two
  cardiologists.
- Leads are known by their names, which stand in either order (record 114 begins with V5); MLII, the
  modified lead II, is II.
- Folds follow the inter-patient split of de Chazal et al. (2004), DS1 to learn and DS2 to test. Which
  records of DS1 choices are made on is not part of it: `HELD_OUT` is ours.
- **Records 201 and 202 are of one person**, and de Chazal's DS1 and DS2 have one each. Both have the
  subject `mitdb-201` here, which `configs/shards/mitdb.yaml` names as an accepted leak.
- Age and sex stand in the header's comments; medication and remarks there are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..signals import Recording
from .registry import About, RecordError, RecordRef
from .subjects import age_years, sex_named
from .tree import find_folders
from .wfdb16 import read_wfdb
from .wfdb_annotations import BEATS, beats, read_annotations, rhythms

DS1 = ("101", "106", "108", "109", "112", "114", "115", "116", "118", "119", "122", "124", "201",
       "203", "205", "207", "208", "209", "215", "220", "223", "230")  # fmt: skip
"""Records to learn from (de Chazal, O'Dwyer & Reilly, IEEE Trans. Biomed. Eng. 51:1196, 2004)."""
DS2 = ("100", "103", "105", "111", "113", "117", "121", "123", "200", "202", "210", "212", "213",
       "214", "219", "221", "222", "228", "231", "232", "233", "234")  # fmt: skip
"""Records to test on, in the same split."""
HELD_OUT = ("119", "205", "220", "223")
"""The part of DS1 on which choices are made: ours, with many ectopic beats of several people."""
PACED = ("102", "104", "107", "217")
"""Records with paced beats, which AAMI's rules leave out of the figures."""

FOLDS = {
    **dict.fromkeys(DS1, 1),
    **dict.fromkeys(HELD_OUT, 2),
    **dict.fromkeys(DS2, 3),
    **dict.fromkeys(PACED, 4),
}
"""Record → fold: 1 to learn from, 2 for choices, 3 to test on, 4 paced."""

SAME_PERSON = {"202": "201"}
"""Record → an earlier one of the same person."""

AAMI = {"N": "NLRej", "S": "AaJS", "V": "VE", "F": "F", "Q": "/fQ"}
"""The five classes of ANSI/AAMI EC57 → the symbols of beats that they take together."""

RHYTHMS = ("AB", "AFIB", "AFL", "B", "BII", "IVR", "N", "NOD", "P", "PREX", "SBR", "SVTA", "T",
           "VFL", "VT")  # fmt: skip
"""Every rhythm that occurs, as the annotations name it."""

# "69 M 1085 1629 x1": age, sex, the recorder and its tapes; -1 stands for an unknown age.
_PERSON = re.compile(r"(-1|\d{1,3})\s+([MF])(?:\s.*)?", re.ASCII)


class MITDB:
    """The MIT-BIH Arrhythmia Database, or as many of its 48 records as are there."""

    name = "mitdb"

    def about(self, roots: Sequence[Path] = ()) -> About:
        """What MIT-BIH is."""
        return About(
            title="MIT-BIH Arrhythmia Database",
            licence="ODC-BY 1.0",
            access="open (PhysioNet)",
            signals="2-lead ambulatory ECG (mostly MLII and V1), 30 min, 360 Hz",
            labels="every beat (AAMI classes N S V F Q) and 15 rhythms",
            subjects="47 people by record, 201 and 202 being one; inter-patient split DS1/DS2",
            citation="Moody & Mark, IEEE Eng Med Biol 20:45 (2001), doi:10.13026/C2F305",
        )

    def find(self, roots: Sequence[Path]) -> list[RecordRef]:
        """The records whose header is there, sorted.

        Raises `FileNotFoundError` naming what a root lacks; `ValueError` where a record has two
        different headers.
        """
        found: dict[str, RecordRef] = {}
        for ref in (ref for root in roots for ref in self._refs(root)):
            first = found.setdefault(ref.record, ref)
            if _header(first).read_bytes() != _header(ref).read_bytes():
                raise ValueError(
                    f"record {ref.record} differs between {first.path.parent} and "
                    f"{ref.path.parent}; give roots of one version of the database"
                )
        return [found[record] for record in sorted(found)]

    def read(self, ref: RecordRef) -> Recording:
        """One record, int16 in mV, with its beats and rhythms. Raises `RecordError`."""
        record = read_wfdb(ref.path)
        signal = record.ecg()
        file = ref.path.with_suffix(".atr")
        annotations = read_annotations(file, signal.samples.shape[1])
        spans = rhythms(annotations, record.rate_hz, signal.duration_s)
        unknown = sorted({span.code.removeprefix("rhythm:") for span in spans} - set(RHYTHMS))
        if unknown:
            raise RecordError(
                f"{file}: expected the rhythms {', '.join(RHYTHMS)}, found {', '.join(unknown)}; "
                "get the file again from the source"
            )
        labelled = [*spans, *beats(annotations, record.rate_hz)]
        person = _PERSON.fullmatch(next(iter(record.comments), ""))
        age, sex = person.groups() if person else ("", "")
        return Recording(
            dataset=self.name,
            record=ref.record,
            subject=ref.subject,
            signals=(signal,),
            annotations=tuple(sorted(labelled, key=lambda annotation: annotation.onset_s)),
            age=None if age == "-1" else age_years(age),
            sex=sex_named(sex),
            fold=ref.fold,
            private=record.private,
        )

    def label_sets(self, roots: Sequence[Path]) -> dict[str, dict[str, list[str]]]:
        """AAMI's five classes of beats, all beats by their symbol, and rhythms."""
        return {
            "aami": {name: [f"beat:{symbol}" for symbol in symbols]
                     for name, symbols in AAMI.items()},
            "beats": {symbol: [f"beat:{symbol}"] for symbol in BEATS},
            "rhythms": {name: [f"rhythm:{name}"] for name in RHYTHMS},
        }  # fmt: skip

    def _refs(self, root: Path) -> Iterator[RecordRef]:
        """The records of one root."""
        folders = find_folders(
            root, lambda files: any(f"{record}.hea" in files for record in FOLDS)
        )
        if not folders:
            raise FileNotFoundError(
                f"{root}: none of the headers 100.hea to 234.hea in it or below; give the folder that "
                "the MIT-BIH Arrhythmia Database was unpacked to"
            )
        for folder in folders:
            for record, fold in FOLDS.items():
                ref = RecordRef(record, f"{self.name}-{SAME_PERSON.get(record, record)}",
                                folder / record, fold)  # fmt: skip
                if _header(ref).is_file():
                    yield ref


def _header(ref: RecordRef) -> Path:
    return ref.path.with_suffix(".hea")
