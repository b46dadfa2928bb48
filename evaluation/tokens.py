"""Tokens of a frozen encoder, computed once and kept by content (`kept`): half precision, mapped on reading.

They stand after the last block and the final norm, without separators. A token whose patch is missing is
kept as NaN, so that one array says both what the tokens are and which are there. They take windows · L · D
· 2 bytes: 100 tokens of width 192 are 38 kB a window.

Shape suffixes: B batch, W windows of a reader, N chosen ones, L tokens, G groups of tokens, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..models.encoder import Embedder
from ..models.pretrained import PretrainedModel
from ..shards.reader import WindowReader
from .embeddings import Streams, check_windows, computed, model_digest, on
from .kept import kept_array

Places = NDArray[np.int64] | NDArray[np.bool_] | slice


@dataclass(frozen=True)
class FrozenTokens:
    """Tokens [N, L, D] of chosen windows, read from where they are kept when they are asked for.

    `kept` is [W, L, D]. `tokens[places]` chooses among the windows, as from an array, and copies nothing.
    """

    kept: NDArray[np.float16]
    windows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, L, D)."""
        return (len(self.windows), self.kept.shape[1], self.kept.shape[2])

    def __getitem__(self, places: Places) -> FrozenTokens:
        return FrozenTokens(self.kept, self.windows[places])

    def read(self, places: Places = slice(None)) -> tuple[Tensor, Tensor]:
        """(float32 [B, L, D], 0 where no token is; bool [B, L], which are there)."""
        x_BLD = torch.from_numpy(self.kept[self.windows[places]]).float()
        there_BL = ~torch.isnan(x_BLD[..., 0])
        return x_BLD.masked_fill_(~there_BL[..., None], 0.0), there_BL


def tokens(
    model: PretrainedModel,
    reader: WindowReader,
    cache: Path,
    *,
    batch: int = 64,
    progress: bool = True,
) -> FrozenTokens:
    """The tokens of every window, in the reader's order of evaluation, kept in the folder `cache`.

    Raises `ValueError` for windows that the model was not made for, and for tokens that are not finite in
    half precision; `OSError` where the disk has not the room for them.
    """
    check_windows(model, reader)
    L = model.encoder.token_count(reader.config.channels, reader.config.window_s)
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    try:
        kept = kept_array(
            "tokens [windows, tokens, width], float16, NaN where a patch is missing",
            {"model": model_digest(model), "tokens": "after the last norm, without separators"},
            lambda: computed(
                lambda streams: half_tokens(model.encoder, on(streams, device)),
                reader,
                batch=batch,
                progress=progress,
            ),
            (reader.windows, L, model.encoder.width),
            np.float16,
            reader,
            cache,
        )
    finally:
        model.train(training)
    return FrozenTokens(kept, np.arange(reader.windows))


def half_tokens(encoder: Embedder, streams: Streams) -> Tensor:
    """Tokens of a batch in half precision [B, L, W]; NaN where a patch is missing.

    Raises `ValueError` where a token is not finite: NaN must mean that it is missing, and nothing else.
    """
    tokens_BLW, there_BL = encoder.embed_tokens(streams)
    half_BLW = tokens_BLW.half()
    if not bool(torch.isfinite(half_BLW[there_BL]).all()):
        raise ValueError(
            "the encoder gives tokens that are not finite in half precision: its training diverged, or "
            "its weights are damaged"
        )
    return half_BLW.masked_fill(~there_BL[..., None], torch.nan)
