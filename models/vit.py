"""The ViT encoder: patches of one lead, or of all leads at one time, through transformer blocks.

Masked tokens are dropped before the blocks (He et al. 2022): at a mask ratio of 0.75 the encoder does a
quarter of the work. Rows of a batch keep equally many tokens; where samples are missing, the surplus
ones are padding that nobody attends to.

Shape suffixes: B batch, G groups, N patches in time, K kept patches of a group, L tokens, W width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from ..signals.windows import Windows
from .encoder import Encoder, EncoderConfig, Encoding, pooled
from .layers import Blocks
from .masks import Mask
from .tokenizer import Patches, PatchTokenizer, Tokens


class ViTEncoder(Encoder):
    """Patch tokenizer and transformer blocks."""

    tokenizer: PatchTokenizer

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.width, depth, heads = config.numbers
        self.tokenizer = PatchTokenizer(config.patch, self.width)
        self.blocks = Blocks(self.width, config.depth or depth, heads)

    def run(self, windows: Windows, patches: Patches, weight_BM2: Tensor | None = None) -> Tensor:
        """Whole windows → tokens before the final norm [B, L, W], separators among them."""
        tokens: Tokens = self.tokenizer(windows, patches)
        B, G, N, _ = tokens.patches.shape
        everything = torch.arange(N, device=tokens.patches.device).expand(B, G, N)
        attend_BGN = None if patches.complete else self.there(patches)
        return self.encode(tokens, everything, attend_BGN, weight_BM2, normed=False)

    def hide(self, windows: Windows, patches: Patches, mask: Mask) -> Encoding:
        """Hidden tokens are dropped."""
        tokens: Tokens = self.tokenizer(windows, patches, mask.visible)
        encoded_BLW = self.encode(tokens, mask.keep, mask.attend)
        B, G = mask.keep.shape[:2]
        return Encoding(
            encoded_BLW.view(B, G, -1, self.width),
            mask.keep,
            mask.attend,
            tokens.separators is not None,
        )

    def normed(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.blocks.norm(tokens)
        return out

    @property
    def layers(self) -> Sequence[nn.Module]:
        return list(self.blocks.blocks)

    def stages(self) -> Iterator[nn.Module]:
        yield self.tokenizer
        yield from self.blocks.blocks

    @property
    def skippable(self) -> int:
        return len(self.blocks.blocks)

    def pool(self, tokens: Tensor, there_BGN: Tensor) -> Tensor:
        """As all encoders do; or the norm of the mean, where the config says so."""
        if self.config.norm == "tokens":
            return super().pool(tokens, there_BGN)
        kept_BGNW = self.grouped(tokens, there_BGN.shape[1])
        return self.normed(pooled(kept_BGNW.flatten(1, 2), there_BGN.flatten(1), "mean"))

    def encode(
        self,
        tokens: Tokens,
        keep_BGK: Tensor,
        attend_BGK: Tensor | None = None,
        weight_BM2: Tensor | None = None,
        *,
        normed: bool = True,
    ) -> Tensor:
        """Run the blocks over the kept tokens of all groups, jointly [B, L, W]; then the norm where `normed`.

        `keep_BGK` are indices along N; `attend_BGK` is False for kept tokens that are only padding;
        `weight_BM2` are factors on the two branches of each of the M blocks.
        """
        W = self.width
        x_BGKW = tokens.patches.gather(2, keep_BGK[..., None].expand(-1, -1, -1, W))
        if tokens.separators is not None:
            B, G = keep_BGK.shape[:2]
            before_BG1W, after_BG1W = (
                tokens.separators.to(x_BGKW.dtype)[:, None, :, None].expand(2, B, G, 1, W).unbind()
            )
            x_BGKW = torch.cat([before_BG1W, x_BGKW, after_BG1W], dim=2)
            if attend_BGK is not None:
                # A lead with nothing to show is as good as absent: so are its separators.
                edge_BG1 = attend_BGK.any(dim=2, keepdim=True)
                attend_BGK = torch.cat([edge_BG1, attend_BGK, edge_BG1], dim=2)
        attend_BL = None
        if attend_BGK is not None:
            attend_BL = attend_BGK.flatten(1)
            # A row with nothing to attend to would be NaN: it looks at its padding instead.
            attend_BL = attend_BL | ~attend_BL.any(dim=1, keepdim=True)
        encoded_BLW: Tensor = self.blocks(
            x_BGKW.flatten(1, 2), attend_BL, weight_BM2, normed=normed
        )
        return encoded_BLW

    def grouped(self, tokens: Tensor, groups: int) -> Tensor:
        """[B, L, W] → [B, G, K, W], without separators."""
        tokens_BGKW = super().grouped(tokens, groups)
        return tokens_BGKW[:, :, 1:-1] if self.config.patch.separators else tokens_BGKW
