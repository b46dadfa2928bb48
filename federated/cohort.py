"""The clients of a federation: each subject's windows with their truth, their part, and what the encoder makes of them.

Shape suffixes: W windows of the reader, N windows with a truth (of all subjects), D features, K classes or quantities.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from ..evaluation.embeddings import Streams, embeddings, features, model_digest, on
from ..evaluation.targets import Targets, targets
from ..evaluation.tasks import Task, load_task
from ..models.pretrained import PretrainedModel
from ..shards.reader import WindowReader
from ..signals.types import MISSING
from ..signals.windows import Windows
from .configuration import FederatedConfig
from .division import LEFT_OUT, TEST, TRAIN, VALIDATION, Roles, roles
from .fitting import check_fits
from .reality import few_labels, lacks


@dataclass(frozen=True)
class Client:
    """One subject: places of its windows among the cohort's [n], and the part of each [n]."""

    subject: str
    places: NDArray[np.intp]
    roles: Roles
    lacking: bool
    """Whether it has no sensor for the missing modalities."""

    def of(self, role: int) -> NDArray[np.intp]:
        """Places of the windows of a part."""
        found: NDArray[np.intp] = self.places[self.roles == role]
        return found

    @property
    def learned(self) -> NDArray[np.intp]:
        """Those it learns from; of somebody who takes no part, all, of which no label is used."""
        own = self.of(TRAIN)
        return own if len(own) else self.places


@dataclass(frozen=True)
class Cohort:
    """Clients by subject, in order of their names; `left_out` says why others are none."""

    config: FederatedConfig
    task: Task
    model: PretrainedModel
    reader: WindowReader
    truth: Targets
    clients: dict[str, Client]
    left_out: dict[str, str]

    @cached_property
    def embeddings(self) -> NDArray[np.float32]:
        """What the frozen encoder makes of every window with a truth [N, D]."""
        cache = self.config.cache
        found = embeddings(self.model, self.reader, cache, progress=False)[self.truth.windows]
        lacking = [c.places for c in self.clients.values() if c.lacking]
        if lacking:
            rows = np.concatenate(lacking)
            found[rows] = self._without(cache)[self.truth.windows[rows]]
        return found

    def _without(self, cache: Path) -> NDArray[np.float32]:
        """Embeddings as if nobody had the missing modalities [W, D]."""
        missing = self.config.reality.missing
        device = next(self.model.parameters()).device
        return features(
            {"model": model_digest(self.model), "without": sorted(missing)},
            lambda streams: self.model(on(without(streams, missing), device)),
            self.reader,
            self.model.dim,
            cache,
            progress=False,
        )

    @cached_property
    def streams(self) -> dict[str, Windows]:
        """Every window with a truth, by stream."""
        batches = list(self.reader.evaluation_batches(micro_batch=256, rank=0, ranks=1))
        rows = torch.from_numpy(self.truth.windows)
        found = {}
        for name, first in batches[0].streams.items():
            each = [batch.streams[name] for batch in batches]
            found[name] = replace(
                first,
                samples=torch.cat([windows.samples for windows in each])[rows],
                scale=torch.cat([windows.scale for windows in each])[rows],
                offset=torch.cat([windows.offset for windows in each])[rows],
                complete=all(windows.complete for windows in each),
            )
        for client in self.clients.values():
            if client.lacking:
                for windows in found.values():
                    if windows.modality in self.config.reality.missing:
                        windows.samples[torch.from_numpy(client.places)] = MISSING
        return found


def without(streams: Streams, modalities: Collection[str]) -> dict[str, Windows]:
    """Streams in which some modalities are missing."""
    return {
        name: replace(windows, samples=torch.full_like(windows.samples, MISSING), complete=False)
        if windows.modality in modalities
        else windows
        for name, windows in streams.items()
    }


def cohort_of(
    config: FederatedConfig,
    model: PretrainedModel,
    *,
    only: Collection[str] | None = None,
    judged: Collection[str] = (),
) -> Cohort:
    """The clients that a config's shards make; `only` some subjects (a node of a deployment has its own alone).

    A subject without a window in each part is left out. Where whoever is judged is to be unseen, all windows of
    `judged` are tested on, and all others learned from. Raises `ValueError` for a task of several labels at once, for
    an encoder that does not fit, for quantities beside privacy, and where nobody is left.
    """
    task = load_task(config.task)
    if task.kind == "multilabel":
        raise ValueError(
            f"{config.task}: heads of a federation tell one class of several, or quantities; this task has several "
            "labels at once"
        )
    rows = pl.col("split").is_in(config.splits) & ~pl.col("subject").is_in(task.exclude_subjects)
    if only is not None:
        rows &= pl.col("subject").is_in(list(only))
    if task.kind == "regression" and config.privacy.promised:
        raise ValueError(
            f"{config.task}: each client tells the exact sums of its quantities, so that all are scaled alike, and "
            "that breaks what privacy promises: choose a task of classes, or leave privacy out"
        )
    data = replace(task.data(config.shards), exclude_subjects=config.excluded)
    reader = WindowReader(data, "clients", seed=config.seed, rows=rows)
    check_fits(config.models, model, reader)
    if unknown := set(config.reality.missing) - set(reader.config.channels):
        raise ValueError(
            f"reality.missing: {', '.join(sorted(unknown))} not among the windows' modalities: "
            f"{', '.join(reader.config.channels)}"
        )
    truth = targets(task, reader)
    onset_s = truth.facts["onset_s"].to_numpy()
    names, number_N = np.unique(truth.subjects, return_inverse=True)
    subjects = names.tolist()
    each = np.split(np.argsort(number_N, kind="stable"), np.bincount(number_N).cumsum()[:-1])
    lacking = lacks(config.reality, config.seed, subjects)
    clients, left_out = {}, {}
    for subject, places in zip(subjects, each, strict=True):
        if config.division.kind == "unseen":
            part = np.full(len(places), TEST if subject in judged else TRAIN, np.int8)
        else:
            part = roles(
                config.division, subject, truth.records[places], onset_s[places], config.seed
            )
        for role in (TRAIN, VALIDATION):
            labelled = np.flatnonzero(part == role)
            kept = few_labels(config.reality, config.seed, subject, labelled)
            part[np.setdiff1d(labelled, kept)] = LEFT_OUT
        wanted = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
        absent = [name for name, role in wanted.items() if not (part == role).any()]
        if absent and config.division.kind != "unseen":
            left_out[subject] = f"no window of {' and '.join(absent)}"
        else:
            clients[subject] = Client(subject, places, part, subject in lacking)
    if not clients:
        told = "; ".join(f"{s}: {why}" for s, why in list(left_out.items())[:5])
        raise ValueError(
            f"no subject of {', '.join(config.shards)} has windows to learn from, choose on and be judged on "
            f"({told}): choose shorter blocks (division.block_s, now {config.division.block_s:g} s) or another "
            "division.kind"
        )
    return Cohort(config, task, model, reader, truth, clients, left_out)


def standardised(
    windows: Windows, learned: NDArray[np.intp], rows: NDArray[np.intp]
) -> torch.Tensor:
    """`rows` of windows as float32 [n, C, T], 0 where missing.

    Each channel has mean 0 and deviation 1 over what is there of the windows `learned`.
    """
    x_NCT, missing_NCT = _physical(windows, learned)
    count_C = (~missing_NCT).sum(dim=(0, 2)).clamp_min(1)
    mean_C1 = (x_NCT.sum(dim=(0, 2)) / count_C)[:, None]
    apart_NCT = (x_NCT - mean_C1).masked_fill(missing_NCT, 0.0)
    spread_C1 = (apart_NCT.square().sum(dim=(0, 2)) / count_C).sqrt()[:, None]
    x_nCT, missing_nCT = _physical(windows, rows)
    return ((x_nCT - mean_C1) / spread_C1.clamp_min(1e-6)).masked_fill(missing_nCT, 0.0)


def _physical(windows: Windows, rows: NDArray[np.intp]) -> tuple[torch.Tensor, torch.Tensor]:
    """Some windows in physical units, 0 where missing, and where they are missing."""
    at = torch.from_numpy(rows)
    some = replace(
        windows, samples=windows.samples[at], scale=windows.scale[at], offset=windows.offset[at]
    )
    return some.physical()
