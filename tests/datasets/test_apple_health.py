"""Apple Health: its XML with all that phones and strangers put into it, days, devices and stages."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from biofm.datasets import apple_export
from biofm.datasets.apple_export import clock, read_export
from biofm.datasets.apple_health import AppleHealth
from biofm.datasets.registry import RecordError, RecordRef
from biofm.datasets.simulate.apple_health_tree import write
from biofm.signals import Recording

WATCH = "&lt;&lt;HKDevice: 0x1&gt;, name:Apple Watch, model:Watch, hardware:Watch6,1&gt;"
PHONE = "&lt;&lt;HKDevice: 0x2&gt;, name:iPhone, model:iPhone&gt;"
DOCTYPE = """<!DOCTYPE HealthData [
<!-- HealthKit Export Version: 13 -->
<!ELEMENT HealthData (ExportDate,Me,(Record)*)>
<!ATTLIST HealthData
  locale CDATA #REQUIRED
>
]>"""
BOMB = """<!DOCTYPE HealthData [
<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">
]>"""


def record(
    kind: str,
    value: object,
    start: str,
    end: str = "",
    device: str = WATCH,
    name: str = "Ann’s Watch",
) -> str:
    """A Record; times without an offset are at +0100."""
    types = {"HeartRate": "count/min", "OxygenSaturation": "%", "StepCount": "count"}
    said = {
        "type": f"HK{'Quantity' if kind in types else 'Category'}TypeIdentifier{kind}",
        "sourceName": name,
        "device": device,
        **({"unit": types[kind]} if kind in types else {}),
        "startDate": start if len(start) > 20 else f"{start} +0100",
        "endDate": (end or start) if len(end or start) > 20 else f"{end or start} +0100",
        "value": f"HKCategoryValueSleepAnalysis{value}" if kind == "SleepAnalysis" else str(value),
    }
    return "<Record " + " ".join(f'{key}="{text}"' for key, text in said.items()) + "/>"


HEART = record("HeartRate", 61, "2023-01-05 13:00:00")


def xml(*records: str, doctype: str = DOCTYPE, birth: str = "1950-02-01", sex: str = "Male") -> str:
    return "\n".join(
        (
            '<?xml version="1.0" encoding="UTF-8"?>',
            doctype,
            '<HealthData locale="en_GB">',
            '<ExportDate value="2023-02-01 10:00:00 +0100"/>',
            f'<Me HKCharacteristicTypeIdentifierDateOfBirth="{birth}" '
            f'HKCharacteristicTypeIdentifierBiologicalSex="HKBiologicalSex{sex}"/>',
            *records,
            "</HealthData>",
        )
    )


def export(folder: Path, text: str | bytes) -> Path:
    """The export of one person, as it unpacks."""
    path = folder / "apple_health_export" / "export.xml"
    path.parent.mkdir(parents=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def days(tmp_path: Path, *records: str, **facts: Any) -> list[Recording]:
    """The recordings of an export with these records."""
    export(tmp_path / "ann", xml(*records, **facts))
    source = AppleHealth()
    return [source.read(ref) for ref in source.find([tmp_path])]


def series(recording: Recording, channel: str) -> tuple[list[float], list[float]]:
    """Times and values of a channel."""
    (found,) = [one for one in recording.series if one.channels == (channel,)]
    return found.times_s.tolist(), found.values[0].tolist()


def stages(recording: Recording) -> list[tuple[float, str]]:
    assert all(a.duration_s == 30 for a in recording.annotations)
    return [(a.onset_s, a.code.removeprefix("stage:")) for a in recording.annotations]


def refused(path: Path, message: str) -> None:
    """Reading the file raises an error that names it."""
    with pytest.raises(RecordError, match=message) as caught:
        read_export(path)
    assert str(caught.value).startswith(str(path))


def test_a_day_runs_from_noon_to_noon_and_shows_no_date(tmp_path: Path) -> None:
    first, second, third = days(
        tmp_path,
        record("HeartRate", 60, "2023-01-05 11:59:59"),
        record("HeartRate", 61, "2023-01-05 12:00:00"),
        record("HeartRate", 62, "2023-01-06 03:00:00"),
        # Two days later, and out of order.
        record("HeartRate", 64, "2023-01-08 12:00:10"),
        record("HeartRate", 63, "2023-01-08 12:00:05"),
        record("OxygenSaturation", 0.97, "2023-01-06 03:00:00", "2023-01-06 03:00:15"),
    )
    assert [r.record for r in (first, second, third)] == ["ann-0001", "ann-0002", "ann-0005"]
    assert {r.subject for r in (first, second, third)} == {"apple-ann"}
    assert series(first, "hr") == ([86_399], [60])
    assert series(second, "hr") == ([0, 54_000], [61, 62])
    assert series(second, "spo2")[0] == [54_000]
    assert series(second, "spo2")[1] == pytest.approx([97])
    assert series(third, "hr") == ([5, 10], [63, 64])
    assert (second.age, second.sex) == (72, "male")
    assert {"2023-01-05", "2023-01-06", "1950-02-01", "Ann’s Watch"} <= set(second.private)
    assert "2023" not in str(second)
    assert "1950" not in str(second)


def test_a_night_without_a_signal_is_no_recording(tmp_path: Path) -> None:
    night = record("SleepAnalysis", "AsleepREM", "2023-01-01 23:00:00", "2023-01-02 01:00:00")
    (only,) = days(tmp_path, night, HEART)
    assert only.record == "ann-0001"
    assert not only.annotations


def test_times_run_on_where_summer_time_ends(tmp_path: Path) -> None:
    # In the night to 30 October 2022 the clock was set back at 3:00 by an hour.
    (day,) = days(
        tmp_path,
        record("HeartRate", 60, "2022-10-30 02:30:00 +0200"),
        record("HeartRate", 61, "2022-10-30 02:30:00 +0100"),
        record("HeartRate", 62, "2022-10-30 11:00:00 +0100"),
    )
    assert series(day, "hr") == ([52_200, 55_800, 86_400], [60, 61, 62])


def test_steps_that_two_devices_counted_count_once(tmp_path: Path) -> None:
    (day,) = days(
        tmp_path,
        record(
            "StepCount", 500, "2023-01-05 13:00:00", "2023-01-05 13:10:00", PHONE, "Ann’s iPhone"
        ),
        record("StepCount", 300, "2023-01-05 13:01:00", "2023-01-05 13:05:00"),
        record("StepCount", 150, "2023-01-05 13:06:00", "2023-01-05 13:09:00"),
        record(
            "StepCount", 70, "2023-01-05 15:00:00", "2023-01-05 15:05:00", PHONE, "Ann’s iPhone"
        ),
        record("StepCount", 40, "2023-01-05 15:05:00", "2023-01-05 15:06:00", "", "Pedometer"),
        record("StepCount", 9999, "2023-01-05 15:04:00", "2023-01-05 15:06:00", "", "Pedometer"),
        record("StepCount", 8, "2023-01-05 17:00:00"),
        # The same record again, as from inside a Correlation; and one typed in for three days.
        "<Correlation>" + record("StepCount", 8, "2023-01-05 17:00:00") + "</Correlation>",
        record("StepCount", 30000, "2023-01-05 13:00:00", "2023-01-08 13:00:00"),
    )
    assert series(day, "steps")[1] == [300, 150, 70, 40, 8]
    assert day.series[0].spans_s is not None
    assert day.series[0].spans_s.tolist() == [240, 180, 300, 60, 1]
    # An app's name is nobody's.
    assert set(day.private) >= {"Ann’s Watch", "Ann’s iPhone"}
    assert "Pedometer" not in day.private


def test_a_heart_rate_near_a_better_devices_is_left_out_and_so_is_a_mean(tmp_path: Path) -> None:
    (day,) = days(
        tmp_path,
        record("HeartRate", 150, "2023-01-05 13:00:30", device="", name="Strap"),
        record("HeartRate", 100, "2023-01-05 13:00:00"),
        record("HeartRate", 151, "2023-01-05 13:01:00", device="", name="Strap"),
        record("HeartRate", 120, "2023-01-05 13:00:00", "2023-01-05 14:00:00"),
        record("HeartRate", 0, "2023-01-05 13:30:00"),
        record("HeartRate", "nan", "2023-01-05 13:31:00"),
    )
    assert series(day, "hr") == ([3600, 3660], [100, 151])


def test_stages_are_the_watchs_and_core_is_neither_n1_nor_n2(tmp_path: Path) -> None:
    night = [
        ("AsleepCore", "22:40:03", "22:41:33"),
        ("AsleepDeep", "22:41:33", "22:42:33"),
        ("AsleepREM", "22:42:33", "22:43:03"),
        ("Awake", "22:43:03", "22:44:03"),
        ("InBed", "22:30:00", "23:30:00"),
    ]
    watch = [
        record("SleepAnalysis", value, f"2023-01-05 {start}", f"2023-01-05 {end}")
        for value, start, end in night
    ]
    app = record("SleepAnalysis", "Asleep", "2023-01-05 22:00:00", "2023-01-06 08:00:00", "", "App")
    (day,) = days(tmp_path, HEART, *watch, app)
    bed_s = 10 * 3600 + 40 * 60.0
    assert stages(day) == [
        (bed_s, "light"),
        (bed_s + 30, "light"),
        (bed_s + 60, "light"),
        (bed_s + 90, "N3"),
        (bed_s + 120, "N3"),
        (bed_s + 150, "R"),
        (bed_s + 180, "W"),
        (bed_s + 210, "W"),
    ]


def test_sleep_without_stages_keeps_what_it_surrounds(tmp_path: Path) -> None:
    (day,) = days(
        tmp_path,
        HEART,
        record("SleepAnalysis", "AsleepUnspecified", "2023-01-05 23:00:00", "2023-01-05 23:02:00"),
        record("SleepAnalysis", "Awake", "2023-01-05 23:00:30", "2023-01-05 23:01:00"),
        record(
            "SleepAnalysis", "Asleep", "2023-01-05 23:30:00", "2023-01-05 23:30:30", PHONE, "iPhone"
        ),
    )
    assert [stage for _, stage in stages(day)] == ["asleep", "W", "asleep", "asleep"]


def test_no_label_set_has_five_classes() -> None:
    sets = AppleHealth().label_sets([])
    assert set(sets) == {"stages4", "stages3", "stages2"}
    in_sets = {
        name: {c for codes in classes.values() for c in codes} for name, classes in sets.items()
    }
    assert in_sets["stages4"] == in_sets["stages3"] == in_sets["stages2"] - {"stage:asleep"}


def test_the_zip_of_the_phone_is_read_without_unpacking(tmp_path: Path) -> None:
    content = xml(HEART).encode()
    others = {
        "apple_health_export/export_cda.xml": b"<x/>",
        "apple_health_export/workout-routes/r.gpx": b"",
    }
    zipped(tmp_path / "eve.zip", {"apple_health_export/export.xml": content, **others})
    # Phones in other languages name the file in theirs.
    zipped(tmp_path / "li" / "export.zip", {"apple_health_export/导出.xml": content, **others})
    zipped(tmp_path / "photos.zip", {"a.jpg": b""})
    refs = AppleHealth().find([tmp_path])
    assert [(ref.record, ref.subject) for ref in refs] == [
        ("eve-0001", "apple-eve"),
        ("li-0001", "apple-li"),
    ]
    assert all(series(AppleHealth().read(ref), "hr") == ([3600], [61]) for ref in refs)
    assert {path.name for path in tmp_path.iterdir()} == {"eve.zip", "li", "photos.zip"}


def test_two_exports_of_one_name_are_an_error(tmp_path: Path) -> None:
    export(tmp_path / "ann", xml(HEART))
    zipped(tmp_path / "ann.zip", {"apple_health_export/export.xml": xml(HEART).encode()})
    with pytest.raises(ValueError, match=r"would both be the subject 'ann'.*rename one"):
        AppleHealth().find([tmp_path])


def test_an_export_that_cannot_be_read_is_one_bad_record(tmp_path: Path) -> None:
    export(tmp_path / "bad", xml(HEART)[:-20])
    export(tmp_path / "good", xml(HEART))
    bad, good = AppleHealth().find([tmp_path])
    assert (bad.record, good.record) == ("bad", "good-0001")
    with pytest.raises(RecordError, match="expected XML as the Health app writes it"):
        AppleHealth().read(bad)
    assert AppleHealth().read(good).record == "good-0001"


def test_a_changed_export_is_read_anew(tmp_path: Path) -> None:
    path = export(tmp_path / "ann", xml(HEART))
    (ref,) = AppleHealth().find([tmp_path])
    assert series(AppleHealth().read(ref), "hr")[1] == [61]
    path.write_text(xml(HEART.replace('"61"', '"166"')))
    os.utime(path, ns=(1, 1))
    assert series(AppleHealth().read(ref), "hr")[1] == [166]
    gone = RecordRef(ref.record, ref.subject, ref.path, facts={"day": 99})
    with pytest.raises(RecordError, match="no record of day 99"):
        AppleHealth().read(gone)


@pytest.mark.parametrize(
    "doctype",
    [
        DOCTYPE,
        "",
        # iOS 16 forgot a bracket; expat refuses it: "syntax error".
        DOCTYPE.replace("]>", "<!ATTLIST VisionPrescription\n  brand CDATA #IMPLIED\n<!ELEMENT Eye EMPTY>\n]>"),
    ],
    ids=["as declared", "without", "malformed by iOS 16"],
)  # fmt: skip
def test_the_document_type_inside_the_file_is_accepted(tmp_path: Path, doctype: str) -> None:
    records = read_export(export(tmp_path, xml(HEART, doctype=doctype))).records
    assert records["value"].to_list() == [61]


@pytest.mark.parametrize(
    "doctype",
    [
        BOMB,
        '<!DOCTYPE HealthData [ <!ENTITY x SYSTEM "file:///etc/passwd"> ]>',
        '<!DOCTYPE HealthData [ <!ENTITY % p SYSTEM "http://localhost:1/x.dtd"> %p; ]>',
        "<!DOCTYPE HealthData [ <!ENTITY % p \"<!ENTITY q 'r'>\"> %p; ]>",
        '<!DOCTYPE HealthData SYSTEM "http://localhost:1/x.dtd">',
        '<!DOCTYPE HealthData PUBLIC "a" "http://localhost:1/x.dtd" [ <!ELEMENT Me EMPTY> ]>',
    ],
    ids=["bomb", "external", "parameter", "parameter inside", "system", "public"],
)
def test_entities_and_external_document_types_are_refused(tmp_path: Path, doctype: str) -> None:
    refused(
        export(tmp_path / "1", xml(HEART, doctype=doctype)),
        "declares entities or refers to another",
    )
    zipped(tmp_path / "2.zip", {"a/export.xml": xml(HEART, doctype=doctype).encode()})
    refused(tmp_path / "2.zip", "do not trust this file")


def test_what_would_get_past_the_document_type_is_refused_by_the_parser(tmp_path: Path) -> None:
    # A root in a comment hides the end of the document type; what follows is then outside of one.
    hidden = '<!DOCTYPE HealthData [ <!-- <HealthData > --> <!ENTITY x "y"> ]>'
    refused(export(tmp_path / "1", xml(HEART, doctype=hidden)), "expected XML")
    after = xml(HEART).replace("<ExportDate", '<!DOCTYPE x [ <!ENTITY y "z"> ]><ExportDate')
    refused(export(tmp_path / "2", after), "expected XML")
    undefined = xml(HEART.replace('"61"', '"&lol;"'))
    refused(export(tmp_path / "3", undefined), "undefined entity")
    utf16 = xml(HEART, doctype=BOMB).replace("UTF-8", "UTF-16").encode("utf-16")
    refused(export(tmp_path / "4", utf16), "found other content")


def test_control_characters_become_blanks(tmp_path: Path) -> None:
    text = xml(record("HeartRate", 61, "2023-01-05 13:00:00", name="Ann\x0bs\x00 Watch"))
    (device,) = read_export(export(tmp_path, text)).devices
    assert device.name == "Ann s  Watch"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (HEART.replace('"61"', '"high"'), "line 13: expected hr as a number, found 'high'"),
        (
            HEART.replace("count/min", "count/s"),
            "line 13: expected hr in count/min, found 'count/s'",
        ),
        (
            HEART.replace("2023-01-05 13", "2023-13-05 13"),
            "line 13: expected startDate and endDate as",
        ),
        (HEART.replace(" +0100", ""), "line 13: expected startDate and endDate as"),
        (HEART.replace("startDate", "begin"), "line 13: expected startDate and endDate as"),
        (
            record("SleepAnalysis", "AsleepDreaming", "2023-01-05 23:00:00"),
            "line 13: expected sleep as HKCategoryValueSleepAnalysis and one of InBed, .*AsleepDreaming",
        ),
        ("<Record ", "line 14: expected XML as the Health app writes it"),
    ],
)
def test_a_damaged_record_is_named_with_its_line(tmp_path: Path, bad: str, message: str) -> None:
    refused(export(tmp_path, xml(HEART, bad)), message)


def test_facts_that_are_none_are_refused_or_unknown(tmp_path: Path) -> None:
    (day,) = days(tmp_path / "1", HEART, birth="", sex="NotSet")
    assert (day.age, day.sex) == (None, None)
    (old,) = days(tmp_path / "2", HEART, birth="1910-01-01", sex="Female")
    assert (old.age, old.sex) == (90, "female")
    for number, birth in enumerate(("tomorrow", "2099-01-01")):
        with pytest.raises(RecordError, match="expected a date of birth"):
            days(tmp_path / f"bad{number}", HEART, birth=birth)


def test_other_files_of_that_name_say_what_they_lack(tmp_path: Path) -> None:
    refused(export(tmp_path / "1", "<ClinicalDocument/>"), "expected <HealthData …>")
    refused(export(tmp_path / "2", b""), "expected <HealthData …>")
    refused(export(tmp_path / "3", b" " * (3 << 20)), "expected <HealthData …>")
    refused(tmp_path / "absent.xml", "cannot be read")
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 and then nothing")
    refused(tmp_path / "broken.zip", "cannot be read")
    two = {"a/export.xml": b"<a/>", "a/other.xml": b"<b/>"}
    refused(zipped(tmp_path / "two.zip", two), "expected one apple_health_export/export.xml")
    export(tmp_path / "empty", xml())
    (ref,) = AppleHealth().find([tmp_path / "empty"])
    with pytest.raises(RecordError, match="no heart rate, oxygen saturation or steps"):
        AppleHealth().read(ref)


def test_a_zip_that_unfolds_too_far_is_refused_before_it_does(tmp_path: Path) -> None:
    bomb = xml(HEART).encode() + b" " * (64 << 20)
    refused(
        zipped(tmp_path / "bomb.zip", {"a/export.xml": bomb}),
        "unfolds from .* which no export does",
    )


def test_size_nesting_and_what_the_parser_holds_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = xml("<a>" * 100 + "</a>" * 100)
    refused(export(tmp_path / "1", deep), "nested more than 64 deep")
    monkeypatch.setattr(apple_export, "MAX_ELEMENT_BYTES", 1 << 18)
    refused(
        export(tmp_path / "2", xml("<!--" + "x" * (1 << 19) + "-->", HEART)),
        "no element begins within",
    )
    monkeypatch.setattr(apple_export, "MAX_DEVICES", 2)
    many = [record("HeartRate", 60, "2023-01-05 13:00:00", name=f"w{i}") for i in range(3)]
    refused(export(tmp_path / "3", xml(*many)), "more than 2 sources")
    monkeypatch.setattr(apple_export, "MAX_XML_BYTES", 100)
    refused(export(tmp_path / "4", xml(HEART)), "larger than 100 bytes")


def test_elements_do_not_stay_in_memory(tmp_path: Path) -> None:
    """Ten times the file takes the same memory, as far as Python's allocator sees it."""
    import tracemalloc

    peaks = []
    for times in (2_000, 20_000):
        step = HEART.replace("HeartRate", "BasalEnergyBurned")
        path = export(tmp_path / str(times), xml(HEART, *[step] * times))
        tracemalloc.start()
        read_export(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 500_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01 00:00:00 +0000", (0, 0)),
        ("1970-01-02 00:00:01 +0130", (86_401 - 5400, 5400)),
        ("1969-12-31 23:00:00 -0330", (-3600 + 12_600, -12_600)),
        ("2024-02-29 12:00:00 +0545", (1_709_208_000 - 20_700, 20_700)),
    ],
)
def test_the_clock_is_read_with_its_offset(text: str, expected: tuple[int, int]) -> None:
    assert clock(text) == expected


def test_the_twin_is_read_as_planted(tmp_path: Path) -> None:
    def shown(items: Iterable[Any]) -> Iterable[Any]:
        return items

    truth = {row["record"]: row for row in write(tmp_path, 2, 11, shown)}
    source = AppleHealth()
    refs = source.find([tmp_path])
    assert [ref.record for ref in refs] == sorted(truth)
    assert {ref.path.suffix for ref in refs} == {".xml", ".zip"}
    for ref in refs:
        row, recording = truth[ref.record], source.read(ref)
        assert (recording.subject, recording.age, recording.sex) == (
            row["subject"],
            row["age"],
            row["sex"],
        )
        assert stages(recording) == [
            (row["bed_s"] + 30 * epoch, stage) for epoch, stage in enumerate(row["stages"])
        ]
        assert sum(series(recording, "steps")[1]) == row["steps"]
        times_s, bpm = map(np.array, series(recording, "hr"))
        epochs = ((times_s - row["bed_s"]) // 30).astype(int)
        asleep = epochs >= 0
        assert asleep.sum() > 200
        planted = np.array(row["heart_bpm"])[epochs[asleep]]
        assert np.abs(bpm[asleep] - planted).mean() < 2
        assert all(0 < value <= 100 for value in series(recording, "spo2")[1])


def test_the_twins_zip_is_the_same_whenever_it_is_written(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, 2, 5, lambda items: items)
        contents.append((tmp_path / name / "person-0002.zip").read_bytes())
    assert contents[0] == contents[1]
    assert zipfile.is_zipfile(io.BytesIO(contents[0]))


@pytest.mark.parametrize("time", ["2019-04-09 07:23+01 +0100", "09.04.2019 07:23:41 +0100"])
def test_a_damaged_time_is_refused_and_not_told(tmp_path: Path, time: str) -> None:
    path = export(tmp_path / "ann", xml(HEART, record("HeartRate", 61, time)))
    with pytest.raises(RecordError, match="line 13: expected startDate and endDate") as error:
        read_export(path)
    assert time[:10] not in str(error.value)


@pytest.mark.parametrize("birth", ["1950/02/01", "1950-02-31", "2050-02-01"])
def test_a_damaged_date_of_birth_is_refused_and_not_told(tmp_path: Path, birth: str) -> None:
    with pytest.raises(RecordError, match="expected a date of birth") as error:
        days(tmp_path, HEART, birth=birth)
    assert birth not in str(error.value)


def test_of_a_long_name_the_beginning_is_kept(tmp_path: Path) -> None:
    (recording,) = days(tmp_path, record("HeartRate", 61, "2023-01-05 13:00:00", name="A" * 9999))
    assert "A" * 200 in recording.private


@pytest.mark.parametrize(("at", "byte"), [(6, 200), (9, 8)])
def test_a_zip_of_another_version_or_name_is_one_bad_record(
    tmp_path: Path, at: int, byte: int
) -> None:
    path = zipped(tmp_path / "ann.zip", {"apple_health_export/export.xml": xml(HEART).encode()})
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + at] = byte  # the version that it needs, or that its name is UTF-8
    content[content.index(b"apple", entry)] = 0xFF
    path.write_bytes(content)
    (ref,) = AppleHealth().find([tmp_path])
    with pytest.raises(RecordError, match=r"ann\.zip: "):
        AppleHealth().read(ref)
