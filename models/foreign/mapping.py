"""From another model's names and layouts to ours: what one YAML says, applied and checked tensor by tensor."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...signals import Preprocessing
from ..encoder import SIZES, EncoderConfig
from ..vit import ViTEncoder

ROW = re.compile(r"(.+)\[(\d+)\]")
SHOWN = 6


@dataclass(frozen=True)
class ForeignEncoder:
    """What another maker's encoder is as one of ours."""

    title: str
    """What reports call it."""
    source: str
    """Paper, and where its maker publishes checkpoints."""
    data: str
    """What it was pretrained on: nobody can check it against evaluation data but by this."""
    licence: str
    """Licence of its weights."""
    window_s: float
    """Length of the windows it was trained on, in seconds."""
    preprocessing: Preprocessing
    """Rate and filters it was trained on."""
    encoder: EncoderConfig
    """The same function among ours; `size` is chosen from `sizes`."""
    tensors: Mapping[str, str]
    """Regular expression of its tensors' names → ours; `name[\\1]` is a row of one of ours. Axes of
    length 1 do not count."""
    sizes: tuple[str, ...] = ("base",)
    """Sizes it comes in; the tensors decide."""
    prefix: str = ""
    """What stands before the encoder's names in a file that holds a larger model; absent in one that holds
    the encoder alone."""
    unused: tuple[str, ...] = field(default=())
    """Regular expressions of tensors that are no part of the encoder."""

    def __post_init__(self) -> None:
        sizes = SIZES["vit"]
        if not self.sizes or any(size not in sizes for size in self.sizes):
            raise ValueError(f"sizes: known are {', '.join(sizes)}, not {list(self.sizes)}")
        for pattern in (*self.tensors, *self.unused):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error


@dataclass
class Fit:
    """How tensors fit an encoder of one size: its weights, and every reason why they do not."""

    config: EncoderConfig
    weights: dict[str, Tensor]
    unused: list[str]
    problems: list[str]


def fitted(tensors: Mapping[str, Tensor], foreign: ForeignEncoder) -> Fit:
    """The weights of our encoder from another's tensors, in the first size that they fit.

    Raises `ValueError` where they fit none, with what is missing, left over, or of another shape in the
    size that comes nearest.
    """
    fits = [_fit(tensors, foreign, size) for size in foreign.sizes]
    nearest = min(fits, key=lambda fit: len(fit.problems))
    if nearest.problems:
        more = len(nearest.problems) - SHOWN
        raise ValueError(
            f"this is no {foreign.title} as {' or '.join(foreign.sizes)} (nearest: {nearest.config.size}): "
            + "; ".join(nearest.problems[:SHOWN])
            + (f"; and {more} more" if more > 0 else "")
        )
    return nearest


def _fit(tensors: Mapping[str, Tensor], foreign: ForeignEncoder, size: str) -> Fit:
    config = dataclasses.replace(foreign.encoder, size=size)  # type: ignore[arg-type] # checked: a known size
    with torch.device("meta"):
        wanted = {name: t.shape for name, t in ViTEncoder(config).state_dict().items()}
    pieces, unused, problems = _placed(tensors, foreign)
    weights: dict[str, Tensor] = {}
    for name, parts in pieces.items():
        if name not in wanted:
            theirs = ", ".join(their for their, _ in parts.values())
            problems.append(f"left over: {theirs} (there is no {name} here)")
            continue
        made = _joined(name, parts, tuple(wanted[name]))
        if isinstance(made, str):
            problems.append(made)
        else:
            weights[name] = made
    missing = [name for name in wanted if name not in pieces]
    problems += [f"missing: {name} {list(wanted[name])}" for name in missing]
    return Fit(config, weights, unused, problems)


Pieces = dict[str, dict[int | None, tuple[str, Tensor]]]
"""Our name → row of it, or None for all of it → their name and tensor."""


def _placed(
    tensors: Mapping[str, Tensor], foreign: ForeignEncoder
) -> tuple[Pieces, list[str], list[str]]:
    """Every tensor where the patterns put it; those that are unused; problems."""
    within = any(foreign.prefix and name.startswith(foreign.prefix) for name in tensors)
    pieces: Pieces = {}
    unused: list[str] = []
    problems: list[str] = []
    for theirs, tensor in tensors.items():
        inner = theirs.removeprefix(foreign.prefix) if within else theirs
        ours = None if within and inner == theirs else _renamed(inner, foreign.tensors)
        if ours is None:
            known = any(re.fullmatch(pattern, inner) for pattern in foreign.unused)
            (unused if known else problems).append(theirs if known else f"left over: {theirs}")
            continue
        row = ROW.fullmatch(ours)
        name, place = (row[1], int(row[2])) if row else (ours, None)
        taken = pieces.setdefault(name, {})
        if place in taken:
            problems.append(f"both {taken[place][0]} and {theirs} would be {ours}")
        taken[place] = theirs, tensor
    return pieces, unused, problems


def _renamed(name: str, patterns: Mapping[str, str]) -> str | None:
    for pattern, ours in patterns.items():
        if match := re.fullmatch(pattern, name):
            return match.expand(ours)
    return None


def _joined(
    name: str, parts: dict[int | None, tuple[str, Tensor]], shape: tuple[int, ...]
) -> Tensor | str:
    """The tensor of ours [*shape] in float32, or what is wrong with it."""
    rows: list[Any] = [None] if None in parts else list(range(shape[0]))
    if set(parts) != set(rows):
        return f"{name} needs rows 0 to {shape[0] - 1}, found {sorted(map(str, parts))}"
    each = shape if rows == [None] else shape[1:]
    for theirs, tensor in parts.values():
        if _counted(tensor.shape) != _counted(each):
            return f"{theirs} has the shape {list(tensor.shape)}, {name} needs {list(each)}"
        if not tensor.is_floating_point() or not tensor.isfinite().all():
            return f"{theirs} holds {tensor.dtype} with values that are no finite floating-point number"
    joined = torch.stack([parts[row][1].to(torch.float32) for row in rows])
    return joined.reshape(shape).contiguous()


def _counted(shape: tuple[int, ...]) -> list[int]:
    return [length for length in shape if length != 1]
