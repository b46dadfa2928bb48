"""The processes of a run are checked before any work."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from biofm.pretrain import distributed
from biofm.pretrain.configuration import RunConfig


def test_processes_that_accelerate_does_not_see_are_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def one_process(**_: Any) -> SimpleNamespace:
        return SimpleNamespace(num_processes=1)

    monkeypatch.setattr(distributed, "Accelerator", one_process)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        RuntimeError, match=r"2 processes were started but accelerate sees 1.*cpu2.yaml"
    ):
        distributed.make_accelerator(RunConfig())


def test_a_second_signal_acts_as_it_would_have_without_us() -> None:
    import os
    import signal

    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        stop = distributed.StopSignal()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.came
        assert not seen
        os.kill(os.getpid(), signal.SIGTERM)
        assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
