"""The Challenges' tranches: names, subjects, untidy headers, and the twin's planted truth."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from biofm.datasets.challenge import Challenge
from biofm.datasets.challenge_files import codes_in
from biofm.datasets.challenge_ids import dataset_of, record_of, subject_of
from biofm.datasets.cpsc2018 import CPSC2018
from biofm.datasets.ptbxl import PTBXL
from biofm.datasets.registry import RecordError
from biofm.datasets.simulate import TRUTH, simulate
from biofm.datasets.simulate.challenge_tree import FLAT, GAP
from biofm.datasets.snomed import SCORED_2020, SCORED_2021
from biofm.signals import LEADS_12, Recording

DATA = Path(os.environ.get("BIOFM_DATA", "/nowhere"))
RECORDS = 24
DATASETS = (
    "ptbxl",
    "cpsc2018",
    "georgia",
    "incart",
    "ptb",
    "chapman",
    "cpsc_extra",
    "ningbo",
)


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("twin") / "challenge"
    return simulate("challenge", folder, records=RECORDS, seed=5, progress=False)


@pytest.fixture(scope="module")
def recordings(twin: Path) -> dict[str, Recording]:
    return read_all(twin)


def read_all(*roots: Path) -> dict[str, Recording]:
    return {ref.record: Challenge().read(ref) for ref in Challenge().find(roots)}


def real(*folders: str) -> list[Path]:
    roots = [DATA / folder for folder in folders]
    if not all(root.is_dir() for root in roots):
        pytest.skip(f"needs real recordings: set BIOFM_DATA to a folder that holds {folders}")
    return roots


def copy_record(twin: Path, record: str, to: Path) -> Path:
    """A copy of one record of the twin; its header's path."""
    to.mkdir(parents=True, exist_ok=True)
    for file in twin.glob(f"*/{record}.*"):
        shutil.copy(file, to)
    return to / f"{record}.hea"


def edit(header: Path, old: str, new: str) -> None:
    text = header.read_text()
    assert old in text
    header.write_text(text.replace(old, new))


def test_a_name_says_which_data_set_and_record_it_is() -> None:
    names = {
        "A0001": ("cpsc2018", "A0001"),
        "Q0400": ("cpsc_extra", "Q0400"),
        "I0075": ("incart", "I0075"),
        "S0002": ("ptb", "S0002"),
        "HR00008": ("ptbxl", "00008"),
        "E00001": ("georgia", "E00001"),
        "JS00001": ("chapman", "JS00001"),
        "JS10646": ("chapman", "JS10646"),
        "JS10647": ("ningbo", "JS10647"),
    }
    assert {name: (dataset_of(name), record_of(name)) for name in names} == names
    for other in ("A00001", "E0001", "00008_hr", "HR0008", "I01", "JS1", "A0001.mat", "B0001"):
        assert dataset_of(other) is None
    with pytest.raises(ValueError, match="'B0001' is not the name of a Challenge record"):
        subject_of("B0001", {})


def test_incart_has_the_published_patients() -> None:
    patients = {f"I{n:04d}": subject_of(f"I{n:04d}", {}) for n in range(1, 76)}
    sizes = Counter(Counter(patients.values()).values())
    # 32 patients: two gave one record, eighteen two, eleven three and one four.
    assert sizes == {1: 2, 2: 18, 3: 11, 4: 1}
    assert patients["I0001"] == patients["I0002"] == "incart-01" != patients["I0003"]
    assert patients["I0016"] == patients["I0017"] == "incart-08"
    assert patients["I0035"] == patients["I0036"] == patients["I0037"] == "incart-16"
    assert patients["I0075"] == "incart-32"
    assert subject_of("I0076", {}) == subject_of("I0000", {}) == "incart-patients-unknown"


def test_scored_classes_are_those_of_the_scorers() -> None:
    assert len(SCORED_2021) == 26
    assert sum(map(len, SCORED_2021.values())) == 30
    assert len(SCORED_2020) == 24
    assert sum(map(len, SCORED_2020.values())) == 27
    new = {"733534002", "6374002", "365413008"}
    codes = [{c for codes in s.values() for c in codes} for s in (SCORED_2020, SCORED_2021)]
    assert codes[1] - codes[0] == new
    assert codes[0] < codes[1]


def test_codes_of_a_header_are_read_once_each() -> None:
    assert codes_in("164889003, 59118001,164889003,,") == ("164889003", "59118001")
    assert codes_in("") == ()


def test_the_twin_holds_every_tranche_and_its_truth(
    twin: Path, recordings: dict[str, Recording]
) -> None:
    truth = pl.read_parquet(twin / TRUTH)
    assert sorted(truth["record"]) == list(recordings)
    tranches = Counter(recording.dataset for recording in recordings.values())
    assert tranches == dict.fromkeys(DATASETS, RECORDS // 8)
    for row in truth.iter_rows(named=True):
        made = recordings[row["record"]]
        signal = made.signal("ecg")
        assert signal.rate_hz == row["rate_hz"]
        assert signal.duration_s == pytest.approx(row["duration_s"], abs=0.01)
        assert dict(made.labels) == dict.fromkeys(row["codes"], 100.0)
        physical = signal.physical()
        assert int(np.isnan(physical).sum()) == row["missing"]
        flat = [lead for lead, x in zip(signal.channels, physical, strict=True) if not x.any()]
        assert flat == row["flat"]
        if row["says_age"]:
            assert (made.age, made.sex) == (min(row["age"], 90.0), row["sex"])
        else:
            assert (made.age, made.sex) == (None, None)


def test_the_quirks_of_the_real_headers_are_in_the_twin(
    twin: Path, recordings: dict[str, Recording]
) -> None:
    assert (twin / "WFDB_Ga/E00001.hea").read_text().startswith("E00001.mat 12 500")
    assert "\n# Age: " in (twin / "WFDB_Ningbo/JS10647.hea").read_text()
    dx = next(
        line
        for line in (twin / "WFDB_CPSC2018_2/Q0001.hea").read_text().splitlines()
        if line.startswith("#Dx")
    )
    assert dx.endswith(",")
    assert len(dx.split(",")) == len(recordings["Q0001"].labels) + 2
    gap = np.isnan(recordings["JS00001"].signal("ecg").physical()[LEADS_12.index("V3")])
    np.testing.assert_array_equal(np.flatnonzero(gap), np.arange(GAP.start, GAP.stop))
    assert not recordings["JS10647"].signal("ecg").select(FLAT).samples.any()
    assert recordings["S0001"].signal("ecg").rate_hz == 1000
    assert recordings["I0001"].signal("ecg").rate_hz == 257
    assert recordings["I0001"].subject == recordings["I0002"].subject == "incart-01"
    # The date and time of the record line are told apart, and nowhere else.
    assert recordings["A0001"].private == ("01-May-2020", "12:00:59")
    assert recordings["JS10647"].private == ()


def test_copies_in_the_twin_are_those_of_the_other_twins(
    twin: Path, recordings: dict[str, Recording], tmp_path: Path
) -> None:
    """PTB-XL's and CPSC2018's records are their own twins' first ones, under the same name."""
    ptbxl = simulate("ptbxl", tmp_path / "ptbxl", records=RECORDS, seed=5, progress=False)
    cpsc = simulate("cpsc2018", tmp_path / "cpsc", records=RECORDS, seed=5, progress=False)
    with_patients = {ref.record: ref for ref in Challenge().find([twin, ptbxl])}
    for own, dataset in ((PTBXL(), ptbxl), (CPSC2018(), cpsc)):
        name = own.name
        copies = [r for r in recordings.values() if r.dataset == name]
        refs = {ref.record: ref for ref in own.find([dataset])}
        for copy in copies:
            first = own.read(refs[copy.record])
            np.testing.assert_allclose(
                copy.signal("ecg").physical(), first.signal("ecg").physical(), atol=1e-6
            )
            assert (first.dataset, first.record) == (copy.dataset, copy.record)
            assert first.subject == with_patients[copy.record].subject
            assert (first.age, first.sex) == (copy.age, copy.sex)
            assert copy.site == name


def test_ptbxl_patients_need_its_table(twin: Path, tmp_path: Path) -> None:
    named = {ref.record: ref.subject for ref in Challenge().find([twin])}
    assert {named[record] for record in named if record.isdigit()} == {"ptbxl-patients-unknown"}
    assert {s for r, s in named.items() if r[0] == "S"} == {"ptb-patients-unknown"}
    records = [record for record in named if record.isdigit()]
    # One row is missing, as of those that version 1.0.3 dropped.
    rows = "\n".join(f"{int(record)},{i}.0" for i, record in enumerate(records[1:], 40))
    (tmp_path / "below").mkdir()
    table = tmp_path / "below" / "ptbxl_database.csv"
    table.write_text(f"ecg_id,patient_id\n{rows}\n")
    named = {ref.record: ref.subject for ref in Challenge().find([twin, tmp_path])}
    assert [named[record] for record in records] == [
        "ptbxl-patients-unknown", "ptbxl-40", "ptbxl-41"
    ]  # fmt: skip
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "ptbxl_database.csv"
    other.write_text(f"ecg_id,patient_id\n{int(records[1])},99\n")
    with pytest.raises(ValueError, match="is patient 99 here and 40 in another"):
        Challenge().find([twin, tmp_path])
    other.write_text("ecg_id,patient_id\none,2.0\n")
    with pytest.raises(ValueError, match="expected whole numbers in ecg_id and patient_id"):
        Challenge().find([twin, tmp_path])
    with pytest.raises(FileNotFoundError, match="no record of the Challenge in any root"):
        Challenge().find([tmp_path])


def test_the_layout_of_physionet_is_read_too(
    twin: Path, recordings: dict[str, Recording], tmp_path: Path
) -> None:
    deep = tmp_path / "physionet.org/files/challenge-2021/1.0.3/training"
    copy_record(twin, "E00001", deep / "georgia/g1")
    copy_record(twin, "A0002", deep / "cpsc_2018/g1")
    (deep / "georgia/g1/RECORDS").write_text("E00001\n")
    found = read_all(tmp_path)
    assert list(found) == ["A0002", "E00001"]
    for record, made in found.items():
        assert made.labels == recordings[record].labels


@pytest.mark.parametrize(
    ("record", "gain"),
    [("HR00001", "2000000/mV"), ("S0001", "200/mV"), ("E00001", "1000(4880)/mV")],
)
def test_the_wrong_headers_of_the_first_release_are_refused(
    twin: Path, tmp_path: Path, record: str, gain: str
) -> None:
    header = copy_record(twin, record, tmp_path)
    edit(header, "1000/mV", gain)
    (ref,) = Challenge().find([tmp_path])
    with pytest.raises(
        RecordError,
        match=rf"{record}\.hea: expected 1000/mV and baseline 0, found .* first release",
    ):
        Challenge().read(ref)


def test_other_tranches_keep_the_gain_that_they_state(twin: Path, tmp_path: Path) -> None:
    header = copy_record(twin, "Q0001", tmp_path)
    before = read_all(tmp_path)["Q0001"].signal("ecg").physical()
    edit(header, "1000/mV", "500/mV")
    after = read_all(tmp_path)["Q0001"].signal("ecg").physical()
    np.testing.assert_allclose(after, 2 * before, rtol=1e-6)


def test_damaged_records_say_what_is_wrong(twin: Path, tmp_path: Path) -> None:
    edit(copy_record(twin, "E00002", tmp_path), "#Age: ", "#Age: -")
    copy_record(twin, "E00003", tmp_path).unlink()
    copy_record(twin, "Q0002", tmp_path).with_suffix(".mat").unlink()
    refs = {ref.record: ref for ref in Challenge().find([tmp_path])}
    for record, message in (
        ("E00002", r"E00002\.hea: expected an age in years, found '-"),
        ("E00003", r"E00003\.hea: the header cannot be read"),
        ("Q0002", r"Q0002\.mat: the signal file cannot be read"),
    ):
        with pytest.raises(RecordError, match=message):
            Challenge().read(refs[record])
    # Headers that cannot be read say no codes, and stop no label set.
    assert Challenge().label_sets([tmp_path])["all"]


def test_two_copies_must_agree(twin: Path, tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    copy_record(twin, "A0001", a)
    header = copy_record(twin, "A0001", b)
    assert len(Challenge().find([a, b])) == 1
    edit(header, "#Sex: ", "#Sex: Fe")
    with pytest.raises(ValueError, match=r"record A0001 differs between .* of the Challenge"):
        Challenge().find([a, b])


def test_every_real_record_is_read() -> None:
    roots = real("challenge-2021")
    found = read_all(*roots)
    assert Counter(r.dataset for r in found.values()) == {
        "georgia": 28, "ningbo": 23, "chapman": 10, "cpsc2018": 7, "cpsc_extra": 5, "ptbxl": 3,
        "ptb": 1,
    }  # fmt: skip
    sets = Challenge().label_sets(roots)
    codes = {code for recording in found.values() for code in recording.labels}
    assert sets["all"] == {code: [code] for code in sorted(codes)}
    assert len(codes) == 42
    assert found["A1041"].labels == {"164889003": 100.0, "164909002": 100.0}
    assert found["E07521"].private == ("05-May-2020", "09:49:17")
    assert found["S0002"].signal("ecg").duration_s == 115.2


def test_real_ptbxl_copies_are_ptbxls_own() -> None:
    challenge, ptbxl = real("challenge-2021", "ptb-xl")
    copies = {ref.record: ref for ref in Challenge().find([challenge, ptbxl])}
    own = {ref.record: ref for ref in PTBXL().find([ptbxl])}
    for record in ("00008", "00009", "00010"):
        copy, first = Challenge().read(copies[record]), PTBXL().read(own[record])
        assert (copy.dataset, copy.record, copy.subject) == ("ptbxl", record, first.subject)
        np.testing.assert_array_equal(copy.signal("ecg").samples, first.signal("ecg").samples)
