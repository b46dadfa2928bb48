"""`biofm ablate`: every pair of objective and backbone at one budget, judged frozen beside references; one report."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from ...configuration import USER_ERRORS, write_config
from ...evaluation.report.provenance import provenance, without_places
from ...evaluation.report.write import write_report
from ...evaluation.rounds import notices
from ...files import write_aside
from ...pretrain.cost import read_cost
from ..rows import Judged
from . import judging
from .configuration import AblationConfig
from .found import Bench, Found, heads_of, references_of
from .judging import REFERENCES, UNTRAINED, Subject, subject_of, tasks_of
from .pairs import Pair, chosen, pairs_in
from .processes import Processes, each
from .tables import Result, as_json, sections
from .training import Trained, plan, too_costly, train, trained

Work = dict[str, Callable[[], None]]
Subjects = Mapping[Pair, tuple[Subject, Sequence[Trained]]]


def ablate(*, config: AblationConfig) -> Path:
    """Train pairs of objective and backbone on the same amount of signal, and judge their frozen encoders.

    Each is trained by its own entry script in a process of its own. Linear and attention heads, beside the same
    encoders untrained; random kernels with ridge, and supervised models. The same command goes on where it was
    stopped; a pair that fails is told, and the rest goes on. Report: HTML, Markdown and JSON.
    """
    pairs, judged = pairs_in(config.pairs), tasks_of(config)
    wanted, data = chosen(pairs, config.only), digest(judged)
    write_config(config, config.out / "config.yaml")
    processes = Processes(config.threads)
    errors = each(
        processes,
        config.jobs,
        {f"plan {p.name}": partial(plan, config, p, data, processes) for p in wanted},
    )
    planned = [pair for pair in wanted if f"plan {pair.name}" not in errors]
    left_out = costly(config, planned)
    training = [pair for pair in planned if pair.name not in left_out]
    errors |= each(processes, config.jobs, trainings(config, training, data, processes))
    subjects, unread = read(config, pairs, data)
    errors |= unread
    errors |= each(processes, config.jobs, judgings(config, subjects, processes))
    if REFERENCES in errors:
        raise RuntimeError(f"the references failed, and nothing can be held against them: {errors}")
    benches = {one.name: Bench.of(one) for one in judged}
    found = [
        found_of(config, pair, subject, took, benches)
        for pair, (subject, took) in subjects.items()
        if not {pair.name, f"{UNTRAINED} {subject.untrained}"} & errors.keys()
    ]
    there = {f"{one.objective}_{one.backbone}" for one in found}
    absent = {p.name: "not trained yet" for p in pairs if p.name not in there} | left_out
    absent |= {
        name: told for name, told in failures(pairs, subjects, errors).items() if name in absent
    }
    references = references_of(benches, judging.reference_scores(config))
    page = report(Result(config, benches, found, references, absent), judged, subjects)
    if errors:
        told = "\n".join(f"{name}: {error}" for name, error in errors.items())
        raise RuntimeError(f"{len(errors)} failed; the report ({page}) is without them:\n{told}")
    return page


def digest(judged: Sequence[Judged]) -> str:
    """Of the shards, which pairs are trained on as well."""
    manifests = [
        m for one in judged for reader in one.rounds[0].readers.values() for m in reader.manifests
    ]
    said = [[shard["sha256"] for shard in m["shards"]] for m in manifests]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def costly(config: AblationConfig, planned: Sequence[Pair]) -> dict[str, str]:
    """Name → why, of pairs that cost more than is allowed."""
    whys = {pair.name: too_costly(config, read_cost(pair.plan(config))) for pair in planned}
    return {name: why for name, why in whys.items() if why is not None}


def failures(
    pairs: Sequence[Pair], subjects: Subjects, errors: Mapping[str, str]
) -> dict[str, str]:
    """Pair → what went wrong with it or with its untrained encoders."""
    found = {}
    for pair in pairs:
        steps = [f"plan {pair.name}", pair.name]
        if pair in subjects:
            steps.append(f"{UNTRAINED} {subjects[pair][0].untrained}")
        told = [error for step, error in errors.items() if step.split(",")[0] in steps]
        if told:
            found[pair.name] = without_places("; ".join(told))
    return found


def trainings(
    config: AblationConfig, training: Sequence[Pair], data: str, processes: Processes
) -> Work:
    """Every run of each pair; and references, some of which are trained as well."""
    work: Work = {}
    for pair in training:
        for seed in range(config.runs):
            name = pair.name + (f", seed {seed}" if config.runs > 1 else "")
            work[name] = partial(train, config, pair, data, seed, processes)
    work[REFERENCES] = _judging(config, REFERENCES, REFERENCES, processes)
    return work


def read(
    config: AblationConfig, pairs: Sequence[Pair], data: str
) -> tuple[dict[Pair, tuple[Subject, list[Trained]]], dict[str, str]]:
    """(the pairs that are trained, with what that took; name → why one cannot be read)."""
    found: dict[Pair, tuple[Subject, list[Trained]]] = {}
    unread: dict[str, str] = {}
    for pair in pairs:
        runs = [trained(config, pair, data, seed) for seed in range(config.runs)]
        took = [run for run in runs if run is not None]
        if len(took) < config.runs:
            continue
        try:
            found[pair] = subject_of(config, pair), took
        except USER_ERRORS as error:
            unread[pair.name] = str(error)
            tqdm.write(f"{pair.name}: FAILED: {error}")
    return found, unread


def judgings(
    config: AblationConfig,
    subjects: Subjects,
    processes: Processes,
) -> Work:
    """Heads on every pair's encoders, and on those of each kind untrained."""
    work: Work = {}
    for pair, (subject, _) in subjects.items():
        name = f"{UNTRAINED} {subject.untrained}"
        if name not in work:
            what = f"{UNTRAINED}:{pair.name}"
            work[name] = _judging(config, what, subject.untrained, processes)
        work[pair.name] = _judging(config, pair.name, pair.name, processes)
    return work


def _judging(
    config: AblationConfig, what: str, folder: str, processes: Processes
) -> Callable[[], None]:
    return partial(processes.run, judging.command(config, what), config.out / "judging" / folder)


def found_of(
    config: AblationConfig,
    pair: Pair,
    subject: Subject,
    took: Sequence[Trained],
    benches: Mapping[str, Bench],
) -> Found:
    """A pair's figures from the scores that are kept."""
    scores = judging.pair_scores(config, subject, pair.name)
    heads = heads_of(benches, subject.judged, scores, judging.untrained_scores(config, subject))
    parameters = sum(p.numel() for p in subject.model.encoder.parameters())
    return Found(pair.objective, pair.backbone, took, parameters, subject.clean, heads)


def report(
    result: Result,
    judged: Sequence[Judged],
    subjects: Subjects,
) -> Path:
    """Write it; returns the Markdown."""
    out = result.config.out
    models = {
        f"{pair.name}, seed {seed}": model
        for pair, (subject, _) in subjects.items()
        for seed, model in enumerate(subject.encoders.models.values())
    }
    said = notices([one for of in judged for one in of.rounds])
    told = provenance(
        ["biofm", *sys.argv[1:]], judged[0].task, [judged[0].rounds[0].readers["test"]], models
    )
    page, text = write_report(out, "Objectives and backbones", [*sections(result), told], said)
    with write_aside(out / "ablation.json") as aside:
        aside.write_text(json.dumps(as_json(result), indent=1) + "\n")
    print(f"page: {page}")
    return text
