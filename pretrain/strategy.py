"""How the state of a run is divided among its processes, and what the loop has to do about it.

    strategy      weights    gradients   optimizer
    ddp           whole      whole       whole       (one process is the same with nobody to talk to)
    zero1         whole      whole       in pieces
    zero2         whole      in pieces   in pieces
    zero3, fsdp2  in pieces  in pieces   in pieces

- Weights stay fp32 under all of them, and bf16 is autocast's: a run computes what it would under DDP.
- Where weights lie in pieces, the module that is trained is a copy. The other one keeps whole weights,
  brought up to date before each validation and checkpoint (`gather`), and all that looks at a model,
  validates it or saves it works on that one as if nothing were divided. It costs 4 bytes a parameter.
- A checkpoint says which strategy wrote it, and how many processes (`check_state`).
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from .configuration import OptimConfig
from .objectives.base import Objective

IN_PIECES = ("zero3", "fsdp2")
"""Strategies under which no process holds all weights."""
PIECES = "pytorch_model"
"""The folder of a state in which DeepSpeed's pieces lie, as accelerate names it."""


def strategy(accelerator: Accelerator) -> str:
    """Its name, as in the table above."""
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        return f"zero{accelerator.deepspeed_plugin.zero_stage}"
    return "fsdp2" if accelerator.distributed_type == DistributedType.FSDP else "ddp"


def uses_bf16(accelerator: Accelerator) -> bool:
    """Whether forward passes autocast to bf16."""
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        return bool(accelerator.deepspeed_plugin.deepspeed_config["torch_autocast"]["enabled"])
    return bool(accelerator.mixed_precision == "bf16")


def autocast(accelerator: Accelerator) -> torch.autocast:
    """The precision of a forward pass, under any strategy."""
    return torch.autocast(
        accelerator.device.type, torch.bfloat16, enabled=uses_bf16(accelerator), cache_enabled=True
    )


def trained_module(accelerator: Accelerator, objective: nn.Module) -> nn.Module:
    """What is to be trained: the objective, or where its weights will lie in pieces a copy of it.

    Raises `ValueError` where the objective does what the strategy does not allow.
    """
    if strategy(accelerator) not in IN_PIECES:
        return objective
    follows = isinstance(objective, Objective) and type(objective).after_step is not (
        Objective.after_step
    )
    if follows and strategy(accelerator) == "zero3":
        raise ValueError(
            f"{type(objective).__name__} moves weights after each step, and under ZeRO-3 there are none outside of "
            "the forward pass: use DDP, FSDP2, ZeRO-1 or ZeRO-2 (configs/accelerate/)"
        )
    return copy.deepcopy(objective)


def prepare(
    accelerator: Accelerator,
    trained: nn.Module,
    optimizer: torch.optim.Optimizer,
    optim: OptimConfig,
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """The module to call, and the optimizer, divided as the strategy says."""
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        # DeepSpeed clips by itself. It divides a loss by its own number of micro-batches: one, as the loop
        # has divided already.
        accelerator.deepspeed_plugin.deepspeed_config.update(
            train_micro_batch_size_per_gpu=optim.micro(accelerator.num_processes),
            gradient_accumulation_steps=1,
            gradient_clipping=optim.clip_norm,
        )
    elif accelerator.distributed_type == DistributedType.FSDP:
        plugin = accelerator.state.fsdp_plugin
        plugin.mixed_precision_policy = None
        # A group of its own for each layer: one is whole at a time.
        layers = {type(layer).__name__ for layer in repeated_layers(trained)}
        plugin.transformer_cls_names_to_wrap = sorted(layers)
    model, divided = accelerator.prepare(trained, optimizer)
    handler = accelerator.ddp_handler
    if strategy(accelerator) == "fsdp2" and handler is not None and handler.find_unused_parameters:
        model.set_reduce_scatter_unused_params(True)
    return model, divided


@contextlib.contextmanager
def micro_batch(accelerator: Accelerator, model: nn.Module, *, last: bool) -> Iterator[None]:
    """Around one forward and backward pass: gradients are summed over ranks at the `last` of a step.

    Under DeepSpeed the optimizer's step is part of that backward pass. Where gradients lie in pieces they
    are summed each time: to wait would take the memory that the pieces save.
    """
    accelerator.sync_gradients = last
    waits = not last and strategy(accelerator) == "ddp"
    with accelerator.no_sync(model) if waits else contextlib.nullcontext():
        yield


def clip(accelerator: Accelerator, model: nn.Module, clip_norm: float) -> Tensor:
    """Clip gradients to a norm, where that is not done; returns the norm they had."""
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        norm: Any = model.get_global_grad_norm()  # type: ignore[operator]  # the engine's
    else:
        norm = accelerator.clip_grad_norm_(model.parameters(), clip_norm)
    return torch.as_tensor(norm, device=accelerator.device)


@torch.no_grad()
def gather(accelerator: Accelerator, trained: nn.Module, whole: nn.Module) -> None:
    """Bring whole weights and buffers up to date with those in training, on all ranks together."""
    if trained is whole:
        return
    targets = dict(whole.named_parameters())
    for name, piece in trained.named_parameters():
        if isinstance(piece, DTensor):
            targets[name].copy_(piece.full_tensor())
            continue
        import deepspeed

        with deepspeed.zero.GatheredParameters([piece]):
            targets[name].copy_(piece)
    for target, buffer in zip(whole.buffers(), trained.buffers(), strict=True):
        target.copy_(buffer)


def repeated_layers(module: nn.Module) -> list[nn.Module]:
    """The layers of its stacks: members of a list of modules that are all of one class, which is not torch's."""
    layers: list[nn.Module] = []
    for stack in module.modules():
        if isinstance(stack, nn.ModuleList | nn.Sequential):
            members = list(stack)
            if len({type(m) for m in members}) == 1 and not is_torchs(members[0]):
                layers += members
    return layers


def is_torchs(module: nn.Module) -> bool:
    """Whether its class comes with torch."""
    return type(module).__module__.startswith("torch.")


def recompute(module: nn.Module) -> None:
    """Let its layers keep their input alone, and compute the rest again for the backward pass."""
    for layer in repeated_layers(module):
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)


def note_state(accelerator: Accelerator, state: Path) -> None:
    """Write beside a state what wrote it."""
    made = {"strategy": strategy(accelerator), "processes": accelerator.num_processes}
    (state / "strategy.json").write_text(json.dumps(made) + "\n")


def read_state(accelerator: Accelerator, state: Path) -> None:
    """Bring weights and optimizer back from a folder of accelerate's. Raises as `check_state` does."""
    converted = check_state(accelerator, state)
    if converted is None:
        accelerator.load_state(str(state))
        return
    engine = accelerator.deepspeed_engine_wrapped.engine
    groups = engine.optimizer.param_groups
    kept = [{k: v for k, v in group.items() if k != "params"} for group in groups]
    engine._config.load_universal_checkpoint = True
    engine.load_checkpoint(str(converted), PIECES)
    engine._config.load_universal_checkpoint = False
    # ZeRO-3 gives all groups the settings of the first, and one counter of steps, which each then counts up.
    for group, settings in zip(groups, kept, strict=True):
        group.update(settings)
    for moments in engine.optimizer.optimizer.state.values():
        moments["step"] = moments["step"].clone()


def check_state(accelerator: Accelerator, state: Path) -> Path | None:
    """The conversion that has to be read instead of a state; None where none is needed.

    Raises `ValueError` where these processes can read neither, with what to do.
    """
    path = state / "strategy.json"
    made = json.loads(path.read_text()) if path.is_file() else {"strategy": "ddp"}
    before, now = made["strategy"], strategy(accelerator)
    if before != now:
        raise ValueError(
            f"{state} was written under {before}, and this run is under {now}: start it as it was started, or "
            "choose another run.out"
        )
    if not now.startswith("zero") or made["processes"] == accelerator.num_processes:
        return None
    converted = state / "universal"
    if not (converted / PIECES / "zero").is_dir():
        raise ValueError(
            f"{state} was cut by {now} for {made['processes']} processes, and {accelerator.num_processes} take part: "
            f"start {made['processes']}, or convert it (it takes seconds) and give the same command again: "
            f"`python -m deepspeed.checkpoint.ds_to_universal --inject_missing_state --input_folder {state / PIECES} "
            f"--output_folder {converted / PIECES}`"
        )
    return converted
