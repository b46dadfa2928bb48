"""The supervised loss against plain arithmetic and scikit-learn, and which rates of learning go where."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from sklearn.metrics import log_loss, mean_absolute_error
from torch import Tensor

from biofm.evaluation.losses import balance
from biofm.evaluation.targets import Targets
from biofm.evaluation.tasks import Task
from biofm.finetune.objective import Learned, Supervised, head_for, loss_of
from biofm.models.backbones import Backbone, EncoderBackbone, ZooBackbone
from biofm.models.encoder import EncoderConfig
from biofm.models.task_model import HeadConfig, InputConfig, TaskModel
from biofm.models.tokenizer import PatchConfig
from biofm.models.vit import ViTEncoder
from biofm.pretrain.configuration import OptimConfig
from biofm.pretrain.distributed import StopSignal
from biofm.pretrain.loop import make_optimizer, step
from biofm.signals.augmentations import AugmentConfig, augment
from biofm.signals.windows import Batch, Windows

CPU = torch.device("cpu")
ROWS = 6
"""Rows of the index."""

LABELS = HeadConfig("labels", "multilabel", ("a", "b", "c"))
STAGES = HeadConfig("stages", "multiclass", ("W", "N", "R"))
PRESSURE = HeadConfig("pressure", "regression", ("sbp", "dbp"), (120.0, 80.0), (15.0, 8.0))


def truth_of(
    values: NDArray[Any], classes: tuple[str, ...], place: tuple[int, ...] | None = None
) -> Targets:
    """The truth of N windows, each a row of the index, or of those at `place`."""
    N = len(values)
    where = tuple(range(N)) if place is None else place
    rows = np.array([where.index(n) for n in range(N)])
    names = np.array([f"s{n}" for n in range(N)])
    return Targets(
        values, classes, rows, rows, names, names, pl.DataFrame(), 0, np.array(where, np.int64)
    )


def task_of(kind: str, loss: str) -> Task:
    metrics = {"multilabel": "auroc", "multiclass": "kappa", "regression": "mae"}
    return Task("t", ("ptbxl",), "x", kind, (metrics[kind],), loss)  # type: ignore[arg-type]


def batch_of(rows: list[int], positions: list[int] | None = None, epoch: int = 0) -> Batch:
    """Windows of these rows of the index, which differ by row; nothing is missing."""
    digital = torch.randint(-900, 900, (ROWS, 2, 200), generator=torch.manual_seed(3))
    samples = digital[rows].to(torch.int16)
    scale = torch.full((len(rows), 2), 1e-3)
    windows = Windows("ecg", 100.0, ("I", "II"), samples, scale, torch.zeros_like(scale), True)
    at = torch.tensor(rows if positions is None else positions)
    return Batch({"ecg-100hz": windows}, 5, epoch, at, torch.tensor(rows), torch.tensor(rows))


def encoder(drop_path: float = 0.0, depth: int = 2) -> EncoderBackbone:
    torch.manual_seed(0)
    patch = PatchConfig(channels=("I", "II"), samples=50)
    return EncoderBackbone(ViTEncoder(EncoderConfig(depth=depth, patch=patch)), drop_path)


def supervised(
    heads: list[HeadConfig],
    truths: list[Targets],
    backbone: Backbone | None = None,
    crop_s: float | None = None,
    decay: float = 1.0,
) -> Supervised:
    inputs = InputConfig({"ecg": ("I", "II")}, 2.0, {}, crop_s)
    model = TaskModel(backbone or encoder(), heads, inputs)
    learned = [Learned.of(h, t, CPU) for h, t in zip(heads, truths, strict=True)]
    return Supervised(model, learned, learned, [None] * len(heads), decay)


RANDOM = np.random.default_rng(0)
OUTPUTS = RANDOM.normal(size=(8, 3)).astype(np.float32)


def test_multilabel_loss_is_the_mean_log_loss_of_the_classes() -> None:
    truth = RANDOM.random((8, 3)) < 0.4
    truth[0], truth[1] = True, False
    found_B = loss_of(
        "multilabel", torch.from_numpy(OUTPUTS), torch.from_numpy(truth).float(), None
    )
    said = 1 / (1 + np.exp(-OUTPUTS.astype(float)))
    each = [log_loss(truth[:, k], said[:, k]) for k in range(3)]
    assert float(found_B.mean()) == pytest.approx(np.mean(each), rel=1e-5)
    by_hand = -np.where(truth, np.log(said), np.log(1 - said)).mean(axis=1)
    np.testing.assert_allclose(found_B.numpy(), by_hand, rtol=1e-5)


def test_balanced_classes_weigh_the_same_however_rare() -> None:
    values = np.array([0, 0, 0, 0, 0, 1, 1, 2])
    task = task_of("multiclass", "balanced_cross_entropy")
    weight_K = balance(task.loss, values, len(STAGES.classes))
    assert weight_K is not None
    np.testing.assert_allclose(weight_K.numpy(), 8 / (3 * np.array([5, 2, 1])), rtol=1e-6)
    found_B = loss_of("multiclass", torch.from_numpy(OUTPUTS), torch.from_numpy(values), weight_K)
    odds = np.exp(OUTPUTS.astype(float))
    said = odds / odds.sum(axis=1, keepdims=True)
    expected = log_loss(values, said, sample_weight=weight_K.numpy()[values])
    assert float(found_B.mean()) == pytest.approx(expected, rel=1e-5)
    plain_B = loss_of("multiclass", torch.from_numpy(OUTPUTS), torch.from_numpy(values), None)
    assert float(plain_B.mean()) == pytest.approx(log_loss(values, said), rel=1e-5)
    by_class = [float(plain_B[values == k].mean()) for k in range(3)]
    assert float(found_B.mean()) == pytest.approx(np.mean(by_class), rel=1e-5)


def test_weights_leave_out_classes_that_are_absent_and_tasks_that_do_not_weigh() -> None:
    truth = truth_of(np.array([0, 0, 2]), STAGES.classes)
    weight_K = balance("balanced_cross_entropy", truth.values, len(truth.classes))
    assert weight_K is not None
    assert weight_K.tolist() == pytest.approx([0.75, 0.0, 1.5])
    assert balance("cross_entropy", truth.values, len(truth.classes)) is None


def test_regression_loss_is_the_error_in_units_of_spread_over_what_is_stated() -> None:
    values = RANDOM.normal((120, 80), (15, 8), (8, 2))
    values[0, 0] = values[3, 1] = np.nan
    values[5] = np.nan
    truth = truth_of(values, PRESSURE.classes)
    head = head_for("pressure", task_of("regression", "mae"), truth)
    np.testing.assert_allclose(head.mean, np.nanmean(values, axis=0))
    np.testing.assert_allclose(head.spread, np.nanstd(values, axis=0))
    learned = Learned.of(head, truth, CPU)
    output_BK = torch.from_numpy(OUTPUTS[:, :2])
    found_B = loss_of("regression", output_BK, learned.values, None).numpy()
    estimates = head.answers(output_BK).double().numpy()
    for row in range(8):
        stated = np.isfinite(values[row])
        expected = 0.0
        if stated.any():
            spread = np.array(head.spread)[stated]
            expected = mean_absolute_error(
                values[row, stated] / spread, estimates[row, stated] / spread
            )
        assert found_B[row] == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_a_quantity_that_training_never_states_is_refused_and_one_that_never_varies_is_not() -> (
    None
):
    values = np.array([[5.0, np.nan], [5.0, np.nan]])
    with pytest.raises(ValueError, match=r"no training window states dbp: leave it out"):
        head_for("p", task_of("regression", "mae"), truth_of(values, PRESSURE.classes))
    head = head_for("p", task_of("regression", "mae"), truth_of(values[:, :1], ("sbp",)))
    assert (head.mean, head.spread) == ((5.0,), (1.0,))


LABEL_TRUTH = truth_of(
    np.array([[1, 0, 1], [0, 0, 1], [1, 1, 1], [0, 1, 0]], dtype=bool),
    LABELS.classes,
    (0, -1, 1, 2, -1, 3),
)
STAGE_TRUTH = truth_of(np.array([2, 0, 1]), STAGES.classes, (-1, -1, 0, 1, -1, 2))
PRESSURE_TRUTH = truth_of(
    np.array([[110.0, np.nan], [np.nan, 70.0], [130.0, 90.0]]),
    PRESSURE.classes,
    (0, 1, -1, -1, -1, 2),
)
ALL_HEADS = [LABELS, STAGES, PRESSURE]
ALL_TRUTHS = [LABEL_TRUTH, STAGE_TRUTH, PRESSURE_TRUTH]


def test_the_loss_of_several_tasks_is_summed_over_what_each_knows() -> None:
    objective = supervised(ALL_HEADS, ALL_TRUTHS)
    batch = batch_of([0, 1, 2, 3, 4, 5])
    with torch.no_grad():
        outcome = objective(batch)
        outputs = objective.model(batch.streams)
    expected = 0.0
    for head, truth, output_BK in zip(ALL_HEADS, ALL_TRUTHS, outputs, strict=True):
        learned = Learned.of(head, truth, CPU)
        for row in range(ROWS):
            if (place := int(truth.place[row])) >= 0:
                each = loss_of(head.kind, output_BK[[row]], learned.values[place : place + 1], None)
                expected += float(each)
    assert float(outcome.loss_sum) == pytest.approx(expected, rel=1e-5)
    assert float(outcome.targets) == 4 + 3 + 3 == float(objective.count(batch))


@pytest.mark.parametrize("head", [0, 1, 2])
def test_a_row_without_truth_has_no_gradient(head: int) -> None:
    objective = supervised([ALL_HEADS[head]], [ALL_TRUTHS[head]])
    known = [row for row in range(ROWS) if ALL_TRUTHS[head].place[row] >= 0]
    unknown = [row for row in range(ROWS) if row not in known]
    without = gradients(objective, batch_of(unknown))
    assert all(not g.any() for g in without.values())
    everything, alone = (gradients(objective, batch_of(rows)) for rows in (range_of(), known))
    assert any(g.any() for g in alone.values())
    for name, gradient in alone.items():
        torch.testing.assert_close(everything[name], gradient, rtol=1e-4, atol=1e-5)


def range_of() -> list[int]:
    return list(range(ROWS))


def test_a_quantity_that_is_not_stated_has_no_gradient() -> None:
    objective = supervised([PRESSURE], [PRESSURE_TRUTH])
    bias_K = gradients(objective, batch_of([0]))["model.outputs.0.bias"]
    assert bias_K[1] == 0
    assert abs(float(bias_K[0])) == pytest.approx(1)


def gradients(objective: Supervised, batch: Batch) -> dict[str, Tensor]:
    objective.zero_grad()
    objective(batch).loss_sum.backward()
    return {n: p.grad.clone() for n, p in objective.named_parameters() if p.grad is not None}


def test_windows_at_annotations_find_their_truth_by_anchor() -> None:
    learned = Learned.of(STAGES, STAGE_TRUTH, CPU)
    batch = batch_of([0, 0, 0])
    batch = Batch(**{**vars(batch), "anchors": torch.tensor([5, 1, 2])})
    values_B, known_B = learned.of_batch(batch)
    assert known_B.tolist() == [True, False, True]
    assert values_B[known_B].tolist() == [1, 2]


def test_validation_has_a_truth_of_its_own_and_nothing_random() -> None:
    objective = supervised([STAGES], [STAGE_TRUTH], encoder(0.9), crop_s=1.0)
    objective.truths[False] = [
        Learned.of(STAGES, truth_of(np.array([0]), STAGES.classes, (0, -1, -1, -1, -1, -1)), CPU)
    ]
    objective.eval()
    with torch.no_grad():
        one, two = (objective(batch_of([0, 3], [7, 8], epoch)) for epoch in (0, 1))
        output_BK = objective.model(objective.model.cropped(batch_of([0]).streams, 0.5))[0]
    assert torch.equal(one.loss_sum, two.loss_sum)
    assert float(one.targets) == 1
    expected = loss_of("multiclass", output_BK, torch.tensor([0]), None)
    assert float(one.loss_sum) == pytest.approx(float(expected), rel=1e-5)


def test_crops_and_skipped_branches_follow_from_seed_epoch_and_position_alone() -> None:
    objective = supervised([LABELS], [LABEL_TRUTH], encoder(0.9, depth=3), crop_s=0.7).train()

    def loss(rows: list[int], positions: list[int], epoch: int = 0) -> float:
        with torch.no_grad():
            return float(objective(batch_of(rows, positions, epoch)).loss_sum)

    together = loss([0, 2, 3, 5], [10, 11, 12, 13])
    torch.manual_seed(99)
    apart = loss([5, 3], [13, 12]) + loss([2], [11]) + loss([0], [10])
    assert together == pytest.approx(apart, rel=1e-5)
    others = {loss([0, 2, 3, 5], [10, 11, 12, 14]), loss([0, 2, 3, 5], [10, 11, 12, 13], 1)}
    assert len({together, *others}) == 3


AUGMENT = AugmentConfig(("shift", "flip", "wander", "lead_dropout"), layers=3, probability=0.8)


def test_training_sees_augmented_crops_that_follow_from_the_position_alone() -> None:
    objective = supervised([LABELS], [LABEL_TRUTH], crop_s=1.0).train()
    plain = losses(objective, [0, 2, 3, 5])
    objective.augmentation = AUGMENT
    changed = losses(objective, [0, 2, 3, 5])
    assert sum(a != b for a, b in zip(plain, changed, strict=True)) > 2
    with torch.no_grad():
        together = float(objective(batch_of([5, 0, 2, 3])).loss_sum)
    assert together == pytest.approx(sum(changed), rel=1e-5)
    # The crop comes first: what it leaves is augmented, and read by the model.
    batch = batch_of([3])
    start_B = objective._draw(batch, "crop", 1)[:, 0]
    batch.streams.update(objective.model.cropped(batch.streams, start_B * 1.0))
    with torch.no_grad():
        output_BK = objective.model(augment(batch, AUGMENT).streams)[0]
    truth = objective.truths[True][0].of_batch(batch)[0]
    assert changed[2] == pytest.approx(float(loss_of("multilabel", output_BK, truth, None)))


def losses(objective: Supervised, rows: list[int]) -> list[float]:
    with torch.no_grad():
        return [float(objective(batch_of([row])).loss_sum) for row in rows]


def test_validation_sees_windows_as_they_are() -> None:
    objective = supervised([LABELS], [LABEL_TRUTH], crop_s=1.0).eval()
    plain = losses(objective, [0, 2, 3, 5])
    objective.augmentation = AUGMENT
    assert losses(objective, [0, 2, 3, 5]) == plain
    said = objective.model.answers(batch_of([0, 2]).streams)
    objective.train()
    assert torch.equal(objective.model.answers(batch_of([0, 2]).streams)[0], said[0])


def test_layers_learn_at_rates_that_fall_from_the_heads_to_the_input() -> None:
    backbone = encoder(depth=3)
    objective = supervised(ALL_HEADS, ALL_TRUTHS, backbone, decay=0.5)
    rates = {}
    for names, scale in objective.parameter_groups():
        for name in names:
            assert name not in rates
            rates[name] = scale
    assert rates.keys() == dict(objective.named_parameters()).keys()
    inner = "model.backbone.encoder"
    assert rates[f"{inner}.tokenizer.embed.weight"] == 0.5**4
    assert rates[f"{inner}.tokenizer.hidden_embedding"] == 0.5**4
    for block in range(3):
        assert rates[f"{inner}.blocks.blocks.{block}.mlp.0.bias"] == 0.5 ** (3 - block)
    for name in (f"{inner}.blocks.norm.weight", "model.backbone.norm.bias"):
        assert rates[name] == 1
    for head in range(3):
        assert rates[f"model.outputs.{head}.weight"] == 1


@pytest.mark.parametrize("kind", ["encoder", "resnet18", "s4"])
def test_every_parameter_is_in_one_group_of_the_optimizer(kind: str) -> None:
    torch.manual_seed(0)
    channels = (("ecg", "I", 100.0), ("ecg", "II", 100.0))
    backbone = encoder() if kind == "encoder" else ZooBackbone(kind, channels)
    objective = supervised([LABELS], [LABEL_TRUTH], backbone, decay=0.5)
    frozen = objective.model.outputs[0].bias
    assert isinstance(frozen, Tensor)
    frozen.requires_grad_(False)
    groups = make_optimizer(objective, OptimConfig(weight_decay=0.3)).param_groups
    grouped = [id(p) for group in groups for p in group["params"]]
    learning = {id(p) for p in objective.parameters() if p.requires_grad}
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == learning
    names = {id(p): n for n, p in objective.named_parameters()}
    for group in groups:
        for parameter in group["params"]:
            matrix = parameter.ndim > 1 and not names[id(parameter)].endswith("_embedding")
            assert group["weight_decay"] == (0.3 if matrix else 0.0)


def test_the_loop_multiplies_each_group_by_its_rate() -> None:
    """The first step of AdamW moves a parameter by its rate, whatever the gradient."""
    optim = OptimConfig(weight_decay=0.0, clip_norm=1e9)
    objective = supervised([LABELS], [LABEL_TRUTH], encoder(depth=3), decay=0.5)
    before = {n: p.detach().clone() for n, p in objective.named_parameters()}
    accelerator = Accelerator(cpu=True)
    model, optimizer = accelerator.prepare(objective, make_optimizer(objective, optim))
    training = SimpleNamespace(accelerator=accelerator, objective=objective, optim=optim)
    signals = StopSignal()
    step(training, model, optimizer, [batch_of([0, 2, 3, 5])], 1e-3, signals)  # type: ignore[arg-type]
    signals.restore()
    moved = {
        n: float((p.detach() - before[n]).abs().max()) for n, p in objective.named_parameters()
    }
    assert moved["model.outputs.0.weight"] == pytest.approx(1e-3, rel=0.02)
    for block in range(3):
        name = f"model.backbone.encoder.blocks.blocks.{block}.mlp.0.weight"
        assert moved[name] == pytest.approx(1e-3 * 0.5 ** (3 - block), rel=0.02)
