"""Several modalities, each with an encoder of its own, side by side in one embedding (as FOCAL; Liu et al.,
NeurIPS 2023, and as foundation models of sleep recordings were built after it).

The embedding of a modality has two halves: what it shares with the others, and what is its own. Modalities that a
window lacks leave zeros, so that any subset may be there.

Shape suffixes: B batch, D width of a modality's embedding, L tokens, W width of a token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..signals.windows import Windows
from .encoder import Embedder, Encoder, EncoderConfig, of_modality
from .make_encoder import make_encoder
from .tokenizer import PatchConfig


@dataclass(frozen=True)
class MultimodalConfig:
    """An encoder for each of several modalities."""

    encoders: Mapping[str, EncoderConfig] = field(default_factory=dict)
    """Modality → its encoder; two or more. Token widths may differ, unless tokens are asked for."""
    dim: int = 128
    """Width of the embedding of one modality, even: its first half is what modalities share."""

    def __post_init__(self) -> None:
        if len(self.encoders) < 2:
            raise ValueError(
                f"encoders: name two modalities or more, not {', '.join(self.encoders) or 'none'}"
            )
        for modality, encoder in self.encoders.items():
            if encoder.patch.modality != modality:
                raise ValueError(
                    f"encoders.{modality}: its patch.modality must be {modality}, not {encoder.patch.modality}"
                )
        if self.dim < 2 or self.dim % 2:
            raise ValueError(f"dim must be even and 2 or more, not {self.dim}")


class MultimodalEncoder(Embedder):
    """Encoders by modality, and what brings their embeddings to one width."""

    config: MultimodalConfig

    def __init__(self, config: MultimodalConfig) -> None:
        super().__init__()
        self.config = config
        self.encoders = nn.ModuleDict({m: make_encoder(c) for m, c in config.encoders.items()})
        self.projectors = nn.ModuleDict(
            {m: projector(encoder.dim, config.dim) for m, encoder in self.parts()}
        )
        self.width = max(encoder.width for _, encoder in self.parts())

    def parts(self) -> list[tuple[str, Encoder]]:
        """(modality, its encoder)."""
        return list(self.encoders.items())  # type: ignore[arg-type] # ModuleDict says Module of any

    @property
    def kind(self) -> str:
        return ", ".join(f"{modality} {encoder.kind}" for modality, encoder in self.parts())

    @property
    def dim(self) -> int:
        return self.config.dim * len(self.encoders)

    @property
    def inputs(self) -> Sequence[PatchConfig]:
        return [encoder.config.patch for _, encoder in self.parts()]

    def each(self, streams: Mapping[str, Windows]) -> dict[str, tuple[Tensor, Tensor]]:
        """Modality → (its embeddings [B, D], 0 where it is missing; bool [B], where it is there).

        Modalities that no stream is of are left out. Raises `ValueError` where that leaves none.
        """
        found = {}
        for modality, encoder in self.parts():
            windows = of_modality(streams, modality)
            if windows is not None:
                there_B = is_there(encoder, windows)
                z_BD = self.projectors[modality](encoder(windows))
                found[modality] = (z_BD * there_B[:, None], there_B)
        if not found:
            raise self._reads_none(streams)
        return found

    def _reads_none(self, streams: Mapping[str, Windows]) -> ValueError:
        return ValueError(
            f"the encoder reads {', '.join(self.encoders)}, but the windows hold "
            f"{', '.join(w.modality for w in streams.values()) or 'nothing'}"
        )

    def there(self, streams: Mapping[str, Windows]) -> Tensor:
        """Which rows have any sample of each modality that has a stream [B, M]."""
        found = ((encoder, of_modality(streams, m)) for m, encoder in self.parts())
        return torch.stack([is_there(e, windows) for e, windows in found if windows is not None], 1)

    def embed(self, streams: Mapping[str, Windows], weight_BM2: Tensor | None = None) -> Tensor:
        """The modalities' embeddings side by side; zeros for those that are missing. No block is ever skipped."""
        found = self.each(streams)
        like_BD = next(iter(found.values()))[0]
        return torch.cat(
            [found[m][0] if m in found else torch.zeros_like(like_BD) for m in self.encoders], dim=1
        )

    def embed_tokens(self, streams: Mapping[str, Windows]) -> tuple[Tensor, Tensor]:
        """The modalities' tokens side by side; narrower ones are followed by zeros. Of modalities without a stream
        none is there."""
        own = {m: of_modality(streams, m) for m in self.encoders}
        windows = next((w for w in own.values() if w is not None), None)
        if windows is None:
            raise self._reads_none(streams)
        B, _, T = windows.samples.shape
        tokens, there = [], []
        for modality, encoder in self.parts():
            if own[modality] is None:
                L = encoder.token_count({}, T / windows.rate_hz)
                tokens_BLW = next(encoder.parameters()).new_zeros(B, L, self.width)
                there_BL = torch.zeros(B, L, dtype=torch.bool, device=tokens_BLW.device)
            else:
                tokens_BLW, there_BL = encoder.embed_tokens(streams)
                tokens_BLW = F.pad(tokens_BLW, (0, self.width - encoder.width))
            tokens.append(tokens_BLW)
            there.append(there_BL)
        return torch.cat(tokens, dim=1), torch.cat(there, dim=1)

    def token_count(self, channels: Mapping[str, Sequence[str]], window_s: float) -> int:
        return sum(encoder.token_count(channels, window_s) for _, encoder in self.parts())

    @property
    def layers(self) -> Sequence[nn.Module]:
        """One: the encoders have layers of their own, and not equally many."""
        return [self.projectors]

    def stages(self) -> Iterator[nn.Module]:
        yield self.encoders
        yield self.projectors


def is_there(encoder: Encoder, windows: Windows) -> Tensor:
    """Which windows have a patch [B]."""
    return encoder.tokenizer.patches(windows).present_BCN.flatten(1).any(dim=1)


def projector(inputs: int, outputs: int) -> nn.Sequential:
    """One hidden layer."""
    return nn.Sequential(nn.Linear(inputs, 2 * outputs), nn.ReLU(), nn.Linear(2 * outputs, outputs))
