"""Files are either the old one or the new one: never half of one."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from biofm.files import folder_aside, sha256, write_aside


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_appears_when_it_is_finished(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.txt"
    with write_aside(target) as aside:
        aside.write_text("new")
        assert not target.exists()
        assert aside.parent == target.parent  # a rename across file systems would be a copy
    assert target.read_text() == "new"
    assert names(target.parent) == ["file.txt"]


def write_half(target: Path, error: BaseException) -> None:
    with write_aside(target) as aside:
        aside.write_text("half of the n")
        raise error


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), OSError(errno.EIO, "io")])
def test_an_error_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(type(error)):
        write_half(target, error)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["file.txt"]


def test_a_full_disk_is_named_with_its_remedy(tmp_path: Path) -> None:
    message = r"no space left while writing .*file\.txt.*free some space"
    with pytest.raises(OSError, match=message) as full:
        write_half(tmp_path / "file.txt", OSError(errno.ENOSPC, "No space left on device"))
    assert full.value.errno == errno.ENOSPC
    assert names(tmp_path) == []


def test_a_kill_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from biofm.files import write_aside\n"
        "with write_aside(Path(sys.argv[1])) as aside:\n"
        "    aside.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert target.read_text() == "old"


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for round_ in ("first", "second"):
        with folder_aside(target) as aside:
            (aside / "sub").mkdir()
            (aside / "sub" / round_).write_text(round_)
    assert names(target / "sub") == ["second"]
    assert names(tmp_path) == ["model"]


def test_an_error_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with folder_aside(target) as aside:
        (aside / "weights").write_text("old")

    def write_half_a_folder() -> None:
        with folder_aside(target) as aside:
            (aside / "weights").write_text("half")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        write_half_a_folder()
    assert (target / "weights").read_text() == "old"
    assert names(tmp_path) == ["model"]


def test_what_is_renamed_into_place_was_forced_to_disk_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file.txt"
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def watch_fsync(descriptor: int) -> None:
        done.append("fsync")
        fsync(descriptor)

    def watch_replace(self: Path, to: Path) -> Path:
        done.append("rename")
        return replace(self, to)

    monkeypatch.setattr(os, "fsync", watch_fsync)
    monkeypatch.setattr(Path, "replace", watch_replace)
    with write_aside(target) as aside:
        aside.write_text("new")
    assert done == ["fsync", "rename", "fsync"]


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc" * 100_000)
    assert sha256(tmp_path / "x") == hashlib.sha256(b"abc" * 100_000).hexdigest()
