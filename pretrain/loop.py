"""The training loop, for every objective: data → steps → log, validate, checkpoint, resume.

- A step's windows are the same at any number of ranks, and its loss is the sum over all of them divided by
  one count, so a run does not depend on how it was dealt out.
- Nothing random is kept: masks and crops follow from (seed, epoch, position). A run that was killed and
  resumed is the run that was not, bit for bit on the same ranks of a CPU.
- The learning rate is a function of the step, not a scheduler with a state.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from ..shards.reader import WindowReader
from ..signals.windows import Batch
from . import checkpoint
from .checkpoint import Progress
from .configuration import OptimConfig, RunConfig
from .distributed import StopSignal, total
from .strategy import autocast, clip, gather, micro_batch, prepare
from .throughput import Meter
from .tracking import Tracker


@dataclass
class Training:
    """All that a run is made of; `engine.Parts` says what the functions are.

    `trained` is the objective, or where its weights lie in pieces a copy (see `strategy`).
    """

    accelerator: Accelerator
    objective: nn.Module
    trained: nn.Module
    train: WindowReader
    validation: WindowReader
    optim: OptimConfig
    run: RunConfig
    tracker: Tracker | None
    meter: Meter
    write_model: Callable[[Path, dict[str, Any]], None]
    draw: Callable[[Progress], list[Path]]
    judge: Callable[[], tuple[dict[str, float], float]] | None
    watch: Callable[[Progress], tuple[dict[str, float], list[str]]] | None


def fit(training: Training, progress: Progress, resume_from: Path | None) -> Progress:
    """Train until the last epoch or a stop signal; returns where the run stands."""
    t, accelerator, optim = training, training.accelerator, training.optim
    model, optimizer = prepare(accelerator, t.trained, make_optimizer(t.trained, optim), optim)
    if resume_from is not None:
        checkpoint.load_state(accelerator, resume_from)
    steps_per_epoch = t.train.steps_per_epoch(optim.global_batch)
    all_steps = optim.epochs * steps_per_epoch
    stop = StopSignal()
    bar = tqdm(
        total=all_steps,
        initial=progress.step,
        unit="step",
        disable=not accelerator.is_main_process,
        # A line every half minute is enough where the output goes to a file.
        mininterval=0.1 if sys.stderr.isatty() else 30.0,
    )
    losses: list[Tensor] = []
    after_step = getattr(t.trained, "after_step", None)
    t.meter.restart()
    try:
        while progress.epoch < optim.epochs:
            for micro_batches in timed(t.meter, epoch_batches(t, progress)):
                lr = learning_rate(progress.step, all_steps, steps_per_epoch, optim)
                loss, norm, leave = step(t, model, optimizer, micro_batches, lr, stop)
                losses.append(loss)
                progress.step += 1
                if after_step is not None:
                    after_step(progress.step / all_steps)
                progress.step_in_epoch += 1
                t.meter.windows += optim.global_batch
                bar.update()
                # At an epoch's end the checkpoint waits for the validation, which belongs to it.
                due = at_checkpoint(t, progress) and progress.step_in_epoch < steps_per_epoch
                if progress.step % t.run.log_every == 0 or due or leave:
                    log_steps(t, progress, losses, lr, norm, bar)
                if due or leave:
                    save(t, progress)
                if leave:
                    return finish(t, progress, bar, "KILLED")
            progress.epoch += 1
            progress.step_in_epoch = 0
            if losses:
                log_steps(t, progress, losses, lr, norm, bar)
            if progress.epoch % t.run.validate_every == 0 or progress.epoch == optim.epochs:
                validate(t, progress, bar)
            if at_checkpoint(t, progress) or progress.epoch == optim.epochs:
                save(t, progress)
        return finish(t, progress, bar, "FINISHED")
    except BaseException:
        if t.tracker is not None:
            t.tracker.finish("FAILED")
        raise
    finally:
        stop.restore()
        bar.close()


def at_checkpoint(t: Training, progress: Progress) -> bool:
    """Whether a checkpoint is due at this step."""
    return progress.step % t.run.checkpoint_every == 0


def epoch_batches(t: Training, progress: Progress) -> Iterable[list[Batch]]:
    """What is left of the epoch for this rank: a list of micro-batches for each step."""
    ranks = t.accelerator.num_processes
    return t.train.train_batches(
        global_batch=t.optim.global_batch,
        micro_batch=t.optim.micro(ranks),
        rank=t.accelerator.process_index,
        ranks=ranks,
        epoch=progress.epoch,
        first_step=progress.step_in_epoch,
    )


def step(
    t: Training,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    micro_batches: list[Batch],
    lr: float,
    stop: StopSignal,
) -> tuple[Tensor, Tensor, bool]:
    """One optimizer step: (this rank's share of the step's loss, gradient norm, whether to leave)."""
    accelerator = t.accelerator
    batches = [b.to(accelerator.device) for b in micro_batches]
    # An nn.Module does not say that objectives have `count` (objectives/base.py does).
    counts = torch.stack([t.objective.count(b) for b in batches]).sum()  # type: ignore[operator]
    agreed = total(accelerator, torch.stack([counts, counts.new_tensor(float(stop.came))]))
    # Data-parallel wrappers average gradients over ranks; times ranks over the count of all of them, that
    # is the gradient of the mean over the whole step.
    scale = accelerator.num_processes / agreed[0].clamp_min(1)
    loss = counts.new_zeros(())
    # Before the passes: under DeepSpeed the last of them takes the step.
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
    for i, batch in enumerate(batches):
        with micro_batch(accelerator, model, last=i == len(batches) - 1):
            with autocast(accelerator):
                part = model(batch).loss_sum * scale
            accelerator.backward(part)
        loss = loss + part.detach() / accelerator.num_processes
    norm = clip(accelerator, model, t.optim.clip_norm)
    optimizer.step()
    optimizer.zero_grad()
    return loss, norm, stop.agreed(agreed[1])


def make_optimizer(objective: nn.Module, optim: OptimConfig) -> torch.optim.AdamW:
    """AdamW whose decay spares biases, norms, learned tokens and embeddings.

    An objective may divide its parameters into groups with learning rates of their own:
    `parameter_groups()` gives (names of parameters, factor on the learning rate).
    """
    divided = getattr(objective, "parameter_groups", None)
    parameters = {n: p for n, p in objective.named_parameters() if p.requires_grad}
    groups = []
    for names, scale in divided() if divided else [(list(parameters), 1.0)]:
        for decays in (True, False):
            learning = [n for n in names if n in parameters]
            chosen = [parameters[n] for n in learning if _decays(n, parameters[n]) is decays]
            if chosen:
                decay = optim.weight_decay if decays else 0.0
                groups.append({"params": chosen, "weight_decay": decay, "lr_scale": scale})
    fused = next(objective.parameters()).is_cuda
    return torch.optim.AdamW(groups, lr=optim.lr, betas=optim.betas, fused=fused)


def _decays(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim >= 2 and not name.endswith("_embedding")


def learning_rate(step: int, steps: int, steps_per_epoch: int, optim: OptimConfig) -> float:
    """Linear warm-up, then a half cosine down to zero."""
    warmup = optim.warmup_epochs * steps_per_epoch
    if step < warmup:
        return optim.lr * min(1.0, (step + 1) / warmup)
    return optim.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def timed(meter: Meter, items: Iterable[list[Batch]]) -> Iterable[list[Batch]]:
    """The same items; the time spent waiting for each goes to the meter."""
    source = iter(items)
    while True:
        start = time.perf_counter()
        item = next(source, None)
        meter.waited_s += time.perf_counter() - start
        if item is None:
            return
        yield item


def log_steps(
    t: Training, progress: Progress, losses: list[Tensor], lr: float, norm: Tensor, bar: Any
) -> None:
    """Every step's loss since the last call, summed over ranks at once; and the interval's figures."""
    values = total(t.accelerator, torch.stack(losses)).tolist()
    losses.clear()
    figures = t.meter.read()
    if not math.isfinite(sum(values) + float(norm)):
        raise RuntimeError(
            f"the loss or its gradient is not finite at step {progress.step}; nothing was saved since the last "
            f"checkpoint. Start again with a lower optim.lr in another run.out; `biofm shards verify` tells "
            "whether the data are sound"
        )
    if t.tracker is None:
        return
    first = progress.step - len(values) + 1
    for i, value in enumerate(values[:-1]):
        t.tracker.log(first + i, {"loss": value})
    t.tracker.log(
        progress.step, {"loss": values[-1], "lr": lr, "gradient_norm": float(norm), **figures}
    )
    t.tracker.flush()
    bar.set_postfix_str(f"loss {values[-1]:.4f}, {figures['samples_per_s']:.0f} windows/s")


@torch.no_grad()
def validation_loss(t: Training) -> float:
    """Mean loss over every validation window, each once, with masks that never change."""
    t.objective.eval()
    device = t.accelerator.device
    sums = torch.zeros(2, dtype=torch.float64, device="cpu")
    for batch in t.validation.evaluation_batches(
        micro_batch=t.optim.micro(t.accelerator.num_processes),
        rank=t.accelerator.process_index,
        ranks=t.accelerator.num_processes,
    ):
        if len(batch):
            with autocast(t.accelerator):
                outcome = t.objective(batch.to(device))
            sums += torch.stack([outcome.loss_sum.float(), outcome.targets]).double().cpu()
    sums = total(t.accelerator, sums.to(device))
    t.objective.train()
    return float(sums[0] / sums[1].clamp_min(1))


def validate(t: Training, progress: Progress, bar: Any) -> None:
    """Measure, keep the best model, draw; what is watched has no say in which is the best."""
    share_buffers(t)
    gather(t.accelerator, t.trained, t.objective)
    loss = validation_loss(t)
    figures, value = ({}, loss) if t.judge is None else t.judge()
    watched, lines = ({}, []) if t.watch is None else t.watch(progress)
    # Of objectives alone: what else is trained has a judge, or a loss that means the same at any step.
    better = value < progress.best or not getattr(t.objective, "comparable", True)
    if better:
        progress.best, progress.best_step = value, progress.step
    if t.tracker is not None:
        figures = {"validation_loss": loss, **figures}
        t.tracker.log(progress.step, {**figures, **watched})
        t.tracker.flush()
        if better:
            t.write_model(t.run.out / "best", {**figures, "step": progress.step})
        if progress.epoch == t.optim.epochs or progress.epoch == t.run.validate_every:
            for picture in t.draw(progress):
                t.tracker.picture(picture)
        told = ", ".join(f"{k.replace('_', ' ')} {v:.4f}" for k, v in figures.items())
        bar.write(f"epoch {progress.epoch}/{t.optim.epochs}: {told}{' (best)' if better else ''}")
        for line in lines:
            bar.write(line)
    t.accelerator.wait_for_everyone()
    t.meter.restart()


def share_buffers(t: Training) -> None:
    """Give all ranks the main process's running statistics (batch norm), which are what is kept of them."""
    if t.accelerator.num_processes > 1:
        for buffer in t.trained.buffers():
            torch.distributed.broadcast(buffer, src=0)


def save(t: Training, progress: Progress) -> None:
    """A checkpoint of where the run stands."""
    if t.tracker is not None:
        t.tracker.flush()
    gather(t.accelerator, t.trained, t.objective)
    facts = {"step": progress.step}
    checkpoint.save(
        t.accelerator,
        t.run.out,
        progress,
        lambda folder: t.write_model(folder, facts),
        t.run.keep_last,
    )
    t.meter.restart()


def finish(t: Training, progress: Progress, bar: Any, status: str) -> Progress:
    """End the tracked run and say where the run stands."""
    if t.tracker is not None:
        t.tracker.finish(status)
        if status == "KILLED":
            bar.write(
                f"stopped by a signal: saved at step {progress.step}; the same command goes on from there"
            )
    return progress
