"""Contrastive predictive coding against its formula, term by term; and what it must not be solvable by."""

from __future__ import annotations

import math
import multiprocessing
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from biofm.configuration import ConfigParser
from biofm.models.encoder import EncoderConfig
from biofm.models.make_encoder import make_encoder
from biofm.models.tokenizer import PatchConfig
from biofm.pretrain.cpc_run import Config
from biofm.pretrain.objectives.cpc import CPC, CPCConfig
from biofm.signals import LEADS_12
from biofm.signals.windows import Batch, Windows

STREAM = "ecg-100hz"
TIMEOUT_S = 240
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["biofm.pretrain.objectives.cpc"])
# The server's children import this file by name. pytest's name for it begins with `tests.`, and an
# installed library may have a package of that name.
sys.path.insert(0, str(Path(__file__).parent))
sys.modules["test_cpc"] = sys.modules[__name__]
__name__ = "test_cpc"
LEADS = LEADS_12[:3]


def made(
    backbone: Any = "lstm",
    objective: CPCConfig | None = None,
    *,
    samples: int = 4,
    channels: tuple[str, ...] = LEADS,
    new: bool = False,
    **fields: Any,
) -> CPC:
    """With predictions of some size, where it is not `new`."""
    torch.manual_seed(0)
    patch = PatchConfig(samples=samples, channels=channels, unit=1.0)
    encoder = make_encoder(EncoderConfig(backbone, patch=patch, **fields))
    cpc = CPC(encoder, objective or CPCConfig((3,), 16), STREAM)
    if not new:
        cpc.predict.reset_parameters()
    return cpc


def batch_of(x_BCT: Tensor, first: int = 0, epoch: int = 0) -> Batch:
    """Physical samples as a batch, NaN where missing."""
    rows, channels, _ = x_BCT.shape
    scale, offset = torch.ones(rows, channels), torch.zeros(rows, channels)
    complete = not bool(x_BCT.isnan().any())
    windows = Windows("ecg", 100.0, LEADS_12[:channels], x_BCT, scale, offset, complete)
    positions = torch.arange(first, first + rows)
    return Batch({STREAM: windows}, 7, epoch, positions, positions, positions)


def noise(rows: int = 4, patches: int = 30, first: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(16, 3, 4 * patches, generator=generator)[first : first + rows]


def with_gaps() -> Tensor:
    """A row that is whole, one with a gap, one with a single patch and one of which nothing is there."""
    x_BCT = noise()
    x_BCT[1, :, 40:60] = torch.nan
    x_BCT[2, :, 4:] = torch.nan
    x_BCT[3] = torch.nan
    return x_BCT


def waves(rows: int, seed: int, patches: int = 32) -> Tensor:
    """Sums of two sines each, of any frequency and phase: what comes follows from what was."""
    generator = torch.Generator().manual_seed(seed)
    t_T = torch.arange(4 * patches)
    hertz, phase = torch.rand(2, rows, 3, 2, 1, generator=generator)
    return torch.sin(2 * math.pi * ((0.01 + 0.03 * hertz) * t_T + phase)).sum(dim=2)


def parameters(objective: CPC) -> int:
    """Without the values that fill in for missing channels."""
    named = objective.named_parameters()
    return sum(p.numel() for name, p in named if not name.endswith("missing_embedding"))


@pytest.mark.parametrize(("name", "count"), [("cpc_ptbxl", 5_261_312), ("cpc_s4_ptbxl", 3_742_720)])
def test_the_shipped_configs_have_their_numbers_of_parameters(name: str, count: int) -> None:
    """5,261,312 as the paper's released code has it (counted there)."""
    parser = ConfigParser()
    parser.add_config(Config)
    config = parser.config(Config, parser.values(["--config", f"pretrain/{name}"]))
    with torch.device("meta"):
        objective = CPC(make_encoder(config.model), config.objective, STREAM)
    assert parameters(objective) == count


def slow(objective: CPC, batch: Batch) -> tuple[Tensor, int]:
    """The formula, one pair (t, k) and one candidate at a time."""
    encoder, windows = objective.encoder, batch.streams[STREAM]
    patches = encoder.tokenizer.patches(windows)
    there_BN = encoder.there(patches)[:, 0]
    z_BNW = encoder.features(windows, patches)
    c_BNW = encoder.contexts(z_BNW)
    places = objective.candidates(batch, there_BN, objective.targets(there_BN))
    total, terms, W = z_BNW.new_zeros(()), 0, encoder.width
    for b, there_N in enumerate(there_BN.tolist()):
        for i, k in enumerate(objective.config.steps):
            weight_WW = objective.predict.weight[i * W : (i + 1) * W]
            for t in range(len(there_N) - k):
                if not (there_N[t] and there_N[t + k] and sum(there_N) > 1):
                    continue
                drawn = places[b, i, t, 1:].tolist()
                assert t + k not in drawn
                assert all(there_N[n] for n in drawn)
                expected_W = weight_WW @ c_BNW[b, t]
                true = (expected_W @ z_BNW[b, t + k]).exp()
                others = torch.stack([(expected_W @ z_BNW[b, n]).exp() for n in drawn])
                total = total - (true / (true + others.sum())).log()
                terms += 1
    return total, terms


@pytest.mark.parametrize("x_BCT", [noise(rows=2), with_gaps()], ids=["whole", "gaps"])
def test_it_is_the_formula_and_so_are_its_gradients(x_BCT: Tensor) -> None:
    objective = made(objective=CPCConfig((1, 4, 12), 5), depth=1).double()
    batch = batch_of(x_BCT.double())
    outcome, (expected, terms) = objective(batch), slow(objective, batch)
    torch.testing.assert_close(outcome.loss_sum, expected, rtol=1e-6, atol=1e-6)
    assert outcome.targets == terms == objective.count(batch)
    learned = [p for n, p in objective.named_parameters() if not n.endswith("missing_embedding")]
    for one, two in zip(
        torch.autograd.grad(outcome.loss_sum, learned),
        torch.autograd.grad(expected, learned),
        strict=True,
    ):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6)


def test_what_is_missing_is_neither_asked_for_nor_drawn() -> None:
    objective = made(objective=CPCConfig((2,), 64))
    batch = batch_of(with_gaps())
    # 28 of a whole row; patches 10 to 14 are gone from the second, and so are pairs across their edges.
    assert objective.count(batch) == 28 + 28 - 5 - 2
    outcome = objective(batch)
    outcome.loss_sum.backward()
    assert bool(outcome.loss_sum.isfinite())
    assert all(bool(p.grad.isfinite().all()) for p in objective.parameters() if p.grad is not None)


def draws(objective: CPC, batch: Batch) -> Tensor:
    there_BN = objective.there(objective.encoder.tokenizer.patches(batch.streams[STREAM]))
    return objective.candidates(batch, there_BN, objective.targets(there_BN))


def test_draws_are_of_all_others_alike_and_belong_to_the_position() -> None:
    objective = made(objective=CPCConfig((3,), 2000))
    found = draws(objective, batch_of(noise(rows=4)))
    assert torch.equal(found[1:3], draws(objective, batch_of(noise(rows=2, first=1), first=1)))
    assert not torch.equal(found, draws(objective, batch_of(noise(rows=4), epoch=1)))
    assert not torch.equal(found[0], found[1])
    for t in range(27):
        often_N = torch.bincount(found[0, 0, t, 1:], minlength=30)
        assert often_N[t + 3] == 0
        # 2000 draws of 29: 69 each, with a deviation of 8.2.
        others_N = often_N[[n for n in range(30) if n != t + 3]]
        assert others_N.min() > 69 - 5 * 8.2
        assert others_N.max() < 69 + 5 * 8.2


@pytest.mark.parametrize("backbone", ["lstm", "s4_causal"])
def test_an_instant_expects_by_its_past_alone_and_a_patch_is_itself_alone(backbone: str) -> None:
    objective = made(backbone).eval()
    x_BCT = noise(rows=1).requires_grad_()
    windows = batch_of(x_BCT).streams[STREAM]
    patches = objective.encoder.tokenizer.patches(windows)
    features_BNW = objective.encoder.features(windows, patches)
    expected_BNW = objective.predict(objective.encoder.contexts(features_BNW))
    for t in (0, 7, 29):
        (of_feature,) = torch.autograd.grad(features_BNW[0, t].sum(), x_BCT, retain_graph=True)
        touched = of_feature[0].abs().amax(dim=0).view(30, 4).amax(dim=1).nonzero().flatten()
        assert touched.tolist() == [t]
        (of_expected,) = torch.autograd.grad(expected_BNW[0, t].sum(), x_BCT, retain_graph=True)
        size_N = of_expected[0].abs().view(3, 30, 4).amax(dim=(0, 2))
        assert size_N[: t + 1].min() > 0
        if t < 29:
            # A state space is applied by FFT, which rounds.
            assert size_N[t + 1 :].max() < 1e-5 * size_N.max()


def test_a_window_that_never_changes_gives_chance() -> None:
    level_BC1 = torch.arange(12.0).view(4, 3, 1)
    with torch.no_grad():
        outcome = made("s4_causal")(batch_of(level_BC1.expand(4, 3, 120)))
    assert float(outcome.loss_sum / outcome.targets) == pytest.approx(math.log(17), rel=1e-5)


def trained(shuffled: bool) -> float:
    """The share of chance that is left on new waves after training on others."""
    objective = made("s4_causal", CPCConfig((1,), 16), new=True, depth=1)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=2e-3)

    def drawn(seed: int) -> Batch:
        x_BCT = waves(16, seed)
        if shuffled:
            generator = torch.Generator().manual_seed(seed)
            order_BN = torch.rand(16, 32, generator=generator).argsort(dim=1)
            x_BCT = x_BCT.view(16, 3, 32, 4)
            x_BCT = x_BCT.gather(2, order_BN[:, None, :, None].expand_as(x_BCT)).flatten(2)
        return batch_of(x_BCT, first=16 * seed)

    for seed in range(60):
        outcome = objective(drawn(seed))
        optimizer.zero_grad()
        (outcome.loss_sum / outcome.targets).backward()
        optimizer.step()
    with torch.no_grad():
        outcome = objective.eval()(drawn(1000))
    return float(outcome.loss_sum / outcome.targets) / math.log(17)


def test_it_learns_what_follows_and_nothing_where_nothing_follows() -> None:
    assert trained(shuffled=False) < 0.6
    assert 0.97 < trained(shuffled=True) < 1.1


def test_a_few_windows_can_be_learned_by_heart() -> None:
    objective, batch = made("lstm", CPCConfig((3,), 8), new=True, depth=1), batch_of(noise(rows=2))
    with torch.no_grad():
        outcome = objective(batch)
    assert float(outcome.loss_sum / outcome.targets) == pytest.approx(
        math.log(9)
    )  # at first, chance
    optimizer = torch.optim.AdamW(objective.parameters(), lr=5e-3)
    for _ in range(100):
        outcome = objective(batch)
        optimizer.zero_grad()
        (outcome.loss_sum / outcome.targets).backward()
        optimizer.step()
    assert float(outcome.loss_sum.detach() / outcome.targets) < 0.1 * math.log(9)


def test_bf16_leaves_the_dot_products_in_full() -> None:
    objective = made("s4_causal", channels=LEADS_12)
    x_BCT = torch.randn(2, 12, 120, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits_BKNQ, _ = objective.logits(batch_of(x_BCT))
        outcome = objective(batch_of(x_BCT))
    assert logits_BKNQ.dtype == outcome.loss_sum.dtype == torch.float32


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"steps": ()}, r"steps must be different numbers of patches"),
        ({"steps": (3, 3)}, r"steps must be different.*\[3, 3\]"),
        ({"steps": (0, 3)}, r"each 1 or more"),
        ({"negatives": 0}, r"negatives must be 1 or more, not 0"),
    ],
)
def test_impossible_values_are_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        CPCConfig(**fields)


def test_a_window_too_short_for_a_step_says_what_to_change() -> None:
    objective = made(objective=CPCConfig((3, 30), 4))
    for call in (objective.count, objective):
        with pytest.raises(ValueError, match=r"30 patches of 4 samples has none 30 ahead"):
            call(batch_of(noise(rows=1)))


@pytest.mark.parametrize("backbone", ["vit", "xresnet", "s4"])
def test_encoders_that_see_what_comes_are_refused(backbone: Any) -> None:
    model = EncoderConfig(backbone, patch=PatchConfig(samples=8))
    with pytest.raises(ValueError, match=rf"cpc takes lstm, s4_causal, not {backbone}"):
        replace(Config(), model=model)
    with pytest.raises(ValueError, match=rf"sees the past alone.*not {backbone}"):
        CPC(make_encoder(model), CPCConfig(), STREAM)


def on_two_ranks(target: Any, *args: Any) -> None:
    """Two processes that find each other, as a launcher would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [SERVER.Process(target=as_rank, args=(rank, port, target, args)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(TIMEOUT_S)
        assert process.exitcode == 0


def as_rank(rank: int, port: int, target: Any, args: tuple[Any, ...]) -> None:
    os.environ.update(
        RANK=str(rank),
        WORLD_SIZE="2",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    torch.distributed.init_process_group("gloo")
    target(rank, 2, *args)
    torch.distributed.destroy_process_group()


def weights_after_steps(rank: int, ranks: int, folder: Path) -> None:
    """Five steps of the loop's arithmetic on a rank's share of eight windows, of which the last four have gaps.

    Once by norms that are fixed; once by those of each batch, which on two ranks is each rank's own.
    """
    torch.set_num_threads(1)
    share = 8 // ranks
    x_BCT = torch.cat([noise(), with_gaps()])[rank * share : (rank + 1) * share]
    for norms in ("fixed", "own"):
        objective = made("s4_causal", CPCConfig((2, 5), 16), depth=1).train(norms == "own")
        model: nn.Module = objective
        if ranks > 1:
            # As run(…, idle=True): what fills in for missing channels is idle where none is missing.
            model = DistributedDataParallel(objective, find_unused_parameters=True)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for epoch in range(5):
            batch = batch_of(x_BCT, first=rank * share, epoch=epoch)
            total = objective.count(batch)
            if ranks > 1:
                torch.distributed.all_reduce(total)
            optimizer.zero_grad()
            (model(batch).loss_sum * ranks / total).backward()
            optimizer.step()
        learned = {name: p.detach() for name, p in objective.named_parameters()}
        torch.save(learned, folder / f"{norms}-{rank}-of-{ranks}.pt")


def test_two_processes_keep_one_set_of_weights(tmp_path: Path) -> None:
    """And it is the set of one process, where batch norm does not make a rank's share matter."""
    on_two_ranks(weights_after_steps, tmp_path)
    weights_after_steps(0, 1, tmp_path)

    def kept(name: str) -> dict[str, Tensor]:
        found: dict[str, Tensor] = torch.load(tmp_path / f"{name}.pt", weights_only=True)
        return found

    for norms in ("fixed", "own"):
        one, two = (kept(f"{norms}-{rank}-of-2") for rank in (0, 1))
        assert all(torch.equal(one[name], two[name]) for name in one)
    alone, together = kept("fixed-0-of-1"), kept("fixed-0-of-2")
    for name, weight in alone.items():
        torch.testing.assert_close(together[name], weight, rtol=1e-3, atol=1e-5)
