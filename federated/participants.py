"""Clients at work: what each answers to a round, and what it makes of the last one.

All of a simulation's clients at once, or the one client of a node: the same code, with C in front of every tensor.

Shape suffixes: C clients, N windows, D features, K classes or quantities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..evaluation.arrays import Floats
from .cohort import Cohort, standardised
from .configuration import StrategyName
from .division import TEST, TRAIN, VALIDATION
from .learners import BiasNorm, Head, Inputs, Learner, Params, SmallModel, windows_to_inputs
from .local import Batches, Part, best_on_validation, chosen, outputs_of, spread
from .reality import POISON, drops_out, generator, poisoned, steps_made
from .scaling import Scaling, own_sums, scaling_of
from .strategies import STRATEGIES, alone, one_round, part_of, steps_of

JUDGED = {"validation": VALIDATION, "test": TEST}
ALONE = 1 << 30
"""The number of the round after the last one, for what is drawn."""


@dataclass(frozen=True)
class Sent:
    """What a client sends after a round: parameters, how many windows it learned from, its mean loss."""

    params: Params
    windows: int
    loss: float


@dataclass(frozen=True)
class Answers:
    """What a client's models say of its windows, by part: the one for all (if there is one) and its own.

    Probabilities [n, K], or quantities in their units. `step` is how far the client went on alone.
    """

    common: dict[str, Floats] | None
    own: dict[str, Floats] | None
    step: int


class Participants:
    """The clients of a cohort, with what they keep between rounds: `personal` by strategy, C in front."""

    def __init__(
        self,
        cohort: Cohort,
        partition: Mapping[str, int],
        subjects: Sequence[str] | None = None,
    ) -> None:
        """`partition` numbers all subjects of the federation; `subjects` are those at work here, by default all of
        the cohort."""
        self.cohort, self.config, self.partition = cohort, cohort.config, dict(partition)
        self.subjects = list(cohort.clients if subjects is None else subjects)
        self._place = {subject: place for place, subject in enumerate(self.subjects)}
        self.personal: dict[StrategyName, Params] = {}
        self.scaling: Scaling | None = None
        self._parts: dict[tuple[str, int], Part] = {}
        self._learners: dict[StrategyName, Learner] = {}

    @cached_property
    def outputs(self) -> int:
        """Classes or quantities."""
        return len(self.cohort.truth.classes)

    def learner(self, name: StrategyName) -> Learner:
        """What a strategy trains."""
        if name not in self._learners:
            self._learners[name] = self._make(name)
        return self._learners[name]

    def _make(self, name: StrategyName) -> Learner:
        kind = STRATEGIES[name].learner
        if kind == "small":
            shapes = {
                s: (w.samples.shape[1], w.samples.shape[2]) for s, w in self.cohort.streams.items()
            }
            return SmallModel(shapes, self.outputs)
        head = Head(self.cohort.model.dim, self.outputs, self.config.hidden)
        if kind == "head":
            return head
        return BiasNorm(self.cohort.model.encoder, self.cohort.streams, head)

    def sums(self, subject: str) -> dict[str, Floats]:
        """What a client tells of its windows so that all can be scaled alike (`scaling`)."""
        rows = self.cohort.clients[subject].of(TRAIN)
        x = self.cohort.embeddings[rows] if self.config.standardise == "population" else None
        values = self.cohort.truth.values[rows] if self.cohort.task.kind == "regression" else None
        return own_sums(x, values)

    def train(
        self, name: StrategyName, round: int, received: Params, subjects: Sequence[str]
    ) -> list[Sent | None]:
        """A round of these clients; None for one that drops out, which keeps nothing of it."""
        reality, seed = self.config.reality, self.config.seed
        there = [s for s in subjects if not drops_out(reality, seed, round, s)]
        if not there:
            return [None] * len(subjects)
        places = self._places(there)
        learner = self.learner(name)
        personal = self._personal(name)
        sent, kept, loss_C = one_round(
            name,
            learner,
            self.config.local,
            spread(received, len(there)),
            chosen(personal, places),
            self._some(name, TRAIN, there),
            self._batches(there, round, steps_of(name, self.config.local), self.config.local.batch),
        )
        for key, value in kept.items():
            personal[key][places] = value
        hostile = poisoned(reality, seed, list(self.partition))
        replies: dict[str, Sent] = {}
        for c, subject in enumerate(there):
            own = {key: value[c] for key, value in sent.items()}
            if subject in hostile:
                own = {k: received[k] + POISON * (v - received[k]) for k, v in own.items()}
            count = len(self.cohort.clients[subject].of(TRAIN))
            replies[subject] = Sent(own, count, float(loss_C[c].detach()))
        return [replies.get(s) for s in subjects]

    def finish(
        self, name: StrategyName, received: Params, subjects: Sequence[str]
    ) -> list[Answers]:
        """What each client makes of the last round on its own, and what both models say.

        Somebody who is to be unseen has the model for all, and no labels to go on with.
        """
        strategy, learner = STRATEGIES[name], self.learner(name)
        parts = {role: self._some(name, role, subjects) for role in (TRAIN, VALIDATION, TEST)}
        whole = spread({**learner.initial(self.config.seed), **received}, len(subjects))
        common = None
        if strategy.unseen:
            common = self._answers(learner, whole, parts, subjects)
        if self.config.division.kind == "unseen":
            assert common is not None, "the config refuses strategies without a model for all"
            return [Answers(said, None, 0) for said in common]
        begin = {**whole, **chosen(self._personal(name), self._places(subjects))}
        how, steps, every = alone(name, self.config)
        best, step_C = best_on_validation(
            learner,
            how,
            list(part_of(begin, strategy.alone)),
            begin,
            whole,
            parts[TRAIN],
            parts[VALIDATION],
            self._batches(subjects, ALONE, steps, self.config.local.batch),
            every,
        )
        own = self._answers(learner, best, parts, subjects)
        return [
            Answers(None if common is None else common[c], own[c], int(step_C[c]))
            for c in range(len(subjects))
        ]

    def _places(self, subjects: Sequence[str]) -> Tensor:
        return torch.tensor([self._place[subject] for subject in subjects])

    def _some(self, name: StrategyName, role: int, subjects: Sequence[str]) -> Part:
        """The part of these clients; not copied where it is that of all."""
        whole = self.part(name, role)
        return whole if list(subjects) == self.subjects else chosen(whole, self._places(subjects))

    def part(self, name: StrategyName, role: int) -> Part:
        """The windows of a part of all clients, padded, as a strategy's learner takes them."""
        kind = STRATEGIES[name].learner
        if (kind, role) not in self._parts:
            each = [self._part_of(kind, subject, role) for subject in self.subjects]
            self._parts[kind, role] = stacked(each)
        return self._parts[kind, role]

    def _part_of(self, kind: str, subject: str, role: int) -> Part:
        """One client's windows."""
        client, truth = self.cohort.clients[subject], self.cohort.truth
        learned, rows = client.learned, client.of(role)
        if kind == "small":
            inputs: Inputs = {
                name: standardised(windows, learned, rows)
                for name, windows in self.cohort.streams.items()
            }
        else:
            scaling = self._scaling(learned)
            if kind == "head":
                embedded_ND = torch.from_numpy(self.cohort.embeddings[rows])
                inputs = {"x": (embedded_ND - scaling.centre) / scaling.spread}
            else:
                inputs = {
                    name: values[rows]
                    for name, values in windows_to_inputs(self.cohort.streams).items()
                }
                inputs["centre"] = scaling.centre.expand(len(rows), -1)
                inputs["spread"] = scaling.spread.expand(len(rows), -1)
        values = truth.values[rows]
        if self.cohort.task.kind == "regression":
            scaling = self._scaling(learned)
            told = torch.from_numpy(values).float()
            return Part(inputs, (told - scaling.mean) / scaling.deviation, torch.ones(len(rows)))
        weight = torch.ones(len(rows))
        if self.config.loss == "balanced" and len(rows):
            count = np.bincount(truth.values[learned], minlength=self.outputs)
            there = (count > 0).sum()
            weight = torch.from_numpy(len(learned) / (there * np.maximum(count, 1))).float()[values]
        return Part(inputs, torch.from_numpy(values), weight)

    def _scaling(self, learned: NDArray[np.intp]) -> Scaling:
        """The exchanged scaling; of embeddings that of the client itself where it is not exchanged."""
        if self.config.standardise == "population" or self.cohort.task.kind == "regression":
            assert self.scaling is not None, "the server says it with every message"
        own = scaling_of([own_sums(self.cohort.embeddings[learned], None)])
        if self.scaling is None:
            return own
        return (
            self.scaling if self.config.standardise == "population" else self.scaling.with_own(own)
        )

    def _personal(self, name: StrategyName) -> Params:
        """What clients keep, before the first round what everybody begins with."""
        if name not in self.personal:
            begin = part_of(self.learner(name).initial(self.config.seed), STRATEGIES[name].personal)
            self.personal[name] = {
                k: v.clone() for k, v in spread(begin, len(self.subjects)).items()
            }
        return self.personal[name]

    def _batches(self, subjects: Sequence[str], round: int, steps: int, batch: int) -> Batches:
        """The windows of each client's steps: drawn with replacement from those it learns from."""
        rows = np.empty((len(subjects), steps, batch), np.int64)
        active = np.zeros((len(subjects), steps), np.float32)
        for c, subject in enumerate(subjects):
            count = len(self.cohort.clients[subject].of(TRAIN))
            random = generator(self.config.seed, "batches", subject, round)
            rows[c] = random.integers(0, count, (steps, batch))
            made = steps
            if round != ALONE:
                made = steps_made(self.config.reality, self.config.seed, round, subject, steps)
            active[c, :made] = 1
        return Batches(torch.from_numpy(rows), torch.from_numpy(active))

    def _answers(
        self,
        learner: Learner,
        params: Params,
        parts: dict[int, Part],
        subjects: Sequence[str],
    ) -> list[dict[str, Floats]]:
        """What models say, a dict of parts for each client."""
        found: list[dict[str, Floats]] = [{} for _ in subjects]
        for split, role in JUDGED.items():
            outputs_CNK = outputs_of(learner, params, parts[role].inputs)
            for c, subject in enumerate(subjects):
                count = len(self.cohort.clients[subject].of(role))
                found[c][split] = self._told(outputs_CNK[c, :count])
        return found

    def _told(self, outputs_NK: Tensor) -> Floats:
        """Outputs as probabilities, or in the quantities' units."""
        if self.cohort.task.kind == "regression":
            assert self.scaling is not None
            outputs_NK = outputs_NK * self.scaling.deviation + self.scaling.mean
        else:
            outputs_NK = outputs_NK.softmax(dim=-1)
        told: Floats = outputs_NK.double().numpy()
        return told


def stacked(parts: Sequence[Part]) -> Part:
    """Clients' windows with C in front, padded to the most with zeros of weight 0."""
    most = max(len(part.weight) for part in parts)

    def stack(values: Sequence[Tensor]) -> Tensor:
        found = values[0].new_zeros((len(values), most, *values[0].shape[1:]))
        for row, value in zip(found, values, strict=True):
            row[: len(value)] = value
        return found

    return Part(
        {name: stack([part.inputs[name] for part in parts]) for name in parts[0].inputs},
        stack([part.truth for part in parts]),
        stack([part.weight for part in parts]),
    )
