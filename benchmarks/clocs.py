"""CLOCS on the CPU: all pairs of views in one batched product, against a loop over pairs with patients as text.

    python benchmarks/clocs.py

The loop is ours, written from what is known of the released code: each pair of views by itself, and the mask of
equal patients from a matrix of joined names, compared as text with each patient's in turn. (It adds the pairs'
losses up, as the paper does; the released code keeps the last one.) `integers` is the same loop with a mask of
integers. That losses and gradients agree is checked before anything is timed. Forms are timed in turn, A B C A B C
…, in CPU time, which others on the machine lengthen less; ratios are medians over rounds.
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from biofm.models.clocs_encoder import ClocsEncoder
from biofm.models.encoder import EncoderConfig
from biofm.models.tokenizer import PatchConfig
from biofm.pretrain.objectives.clocs import Clocs, ClocsConfig
from biofm.pretrain.objectives.clocs_loss import clocs_loss
from biofm.signals.windows import Batch, Windows

TEMPERATURE = 0.1
WIDTH = 128
STREAM = "ecg-500hz"
WARM_UP = 2
LOSSES = [(2, 256, 256), (2, 256, 64), (4, 256, 256), (12, 64, 64), (12, 256, 256), (24, 256, 256)]
"""Views, instances, patients."""

Loss = Callable[[Tensor, Tensor], Tensor]


def together(z_KVD: Tensor, patients_K: Tensor) -> Tensor:
    """As biofm computes it."""
    there = torch.ones(z_KVD.shape[:2], dtype=torch.bool)
    return clocs_loss(z_KVD, patients_K, there, TEMPERATURE)


def looped_names(z_KVD: Tensor, patients_K: Tensor) -> Tensor:
    """Pair by pair, patients compared as text."""
    return looped(z_KVD, equal_names([f"patient{p:05d}" for p in patients_K.tolist()]))


def looped_integers(z_KVD: Tensor, patients_K: Tensor) -> Tensor:
    """Pair by pair, patients compared as integers."""
    return looped(z_KVD, patients_K[:, None] == patients_K)


def equal_names(names: list[str]) -> Tensor:
    """Where two instances are of one patient [K, K]."""
    column = np.array(names, dtype=object)
    joined = column[:, None] + "+" + column[None, :]
    found = np.zeros(joined.shape)
    for name in sorted(set(names)):
        found += joined == f"{name}+{name}"
    return torch.from_numpy(found > 0)


def looped(z_KVD: Tensor, same_KK: Tensor) -> Tensor:
    """The loss of each pair of views after the other."""
    upper, lower = (m.nonzero(as_tuple=True) for m in (same_KK.triu(1), same_KK.tril(-1)))
    total, pairs = z_KVD.new_zeros(()), 0
    for a, b in itertools.combinations(range(z_KVD.shape[1]), 2):
        a_KD, b_KD = F.normalize(z_KVD[:, a], dim=1), F.normalize(z_KVD[:, b], dim=1)
        S_KK = torch.exp(a_KD @ b_KD.T / TEMPERATURE)
        rows, columns = S_KK.sum(dim=1), S_KK.sum(dim=0)
        diagonal = torch.diagonal(S_KK)
        terms = [-torch.log(diagonal / rows).mean(), -torch.log(diagonal / columns).mean()]
        if len(upper[0]):
            terms.append(-torch.log(S_KK[upper] / rows[upper[0]]).mean())
            terms.append(-torch.log(S_KK[lower] / columns[lower[1]]).mean())
        total = total + torch.stack(terms).sum() / len(terms)
        pairs += 1
    return total / pairs


def loss_step(loss: Loss, z_KVD: Tensor, patients_K: Tensor) -> tuple[float, Tensor]:
    """CPU seconds for forward and backward to the embeddings, and the gradient there."""
    z_KVD = z_KVD.clone().requires_grad_()
    start = time.process_time()
    loss(z_KVD, patients_K).backward()  # type: ignore[no-untyped-call]
    seconds = time.process_time() - start
    assert z_KVD.grad is not None
    return seconds, z_KVD.grad


def time_losses() -> None:
    """The first table."""
    print("| views × instances, patients | biofm, ms | loop, integers | loop, text | ratio |")
    print("|---|---|---|---|---|")
    forms = (together, looped_integers, looped_names)
    for views, instances, patients in LOSSES:
        generator = torch.Generator().manual_seed(0)
        z_KVD = torch.randn(instances, views, WIDTH, generator=generator)
        patients_K = torch.arange(instances) % patients
        for form in forms[1:]:
            expected, found = (f(z_KVD, patients_K) for f in (form, together))
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
            gradients = [loss_step(f, z_KVD, patients_K)[1] for f in (form, together)]
            torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)
        rounds = [
            [loss_step(form, z_KVD, patients_K)[0] for form in forms]
            for _ in range(WARM_UP + (10 if views < 24 else 3))
        ]
        row(f"{views} × {instances}, {patients}", rounds[WARM_UP:])


def row(name: str, rounds: list[list[float]]) -> None:
    """One line: median milliseconds of each form, and how many times the first one's the last one takes."""
    medians = [f"{1e3 * statistics.median(form):.1f}" for form in zip(*rounds, strict=True)]
    ratios = [last / first for first, *_, last in rounds]
    spread = f"{statistics.median(ratios):.1f}× ({min(ratios):.1f} to {max(ratios):.1f})"
    print(f"| {name} | {' | '.join(medians)} | {spread} |", flush=True)


def make_step() -> tuple[Clocs, Batch]:
    """The published net, and 256 stretches of ten seconds of one lead at 500 Hz, each of another patient."""
    torch.manual_seed(0)
    patch = PatchConfig(channels=("II",), rate_hz=500.0, samples=2500, span="lead")
    encoder = ClocsEncoder(EncoderConfig("clocs", "small", patch=patch))
    x = torch.randint(-3000, 3000, (256, 1, 5000), dtype=torch.int16)
    scale, offset = torch.full((256, 1), 1e-3), torch.zeros(256, 1)
    windows = Windows("ecg", 500.0, ("II",), x, scale, offset, complete=True)
    rows = torch.arange(256)
    return Clocs(encoder, ClocsConfig(instances=1), STREAM), Batch(
        {STREAM: windows}, 0, 0, rows, rows, rows
    )


def ours(objective: Clocs, batch: Batch) -> Tensor:
    """The loss of a batch as biofm computes it, from int16."""
    outcome = objective(batch)
    loss: Tensor = outcome.loss_sum / outcome.targets
    return loss


def by_views(loss: Loss) -> Callable[[Clocs, Batch], Tensor]:
    """The same with one pass for each view, copied into an empty tensor, and a loop over pairs."""

    def step(objective: Clocs, batch: Batch) -> Tensor:
        windows, net = batch.streams[STREAM], objective.encoder
        assert isinstance(net, ClocsEncoder)
        x_BT = windows.physical()[0][:, 0] / net.config.patch.unit
        z_KVD = torch.empty(len(batch), 2, net.dim)
        for view in range(2):
            z_KVD[:, view] = net.net(x_BT[:, 2500 * view : 2500 * (view + 1)])
        return loss(z_KVD, batch.subjects)

    return step


def time_steps() -> None:
    """The second table."""
    objective, batch = make_step()
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-4)
    forms = (ours, by_views(looped_integers), by_views(looped_names))
    objective.eval()  # batch norm over one view or two is not the same, and drop-out is drawn anew
    losses = [form(objective, batch).detach() for form in forms]
    for loss in losses[1:]:
        torch.testing.assert_close(loss, losses[0], rtol=1e-4, atol=1e-5)
    objective.train()
    rounds = []
    for _ in range(WARM_UP + 10):
        times = []
        for form in forms:
            start = time.process_time()
            optimizer.zero_grad()
            form(objective, batch).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            times.append(time.process_time() - start)
        rounds.append(times)
    print("\n| CMSC, 256 × 2 × 2500 | biofm, ms | loop, integers | loop, text | ratio |")
    print("|---|---|---|---|---|")
    row("training step, 45,304 parameters", rounds[WARM_UP:])


def main() -> None:
    """Print both tables."""
    print(f"fp32, {torch.get_num_threads()} thread(s), torch {torch.__version__}")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    time_losses()
    time_steps()


if __name__ == "__main__":
    main()
