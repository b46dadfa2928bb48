"""NSRR: a token that nothing shows, lists by folder, MD5, and web pages where access ends."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from biofm.datasets.download import DownloadError, download
from biofm.datasets.registry import source
from biofm.datasets.simulate import simulate

TOKEN = "12345-SecretTokenOfSomeone"


def nights(tree: Path) -> None:
    """The names of two nights as MESA has them; what is in the files does not matter here."""
    for night in ("0001", "0010"):
        for name in (
            f"polysomnography/edfs/mesa-sleep-{night}.edf",
            f"polysomnography/annotations-events-nsrr/mesa-sleep-{night}-nsrr.xml",
            f"polysomnography/annotations-events-profusion/mesa-sleep-{night}-profusion.xml",
            f"polysomnography/annotations-rpoints/mesa-sleep-{night}-rpoint.csv",
            f"actigraphy/mesa-sleep-{night}.csv",
            "overlap/mesa-actigraphy-psg-overlap.csv",
            "datasets/mesa-sleep-harmonized-dataset-0.7.0.csv",
        ):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes(f"{name}\n".encode() * 500)


@pytest.fixture
def nsrr(site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The server, answering as sleepdata.org for the one token."""
    monkeypatch.delenv("NSRR_TOKEN", raising=False)
    nights(site.root)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    site.token, site.approved = TOKEN, True

    def listing(folder: str) -> bytes:
        rows = []
        for path in sorted((site.root / folder).iterdir()):
            file = path.is_file()
            rows.append(
                {
                    "dataset": "mesa",
                    "full_path": path.relative_to(site.root).as_posix(),
                    "folder": f"{folder}/",
                    "file_name": path.name,
                    "is_file": file,
                    "file_size": path.stat().st_size if file else 0,
                    "file_checksum_md5": hashlib.md5(path.read_bytes()).hexdigest() if file else "",
                    "archived": False,
                }
            )
        return json.dumps(rows).encode()

    def content(path: str) -> bytes | None:
        query = parse_qs(urlsplit(site.log[-1].path).query)
        if path == "api/v1/account/profile.json":
            return json.dumps({"authenticated": query["auth_token"] == [site.token]}).encode()
        if path == "api/v1/datasets/mesa/files.json":
            return site.files.get("listing") or listing(query["path"][0])
        start = f"datasets/mesa/files/a/{site.token}/m/biofm/"
        if not path.startswith(start):
            return None
        if not site.approved:
            return b"<!DOCTYPE html>\n<html><body>MESA: request access</body></html>"
        file: Path = site.root / path.removeprefix(start)
        return file.read_bytes()

    site.content = content
    return site


def get(site: Any, out: Path, **options: Any) -> Path:
    options.setdefault("token_file", site.root.parent / "token")
    return download("mesa", out, base_url=site.address, progress=False, **options)


def files(tree: Path) -> set[str]:
    return {p.relative_to(tree).as_posix() for p in tree.rglob("*") if p.is_file()}


def test_the_nights_come_with_the_token_and_are_verified(nsrr: Any, tmp_path: Path) -> None:
    out = get(nsrr, tmp_path / "out")
    assert files(out) - {".biofm-download.jsonl"} == files(nsrr.root)
    for name in files(nsrr.root):
        assert (out / name).read_bytes() == (nsrr.root / name).read_bytes()
    nsrr.log.clear()
    get(nsrr, out)
    assert not [asked for asked in nsrr.log if "/files/a/" in asked.path]


def test_a_night_that_was_downloaded_is_read(nsrr: Any, tmp_path: Path) -> None:
    shutil.rmtree(nsrr.root)
    simulate("mesa", nsrr.root, records=1, progress=False)
    reader = source("mesa")
    there = reader.find([nsrr.root])
    here = reader.find([get(nsrr, tmp_path / "out")])
    assert [(ref.record, ref.subject) for ref in here] == [(r.record, r.subject) for r in there]
    assert reader.read(here[0]).annotations == reader.read(there[0]).annotations


def test_one_night_comes_with_the_tables(nsrr: Any, tmp_path: Path) -> None:
    out = get(nsrr, tmp_path / "out", records=1)
    assert len(list(out.glob("polysomnography/edfs/*.edf"))) == 1
    assert len(list(out.glob("actigraphy/*.csv"))) == 1
    assert list(out.glob("overlap/*.csv"))


def test_the_token_may_be_in_the_environment(
    nsrr: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NSRR_TOKEN", TOKEN)
    assert files(get(nsrr, tmp_path / "out", token_file=None, only="overlap/*"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"token holds no NSRR token; copy yours from https://sleepdata\.org/token"),
        ("two words", r"token: expected an NSRR token alone on one line, found something else"),
        ("a/../b", r"expected an NSRR token alone"),
    ],
)
def test_what_is_no_token_is_refused_without_showing_it(
    nsrr: Any, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "token").write_text(text)
    with pytest.raises(ValueError, match=message) as raised:
        get(nsrr, tmp_path / "out")
    assert not text or text not in str(raised.value)
    with pytest.raises(ValueError, match="NSRR_TOKEN holds no NSRR token"):
        get(nsrr, tmp_path / "out", token_file=None)
    assert nsrr.log == []


def test_a_token_never_travels_unencrypted(nsrr: Any, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="the token would travel unencrypted; give an https address"
    ):
        download("mesa", tmp_path, base_url="http://mirror.invalid", token_file=tmp_path / "token")


def test_an_expired_token_is_said(nsrr: Any, tmp_path: Path) -> None:
    nsrr.token = "another"
    with pytest.raises(
        DownloadError, match=r"NSRR does not accept the token; the token is expired"
    ):
        get(nsrr, tmp_path / "out")


def test_a_web_page_in_place_of_a_night_is_refused(nsrr: Any, tmp_path: Path) -> None:
    nsrr.approved = False
    message = (
        r"expected data, and 127\.0\.0\.1 sent a web page; .* request for mesa is not approved"
    )
    with pytest.raises(DownloadError, match=message) as raised:
        get(nsrr, tmp_path / "out")
    assert TOKEN not in str(raised.value)
    assert not list((tmp_path / "out").rglob("*.edf"))


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_says_what_to_do(nsrr: Any, tmp_path: Path, status: int) -> None:
    start = f"datasets/mesa/files/a/{TOKEN}/m/biofm/"
    night = next(p for p in sorted(files(nsrr.root)) if p.endswith(".edf"))
    nsrr.faults[start + night] = [lambda request, _: request.answer(status, b"") or True]
    with pytest.raises(
        DownloadError, match=rf"\(status {status}\); the token is expired or"
    ) as raised:
        get(nsrr, tmp_path / "out")
    assert TOKEN not in str(raised.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("{", "expected JSON"),
        ("[1]", "expected full_path, is_file"),
        ('[{"full_path": "../../x", "is_file": true}]', "expected a plain path inside"),
        ('[{"full_path": "elsewhere/x", "is_file": true}]', "elsewhere/x is not in it"),
        ('[{"full_path": "%s/x", "is_file": true, "file_checksum_md5": ""}]', "no MD5 of"),
    ],
)
def test_a_list_that_cannot_be_is_refused(
    nsrr: Any, tmp_path: Path, rows: str, message: str
) -> None:
    nsrr.files["listing"] = rows.replace("%s", "polysomnography/edfs").encode()
    with pytest.raises(DownloadError, match=message) as raised:
        get(nsrr, tmp_path / "out")
    assert TOKEN not in str(raised.value)


def test_folders_in_one_another_end(nsrr: Any, tmp_path: Path) -> None:
    def deeper(path: str) -> bytes | None:
        query = parse_qs(urlsplit(nsrr.log[-1].path).query)
        if "path" in query:
            rows = [{"full_path": f"{query['path'][0]}/x", "is_file": False}]
            return json.dumps(rows).encode()
        return b'{"authenticated": true}'

    nsrr.content = deeper
    with pytest.raises(DownloadError, match="expected at most 8 folders in one another"):
        get(nsrr, tmp_path / "out")


def test_a_wrong_md5_is_refused(nsrr: Any, tmp_path: Path) -> None:
    row = {"full_path": "overlap/x.csv", "is_file": True, "file_size": 4}
    (nsrr.root / "overlap" / "x.csv").write_bytes(b"data")
    real = nsrr.content

    def content(path: str) -> bytes | None:
        if path.endswith("files.json"):
            asked = parse_qs(urlsplit(nsrr.log[-1].path).query)["path"]
            rows = [{**row, "file_checksum_md5": "0" * 32}] if asked == ["overlap"] else []
            return json.dumps(rows).encode()
        found: bytes | None = real(path)
        return found

    nsrr.content = content
    with pytest.raises(DownloadError, match=r"x\.csv: expected md5:0{32}, found md5:"):
        get(nsrr, tmp_path / "out")


def test_the_token_is_in_no_output_log_or_file(
    nsrr: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The whole command, with a server that breaks off, and with tracebacks on."""
    caplog.set_level(logging.DEBUG)
    start = f"datasets/mesa/files/a/{TOKEN}/m/biofm/"
    night = next(p for p in sorted(files(nsrr.root)) if p.endswith(".edf"))

    def broken(request: Any, content: bytes) -> bool:
        request.answer(200, content, {"ETag": '"x"'}, 5000)
        return True

    nsrr.faults[start + night] = [broken]
    out = get(nsrr, tmp_path / "out")
    assert nsrr.asked_for(night)[1].status == 200
    nsrr.faults["api/v1/account/profile.json"] = [
        lambda request, _: request.answer(200, b"", {"Content-Length": "9"}, 0) or True
    ] * 6
    with pytest.raises(DownloadError, match="your NSRR profile: gave up after 6 attempts"):
        get(nsrr, tmp_path / "new")
    words = [
        "datasets",
        "download",
        "mesa",
        str(tmp_path / "cli"),
        "--base_url",
        "http://127.0.0.1:9",
    ]
    code = (
        "import logging, sys; logging.basicConfig(level=10); from biofm.datasets.download import "
    )
    code += "patience; patience.FIRST_REST_S = 0.01; from biofm.cli import main; sys.exit(main())"
    ran = subprocess.run(
        [sys.executable, "-c", code, *words, "--token_file", str(tmp_path / "token")],
        capture_output=True,
        text=True,
        env={**os.environ, "BIOFM_DEBUG": "1"},
        check=False,
    )
    assert ran.returncode == 1
    assert "gave up after 6 attempts" in ran.stderr
    kept = [
        p.read_bytes() for tree in (out, tmp_path / "cli") for p in tree.rglob("*") if p.is_file()
    ]
    assert kept
    for text in (ran.stdout, ran.stderr, caplog.text, *(str(p) for p in out.rglob("*"))):
        assert TOKEN not in text
    assert not any(TOKEN.encode() in content for content in kept)
