"""What a federation's report says before any figure: who took part, how windows were divided, what went wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..evaluation.report.pictures.drawing import percent
from ..evaluation.report.section import Section, Table
from .configuration import DivisionConfig, FederatedConfig
from .outcome import Outcome, Told, encoder_names

MOST_NAMES = 12
"""So many names are listed; of others only their number."""


def about_section(found: Outcome) -> Section:
    """Division, windows, encoders, what was simulated, privacy."""
    config = found.config
    paragraphs = [
        _people(found),
        division_words(config.division),
        *overlap_words(config.division, found.task.window_s),
        _windows(found),
        _head(config),
        reality_words(config),
        privacy_words(config),
    ]
    called = encoder_names([one.folder for one in found.federations])
    rows = []
    for one in found.federations:
        learn = set(one.cohort.clients)
        if config.division.kind == "unseen":
            learn -= set(one.judged)
        rows.append(
            [
                called[one.folder],
                str(len(learn)),
                marked_names(one.judged, one.seen),
                str(len(one.seen)),
            ]
        )
    left_out = {s: why for one in found.federations for s, why in one.cohort.left_out.items()}
    note = "Each encoder has a federation of its own, and judges those it never saw."
    if found.seen:
        note += " †: the encoder saw this person in pretraining, or its folder does not say whom it saw."
    if left_out:
        shown = [f"{subject} ({why})" for subject, why in list(left_out.items())[:MOST_NAMES]]
        note += f" Left out: {'; '.join(shown)}{_more(len(left_out))}."
    head = ["encoder", "clients that learn", "judges", "of these seen"]
    return Section("What was done", paragraphs, [Table(head, rows, note)])


def notices(found: Outcome) -> list[str]:
    """What must be known beside every figure: what the shards say of themselves, seen subjects, a flattering split."""
    shards = [
        notice
        for one in found.federations
        for manifest in one.cohort.reader.manifests
        for notice in manifest["notices"]
    ]
    said = list(dict.fromkeys(shards))
    judged = found.clients["subject"].n_unique()
    if found.seen:
        said.append(
            f"{len(found.seen)} of the {judged} people judged were, or may have been, in their encoder's pretraining "
            "(†): their figures flatter the encoder."
        )
    if found.config.division.kind == "random":
        said.append(
            "Single windows were dealt at random, so that neighbours with nearly the same signal are on both sides: "
            "all figures flatter the models."
        )
    return said


def span(seconds: float) -> str:
    """A length of time as it is said."""
    if seconds < 120:
        return f"{seconds:g} seconds"
    return f"{seconds / 60:.3g} minutes"


def names(subjects: Sequence[str]) -> str:
    """Some names, and how many more; a dash for nobody."""
    if not subjects:
        return "–"
    return f"{', '.join(subjects[:MOST_NAMES])}{_more(len(subjects))}"


def marked_names(subjects: Sequence[str], seen: frozenset[str] | set[str]) -> str:
    """The same, † behind whom the encoder saw."""
    return names([f"{subject}†" if subject in seen else subject for subject in subjects])


def overlap_words(division: DivisionConfig, window_s: float) -> list[str]:
    """A warning where windows of unlike parts share samples; else nothing."""
    if division.kind not in ("blocks", "chronological") or window_s <= 2 * division.guard_s:
        return []
    return [
        f"Windows of {span(window_s)} reach across the guards of {span(division.guard_s)}: some that are judged share "
        "samples with some that were learned from, and figures may be too good."
    ]


def division_words(division: DivisionConfig) -> str:
    """By what rule windows were divided."""
    guard = f"{span(division.guard_s)} left out on either side of a border"
    return {
        "blocks": f"Each recording is cut into blocks of {span(division.block_s)}, which in turn are learned "
        f"from, chosen on, learned from and judged on, with {guard}.",
        "chronological": f"Of each recording the first half is learned from, the next quarter chosen on, the last "
        f"quarter judged on, with {guard}. What the body does late in a recording differs from what it does early, and "
        "the figures hold that difference too.",
        "recordings": "Whole recordings in turn are learned from, chosen on, learned from and judged on.",
        "random": "Single windows are dealt at random: half to learn from, a quarter to choose on, a quarter to judge.",
        "unseen": "Whoever is judged takes no part (cold start): the model for all is used as it comes, and there is "
        "nothing to personalise, to adopt or to be harmed by. Its embeddings are scaled by all of the person's own "
        "windows, without labels: a whole recording has to be there.",
    }[division.kind]


def reality_words(config: FederatedConfig) -> str:
    """What was simulated to go wrong."""
    reality = config.reality
    said = []
    if reality.participation < 1:
        said.append(f"a round asks {percent(reality.participation)} of the clients")
    if reality.dropout:
        said.append(f"{percent(reality.dropout)} of those asked do not answer")
    if reality.stragglers:
        said.append(f"{percent(reality.stragglers)} of those asked finish half of their steps")
    if reality.few_labels:
        said.append(
            f"{percent(reality.few_labels)} of the clients have {reality.labels} labelled windows to learn from, "
            "and as many to choose on"
        )
    if reality.missing and reality.lacking:
        said.append(
            f"{percent(reality.lacking)} of the clients have no sensor for {', '.join(reality.missing)}"
        )
    if reality.poisoned:
        said.append(
            f"{reality.poisoned} poisoned clients send ten times the negative of what they learned"
        )
    wrong = (
        f"Simulated to go wrong: {'; '.join(said)}."
        if said
        else "Nothing was simulated to go wrong."
    )
    how = {
        "mean": "the mean weighted by windows",
        "median": "the median of each number",
        "trimmed_mean": "the mean of each number without its extremes",
        "krum": "the update nearest to the others (Krum)",
    }[config.aggregation]
    return f"{wrong} Updates become one as {how}."


def privacy_words(config: FederatedConfig) -> str:
    """What is kept from whom, and what ε covers."""
    privacy = config.privacy
    stays = "Signals, labels, embeddings and personal heads never leave a client."
    if privacy.secure_aggregation:
        return (
            f"{stays} Secure aggregation (SecAgg+): the server sees the sum of the updates, and of each client how "
            "many windows it learned from. No noise is added to the sum, so that there is no ε."
        )
    if not privacy.noisy:
        return f"{stays} Updates are sent as they are: no noise, no secure aggregation, and no ε."
    if privacy.central_noise:
        how = (
            f"Central differential privacy: the server clips each client's update to norm {privacy.clip:g} and adds "
            f"noise of {privacy.central_noise:g} times that norm to their sum. All that one person holds is protected "
            "against whoever sees the model; the server itself is trusted. A round in which somebody does not "
            "answer is not released."
        )
    else:
        how = (
            f"Local differential privacy: each client clips its update to norm {privacy.clip:g} and adds the noise "
            f"itself, for ε {privacy.local_epsilon:g} of one release (by the classical bound, "
            "which is too low above 8); it is protected against the server too."
        )
    covers = (
        f"The ε beside each strategy is of all its rounds with one encoder (Rényi accounting, δ = {privacy.delta:g}, "
        "no credit for asking a part of the clients). It covers what travels in rounds; several strategies or "
        "encoders run on the same people add up."
    )
    return f"{stays} {how} {covers}"


def _people(found: Outcome) -> str:
    judged = found.clients["subject"].n_unique()
    rounds = found.config.rounds
    how = (
        "each learns from its own windows"
        if found.config.division.kind != "unseen"
        else "all but the judged learn"
    )
    return (
        f"One person, one client: {judged} are judged, {how}, and only parameters travel, in {rounds} rounds. "
        "The encoder stays frozen, but for its biases and norms in bias_norm. Base is a small model of the raw "
        "signal that each client trains alone."
    )


def _windows(found: Outcome) -> str:
    """How many windows the judged had of each part."""
    if found.config.division.kind == "unseen":
        each = {"is judged on": [len(t.kept.truth["test"]) for t in _one_each(found)]}
    else:
        each = {
            "learns from": [t.kept.learned for t in _one_each(found)],
            "chooses on": [len(t.kept.truth["validation"]) for t in _one_each(found)],
            "is judged on": [len(t.kept.truth["test"]) for t in _one_each(found)],
        }
    told = ", ".join(
        f"{what} {np.median(count):g} ({min(count)} to {max(count)})"
        for what, count in each.items()
    )
    return f"Windows are of {found.task.window_s:g} s. Of these the median client (lowest to highest) {told}."


def _one_each(found: Outcome) -> list[Told]:
    """What each client kept of its first strategy: the windows are the same in all."""
    first = {subject: told for (subject, _), told in reversed(found.told.items())}
    return list(first.values())


def _head(config: FederatedConfig) -> str:
    shape = f"one hidden layer of {config.hidden}" if config.hidden else "no hidden layer"
    whose = (
        "each client's own windows" if config.standardise == "subject" else "all clients' windows"
    )
    return f"Heads have {shape}; embeddings are scaled by the mean and deviation of {whose}."


def _more(count: int) -> str:
    return f" and {count - MOST_NAMES} more" if count > MOST_NAMES else ""
