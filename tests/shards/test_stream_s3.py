"""Shards in an S3-compatible store: the local batches bit for bit, and errors that say what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import torch
from moto.server import ThreadedMotoServer

from biofm.datasets.download import patience
from biofm.datasets.download.errors import DownloadError
from biofm.datasets.simulate import simulate
from biofm.shards.build import build
from biofm.shards.configuration import BuildConfig
from biofm.shards.mapped import ShardError
from biofm.shards.reader import DataConfig, WindowReader
from biofm.signals.windows import Batch

SECRET = "hush-hush-very-secret"


class Flaky:
    """A WSGI application that loses the connection in the middle of the next answer for each of `cut`."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.cut: set[str] = set()
        self.status: list[str] = []
        self.asked: list[tuple[str, str | None]] = []

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterator[bytes]:
        name = environ["PATH_INFO"].rsplit("/", 1)[-1]
        self.asked.append((name, environ.get("HTTP_RANGE")))
        if name.endswith(".tar") and self.status:
            start(self.status.pop(), [("Content-Length", "0")])
            return
        body = b"".join(self.app(environ, start))
        if name in self.cut:
            self.cut.remove(name)
            yield body[: len(body) // 2]
            raise ConnectionError
        yield body


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("s3")
    tree = simulate("ptbxl", folder / "tree", records=60, progress=False)
    config = BuildConfig(records_per_shard=8)
    build("ptbxl", [tree], folder / "out", config, workers=1, progress=False)
    return folder / "out"


@pytest.fixture(scope="module")
def store() -> Iterator[tuple[str, Flaky]]:
    """The address of moto's server, and what stands before it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    assert server._server is not None
    flaky = server._server.app = Flaky(server._server.app)
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}", flaky
    server.stop()


@pytest.fixture
def flaky(store: tuple[str, Flaky]) -> Flaky:
    return store[1]


@pytest.fixture
def address(shards: Path, store: tuple[str, Flaky], monkeypatch: pytest.MonkeyPatch) -> str:
    """The folder uploaded, and the environment in which boto3 finds it."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", store[0])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(patience, "FIRST_REST_S", 0.0)
    client = boto3.client("s3")
    client.create_bucket(Bucket="hearts")
    for path in shards.iterdir():
        client.upload_file(str(path), "hearts", f"twin/v1/{path.name}")
    return "s3://hearts/twin/v1"


def reader(where: str | Path, cache: Path, block: int) -> WindowReader:
    config = DataConfig(shards=(str(where),), window_s=2.5, shuffle_shards=block, cache=str(cache))
    return WindowReader(config, "train", seed=1)


def batches(source: WindowReader, epoch: int, rank: int = 0, ranks: int = 1) -> Iterator[Batch]:
    for step in source.train_batches(
        global_batch=8, micro_batch=4, rank=rank, ranks=ranks, epoch=epoch
    ):
        yield from step


@pytest.mark.parametrize("block", [1, 2])
@pytest.mark.parametrize("ranks", [1, 2])
def test_batches_are_the_local_ones_bit_for_bit_and_in_order(
    shards: Path, address: str, tmp_path: Path, block: int, ranks: int
) -> None:
    here = reader(shards, tmp_path, block)
    there = [reader(address, tmp_path / "cache", block) for _ in range(ranks)]
    for epoch in (0, 1):
        ours = [batches(here, epoch, rank, ranks) for rank in range(ranks)]
        theirs = [batches(there[rank], epoch, rank, ranks) for rank in range(ranks)]
        count = 0
        for row in zip(*ours, *theirs, strict=True):
            for mine, other in zip(row[:ranks], row[ranks:], strict=True):
                assert torch.equal(mine.positions, other.positions)
                assert torch.equal(mine.rows, other.rows)
                one, two = mine.streams["ecg-100hz"], other.streams["ecg-100hz"]
                assert torch.equal(one.samples, two.samples)
                assert torch.equal(one.scale, two.scale)
                count += len(mine)
            if ranks == 1:
                assert len(list((tmp_path / "cache").rglob("*.tar"))) <= 2 * block
        assert count == 8 * here.steps_per_epoch(8)


def test_a_transfer_that_breaks_off_goes_on_where_it_stood(
    shards: Path, address: str, flaky: Flaky, tmp_path: Path
) -> None:
    names = sorted(path.name for path in shards.glob("*-train-*.tar"))
    flaky.asked.clear()
    flaky.cut = {names[0], names[1]}
    flaky.status = ["503 Slow Down"] * 2
    remote = batches(reader(address, tmp_path / "cache", 2), 0)
    for mine, other in zip(batches(reader(shards, tmp_path, 2), 0), remote, strict=True):
        assert torch.equal(mine.streams["ecg-100hz"].samples, other.streams["ecg-100hz"].samples)
    assert not flaky.cut
    assert not flaky.status
    for name in names[:2]:
        half = (shards / name).stat().st_size // 2
        assert (name, f"bytes={half}-") in flaky.asked


def test_a_damaged_shard_is_refused(address: str, tmp_path: Path) -> None:
    client = boto3.client("s3")
    name = "twin/v1/ptbxl-train-00001.tar"
    content = bytearray(client.get_object(Bucket="hearts", Key=name)["Body"].read())
    content[-2000] ^= 1
    client.put_object(Bucket="hearts", Key=name, Body=bytes(content))
    remote = reader(address, tmp_path / "cache", 1)
    with pytest.raises(ShardError, match=rf"s3://hearts/{name} is not the shard.*SHA-256"):
        list(batches(remote, 0))
    assert not list((tmp_path / "cache").rglob("ptbxl-train-00001.tar"))


def refusal(address: str, cache: Path) -> str:
    with pytest.raises(DownloadError) as refused:
        reader(address, cache, 1)
    assert SECRET not in str(refused.value)
    assert address in str(refused.value)
    return str(refused.value)


def test_errors_name_the_address_and_the_remedy(
    address: str, flaky: Flaky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no bucket minds" in refusal("s3://minds/twin/v1", tmp_path)
    assert "(NoSuchKey): there is no such file" in refusal("s3://hearts/twin/v2", tmp_path)
    denied = b"<Error><Code>AccessDenied</Code><AWSAccessKeyId>somebody</AWSAccessKeyId></Error>"

    def deny(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        start("403 Forbidden", [("Content-Type", "application/xml")])
        return [denied]

    with monkeypatch.context() as patch:
        patch.setattr(flaky, "app", deny)
        message = refusal(address, tmp_path)
    assert "(AccessDenied): the store refuses access" in message
    assert "somebody" not in message
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert "check AWS_PROFILE" in refusal(address, tmp_path)
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "AWS_ACCESS_KEY_ID" in refusal(address, tmp_path)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    message = refusal(address, tmp_path)
    assert "finds no credentials" in message
    assert "https://hearts.s3.amazonaws.com/twin/v1" in message


def test_a_store_that_is_not_there_is_named(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert "AWS_ENDPOINT_URL" in refusal(address, tmp_path)


def test_without_boto3_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ImportError, match=r"s3://hearts/x: .*pip install 'biofm\[s3\]'"):
        reader("s3://hearts/x", tmp_path, 1)


def test_no_secret_and_no_pickle_is_kept(address: str, tmp_path: Path) -> None:
    list(batches(reader(address, tmp_path / "cache", 2), 0))
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert {path.suffix for path in kept} == {".tar", ".parquet", ".json", ".lock"}
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]
