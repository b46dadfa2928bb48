"""Shards over http: the local windows in the local order, from a bounded cache filled ahead."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from webdataset import TarWriter

from biofm.datasets.download import patience
from biofm.datasets.download.errors import DownloadError
from biofm.shards.index import INDEX, MANIFEST, SCHEMA
from biofm.shards.mapped import ShardError
from biofm.shards.reader import DataConfig, WindowReader

SHARDS, EACH = 6, 5
LONG_S = 60.0
"""For what comes at once: only a failure waits so long."""


def name_of(shard: int) -> str:
    return f"toy-train-{shard:05d}.tar"


class Site:
    """A folder as a server publishes it, what it was asked for, and how it misbehaves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[tuple[str, int]] = []
        self.came: dict[str, threading.Event] = defaultdict(threading.Event)
        self.held: set[str] = set()
        self.go_on = threading.Event()
        self.cut: dict[str, int] = {}
        self.ranges = True
        self.status: dict[str, list[int]] = {}
        self.watch: Path | None = None
        self.most_files = 0
        self.address = ""
        self.lead = 0
        """How much further on than asked for a part begins."""

    def tars(self) -> list[str]:
        return [name for name, _ in self.asked if name.endswith(".tar")]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""

    def do_GET(self) -> None:
        site, name = self.site, self.path.rsplit("/", 1)[-1]
        wanted = self.headers.get("Range") if site.ranges else None
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        site.asked.append((name, start))
        site.came[name].set()
        if site.watch is not None:
            files = [path for path in site.watch.rglob("*") if path.suffix in (".tar", ".partial")]
            site.most_files = max(site.most_files, len({p.name.split(".")[-2:][0] for p in files}))
        if name in site.held:
            site.go_on.wait(LONG_S)
        status = site.status[name].pop(0) if site.status.get(name) else 200
        if self.path.startswith("/moved/"):
            self.answer(302, b"", {"Location": f"/{name}"})
        elif status != 200 or not (site.folder / self.path.lstrip("/")).is_file():
            self.answer(status if status != 200 else 404, b"")
        else:
            content = (site.folder / self.path.lstrip("/")).read_bytes()
            body, cut = content[start:], site.cut.pop(name, None)
            part = {"Content-Range": f"bytes {site.lead + start}-{len(content) - 1}/{len(content)}"}
            self.answer(206 if start else 200, body, part if start else None, cut)

    def answer(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        cut: int | None = None,
    ) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body[:cut])
            self.wfile.flush()
        self.close_connection = cut is not None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six shards of five one-second recordings of lead I."""
    out = tmp_path / "toy"
    out.mkdir()
    rows, shards = [], []
    for shard in range(SHARDS):
        name = name_of(shard)
        keys = [f"toy_{shard}{i}_00000" for i in range(EACH)]
        with TarWriter(str(out / name), mtime=0) as tar:
            for i, key in enumerate(keys):
                samples = np.full((1, 100), shard * EACH + i, np.int16)
                tar.write({"__key__": key, "ecg-100hz.npy": samples})
        with tarfile.open(out / name) as tar:
            offsets = [member.offset_data + 128 for member in tar]
        facts = {"name": "ecg-100hz", "modality": "ecg", "rate_hz": 100.0, "channels": ["I"]}
        facts |= {"samples": 100, "scale": [1.0], "offset": [0.0]}
        for key, offset in zip(keys, offsets, strict=True):
            row = {**dict.fromkeys(SCHEMA), "shard": name, "key": key, "dataset": "toy"}
            row |= {"record": key, "subject": key, "split": "train", "segment": 0, "start_s": 0.0}
            rows.append({**row, "streams": [{**facts, "data_offset": offset}]})
        content = (out / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        shards.append({"name": name, "bytes": len(content), "sha256": digest})
    pl.DataFrame(rows, schema=SCHEMA).write_parquet(out / INDEX)
    (out / MANIFEST).write_text(json.dumps({"shards": shards, "synthetic": True}))
    return out


@pytest.fixture
def site(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The folder behind a local web server; whoever tries again does so at once."""
    monkeypatch.setattr(patience, "FIRST_REST_S", 0.0)
    site = Site(folder)
    handler = type("Bound", (Handler,), {"site": site})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    site.address = f"http://127.0.0.1:{server.server_port}"
    yield site
    site.go_on.set()
    server.shutdown()
    thread.join()
    server.server_close()


def reader(where: str | Path, cache: Path, block: int = 2, **more: Any) -> WindowReader:
    config = DataConfig(
        shards=(str(where),),
        channels={"ecg": ("I",)},
        window_s=1.0,
        shuffle_shards=block,
        cache=str(cache),
        **more,
    )
    return WindowReader(config, "train", seed=0)


def steps(
    source: WindowReader, epoch: int = 0, batch: int = 1, rank: int = 0, ranks: int = 1
) -> Iterator[tuple[list[int], list[int]]]:
    """(positions, what the windows hold) of every step."""
    batches = source.train_batches(
        global_batch=batch, micro_batch=batch // ranks, rank=rank, ranks=ranks, epoch=epoch
    )
    for (one,) in batches:
        yield one.positions.tolist(), one.streams["ecg-100hz"].samples[:, 0, 0].tolist()


def blocks(folder: Path, block: int, epoch: int = 0) -> list[list[str]]:
    """The shards of each block of an epoch, as the local order takes them."""
    shards = [values[0] // EACH for _, values in steps(reader(folder, folder, block), epoch)]
    parts = [shards[i : i + block * EACH] for i in range(0, len(shards), block * EACH)]
    return [[name_of(shard) for shard in sorted(set(part))] for part in parts]


def fetching() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "biofm-fetch"]


@pytest.mark.parametrize("block", [1, 2])
@pytest.mark.parametrize("ranks", [1, 2])
def test_the_windows_and_order_are_the_local_ones_and_the_cache_is_bounded(
    folder: Path, site: Site, tmp_path: Path, block: int, ranks: int
) -> None:
    cache = site.watch = tmp_path / "cache"
    here = reader(folder, cache, block)
    there = [reader(site.address, cache, block) for _ in range(ranks)]
    for epoch in (0, 1):
        ours = [steps(here, epoch, 4, rank, ranks) for rank in range(ranks)]
        theirs = [steps(there[rank], epoch, 4, rank, ranks) for rank in range(ranks)]
        for step in zip(zip(*ours, strict=True), zip(*theirs, strict=True), strict=True):
            assert step[0] == step[1]
    # Ranks that stand in different blocks may hold a third.
    assert site.most_files <= (2 if ranks == 1 else 3) * block
    if ranks == 1:
        # Each epoch fetches each shard about once: some are still there from the epoch before.
        assert SHARDS <= len(site.tars()) <= 2 * SHARDS + 2 * block


def test_the_next_block_is_fetched_while_one_is_used_and_no_step_waits_for_it(
    folder: Path, site: Site, tmp_path: Path
) -> None:
    first, second, third = blocks(folder, 2)
    expected = list(steps(reader(folder, tmp_path)))
    site.held = {*second, *third}
    remote = steps(reader(site.address, tmp_path / "cache"))
    # The reader is one step ahead of what is taken: still inside the first block.
    found = [next(remote) for _ in range(2 * EACH - 2)]
    for name in second:
        assert site.came[name].wait(LONG_S), f"{name} was not asked for ahead"
    assert {name for name, _ in site.asked if name.endswith(".tar")} == {*first, *second}
    site.go_on.set()
    assert [*found, *remote] == expected


def test_the_first_block_of_the_next_epoch_is_fetched_in_the_last_of_this(
    folder: Path, site: Site, tmp_path: Path
) -> None:
    remote = reader(site.address, tmp_path / "cache")
    for _ in steps(remote):
        pass
    last, coming = blocks(folder, 2)[-1], blocks(folder, 2, epoch=1)[0]
    assert set(coming) - set(last), "another seed is needed: nothing would have to be fetched"
    for thread in fetching():
        thread.join(LONG_S)
    there = {path.name for path in (tmp_path / "cache").rglob("*.tar")}
    assert there >= {*last, *coming}
    before = len(site.asked)
    next(steps(remote, epoch=1))
    again = {name for name, _ in site.asked[before:]}
    assert not again & set(coming)


def test_evaluation_reads_ahead_in_the_order_of_the_index(site: Site, tmp_path: Path) -> None:
    site.held = {name_of(2), name_of(3)}
    batches = reader(site.address, tmp_path / "cache").evaluation_batches(
        micro_batch=1, rank=0, ranks=1
    )
    found = [next(batches) for _ in range(EACH)]
    for shard in (2, 3):
        assert site.came[name_of(shard)].wait(LONG_S)
    site.go_on.set()
    values = [b.streams["ecg-100hz"].samples[0, 0, 0].item() for b in [*found, *batches]]
    assert values == list(range(SHARDS * EACH))


def test_two_iterations_over_one_reader_do_not_disturb_each_other(
    folder: Path, site: Site, tmp_path: Path
) -> None:
    remote = reader(site.address, tmp_path / "cache", 1)
    expected, found = list(steps(reader(folder, tmp_path, 1))), []
    for step in steps(remote):
        found.append(step)
        if len(found) % 3:
            continue
        # Begun, and left at once: what it had asked for is cancelled.
        peek = next(remote.evaluation_batches(micro_batch=7, rank=len(found) % 4, ranks=4))
        first = 7 * (len(found) % 4)
        assert peek.streams["ecg-100hz"].samples[:, 0, 0].tolist() == list(range(first, first + 7))
    assert found == expected


def test_a_second_run_uses_what_the_first_left(site: Site, tmp_path: Path) -> None:
    for _ in range(2):
        again = reader(site.address, tmp_path / "cache", block=SHARDS)
        (batch,) = again.evaluation_batches(micro_batch=SHARDS * EACH, rank=0, ranks=1)
        assert batch.streams["ecg-100hz"].samples[:, 0, 0].tolist() == list(range(SHARDS * EACH))
    assert len(site.tars()) == SHARDS


def test_what_does_not_belong_in_the_cache_is_fetched_again_or_removed(
    site: Site, tmp_path: Path
) -> None:
    def read() -> WindowReader:
        again = reader(site.address, tmp_path / "cache", block=SHARDS)
        list(again.evaluation_batches(micro_batch=8, rank=0, ranks=1))
        return again

    cached = read().folders[0].folder
    content = bytearray((cached / name_of(3)).read_bytes())
    content[700] ^= 1
    (cached / name_of(3)).write_bytes(content)
    (cached / "of-another-build.tar").write_bytes(b"old")
    (cached / f".{name_of(3)}.0.partial").write_bytes(b"of a killed run")
    site.asked.clear()
    read()
    assert site.tars() == [name_of(3)]
    left = {path.name for path in cached.iterdir() if not path.name.endswith(".lock")}
    assert left == {INDEX, MANIFEST, *map(name_of, range(SHARDS))}


def test_a_changed_shard_is_refused_and_not_kept(folder: Path, site: Site, tmp_path: Path) -> None:
    shard = folder / name_of(3)
    content = bytearray(shard.read_bytes())
    content[700] ^= 1
    shard.write_bytes(content)
    changed = reader(site.address, tmp_path / "cache")
    with pytest.raises(ShardError, match=r"toy-train-00003.tar is not the shard.*SHA-256"):
        list(changed.evaluation_batches(micro_batch=8, rank=0, ranks=1))
    assert not list((tmp_path / "cache").rglob(shard.name))


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_transfer_goes_on_where_it_stood(
    folder: Path, site: Site, tmp_path: Path, ranges: bool
) -> None:
    site.ranges, site.cut = ranges, {name_of(1): 5000, INDEX: 100}
    site.status = {name_of(2): [503, 429], name_of(4): [500]}
    expected = list(steps(reader(folder, tmp_path)))
    assert list(steps(reader(site.address, tmp_path / "cache"))) == expected
    starts = [start for name, start in site.asked if name == name_of(1)]
    assert starts[:2] == [0, 5000 if ranges else 0]


def test_another_part_than_was_asked_for_is_no_continuation(site: Site, tmp_path: Path) -> None:
    site.cut, site.lead = {INDEX: 100}, 7
    with pytest.raises(DownloadError, match="sent another part than was asked for"):
        reader(site.address, tmp_path / "cache")


def test_a_transfer_that_breaks_off_again_and_again_is_given_up(site: Site, tmp_path: Path) -> None:
    site.status = {name_of(shard): [503] * 99 for shard in range(SHARDS)}
    broken = reader(site.address, tmp_path / "cache")
    with pytest.raises(DownloadError, match=r"http.*/toy-train-.*gave up after 6 attempts.*503"):
        list(steps(broken))


def test_what_fails_ahead_is_said_where_it_is_needed(
    folder: Path, site: Site, tmp_path: Path
) -> None:
    lost = blocks(folder, 2)[1][0]
    lost_and_found = shutil.copytree(folder, tmp_path / "whole")
    (folder / lost).unlink()
    remote = steps(reader(site.address, tmp_path / "cache"))
    # All that can be read before the first window of the lost shard.
    expected = list(steps(reader(lost_and_found, tmp_path)))
    good = next(i for i, (_, (value,)) in enumerate(expected) if name_of(value // EACH) == lost)
    assert [next(remote) for _ in range(good)] == expected[:good]
    assert good >= 2 * EACH
    assert site.came[lost].wait(LONG_S)
    with pytest.raises(DownloadError, match=rf"cannot fetch .*/{lost} \(status 404\)"):
        next(remote)
    assert site.tars().count(lost) == 1


def test_redirects_are_followed(folder: Path, site: Site, tmp_path: Path) -> None:
    moved = reader(f"{site.address}/moved/", tmp_path / "cache")
    assert list(steps(moved)) == list(steps(reader(folder, tmp_path)))


@pytest.mark.parametrize("leave", ["close", "interrupt"])
def test_who_leaves_early_waits_for_nobody_and_leaves_no_thread(
    folder: Path, site: Site, tmp_path: Path, leave: str
) -> None:
    _, second, _ = blocks(folder, 2)
    site.held = set(second)
    batches = reader(site.address, tmp_path / "cache").train_batches(
        global_batch=EACH, micro_batch=EACH, rank=0, ranks=1, epoch=0
    )
    next(batches)
    next(batches)
    # The reader's own thread now waits for the second block, whose answers are held back.
    for name in second:
        assert site.came[name].wait(LONG_S)
    if leave == "close":
        batches.close()  # type: ignore[attr-defined]
    else:
        here = threading.get_ident()
        threading.Timer(0.3, signal.pthread_kill, [here, signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):
            next(batches)
    assert not [thread for thread in threading.enumerate() if "biofm-reader" in thread.name]
    assert not site.go_on.is_set()
    site.go_on.set()
    for thread in fetching():
        thread.join(LONG_S)
    assert not fetching()
    assert not set(second) & {path.name for path in (tmp_path / "cache").rglob("*.tar")}


def test_transfers_end_with_the_reader(folder: Path, site: Site, tmp_path: Path) -> None:
    first, second, _ = blocks(folder, 2)
    site.held = set(second)
    remote = reader(site.address, tmp_path / "cache")
    batches = steps(remote, batch=2)
    next(batches)
    for name in second:
        assert site.came[name].wait(LONG_S)
    del remote, batches
    gc.collect()
    site.go_on.set()
    for thread in fetching():
        thread.join(LONG_S)
    there = {path.name for path in (tmp_path / "cache").rglob("*.tar")}
    assert there == set(first)


def test_the_program_ends_though_a_server_is_silent(
    folder: Path, site: Site, tmp_path: Path
) -> None:
    _, second, _ = blocks(folder, 2)
    site.held = set(second)
    program = f"""
from biofm.shards.reader import DataConfig, WindowReader
config = DataConfig(shards=({site.address!r},), channels={{"ecg": ("I",)}}, window_s=1.0,
                    shuffle_shards=2, cache={str(tmp_path / "cache")!r})
batches = WindowReader(config, "train", seed=0).train_batches(
    global_batch={EACH}, micro_batch={EACH}, rank=0, ranks=1, epoch=0)
next(batches), next(batches)
raise KeyboardInterrupt  # in the middle of a step, while the reader's thread waits
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        timeout=LONG_S,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"no_proxy": "127.0.0.1"},
    )
    assert site.came[second[0]].is_set()
    assert not site.go_on.is_set()
    assert done.stderr.rstrip().endswith("KeyboardInterrupt"), done.stderr


def test_addresses_that_cannot_be_read_say_so(site: Site, tmp_path: Path) -> None:
    with pytest.raises(
        OSError, match=r"cannot fetch .*/nowhere/index.parquet .*404.*check the addr"
    ):
        reader(f"{site.address}/nowhere", tmp_path)
    site.status = {INDEX: [403]}
    with pytest.raises(OSError, match=r"cannot fetch .*/index.parquet .*403.*refuses access"):
        reader(site.address, tmp_path)
    with pytest.raises(OSError, match=r"cannot fetch http://127.0.0.1:1/.*check the address and"):
        reader("http://127.0.0.1:1", tmp_path)
    with pytest.raises(ValueError, match="only http://, https:// and s3://"):
        reader("pipe://curl", tmp_path)
    with pytest.raises(ValueError, match="set shuffle_shards"):
        reader(site.address, tmp_path, block=0)


@pytest.mark.parametrize("address", ["https://me:hush@host/x", "https://host/x?token=hush"])
def test_no_secret_of_an_address_is_shown(address: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no user, password or query") as refused:
        reader(address, tmp_path)
    assert "hush" not in str(refused.value)


def test_sources_of_a_mixture_are_fetched_ahead_each_by_its_own_order(
    folder: Path, site: Site, tmp_path: Path
) -> None:
    def mixture(where: str) -> Iterator[tuple[list[int], list[int]]]:
        config = DataConfig(
            shards=(where, str(folder)),
            weights=(3.0, 1.0),
            channels={"ecg": ("I",)},
            window_s=1.0,
            shuffle_shards=1,
            cache=str(tmp_path / "cache"),
        )
        source = WindowReader(config, "train", seed=3)
        for epoch in (0, 1):
            yield from steps(source, epoch, 3)

    assert list(mixture(site.address)) == list(mixture(str(folder)))
