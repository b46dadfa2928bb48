"""PTB-XL: its tables, label sets and folds, and every way in which a record can be damaged."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biofm.datasets.ptbxl import PTBXL, parse_codes
from biofm.datasets.registry import RecordError, RecordRef
from biofm.signals import LEADS_12

DATA = Path(os.environ.get("BIOFM_DATA", "/nowhere"))

STATEMENTS = """,description,diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass
NDT,non-diagnostic T abnormalities,1.0,1.0,,STTC,STTC
IMI,inferior infarction,1.0,,,MI,IMI
ILMI,inferolateral infarction,1.0,,,MI,IMI
NORM,normal,1.0,,,NORM,NORM
ABQRS,abnormal QRS,,1.0,,,
SR,sinus rhythm,,,1.0,,
"""
ROWS = {
    9: ("18792.0", "55.0", "0", "2.0,AT-6 C", "{'NORM': 100.0, 'SR': 0.0}", "10"),
    8: ("11275.0", "300.0", "1", "0.0,CS-12   E", "{'IMI': 35.0, 'ABQRS': 0.0, 'SR': 0.0}", "9"),
    21837: ("11275.0", "", "", ",", "{}", "9"),
}


def write_record(path: Path, rate_hz: int, leads: tuple[str, ...] = LEADS_12) -> None:
    """A record of one second, in upper-case lead names as PTB-XL has them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = np.random.default_rng(0).integers(-999, 999, (rate_hz, len(leads))).astype("<i2")
    frames.tofile(f"{path}.dat")
    sums = frames.sum(axis=0, dtype=np.int16)
    lines = [f"{path.name} {len(leads)} {rate_hz} {rate_hz}"] + [
        f"{path.name}.dat 16 1000.0(0)/mV 16 0 {first} {total & 0xFFFF} 0 {lead.upper()}"
        for first, total, lead in zip(frames[0], sums.tolist(), leads, strict=True)
    ]
    Path(f"{path}.hea").write_text("\n".join(lines) + "\n")


def write_tree(
    root: Path, ecg_ids: tuple[int, ...] = tuple(ROWS), rates_hz: tuple[int, ...] = (100, 500)
) -> Path:
    """The rows of ROWS named by `ecg_ids`, with signals at the given rates."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "scp_statements.csv").write_text(STATEMENTS)
    lines = [
        "ecg_id,patient_id,age,sex,site,device,report,scp_codes,strat_fold,filename_lr,filename_hr"
    ]
    for ecg_id in ecg_ids:
        patient, age, sex, place, codes, fold = ROWS[ecg_id]
        low, high = (
            f"records{rate}/{ecg_id // 1000:02d}000/{ecg_id:05d}_{end}"
            for rate, end in ((100, "lr"), (500, "hr"))
        )
        lines.append(
            f'{ecg_id},{patient},{age},{sex},{place},"Herr Maier, geb. 1940","{codes}",{fold},{low},{high}'
        )
        for rate_hz, file in ((100, low), (500, high)):
            if rate_hz in rates_hz:
                write_record(root / file, rate_hz)
    (root / "ptbxl_database.csv").write_text("\n".join(lines) + "\n")
    return root


def refs_by_record(root: Path) -> dict[str, RecordRef]:
    return {ref.record: ref for ref in PTBXL().find([root])}


def test_real_counts_and_label_sets() -> None:
    root = DATA / "ptb-xl"
    if not root.is_dir():
        pytest.skip("needs PTB-XL: set BIOFM_DATA to a folder that holds ptb-xl")
    refs = PTBXL().find([root])
    assert len(refs) == 192
    assert len({ref.subject for ref in refs}) == 182
    assert {ref.fold for ref in refs} == set(range(1, 11))
    sets = PTBXL().label_sets([root])
    assert {name: len(classes) for name, classes in sets.items()} == {
        "all": 71,
        "diagnostic": 44,
        "subdiagnostic": 23,
        "superdiagnostic": 5,
        "form": 19,
        "rhythm": 12,
    }
    assert sorted(sets["superdiagnostic"]) == ["CD", "HYP", "MI", "NORM", "STTC"]
    assert sum(len(codes) for codes in sets["superdiagnostic"].values()) == 44
    assert sum(len(codes) for codes in sets["subdiagnostic"].values()) == 44


def test_a_real_record_at_both_rates() -> None:
    root = DATA / "ptb-xl"
    if not root.is_dir():
        pytest.skip("needs PTB-XL: set BIOFM_DATA to a folder that holds ptb-xl")
    high = {ref.record: ref for ref in PTBXL().find([root])}["00008"]
    low = {ref.record: ref for ref in PTBXL(records="records100").find([root])}["00008"]
    recordings = [PTBXL().read(high), PTBXL().read(low)]
    for recording, rate_hz in zip(recordings, (500, 100), strict=True):
        assert recording.subject == "ptbxl-11275"
        assert recording.labels == {"IMI": 35.0, "ABQRS": 0.0, "SR": 0.0}
        assert (recording.age, recording.sex, recording.fold) == (48.0, "male", 9)
        assert (recording.device, recording.site) == ("CS-12 E", "ptbxl-site-0")
        signal = recording.signal("ecg")
        assert (signal.rate_hz, signal.duration_s) == (rate_hz, 10.0)
        lead_i, lead_ii, lead_iii = signal.select(("I", "II", "III")).physical()
        # Einthoven's law, as far as the file's steps of 1 µV let it hold.
        np.testing.assert_allclose(lead_i + lead_iii, lead_ii, atol=0.003)


def test_facts_of_a_record(tmp_path: Path) -> None:
    refs = refs_by_record(write_tree(tmp_path))
    assert list(refs) == ["00008", "00009", "21837"]
    assert refs["00008"].path == tmp_path / "records500/00000/00008_hr"
    recording = PTBXL().read(refs["00008"])
    assert recording.subject == "ptbxl-11275"
    assert recording.age == 90.0  # 300 in the table
    assert recording.sex == "female"
    assert (recording.device, recording.site) == ("CS-12 E", "ptbxl-site-0")
    assert recording.fold == 9
    assert recording.labels == {"IMI": 35.0, "ABQRS": 0.0, "SR": 0.0}
    empty = PTBXL().read(refs["21837"])
    assert (empty.age, empty.sex, empty.labels) == (None, None, {})
    assert (empty.device, empty.site) == (None, None)


def test_names_and_reports_are_not_kept(tmp_path: Path) -> None:
    for ref in PTBXL().find([write_tree(tmp_path)]):
        assert "Maier" not in repr(ref) + repr(PTBXL().read(ref))


def test_label_sets(tmp_path: Path) -> None:
    assert PTBXL().label_sets([write_tree(tmp_path)]) == {
        "all": {code: [code] for code in ("ABQRS", "ILMI", "IMI", "NDT", "NORM", "SR")},
        "diagnostic": {code: [code] for code in ("ILMI", "IMI", "NDT", "NORM")},
        "subdiagnostic": {"IMI": ["ILMI", "IMI"], "NORM": ["NORM"], "STTC": ["NDT"]},
        "superdiagnostic": {"MI": ["ILMI", "IMI"], "NORM": ["NORM"], "STTC": ["NDT"]},
        "form": {"ABQRS": ["ABQRS"], "NDT": ["NDT"]},
        "rhythm": {"SR": ["SR"]},
    }


def test_which_rate_is_read(tmp_path: Path) -> None:
    both = write_tree(tmp_path / "both")
    low = write_tree(tmp_path / "low", rates_hz=(100,))
    none = write_tree(tmp_path / "none", rates_hz=())
    rates_hz = {
        (root.name, source.records): source.read(source.find([root])[0]).signals[0].rate_hz
        for root, source in ((both, PTBXL()), (both, PTBXL("records100")), (low, PTBXL()))
    }
    assert rates_hz == {("both", None): 500, ("both", "records100"): 100, ("low", None): 100}
    with pytest.raises(FileNotFoundError, match="no folder records500; download"):
        PTBXL("records500").find([low])
    with pytest.raises(FileNotFoundError, match="no folder records500 or records100"):
        PTBXL().find([none])


def test_roots_merge(tmp_path: Path) -> None:
    a = write_tree(tmp_path / "a", (8, 9))
    b = write_tree(tmp_path / "deep" / "files" / "1.0.3", (9, 21837))
    (a / "records500/00000/00009_hr.hea").unlink()
    refs = {ref.record: ref for ref in PTBXL().find([a, tmp_path / "deep"])}
    assert list(refs) == ["00008", "00009", "21837"]
    assert refs["00009"].path == b / "records500/00000/00009_hr"  # the copy that is there
    assert PTBXL().label_sets([a, b]) == PTBXL().label_sets([a])


@pytest.mark.parametrize(("was", "now"), [("18792.0", "18793.0"), ("'SR': 0.0", "'SR': 1.0")])
def test_roots_that_disagree(tmp_path: Path, was: str, now: str) -> None:
    a, b = write_tree(tmp_path / "a"), write_tree(tmp_path / "b", (9,))
    table = b / "ptbxl_database.csv"
    table.write_text(table.read_text().replace(was, now))
    with pytest.raises(ValueError, match=r"record 00009: the tables that list .* differ"):
        PTBXL().find([a, b])
    (b / "scp_statements.csv").write_text(STATEMENTS.replace("SR,", "SX,"))
    with pytest.raises(ValueError, match="one version of PTB-XL"):
        PTBXL().label_sets([a, b])


def truncate(path: Path) -> None:
    data = Path(f"{path}.dat").read_bytes()
    Path(f"{path}.dat").write_bytes(data[: len(data) // 2])


def change_a_sample(path: Path) -> None:
    data = bytearray(Path(f"{path}.dat").read_bytes())
    data[777] ^= 4
    Path(f"{path}.dat").write_bytes(data)


def all_missing(path: Path) -> None:
    Path(f"{path}.dat").write_bytes(b"\x00\x80" * (500 * 12))
    header = Path(f"{path}.hea").read_text().split("\n")
    # The sum of an even number of -32768 is 0 in 16 bits.
    lines = [
        " ".join([*line.split()[:5], "-32768", "0", "0", line.split()[8]]) for line in header[1:13]
    ]
    Path(f"{path}.hea").write_text("\n".join([header[0], *lines]))


def scramble_header(path: Path) -> None:
    Path(f"{path}.hea").write_bytes(bytes(range(255, -1, -1)))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, r"00009_hr\.dat: expected 500 samples .*found 250.*cut short; get"),
        (change_a_sample, r"00009_hr\.dat: for channel .* states checksum .*damaged.*; get"),
        (all_missing, "00009_hr: every sample is missing .NaN.; leave"),
        (scramble_header, r"00009_hr\.hea: .*expected a WFDB record line.*; get"),
        (lambda path: Path(f"{path}.hea").unlink(), r"00009_hr\.hea: .*No such file.*download"),
        (lambda path: Path(f"{path}.dat").unlink(), r"00009_hr\.dat: .*No such file.*get"),
        (
            lambda path: write_record(path, 500, LEADS_12[:-1]),
            r"00009_hr\.hea: expected the 12 leads .*found 11.*missing: \['V6'\]",
        ),
        (
            lambda path: write_record(path, 500, (*LEADS_12[:-1], "V9")),
            r"00009_hr\.hea: unknown ecg channel name 'V9'; known: \['I', 'II'",
        ),
    ],
)
def test_a_damaged_record_is_found_and_refused_by_name(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    root = write_tree(tmp_path)
    damage(root / "records500/00000/00009_hr")
    refs = refs_by_record(root)
    assert list(refs) == ["00008", "00009", "21837"]
    with pytest.raises(RecordError, match=message):
        PTBXL().read(refs["00009"])
    PTBXL().read(refs["00008"])


@pytest.mark.parametrize(
    ("was", "now", "message"),
    [
        (
            "'NORM': 100.0",
            "'NORM': open('x')",
            "00009_hr: its row in ptbxl_database.csv.*scp_codes",
        ),
        (",55.0,", ",old,", "00009_hr: its row in ptbxl_database.csv: expected an age"),
        ("55.0,0,", "55.0,7,", "expected male, female or unknown, found '7'"),
    ],
)
def test_an_unreadable_row_is_refused_by_name(
    tmp_path: Path, was: str, now: str, message: str
) -> None:
    table = write_tree(tmp_path) / "ptbxl_database.csv"
    assert was in table.read_text()
    table.write_text(table.read_text().replace(was, now))
    with pytest.raises(RecordError, match=message):
        PTBXL().read(refs_by_record(tmp_path)["00009"])


@pytest.mark.parametrize(
    ("was", "now", "message"),
    [
        ("18792.0", "", "ecg_id '9': could not convert"),
        ("18792.0", "1.5", "ecg_id '9': expected a whole number, found '1.5'"),
        ("records500/00000/00009", "../../etc/00009", "ecg_id '9': expected a path below"),
        ("records500/00000/00009", "/etc/00009", "ecg_id '9': expected a path below"),
        ("strat_fold", "fold", "expected a CSV with the columns"),
    ],
)
def test_a_table_that_cannot_be_planned_from(
    tmp_path: Path, was: str, now: str, message: str
) -> None:
    table = write_tree(tmp_path) / "ptbxl_database.csv"
    table.write_text(table.read_text().replace(was, now))
    with pytest.raises(ValueError, match=message):
        PTBXL().find([tmp_path])


def test_missing_statements_are_named(tmp_path: Path) -> None:
    (write_tree(tmp_path) / "scp_statements.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"scp_statements\.csv: no such file"):
        PTBXL().label_sets([tmp_path])


def test_real_damage(tmp_path: Path) -> None:
    """A truncated copy of a real record, in a copy of the real table."""
    root = DATA / "ptb-xl"
    if not root.is_dir():
        pytest.skip("needs PTB-XL: set BIOFM_DATA to a folder that holds ptb-xl")
    shutil.copy(root / "ptbxl_database.csv", tmp_path)
    ref = PTBXL().find([root])[0]
    file = tmp_path / ref.path.relative_to(root)
    file.parent.mkdir(parents=True)
    shutil.copy(f"{ref.path}.hea", file.parent)
    Path(f"{file}.dat").write_bytes(Path(f"{ref.path}.dat").read_bytes()[:-1])
    refs = PTBXL().find([tmp_path])
    assert len(refs) == 192
    with pytest.raises(RecordError, match="found 4999: the file is cut short"):
        PTBXL().read(refs[0])
    with pytest.raises(RecordError, match="No such file"):
        PTBXL().read(refs[1])


@given(st.text() | st.from_regex(r"\{'[A-Z]{1,5}': .{0,10}\}"))
def test_codes_are_a_table_of_likelihoods_or_an_error(text: str) -> None:
    try:
        codes = parse_codes(text)
    except ValueError:
        return
    assert all(0 <= value <= 100 for value in codes.values())


@pytest.mark.parametrize(
    "text", ["[" * 5_000, "{'A': 101}", "{'A': '1'}", "{1: 1}", "['A']", "{[]: 1}", "{" * 20_000]
)
def test_hostile_codes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected scp_codes"):
        parse_codes(text)
