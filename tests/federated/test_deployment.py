"""Flower as it is deployed: a SuperLink and SuperNodes on the loopback, with TLS and a key for each node.

The programs are started and ended by process id, each test's with a FLWR_HOME of its own: who has it in the
environment belongs to the test, however deep a child.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import biofm.federated
from biofm.configuration import write_config
from biofm.datasets.simulate import simulate
from biofm.federated.cohort import cohort_of
from biofm.federated.configuration import DivisionConfig, FederatedConfig
from biofm.federated.grids import InProcessGrid
from biofm.federated.keeping import keep, kept, path_of
from biofm.federated.participants import Participants
from biofm.federated.server import serve
from biofm.models.pretrained import load_model
from biofm.shards import writing
from biofm.shards.build import build
from biofm.shards.configuration import Fractions, shipped

APP = Path(biofm.federated.__file__).resolve().parent
PROGRAMS = Path(sys.executable).parent
NODES = 2
REFUSED = "Exit Code: 305"
"""What a SuperNode says that the SuperLink does not know; its status is 1."""
FASTER_HEART = (
    "import flwr.common.constant as c; c.HEARTBEAT_DEFAULT_INTERVAL = 10; "
    "from flwr.supernode.cli.flower_supernode import flower_supernode; flower_supernode()"
)
"""A SuperNode counts as gone after two missed heartbeats: one every 30 s, which no option shortens."""

needed = [name for name in ("openssl", "ssh-keygen") if shutil.which(name) is None]
needed += [
    n for n in ("flwr", "flower-superlink", "flower-supernode") if not (PROGRAMS / n).exists()
]
needed += [] if Path("/proc/self/environ").exists() else ["/proc"]
pytestmark = pytest.mark.skipif(bool(needed), reason=f"not here: {', '.join(needed)}")


@dataclass
class Loopback:
    """A SuperLink, its certificates, and what runs beside it; `home` is the FLWR_HOME of all."""

    home: Path
    port: int
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """No telemetry, nothing installed, and the programs of this environment first."""
        return {
            **os.environ,
            "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
            "FLWR_HOME": str(self.home),
            "FLWR_TELEMETRY_ENABLED": "0",
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "NO_PROXY": "127.0.0.1",
            "OMP_NUM_THREADS": "1",
        }

    def say(self, *words: str) -> None:
        """Run a program to its end, in `home`."""
        done = subprocess.run(
            words, cwd=self.home, env=self.environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self, name: str, words: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a program that stays, with its output in `<name>.log`."""
        with (self.home / f"{name}.log").open("wb") as log:
            started = subprocess.Popen(
                words, cwd=self.home, env=self.environment, stdout=log, stderr=subprocess.STDOUT
            )
        self.running.append(started)
        return started

    def log(self, name: str) -> str:
        """What a program has said so far."""
        return (self.home / f"{name}.log").read_text()

    def node(self, name: str, config: str, soon_missed: bool = False) -> subprocess.Popen[bytes]:
        """Start a SuperNode with the key of its name."""
        program = [sys.executable, "-c", FASTER_HEART] if soon_missed else ["flower-supernode"]
        words = ["--superlink", f"127.0.0.1:{self.port}", "--root-certificates", "ca.crt"]
        words += ["--auth-supernode-private-key", name, "--node-config", config]
        return self.start(
            name, [*program, *words, "--host", "127.0.0.1", "--port", str(free_port())]
        )

    def mine(self) -> list[int]:
        """Ids of all living processes that were started here, or by what was."""
        mark = f"FLWR_HOME={self.home}".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                marked = mark in (process / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if marked:
                found.append(int(process.name))
        return found

    def tell(self, what: signal.Signals) -> None:
        """Send a signal to all of `mine`."""
        for pid in self.mine():
            # It may have ended since it was found.
            with suppress(ProcessLookupError):
                os.kill(pid, what)

    def stop(self) -> None:
        """End what still runs: nodes, then the link, then children that have not noticed yet."""
        for process in reversed(self.running):
            process.terminate()
        for process in self.running:
            process.wait(timeout=60)
        self.tell(signal.SIGTERM)
        soon(lambda: not self.mine(), 60, "what was started ends")


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def soon(happened: Callable[[], bool], within_s: float, what: str) -> None:
    """Wait for it. Raises `TimeoutError` where it does not come."""
    until = time.monotonic() + within_s
    while not happened():
        if time.monotonic() > until:
            raise TimeoutError(f"{what}: not within {within_s:g} s")
        time.sleep(0.2)


def answers(port: int) -> bool:
    """Whether somebody listens."""
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def loopback(tmp_path: Path) -> Iterator[Loopback]:
    """A SuperLink with TLS that knows the nodes `node0` and `node1`; nothing is left of it afterwards."""
    link = Loopback(tmp_path / "home", free_port())
    link.home.mkdir()
    try:
        make_certificates(link)
        address = (
            f'address = "127.0.0.1:{link.port}"\nroot-certificates = "{link.home / "ca.crt"}"\n'
        )
        (link.home / "config.toml").write_text(
            f'[superlink]\ndefault = "loop"\n[superlink.loop]\n{address}'
        )
        words = ["--ssl-ca-certfile", "ca.crt", "--ssl-certfile", "server.crt"]
        words += ["--ssl-keyfile", "server.key", "--enable-supernode-auth"]
        words += ["--host", "127.0.0.1", "--port", str(link.port)]
        link.start("superlink", ["flower-superlink", *words])
        soon(lambda: answers(link.port), 60, "the SuperLink answers")
        for name in ("node0", "node1", "unknown"):
            link.say("ssh-keygen", "-q", "-t", "ecdsa", "-b", "384", "-N", "", "-f", name)
        for i in range(NODES):
            link.say("flwr", "supernode", "register", f"node{i}.pub", "loop")
        yield link
        link.stop()
    finally:
        link.tell(signal.SIGKILL)
        for process in link.running:
            process.wait()


def make_certificates(link: Loopback) -> None:
    """An authority, and a certificate of its for the loopback."""
    (link.home / "san.txt").write_text("subjectAltName=IP:127.0.0.1\n")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    authority = ("-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=test authority", "-days", "2")
    link.say("openssl", "req", "-x509", *curve, *authority)
    link.say(
        "openssl",
        "req",
        *curve,
        "-keyout",
        "server.key",
        "-out",
        "server.csr",
        "-subj",
        "/CN=server",
    )
    signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "san.txt")
    link.say(
        "openssl", "x509", "-req", "-in", "server.csr", *signed, "-days", "2", "-out", "server.crt"
    )


@pytest.fixture(scope="module")
def own_shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A shard folder for each node with one subject's night, in order of the subjects."""
    root = tmp_path_factory.mktemp("devices")
    tree = simulate("sleep_accel", root / "tree", records=NODES, seed=5, progress=False)
    config = shipped("sleep_accel")
    config = replace(
        config, preprocessing=replace(config.preprocessing, acc=None), fractions=Fractions(1, 0, 0)
    )
    found = []
    for name in sorted(p.name.split("_")[0] for p in (tree / "labels").glob("*.txt")):
        own = root / f"tree_{name}"
        shutil.copytree(
            tree,
            own,
            ignore=lambda folder, files, name=name: [
                f for f in files if f.endswith("t") and not f.startswith(name)
            ],
        )
        # Whether signals are plausible is no matter here, and costs more than the rest.
        with mock.patch.object(writing, "PER_SHARD", 0):
            build("sleep_accel", [own], root / name, config, workers=1, progress=False)
        found.append(root / name)
    return found


def in_process(config: FederatedConfig) -> list[str]:
    """The same federation by the other engine; its subjects, by partition."""
    cohort = cohort_of(config, load_model(config.models[0]))
    subjects = list(cohort.clients)
    participants = Participants(cohort, {subject: place for place, subject in enumerate(subjects)})
    grid = InProcessGrid(participants, lambda n, s, a: keep(config.out, cohort, n, s, a))
    list(serve(grid, config))
    return subjects


def test_nodes_keep_what_one_process_would_and_the_loss_of_one_is_survived(
    loopback: Loopback,
    own_shards: list[Path],
    tiny_encoder: Path,
    small_config: FederatedConfig,
    tmp_path: Path,
) -> None:
    """`fedper` is trained to its end by both; the second node is killed in the round of `fedavg`."""
    run = replace(
        small_config,
        strategies=("fedper", "fedavg"),
        shards=tuple(map(str, own_shards)),
        excluded=(),
        division=DivisionConfig("random"),
        rounds=1,
        minimum=NODES,
        timeout_s=100,
    )
    expected = replace(run, strategies=("fedper",), out=tmp_path / "expected")
    subjects = in_process(expected)

    write_config(run, tmp_path / "run.yaml")
    outs = [tmp_path / f"out{i}" for i in range(NODES)]
    nodes = [
        loopback.node(
            f"node{i}",
            f"partition-id={i} shards='{own_shards[i]}' models='{tiny_encoder}' out='{outs[i]}'",
            soon_missed=i == 1,
        )
        for i in range(NODES)
    ]
    unknown = loopback.node("unknown", f"partition-id={NODES} shards='{own_shards[0]}'")
    running = loopback.start(
        "run",
        ["flwr", "run", str(APP), "loop", "--stream", "-c", f"config='{tmp_path / 'run.yaml'}'"],
    )
    assert unknown.wait(timeout=60) == 1
    assert REFUSED in loopback.log("unknown")

    soon(
        lambda: loopback.log("node1").count("Receiving: train") > 1 or running.poll() is not None,
        300,
        "the round of fedavg",
    )
    assert running.poll() is None, loopback.log("run")
    nodes[1].kill()
    running.wait(timeout=300)

    log = loopback.log("run")
    assert "fedper: 1 rounds, 2 of 2 answers" in log
    assert "fedavg: 1 rounds, 1 of 2 answers" in log
    for subject, out in zip(subjects, outs, strict=True):
        with (
            np.load(path_of(expected.out, subject, "fedper")) as one,
            np.load(path_of(out, subject, "fedper")) as other,
        ):
            assert one.files == other.files
            for name in one.files:
                if one[name].dtype.kind == "U":
                    assert one[name].tolist() == other[name].tolist()
                else:
                    np.testing.assert_allclose(
                        other[name], one[name], rtol=0, atol=1e-6, err_msg=name
                    )
    left = kept(outs[0], subjects[0], "fedavg").own
    assert left is not None
    np.testing.assert_allclose(left["test"].sum(axis=1), 1, rtol=1e-5)
    assert not path_of(outs[1], subjects[1], "fedavg").exists()
    assert not [p for out in outs for p in out.rglob("*.partial")]
