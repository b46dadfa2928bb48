"""The tensors of a checkpoint somebody else wrote, by name. No pickle is run: tensors and plain values only."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

NESTED = ("model", "state_dict", "model_state_dict")
"""Where training scripts keep the weights in a file that holds more."""
WRAPPERS = ("module.", "_orig_mod.", "model.")
"""What DistributedDataParallel, torch.compile and Lightning put before every name."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The weights in a safetensors file, or in a file of `torch.save`, as they are named in the model.

    Weights nested under `model`, `state_dict` or `model_state_dict` are found there, and what wrappers
    put before every name is dropped. Raises `FileNotFoundError`; `ValueError` where the file is neither, holds objects
    other than tensors and plain values, or no tensor.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint file")
    content = _safetensors(path) if path.suffix == ".safetensors" else _torch_file(path)
    for key in NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise ValueError(
            f"{path}: expected tensors by name, found {type(content).__name__}: save the state dict"
        )
    found = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not found:
        raise ValueError(
            f"{path}: no tensor at the top, nor under {', '.join(NESTED)}; its keys are "
            f"{sorted(map(str, content))[:8]}"
        )
    return _unwrapped(found)


def _safetensors(path: Path) -> Mapping[str, Any]:
    try:
        content: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} is no whole safetensors file ({error}): get it again") from error
    return content


def _torch_file(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = " ".join(str(error).split("\n\n")[0].split())
        raise ValueError(
            f"{path} holds more than tensors and plain values, or is no file of torch.save, and is not "
            f"opened ({reason[:300]}): where you trust it, load it yourself, and save its state dict alone "
            "with torch.save or safetensors"
        ) from error
    except (RuntimeError, EOFError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is no whole file of torch.save ({error}): get it again"
        ) from error


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    while prefix := next((w for w in WRAPPERS if all(n.startswith(w) for n in tensors)), None):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors
