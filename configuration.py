"""One way to configure: frozen dataclasses, read from YAML and the command line by jsonargparse.

`parse(Config)` gives `--config NAME_OR_FILE`, dotted overrides (`--optim.lr 1e-3`), `--print_config`
and a `--help` made from the field docstrings. Unknown keys and impossible values stop the program
before any work. Configs that ship with biofm are found by name from any folder.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from .files import write_aside

CONFIGS = Path(__file__).resolve().parent / "configs"
T = TypeVar("T")


def config_file(name: str) -> Path:
    """The file that `name` means: a path, or the name of a shipped config (`pretrain/mae_ptbxl`)."""
    path = Path(name)
    if path.is_file():
        return path
    shipped = CONFIGS / (name if name.endswith(".yaml") else f"{name}.yaml")
    if shipped.is_file():
        return shipped
    known = ", ".join(sorted(str(p.relative_to(CONFIGS).with_suffix("")) for p in CONFIGS.rglob("*.yaml")))
    raise FileNotFoundError(f"no config file {name!r}, and no shipped config of that name; shipped: {known}")


def parse(config_type: type[T], arguments: Sequence[str] | None = None, description: str = "") -> T:
    """Build `config_type` from command-line arguments (default: `sys.argv`)."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(description=description)
    parser.add_argument("--config", action="config", help="a YAML file, or the name of a shipped config")
    parser.add_class_arguments(config_type, None)
    namespace = parser.parse_args(resolve_names(arguments))
    namespace.pop("config", None)
    return parser.instantiate_classes(namespace)  # type: ignore[no-any-return]


def resolve_names(arguments: Sequence[str] | None) -> list[str]:
    """Replace the name of a shipped config after `--config` by its file."""
    import sys

    words = list(sys.argv[1:] if arguments is None else arguments)
    for i, word in enumerate(words):
        if word == "--config" and i + 1 < len(words):
            words[i + 1] = str(config_file(words[i + 1]))
        elif word.startswith("--config="):
            words[i] = f"--config={config_file(word.removeprefix('--config='))}"
    return words


def to_dict(config: Any) -> dict[str, Any]:
    """A config dataclass as plain containers: what goes into YAML, JSON and the tracker."""
    return {k: _plain(v) for k, v in dataclasses.asdict(config).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def write_config(config: Any, path: Path) -> None:
    """Write the resolved config as YAML beside the artefact it made."""
    with write_aside(path) as aside:
        aside.write_text(yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True))
