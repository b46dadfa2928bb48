"""The `biofm` command: every verb is a typed function (`verbs`); its module is imported only when it is called."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from . import __version__
from .configuration import CONFIGS, USER_ERRORS, tell
from .verbs import call

VERBS: dict[str, tuple[str, str]] = {
    "datasets list": (".datasets.commands:list_sources", "the sources biofm reads"),
    "datasets simulate": (".datasets.simulate:simulate", "write a synthetic twin of a source"),
    "datasets download": (".datasets.download:download", "download a source from its publisher"),
    "shards build": (".shards.commands:build", "turn recordings into audited tar shards"),
    "shards verify": (".shards.commands:verify", "prove that shards are whole and leak nothing"),
    "shards inspect": (".shards.commands:inspect", "show what a shard folder holds"),
    "tasks subjects": (".evaluation.splits:print_subjects", "whom a round of a task is judged on"),
    "adopt": (".models.foreign.adopt:adopt", "make a model folder of somebody else's checkpoint"),
    "explain": (".evaluation.saliency.explain:explain", "draw what an encoder looks at"),
    "probe": (".finetune.probe:probe", "judge a frozen encoder on a task by a linear head"),
    "finetune": (".finetune.finetune_run:finetune", "train a model for tasks"),
    "evaluate": (
        ".finetune.evaluate:evaluate",
        "judge encoders in every regime, beside references",
    ),
    "ablate": (
        ".finetune.ablation.ablate:ablate",
        "compare objectives and backbones at one budget",
    ),
    "federated simulate": (
        ".federated.simulate:simulate",
        "personalise a frozen encoder for each subject, by federated learning",
    ),
    "embed": (".embedding:embed", "embed recordings with a trained encoder"),
}
"""Verb → (module:function, one line for `biofm --help`)."""


SHIPPED = {"shards build": "shards"}
"""Verb → the folder of shipped configs in which its first word has one, used where none is named."""
WITHOUT_WORDS = {"federated simulate": "federated/twin"}
"""Verb → the shipped config that it runs with no word after it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb, and print the path it made if it returns one.

    Returns the exit status: 0, 1 for an error, 2 for a wrong command line.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    verb = next((v for v in VERBS if words[: len(v.split())] == v.split()), None)
    if verb is None:
        return overview(words)
    try:
        rest = words[len(verb.split()) :]
        result = call(function_of(verb), f"biofm {verb}", [*shipped_config(verb, rest), *rest])
        if isinstance(result, Path):
            print(result)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output (`| head`) has left; Python would complain again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except USER_ERRORS as error:
        tell(error)
        return 1
    return 0


def shipped_config(verb: str, words: Sequence[str]) -> list[str]:
    """`--config shards/mesa` for `shards build mesa …`, where that ships and no other is named; the default's."""
    if not words and verb in WITHOUT_WORDS:
        return ["--config", WITHOUT_WORDS[verb]]
    named = any(word.partition("=")[0] == "--config" for word in words)
    if verb not in SHIPPED or not words or named:
        return []
    name = f"{SHIPPED[verb]}/{words[0]}"
    return ["--config", name] if (CONFIGS / f"{name}.yaml").is_file() else []


def overview(words: Sequence[str]) -> int:
    """Answer a command line that names no verb: help, the version, or what may have been meant."""
    if words and words[0] == "--version":
        print(f"biofm {__version__}")
        return 0
    group = [verb for verb in VERBS if words and verb.split()[0] == words[0]]
    if not words or words[-1] in ("--help", "-h") or (group and len(words) == 1):
        print("usage: biofm VERB …\n\nverbs:")
        for verb in group or VERBS:
            print(f"  {verb:20}{VERBS[verb][1]}")
        print("\n`biofm VERB --help` says everything about one; BIOFM_DEBUG=1 shows where an error")
        print("rose; --version prints the version.")
        return 0
    asked = " ".join(words[:2])
    near = difflib.get_close_matches(asked, VERBS, n=1, cutoff=0.5)
    hint = f"did you mean `biofm {near[0]}`?" if near else "`biofm --help` lists them"
    print(f"error: no verb {asked!r}; {hint}", file=sys.stderr)
    return 2


def function_of(verb: str) -> Callable[..., object]:
    """The function behind a verb."""
    module, _, name = VERBS[verb][0].partition(":")
    found: Callable[..., object] = getattr(importlib.import_module(module, __package__), name)
    return found
