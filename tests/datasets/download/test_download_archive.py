"""Data sets that come as a zip: fetched, checked, unpacked; and zips that would do harm."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import shutil
import stat
import struct
import zipfile
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from biofm.datasets.download import DownloadError, download
from biofm.datasets.download.catalogue import CATALOGUE, ZipArchive

FILES = {
    f"WESAD/S{person}/S{person}{end}": f"{person}{end}".encode() * 5000
    for person in (2, 3, 10)
    for end in (".pkl", "_quest.csv")
} | {"WESAD/wesad_readme.pdf": b"%PDF"}

Put = Callable[..., Any]


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        archive.mkdir("WESAD")
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


@pytest.fixture
def put(site: Any, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Publishes a zip as WESAD's, with what the catalogue says of it changed."""

    def put(content: bytes, **changes: Any) -> Any:
        known = CATALOGUE["wesad"]
        assert isinstance(known, ZipArchive)
        facts = {"total_bytes": len(content), "unpacked_bytes": 1_000_000, **changes}
        monkeypatch.setitem(CATALOGUE, "wesad", dataclasses.replace(known, **facts))
        site.files[known.path] = content
        return site

    return put


def get(site: Any, out: Path, **options: Any) -> Path:
    return download("wesad", out, base_url=site.address, progress=False, **options)


def held(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name != ".biofm-download.jsonl"
    }


def test_a_zip_is_unpacked_and_removed_and_not_fetched_again(
    put: Put, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = put(zipped(FILES))
    out = download("wesad", tmp_path / "out", base_url=site.address)
    assert held(out) == FILES
    assert "no checksum of WESAD.zip is published: the zip's own CRCs are verified" in (
        capsys.readouterr().out
    )
    site.log.clear()
    get(site, out)
    assert site.log == []
    (out / "WESAD/S2/S2.pkl").unlink()
    get(site, out)
    assert held(out) == FILES
    assert len(site.log) == 1


def test_a_known_checksum_is_held_against_the_zip(put: Put, tmp_path: Path) -> None:
    content = zipped(FILES)
    site = put(content, sha256=hashlib.sha256(content).hexdigest())
    assert held(get(site, tmp_path / "out")) == FILES
    put(zipped({"WESAD/x": b"other"}), sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(
        DownloadError, match=r"WESAD\.zip: expected sha256:.*, found sha256:.*, twice"
    ):
        get(site, tmp_path / "new")
    assert held(tmp_path / "new") == {}


def test_a_zip_in_a_zip_is_unpacked(put: Put, tmp_path: Path) -> None:
    outer = zipped({"data.zip": zipped(FILES), "readme.txt": b"read me"})
    out = get(put(outer, inner="data.zip"), tmp_path / "out")
    assert held(out) == FILES | {"readme.txt": b"read me"}
    with pytest.raises(DownloadError, match=r"expected other\.zip in it"):
        get(put(outer, inner="other.zip"), tmp_path / "new")


def test_some_people_are_unpacked_in_the_order_of_their_numbers(put: Put, tmp_path: Path) -> None:
    out = get(put(zipped(FILES)), tmp_path / "out", records=2)
    assert set(held(out)) == {name for name in FILES if "S10" not in name}
    get(put(zipped(FILES)), out, only="*.pkl")
    assert set(held(out)) == {name for name in FILES if "S10_quest" not in name}


def test_a_zip_that_is_here_already_is_used(put: Put, tmp_path: Path) -> None:
    site = put(zipped(FILES))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "WESAD.zip").write_bytes(zipped(FILES))
    assert held(get(site, tmp_path / "out")) == FILES
    assert site.log == []


def test_files_that_are_here_already_are_verified_and_never_written_over(
    put: Put, tmp_path: Path
) -> None:
    site, out = put(zipped(FILES)), tmp_path / "out"
    (out / "WESAD/S2").mkdir(parents=True)
    (out / "WESAD/S2/S2.pkl").write_bytes(FILES["WESAD/S2/S2.pkl"])
    before = (out / "WESAD/S2/S2.pkl").stat().st_ino
    assert held(get(site, out)) == FILES
    assert (out / "WESAD/S2/S2.pkl").stat().st_ino == before
    (tmp_path / "new/WESAD/S2").mkdir(parents=True)
    (tmp_path / "new/WESAD/S2/S2.pkl").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"S2\.pkl is not the file of that name in the zip"):
        get(site, tmp_path / "new")
    assert (tmp_path / "new/WESAD/S2/S2.pkl").read_bytes() == b"mine"


def test_a_long_answer_of_unknown_length_is_taken(put: Put, tmp_path: Path) -> None:
    content = zipped(FILES, zipfile.ZIP_STORED)
    site = put(content)

    def chunked(request: Any, _: bytes) -> bool:
        """UCI's way: no length, and no way to resume."""
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        for start in range(0, len(content), 10_000):
            piece = content[start : start + 10_000]
            request.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            if site.faults["broken"]:
                site.faults["broken"].pop()
                request.close_connection = True
                return True
        request.wfile.write(b"0\r\n\r\n")
        return True

    site.faults["broken"] = [chunked]
    site.faults["s/HGdUkoNlW1Ub0Gx/download"] = [chunked] * 2
    assert held(get(site, tmp_path / "out")) == FILES
    assert [asked.headers.get("Range") for asked in site.log] == [None, None]


@pytest.mark.parametrize(
    "name",
    ["../x.pkl", "/x.pkl", "WESAD/../../x", "C:/x.pkl", "WESAD\\..\\..\\x", "WESAD/x\x00.pkl",
     "a\nb.pkl", ".biofm-download.jsonl"],
)  # fmt: skip
def test_a_member_cannot_be_written_elsewhere(put: Put, tmp_path: Path, name: str) -> None:
    content = zipped({"WESAD/S2/S2.pkl": b"x", "NAME".ljust(len(name), "_"): b"evil"})
    content = content.replace("NAME".ljust(len(name), "_").encode(), name.encode())
    with pytest.raises(DownloadError, match=r"expected a plain path .*nothing of it was unpacked"):
        get(put(content), tmp_path / "out")
    assert set(held(tmp_path / "out")) <= {"WESAD.zip"}
    assert not (tmp_path / "x").exists()


def linked(archive: zipfile.ZipFile) -> None:
    link = zipfile.ZipInfo("WESAD/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(link, "/etc")


def doubled(archive: zipfile.ZipFile) -> None:
    archive.writestr("WESAD/a", "1")
    with pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("WESAD/a", "2")


def bomb(archive: zipfile.ZipFile) -> None:
    archive.writestr("WESAD/zeros", bytes(2_000_000))


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (linked, "found a link or device 'WESAD/link'; nothing of it was unpacked"),
        (doubled, "'WESAD/a' is in it twice"),
        (bomb, r"expected at most 1\.5 MB unpacked, and it declares 2\.0 MB"),
    ],
)
def test_a_hostile_zip_is_refused(
    put: Put, tmp_path: Path, fill: Callable[[zipfile.ZipFile], None], message: str
) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        fill(archive)
    with pytest.raises(DownloadError, match=message):
        get(put(made.getvalue()), tmp_path / "out")
    assert set(held(tmp_path / "out")) == {"WESAD.zip"}


def test_a_zip_that_lies_about_a_size_is_damaged(put: Put, tmp_path: Path) -> None:
    """Two million zeros declared as ten: no more than ten are unpacked, and their CRC is wrong."""
    content = bytearray(zipped({"WESAD/zeros": bytes(2_000_000)}))
    entry = content.rindex(b"PK\x01\x02")
    struct.pack_into("<I", content, entry + 24, 10)
    with pytest.raises(DownloadError, match=r"WESAD\.zip: damaged .*remove it and run"):
        get(put(bytes(content)), tmp_path / "out")
    assert set(held(tmp_path / "out")) == {"WESAD.zip"}


def test_members_that_share_their_bytes_are_a_bomb(put: Put, tmp_path: Path) -> None:
    content = bytearray(zipped({f"WESAD/{n}": bytes(range(256)) * 50 for n in range(3)}))
    at = content.index(b"PK\x01\x02")
    while (at := content.find(b"PK\x01\x02", at + 1)) > 0:
        struct.pack_into("<I", content, at + 20, len(content) // 2 + 1)
    with pytest.raises(DownloadError, match="its members overlap"):
        get(put(bytes(content)), tmp_path / "out")


def test_a_damaged_member_is_found_by_its_crc_and_keeps_no_name(put: Put, tmp_path: Path) -> None:
    content = zipped(FILES, zipfile.ZIP_STORED)
    damaged = content.replace(b"3.pkl3.pkl", b"3.pkl3.pkX", 1)
    with pytest.raises(DownloadError, match=r"damaged \(Bad CRC-32 for file 'WESAD/S3/S3\.pkl'\)"):
        get(put(damaged), tmp_path / "out")
    found = held(tmp_path / "out")
    assert "WESAD/S3/S3.pkl" not in found
    assert not any("partial" in name for name in found)
    (tmp_path / "out" / "WESAD.zip").unlink()
    assert held(get(put(content), tmp_path / "out")) == FILES


def test_what_is_no_zip_is_said(put: Put, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"WESAD\.zip: damaged \(File is not a zip file\)"):
        get(put(b"not at all"), tmp_path / "out")


def test_the_disk_must_hold_what_is_unpacked(
    put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = put(zipped(FILES))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 100_000))
    with pytest.raises(DownloadError, match=r"MB to fetch and 1\.0 MB to unpack, and 0\.1 MB free"):
        get(site, tmp_path / "out")
    assert site.log == []
    with pytest.raises(
        DownloadError, match=r"0\.3 MB to unpack, and 0\.1 MB free; the zip is kept"
    ):
        get(site, tmp_path / "out", only="*")
