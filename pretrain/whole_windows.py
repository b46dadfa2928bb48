"""Batch norm's running statistics as embeddings need them: of whole windows.

While it is trained, an encoder sees windows of which a part is hidden, crops, single leads or changed views, and its
running statistics are of those. Embeddings are of whole windows: without this a small xresnet trained by masking
reads them with variances that are off by a factor of four, and a linear head on them loses 0.01 to 0.02 of AUROC.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from ..models.encoder import Embedder
from ..models.make_embedder import make_embedder
from ..shards.reader import WindowReader
from ..signals.windows import Windows

BATCH = 64
BATCHES = 8
"""512 windows: means and variances of a channel differ by a few percent from those of all."""


def with_whole_windows(encoder: Embedder, train: WindowReader) -> Embedder:
    """An encoder as it is saved: the same one, or where it has batch norms a copy with statistics of whole windows.

    They are always of the same training windows, so that the same weights give the same model.
    """
    if not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in encoder.modules()):
        return encoder
    # Made anew and not copied: norms that are synchronised over processes would wait for the others.
    alone = make_embedder(encoder.config)
    alone.load_state_dict(encoder.state_dict())
    device = next(encoder.parameters()).device
    update_bn(some_windows(train), _Embeds(alone.to(device).train()))
    return alone.eval()


class _Embeds(nn.Module):
    """Calls an encoder with streams, as `update_bn` calls a model with what a loader gives."""

    def __init__(self, encoder: Embedder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, streams: dict[str, Windows]) -> torch.Tensor:
        device = next(self.parameters()).device
        return self.encoder.embed({name: w.to(device) for name, w in streams.items()})


def some_windows(train: WindowReader) -> Iterator[dict[str, Windows]]:
    """The first windows of the order of the first epoch: of many subjects, always the same."""
    batch = min(BATCH, train.windows)
    steps = train.train_batches(global_batch=batch, micro_batch=batch, rank=0, ranks=1, epoch=0)
    return (streams for (given,) in itertools.islice(steps, BATCHES) for streams in [given.streams])
