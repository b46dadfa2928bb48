"""Downloads from a server laid out as PhysioNet, that publishes the twin and fails in every way."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from biofm.datasets.download import DownloadError, download, transfer
from biofm.datasets.registry import source
from biofm.datasets.simulate import simulate

BASE = "files/ptb-xl/1.0.3"
BIG = f"{BASE}/ptbxl_database.csv"
RECORD = f"{BASE}/records500/00000/00001_hr.dat"


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small PTB-XL with its list of SHA-256, as PhysioNet writes it."""
    tree = simulate("ptbxl", tmp_path_factory.mktemp("twin") / "tree", records=5, progress=False)
    files = sorted(path for path in tree.rglob("*") if path.is_file())
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.relative_to(tree).as_posix()}\n"
        for path in files
    ]
    (tree / "SHA256SUMS.txt").write_text("".join(lines))
    return tree


@pytest.fixture
def ptbxl(site: Any, twin: Path) -> Any:
    """The server, publishing the twin where PhysioNet has PTB-XL."""
    shutil.copytree(twin, site.root / BASE)
    return site


def get(site: Any, out: Path, **options: Any) -> Path:
    return download("ptbxl", out, base_url=site.address, progress=False, **options)


def cut(after: int) -> Any:
    """Break the connection after so many bytes of the file."""
    return lambda request, content: (
        request.answer(200, content, {"ETag": tag(content)}, after) or True
    )


def tag(content: bytes) -> str:
    return f'"{hashlib.sha1(content).hexdigest()[:12]}"'


def answer(status: int, body: bytes = b"", **headers: str) -> Any:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request, content: request.answer(status, body, told) or True


def same_files(one: Path, other: Path) -> bool:
    def files(tree: Path) -> dict[str, bytes]:
        kept = (p for p in tree.rglob("*") if p.is_file() and not p.name.startswith(".biofm-"))
        return {p.relative_to(tree).as_posix(): p.read_bytes() for p in kept}

    return files(one) == files(other)


def test_what_was_downloaded_is_what_is_published_and_is_read(
    ptbxl: Any, twin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = download("ptbxl", tmp_path / "out", base_url=ptbxl.address)
    assert same_files(out, twin)
    reader = source("ptbxl")
    refs = reader.find([out])
    assert len(refs) == 5
    assert reader.read(refs[0]).subject == refs[0].subject
    shown = capsys.readouterr().out
    for text in ("files to fetch, ", " MB, into", " free)", "CC BY 4.0", "Wagner et al.",
                 f"biofm shards build ptbxl {out} --out {out}-shards --config shards/ptbxl"):  # fmt: skip
        assert text in shown
    agents = {asked.headers["User-Agent"] for asked in ptbxl.log}
    sent = {name for asked in ptbxl.log for name in asked.headers}
    assert len(agents) == 1
    assert next(iter(agents)).startswith("biofm/")
    assert sent <= {"Host", "Accept-Encoding", "User-Agent"}


def test_a_second_run_asks_for_nothing(ptbxl: Any, tmp_path: Path) -> None:
    out = get(ptbxl, tmp_path / "out")
    ptbxl.log.clear()
    get(ptbxl, out)
    assert ptbxl.log == []


def test_a_second_run_fetches_only_what_is_missing_or_changed(ptbxl: Any, tmp_path: Path) -> None:
    out = get(ptbxl, tmp_path / "out")
    (out / "scp_statements.csv").unlink()
    (out / "records500/00000/00001_hr.hea").write_text("changed")
    ptbxl.log.clear()
    get(ptbxl, out)
    assert same_files(out, ptbxl.root / BASE)
    assert {a.path.rpartition("/")[2] for a in ptbxl.log} == {"scp_statements.csv", "00001_hr.hea"}


def test_files_that_came_another_way_are_verified_and_kept(
    ptbxl: Any, twin: Path, tmp_path: Path
) -> None:
    shutil.copytree(twin, tmp_path / "out")
    get(ptbxl, tmp_path / "out")
    assert {asked.path for asked in ptbxl.log} == {f"/{BASE}/SHA256SUMS.txt"}


def test_strangers_of_the_same_name_are_left_alone(ptbxl: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "ptbxl_database.csv").write_text("mine")
    with pytest.raises(
        FileExistsError, match=r"1 files that are not the data set's.*ptbxl_database"
    ):
        get(ptbxl, out)
    assert (out / "ptbxl_database.csv").read_text() == "mine"


def test_one_folder_holds_one_download(ptbxl: Any, tmp_path: Path) -> None:
    out = get(ptbxl, tmp_path / "out")
    with pytest.raises(
        FileExistsError, match=r"holds a download of PhysioNet ptb-xl 1\.0\.3, not of"
    ):
        download("mitdb", out, base_url=ptbxl.address, progress=False)


def test_a_cut_connection_is_resumed_where_it_broke(ptbxl: Any, twin: Path, tmp_path: Path) -> None:
    size = (ptbxl.root / RECORD).stat().st_size
    ptbxl.faults[RECORD] = [cut(size // 2)]
    assert same_files(get(ptbxl, tmp_path / "out"), twin)
    first, second = ptbxl.asked_for(RECORD)
    assert second.headers["Range"] == f"bytes={size // 2}-"
    assert (first.status, second.status) == (200, 206)
    assert first.sent_bytes + second.sent_bytes == size


def test_a_later_run_resumes_what_an_earlier_one_left(
    ptbxl: Any, twin: Path, tmp_path: Path
) -> None:
    size = (ptbxl.root / RECORD).stat().st_size
    # It breaks off once, and then nothing comes any more.
    ptbxl.faults[RECORD] = [cut(1000), *[answer(503)] * 5]
    with pytest.raises(
        DownloadError, match=r"00001_hr\.dat: gave up after 6 attempts .*answered 503"
    ):
        get(ptbxl, tmp_path / "out")
    assert (tmp_path / "out" / f"{RECORD.removeprefix(BASE)[1:]}.partial").stat().st_size == 1000
    ptbxl.log.clear()
    assert same_files(get(ptbxl, tmp_path / "out"), twin)
    assert [(a.status, a.sent_bytes) for a in ptbxl.asked_for(RECORD)] == [(206, size - 1000)]


def test_a_partial_that_was_whole_is_only_verified(ptbxl: Any, twin: Path, tmp_path: Path) -> None:
    content = (ptbxl.root / RECORD).read_bytes()
    partial = tmp_path / "out" / f"{RECORD.removeprefix(BASE)[1:]}.partial"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(content)
    partial.with_name(f"{partial.name}.version").write_text(tag(content))
    assert same_files(get(ptbxl, tmp_path / "out"), twin)
    assert [asked.status for asked in ptbxl.asked_for(RECORD)] == [416]


@pytest.mark.parametrize("version", ['W/"weak"', ""])
def test_a_partial_of_no_certain_version_is_fetched_anew(
    ptbxl: Any, twin: Path, tmp_path: Path, version: str
) -> None:
    content = (ptbxl.root / RECORD).read_bytes()
    ptbxl.faults[RECORD] = [
        lambda request, body: request.answer(200, body, {"ETag": version}, 1000) or True
    ]
    assert same_files(get(ptbxl, tmp_path / "out"), twin)
    assert [(a.status, a.sent_bytes) for a in ptbxl.asked_for(RECORD)] == [
        (200, 1000),
        (200, len(content)),
    ]


def test_a_server_without_ranges_sends_all_of_it_again(
    ptbxl: Any, twin: Path, tmp_path: Path
) -> None:
    ptbxl.ranges = False
    ptbxl.faults[RECORD] = [cut(1000)]
    assert same_files(get(ptbxl, tmp_path / "out"), twin)
    assert [asked.status for asked in ptbxl.asked_for(RECORD)] == [200, 200]


def test_a_file_that_changed_meanwhile_is_not_spliced(
    ptbxl: Any, twin: Path, tmp_path: Path
) -> None:
    old = bytes(30_000)
    ptbxl.faults[RECORD] = [
        lambda request, _: request.answer(200, old, {"ETag": tag(old)}, 10_000) or True
    ]
    assert same_files(get(ptbxl, tmp_path / "out"), twin)
    second = ptbxl.asked_for(RECORD)[1]
    assert (second.headers["If-Range"], second.status) == (tag(old), 200)


def test_a_range_that_does_not_fit_is_not_appended(ptbxl: Any, twin: Path, tmp_path: Path) -> None:
    wrong = answer(206, b"12345", Content_Range="bytes 5-9/10", ETag='"x"')
    ptbxl.faults[RECORD] = [cut(1000), wrong]
    assert same_files(get(ptbxl, tmp_path / "out"), twin)


def test_a_wrong_checksum_is_fetched_once_more(ptbxl: Any, twin: Path, tmp_path: Path) -> None:
    ptbxl.faults[RECORD] = [answer(200, b"something else")]
    assert same_files(get(ptbxl, tmp_path / "out"), twin)
    assert len(ptbxl.asked_for(RECORD)) == 2


def test_a_file_that_stays_wrong_is_refused_and_the_others_come(ptbxl: Any, tmp_path: Path) -> None:
    content = (ptbxl.root / RECORD).read_bytes()
    (ptbxl.root / RECORD).write_bytes(b"something else")
    with pytest.raises(DownloadError) as raised:
        get(ptbxl, tmp_path / "out")
    for text in (
        "1 files could not be had",
        "00001_hr.dat: expected sha256:" + hashlib.sha256(content).hexdigest(),
        "found sha256:" + hashlib.sha256(b"something else").hexdigest(),
    ):
        assert text in str(raised.value)
    out = tmp_path / "out"
    assert not list(out.rglob("00001_hr.dat*"))
    assert (out / "ptbxl_database.csv").is_file()
    assert len(list(out.rglob("*_hr.dat"))) == 4


def test_what_passes_is_tried_again_and_what_does_not_is_not(ptbxl: Any, tmp_path: Path) -> None:
    ptbxl.faults[BIG] = [answer(503, Retry_After="0"), answer(500)]
    (ptbxl.root / RECORD).unlink()
    with pytest.raises(DownloadError, match=r"00001_hr\.dat: 127\.0\.0\.1 has no such file"):
        get(ptbxl, tmp_path / "out")
    assert [asked.status for asked in ptbxl.asked_for(BIG)] == [503, 500, 200]
    assert len(ptbxl.asked_for(RECORD)) == 1


def test_the_list_too_is_tried_again(ptbxl: Any, twin: Path, tmp_path: Path) -> None:
    ptbxl.faults[f"{BASE}/SHA256SUMS.txt"] = [answer(503)]
    assert same_files(get(ptbxl, tmp_path / "out"), twin)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (answer(403), r"127\.0\.0\.1 refuses access \(status 403\); see whether"),
        (answer(200, b"<p>", Content_Type="text/html; charset=utf-8"), "sent a web page"),
        (answer(200, b"\n<!DOCTYPE html><p>Sign in"), "expected data, and .* sent a web page"),
        (
            answer(302, Location="http://elsewhere.invalid/x"),
            "redirects to another host .http://else",
        ),
        (answer(302, Location="ftp://127.0.0.1/x"), "redirects to another host .ftp"),
    ],
)
def test_what_concerns_all_files_stops_at_once(
    ptbxl: Any, tmp_path: Path, fault: Any, message: str
) -> None:
    ptbxl.faults[RECORD] = [fault] * 2
    with pytest.raises(DownloadError, match=message):
        get(ptbxl, tmp_path / "out")
    assert len(ptbxl.asked_for(RECORD)) == 1
    assert not list((tmp_path / "out").rglob("00001_hr.dat"))


def test_a_redirect_on_the_same_host_is_followed(ptbxl: Any, twin: Path, tmp_path: Path) -> None:
    ptbxl.files["moved/x.dat"] = (ptbxl.root / RECORD).read_bytes()
    ptbxl.faults[RECORD] = [answer(301, Location="/moved/x.dat")]
    assert same_files(get(ptbxl, tmp_path / "out"), twin)


def test_a_redirect_in_a_circle_ends(ptbxl: Any, tmp_path: Path) -> None:
    ptbxl.faults[f"{BASE}/SHA256SUMS.txt"] = [answer(302, Location=f"/{BASE}/SHA256SUMS.txt")] * 9
    with pytest.raises(DownloadError, match="more than 5 redirects"):
        get(ptbxl, tmp_path / "out")


def test_no_server_is_said(ptbxl: Any, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"SHA256SUMS\.txt: gave up after 6 attempts .*refused"):
        download("ptbxl", tmp_path / "out", base_url="http://127.0.0.1:9", progress=False)


@pytest.mark.parametrize(
    "name",
    ["../../etc/x", "/etc/x", "a/../../x", "a//x", "./x", "a\\..\\x", "C:/x", "a\x07x", "x\u202etxt",
     ".biofm-download.jsonl", "x.partial", "x.partial.version", "a" * 300],
)  # fmt: skip
def test_a_list_cannot_name_a_file_elsewhere(ptbxl: Any, tmp_path: Path, name: str) -> None:
    sums = ptbxl.root / BASE / "SHA256SUMS.txt"
    sums.write_text(f"{sums.read_text()}{'0' * 64} {name}\n", encoding="utf-8")
    with pytest.raises(DownloadError, match=r"SHA256SUMS\.txt, line \d+: expected a plain path"):
        get(ptbxl, tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {".biofm-download.jsonl"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello\n", "line 1: expected a SHA-256 and a path, found 'hello'"),
        ("", "is empty"),
        (f"{'0' * 64} a\n{'1' * 64} a\n", "line 2: a has two different SHA-256"),
        ("<html><p>Not here", "sent a web page"),
    ],
)
def test_a_list_that_is_none_is_refused(
    ptbxl: Any, tmp_path: Path, text: str, message: str
) -> None:
    (ptbxl.root / BASE / "SHA256SUMS.txt").write_text(text)
    with pytest.raises(DownloadError, match=message):
        get(ptbxl, tmp_path / "out")


def test_a_few_records_come_with_the_tables(ptbxl: Any, tmp_path: Path) -> None:
    out = get(ptbxl, tmp_path / "out", records=2)
    every = sorted(path.name for path in (ptbxl.root / BASE).rglob("*_hr.*"))
    assert sorted(path.name for path in out.rglob("*_hr.*")) == every[:4]
    assert (out / "ptbxl_database.csv").is_file()
    assert not (out / "records100").exists()
    reader = source("ptbxl")
    assert [reader.read(ref).record for ref in reader.find([out])[:2]] == [
        name.partition("_")[0] for name in every[:4:2]
    ]
    get(ptbxl, out, records=3)
    assert len(list(out.rglob("*_hr.*"))) == 6


def test_a_pattern_takes_what_it_matches(ptbxl: Any, tmp_path: Path) -> None:
    out = get(ptbxl, tmp_path / "out", only="records100/*.hea")
    kept = {path.suffix for path in out.rglob("*") if path.is_file() and path.parent != out}
    assert kept == {".hea"}
    with pytest.raises(
        ValueError, match=r"--only 'nothing\*' matches none of the \d+ files, such as"
    ):
        get(ptbxl, out, only="nothing*")


def test_a_full_disk_is_said_before_and_while(
    ptbxl: Any, twin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 1000))
        with pytest.raises(DownloadError, match=r"MB to fetch, and 0\.0 MB free; free some space"):
            get(ptbxl, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.dat"))

    def full(path: Path, *words: Any, **options: Any) -> Any:
        file = opened(path, *words, **options)
        if path.name != "00001_hr.dat.partial":
            return file
        file.close()
        return open("/dev/full", "ab", buffering=0)

    opened = Path.open
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(
            DownloadError, match=r"no space left for .*00001_hr\.dat\.partial"
        ) as raised:
            get(ptbxl, tmp_path / "out")
        assert raised.value.errno == errno.ENOSPC
    assert same_files(get(ptbxl, tmp_path / "out"), twin)


def test_two_downloads_do_not_share_a_folder(ptbxl: Any, twin: Path, tmp_path: Path) -> None:
    started, go = threading.Event(), threading.Event()

    def slow(request: Any, content: bytes) -> bool:
        started.set()
        go.wait(30)
        return False

    ptbxl.faults[BIG] = [slow]
    first = threading.Thread(target=get, args=(ptbxl, tmp_path / "out"))
    first.start()
    assert started.wait(30)
    with pytest.raises(FileExistsError, match="another download is filling it"):
        get(ptbxl, tmp_path / "out")
    go.set()
    first.join()
    assert same_files(tmp_path / "out", twin)


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_a_killed_command_is_finished_by_the_next(
    ptbxl: Any, twin: Path, tmp_path: Path, kill: signal.Signals
) -> None:
    out, go = tmp_path / "out", threading.Event()
    content = (ptbxl.root / RECORD).read_bytes()

    def stall(request: Any, _: bytes) -> bool:
        """Half of the file, then nothing until the command is told to die."""
        told = {"ETag": tag(content), "Content-Length": str(len(content))}
        request.answer(200, content[:20_000], told)
        go.wait(60)
        request.close_connection = True
        return True

    # Whatever it asks for after that: it must not come to its end.
    ptbxl.faults[RECORD] = [stall, *[answer(503)] * 9]
    words = ["datasets", "download", "ptbxl", str(out), "--base_url", ptbxl.address]
    command = [sys.executable, "-c", "import sys; from biofm.cli import main; sys.exit(main())"]
    with subprocess.Popen([*command, *words], stderr=subprocess.PIPE, text=True) as running:
        partial = out / "records500/00000/00001_hr.dat.partial"
        while not (partial.exists() and partial.stat().st_size == 20_000):
            assert running.poll() is None, running.stderr and running.stderr.read()
            time.sleep(0.02)
        running.send_signal(kill)
        go.set()
        error = running.communicate()[1]
    assert running.returncode == (-9 if kill == signal.SIGKILL else 130)
    assert "Traceback" not in error
    assert not (out / RECORD.removeprefix(BASE)[1:]).exists()
    ptbxl.log.clear()
    ptbxl.faults.clear()
    get(ptbxl, out)
    assert same_files(out, twin)
    resumed = ptbxl.asked_for(RECORD)
    assert [(asked.status, asked.sent_bytes) for asked in resumed] == [(206, len(content) - 20_000)]


def test_a_name_that_cannot_be_downloaded_is_refused(tmp_path: Path) -> None:
    known = r"challenge, chapman, cpsc2018, mesa, mitdb, ppg_dalia, ptbxl, sleep_accel, wesad"
    with pytest.raises(ValueError, match=f"unknown source 'ptb'; these can be downloaded: {known}"):
        download("ptb", tmp_path)
    for options in ({"records": 0}, {"records": 3, "only": "*"}, {"workers": 0}):
        with pytest.raises(ValueError, match="--"):
            download("ptbxl", tmp_path, **options)
    for address in ("ftp://host", "host", "https://me:secret@host", "https://host/?x=1"):
        with pytest.raises(ValueError, match="expected an address") as raised:
            download("ptbxl", tmp_path, base_url=address)
        assert "secret" not in str(raised.value)


def test_a_record_that_a_kill_tore_is_read(ptbxl: Any, twin: Path, tmp_path: Path) -> None:
    out = get(ptbxl, tmp_path / "out")
    record = out / ".biofm-download.jsonl"
    text = record.read_text()
    record.write_text(text[:-30])
    ptbxl.log.clear()
    get(ptbxl, out)
    assert ptbxl.log == []
    assert len(record.read_text().splitlines()) == len(text.splitlines()) + 1
    assert same_files(out, twin)


def test_a_file_is_hashed_again_only_when_it_was_touched(
    ptbxl: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = get(ptbxl, tmp_path / "out")
    hashed: list[str] = []
    real = transfer.checksum_of

    def counted(path: Path, like: str | None) -> str:
        hashed.append(path.name)
        return real(path, like)

    monkeypatch.setattr("biofm.datasets.download.several.checksum_of", counted)
    get(ptbxl, out)
    assert hashed == []
    os.utime(out / "scp_statements.csv")
    get(ptbxl, out)
    assert hashed == ["scp_statements.csv"]


def test_what_a_kill_leaves_of_a_whole_file_goes(ptbxl: Any, twin: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    file = RECORD.removeprefix(f"{BASE}/")
    (out / file).parent.mkdir(parents=True)
    shutil.copy(twin / file, out / file)
    (out / f"{file}.partial.version").write_text('"of this file"')
    get(ptbxl, out)
    assert same_files(out, twin)
    assert not ptbxl.asked_for(file)
