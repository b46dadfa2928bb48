"""An ST-MEM training step on the CPU: leads folded into the batch, against a loop over leads.

    python benchmarks/step.py [tiny small base]

Both forms share the weights, the masks and the encoder; that their losses and gradients agree is checked
before anything is timed. Steps are interleaved, A B A B …; the ratio is the median over pairs.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from typing import Any, Literal, cast

import torch
from torch import Tensor

from biofm.models.encoder import EncoderConfig
from biofm.models.layers import time_code
from biofm.models.tokenizer import PatchConfig
from biofm.models.vit import ViTEncoder
from biofm.pretrain.objectives.mae import MAE, MAEConfig
from biofm.signals import LEADS_12
from biofm.signals.windows import Batch, Windows

STREAM = "ecg-250hz"
BATCH = 8
PAIRS = {"tiny": 10, "small": 10, "base": 6}


def make(size: str) -> tuple[MAE, Batch]:
    """ST-MEM of that size, and a batch of 9 s at 250 Hz."""
    torch.manual_seed(0)
    patch = PatchConfig(rate_hz=250.0, samples=75, span="lead", separators=True, scale="window")
    encoder = ViTEncoder(
        EncoderConfig(size=cast(Literal["tiny", "small", "base"], size), patch=patch)
    )
    samples = torch.randint(-3000, 3000, (BATCH, 12, 2250), dtype=torch.int16)
    windows = Windows(
        "ecg",
        250.0,
        LEADS_12,
        samples,
        torch.full((BATCH, 12), 1e-3),
        torch.zeros(BATCH, 12),
        complete=True,
    )
    rows = torch.arange(BATCH)
    return MAE(encoder, MAEConfig(mask_ratio=0.75, target="patch"), STREAM), Batch(
        {STREAM: windows}, 0, 0, rows, rows, rows
    )


def folded(objective: MAE, batch: Batch) -> Tensor:
    """The loss as biofm computes it."""
    outcome = objective(batch)
    loss: Tensor = outcome.loss_sum / outcome.targets
    return loss


def lead_by_lead(objective: MAE, batch: Batch) -> Tensor:
    """The same loss with one decoder call a lead, as the paper draws it."""
    windows, tokenizer, decoder = (
        batch.streams[STREAM],
        objective.encoder.tokenizer,
        objective.decoder,
    )
    patches = tokenizer.patches(windows)
    mask = objective.draw_mask(batch, patches)
    encoded = objective.encoder.hide(windows, patches, mask).tokens
    times = tokenizer.times_s(patches.present_BCN.shape[2], torch.device("cpu"))
    leads = []
    for lead in range(12):
        x = decoder.embed(encoded[:, lead])
        width = x.shape[-1]
        index = mask.keep[:, lead, :, None].expand(-1, -1, width)
        full = decoder.mask_token.expand(BATCH, len(times), width).scatter(1, index, x[:, 1:-1])
        full = torch.cat([x[:, :1], full + time_code(times, width), x[:, -1:]], dim=1)
        leads.append(decoder.head(decoder.blocks(full)[:, 1:-1]))
    mean, deviation = objective.target_scale(patches)
    error = (torch.stack(leads, dim=1) - (patches.values_BCNP - mean) / deviation).square()
    return error[mask.hidden].mean()


def step(loss: Any, objective: MAE, batch: Batch, optimizer: torch.optim.Optimizer) -> float:
    """Seconds for forward, backward and update."""
    start = time.perf_counter()
    optimizer.zero_grad()
    loss(objective, batch).backward()
    optimizer.step()
    return time.perf_counter() - start


def check(objective: MAE, batch: Batch) -> None:
    """Both forms give one loss and one gradient."""
    gradients = []
    for form in (folded, lead_by_lead):
        objective.zero_grad()
        loss = form(objective, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients.append(
            [loss.detach(), *(p.grad.clone() for p in objective.parameters() if p.grad is not None)]
        )
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)


def main(sizes: list[str]) -> None:
    """Print the table."""
    print(
        f"ST-MEM, batch {BATCH}, 12×2250, fp32, {torch.get_num_threads()} thread(s), torch {torch.__version__}"
    )
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print("| size | folded, s a step | loop over leads, s | ratio (median of pairs) | pairs |")
    print("|---|---|---|---|---|")
    for size in sizes:
        objective, batch = make(size)
        check(objective, batch)
        optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-4)
        pairs = []
        for i in range(PAIRS[size] + 2):
            pair = (
                step(folded, objective, batch, optimizer),
                step(lead_by_lead, objective, batch, optimizer),
            )
            if i >= 2:
                pairs.append(pair)
        fast, slow = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratio = statistics.median(s / f for f, s in pairs)
        print(f"| {size} | {fast:.3f} | {slow:.3f} | {ratio:.2f}× | {len(pairs)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or list(PAIRS))
