"""Shards from a web server: with and without reading ahead, and stock webdataset from the same server.

`python benchmarks/stream.py` writes shards of random samples, serves them on this machine with a stated
delay before each file and a stated rate for each connection, and runs every reader in turn over all of
them, `rounds` times, from an empty cache. A training step is a pause of `step_s` after each batch.
Ratios are medians of the ratios within a round.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import patch

import numpy as np
import webdataset as wds
from jsonargparse import auto_cli
from reader import BATCH, RATE_HZ, WINDOW, write_shards  # type: ignore[import-not-found]
from webdataset import autodecode

from biofm.shards.ahead import Course
from biofm.shards.reader import DataConfig, WindowReader

PIECE = 1 << 18
# Decoding the arrays alone is the least that webdataset can do; pickles are not loaded.
DECODERS = [wds.handle_extension("npy", autodecode.decoders["npy"])]


@contextlib.contextmanager
def serve(folder: Path, delay_s: float, rate_mb_s: float) -> Iterator[str]:
    """The folder's address: every answer begins `delay_s` late and comes at `rate_mb_s`."""

    class Slow(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            path = folder / self.path.lstrip("/")
            time.sleep(delay_s)
            start = time.perf_counter()
            self.send_response(200)
            self.send_header("Content-Length", str(path.stat().st_size))
            self.end_headers()
            with contextlib.suppress(ConnectionError), path.open("rb") as file:
                sent = 0
                while piece := file.read(PIECE):
                    self.wfile.write(piece)
                    sent += len(piece)
                    due = start + sent / (rate_mb_s * 1e6)
                    time.sleep(max(0.0, due - time.perf_counter()))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def read_biofm(address: str, cache: Path, block: int, step_s: float, ahead: bool) -> int:
    """One epoch of shuffled, cropped batches."""
    shutil.rmtree(cache, ignore_errors=True)
    config = DataConfig(
        shards=(address,), window_s=WINDOW / RATE_HZ, shuffle_shards=block, cache=str(cache)
    )
    windows = 0
    # Without being told what comes next, each shard is fetched when it is first touched.
    with contextlib.nullcontext() if ahead else patch.object(Course, "train"):
        reader = WindowReader(config, "train", seed=0)
        for step in reader.train_batches(
            global_batch=BATCH, micro_batch=BATCH, rank=0, ranks=1, epoch=0
        ):
            windows += sum(len(batch) for batch in step)
            time.sleep(step_s)
    return windows


def read_webdataset(address: str, names: list[str], step_s: float) -> int:
    """One pass over the tars in order, decoded and batched: its default pipe and buffers, no shuffle."""
    urls = [f"{address}/{name}" for name in names]
    samples = wds.WebDataset(urls, shardshuffle=False)
    arrays = samples.decode(*DECODERS, pre=[], post=[], only=None, partial=False).to_tuple(
        "ecg-250hz.npy"
    )
    windows = 0
    for (batch,) in arrays.batched(BATCH, collation_fn=stacked, partial=False):
        windows += len(batch)
        time.sleep(step_s)
    return windows


def stacked(samples: list[tuple[np.ndarray]]) -> tuple[np.ndarray]:
    """The first window of each sample."""
    return (np.stack([array[:, :WINDOW] for (array,) in samples]),)


def measure(readers: dict[str, Callable[[], int]], rounds: int) -> dict[str, list[float]]:
    """Windows a second of every reader in every round."""
    rates: dict[str, list[float]] = {reader: [] for reader in readers}
    for _ in range(rounds):
        for name, read in readers.items():
            start = time.perf_counter()
            windows = read()
            rates[name].append(windows / (time.perf_counter() - start))
    return rates


def main(
    shards: int = 12,
    per_shard: int = 256,
    block: int = 2,
    delay_s: float = 0.05,
    rate_mb_s: float = 50.0,
    step_s: float = 0.15,
    rounds: int = 5,
) -> None:
    """Measure and print the tables.

    Args:
        shards: How many shards to serve.
        per_shard: Ten-second segments in each, 60 kB a segment.
        block: `shuffle_shards`: the cache holds twice as many.
        delay_s: From a request to the first byte of its answer.
        rate_mb_s: MB a second of each connection.
        step_s: Pause after each batch of 256 windows, as a training step would make; also measured without.
        rounds: How often every reader is measured.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, cache = Path(name) / "shards", Path(name) / "cache"
        folder.mkdir()
        write_shards(folder, shards * per_shard, per_shard)
        names = sorted(path.name for path in folder.glob("*.tar"))
        size_mb = (folder / names[0]).stat().st_size / 1e6
        print(
            f"{shards} shards of {size_mb:.0f} MB, {per_shard} segments each, blocks of {block}; "
            f"{1000 * delay_s:.0f} ms before each answer, {rate_mb_s:.0f} MB/s a connection; "
            f"{rounds} interleaved rounds; load average {os.getloadavg()[0]:.1f} on "
            f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
            f"webdataset {wds.__version__}\n"
        )
        print(
            "| 12×2250 int16 windows over http, one process | windows/s | slowest to fastest "
            "| reading ahead is |"
        )
        print("|---|---|---|---|")
        with serve(folder, delay_s, rate_mb_s) as address:
            for pause_s in (0.0, step_s):
                tell(address, cache, names, block, pause_s, rounds)


def tell(
    address: str, cache: Path, names: list[str], block: int, step_s: float, rounds: int
) -> None:
    """Print the rows of one length of step."""
    readers: dict[str, Callable[[], int]] = {
        "biofm: shuffled, reading ahead": lambda: read_biofm(address, cache, block, step_s, True),
        "biofm: shuffled, each shard when touched": lambda: read_biofm(
            address, cache, block, step_s, False
        ),
        "webdataset: in order, npy decoded": lambda: read_webdataset(address, names, step_s),
    }
    rates = measure(readers, rounds)
    ours = next(iter(rates.values()))
    what = f"steps of {1000 * step_s:.0f} ms" if step_s else "nothing but reading"
    for reader, theirs in rates.items():
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        spread = f"{min(theirs):,.0f} to {max(theirs):,.0f}"
        print(
            f"| {what}; {reader} | {statistics.median(theirs):,.0f} | {spread} | {ratio:.1f}× |",
            flush=True,
        )


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
