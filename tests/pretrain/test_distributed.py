"""The processes of a run are checked before any work."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import DistributedType
from torch import nn

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


@pytest.mark.parametrize("name", ["FSDP", "DEEPSPEED"])
def test_a_strategy_that_accelerate_does_not_follow_is_an_error(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    followed = SimpleNamespace(
        distributed_type=DistributedType.MULTI_CPU, gradient_accumulation_steps=1
    )
    with pytest.raises(RuntimeError, match=rf"asked for {name}, but accelerate took MULTI_CPU"):
        distributed.check_strategy(followed, unused=False)


@pytest.mark.parametrize(
    ("unused", "stage", "says"), [(True, 2, "use DDP or FSDP2"), (False, 0, "set zero_stage")]
)
def test_deepspeed_is_refused_where_it_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, unused: bool, stage: int, says: str
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    followed: Any = SimpleNamespace(
        distributed_type=DistributedType.DEEPSPEED,
        deepspeed_plugin=SimpleNamespace(zero_stage=stage),
        gradient_accumulation_steps=1,
    )
    with pytest.raises(RuntimeError, match=says):
        distributed.check_strategy(followed, unused)


def test_the_launcher_may_not_accumulate_beside_the_loop() -> None:
    followed: Any = SimpleNamespace(
        distributed_type=DistributedType.MULTI_CPU, gradient_accumulation_steps=4
    )
    with pytest.raises(RuntimeError, match=r"4 accumulated.*optim.micro_batch"):
        distributed.check_strategy(followed, unused=False)


def norms(processes: int, device: str) -> tuple[nn.Sequential, list[str]]:
    module = nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.LayerNorm(4))
    accelerator: Any = SimpleNamespace(num_processes=processes, device=torch.device(device))
    return module, distributed.synchronise_norms(module, accelerator)


def test_batch_norms_are_synchronised_on_gpus_and_keep_their_weights() -> None:
    before = norms(1, "cpu")[0].state_dict().keys()
    module, lines = norms(2, "cuda")
    assert lines == []
    assert [type(m).__name__ for m in module] == ["Conv1d", "SyncBatchNorm", "LayerNorm"]
    assert module.state_dict().keys() == before


def test_batch_norms_stay_on_cpus_and_alone_and_people_are_told() -> None:
    module, lines = norms(2, "cpu")
    assert type(module[1]) is nn.BatchNorm1d
    assert "1 batch norm(s)" in lines[0]
    module, lines = norms(1, "cuda")
    assert type(module[1]) is nn.BatchNorm1d
    assert lines == []
