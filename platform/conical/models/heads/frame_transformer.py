"""A transformer over the frames of a clip: what lets a frame's embedding depend on the other frames and their order.

Shapes: V clips, F frames per clip, D width, H attention heads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from conical.core.errors import ConfigError

if TYPE_CHECKING:
    from jaxtyping import Float

STARTS = ("identity", "clip")
# of CLIP's transformers
HEAD_WIDTH = 64


class FrameTransformer(nn.Module):
    """Frames with those of their clip attended to, added to the frames themselves.

    With f_1 .. f_F the frame embeddings as the tower gives them and p_1 .. p_F the learned position embeddings:

        y = f + Transformer(f + p)

    Each layer of Transformer is CLIP's, in pre-norm form, without a mask and without a norm behind the last layer:

        x <- x + MultiHeadAttention(LayerNorm(x));  x <- x + W_2 QuickGELU(W_1 LayerNorm(x)),  W_1: D -> 4 D

    The published heads copy the positions and the first layers of CLIP's own text transformer. Here there is no text
    tower to copy from (it may be of another width, or no CLIP's), so that they start anew, in one of two ways:

    - `identity`: p, the second matrix of each MLP and the last one of each attention are 0, the other matrices CLIP's
      random ones. Then y = 2 f: a head scores at the start what it would without this module.
    - `clip`: every matrix as CLIP starts its text transformer. At the start such layers change a clip: for frames of
      width 512, length 10 and mutual cosine 0.85, the mean of the y has cosine 0.67 with the mean of the f.

    Args:
        width: D.
        num_layers: of Transformer, >= 1.
        max_frames: rows of the position table, >= 1; a clip with more frames is refused.
        num_heads: H, a divisor of D; 0 takes D // 64, at least 1.
        start: one of `STARTS`.

    Raises:
        ConfigError: a setting is out of range.

    Source: the sequential type of CLIP4Clip (Luo et al. 2022, section 3.3; `seqTransf` in its code). The layer and its
    random start: Radford et al. 2021 (CLIP), `initialize_parameters` in its code; biases start at 0 as in CLIP4Clip.
    """

    def __init__(self, width: int, *, num_layers: int, max_frames: int, num_heads: int, start: str) -> None:
        super().__init__()
        num_heads = num_heads or max(1, width // HEAD_WIDTH)
        if num_layers < 1:
            raise ConfigError(f"num_layers must be >= 1, or 0 for a head that can do without layers, got {num_layers}")
        for name, value in (("max_frames", max_frames), ("num_heads", num_heads)):
            if value < 1:
                raise ConfigError(f"{name} must be >= 1, got {value}")
        if width % num_heads:
            raise ConfigError(f"num_heads must divide the embedding width {width}, got {num_heads}: set a divisor")
        if start not in STARTS:
            raise ConfigError(f"start must be one of {', '.join(STARTS)}; got {start!r}")
        self.positions = nn.Parameter(torch.zeros(max_frames, width))
        self.resblocks = nn.ModuleList(FrameLayer(width, num_heads=num_heads) for _ in range(num_layers))
        self._start(start)

    def forward(self, frames: Float[Tensor, "clip frame dim"]) -> Float[Tensor, "clip frame dim"]:
        """Frames of any length in the order of time to frames that know their clip, in float32 whatever autocast says.

        Raises:
            ConfigError: a clip has more frames than there are positions.
        """
        num_frames, max_frames = frames.shape[1], len(self.positions)
        if num_frames > max_frames:
            raise ConfigError(f"clips of {num_frames} frames need max_frames >= {num_frames}, got {max_frames}")
        with torch.autocast(device_type=frames.device.type, enabled=False):
            x = frames + self.positions[:num_frames]
            for layer in self.resblocks:
                x = layer(x)
            return x + frames

    @torch.no_grad()
    def _start(self, start: str) -> None:
        width, is_identity = self.positions.shape[1], start == "identity"
        # the residual stream sums two outputs per layer
        output_std = 0.0 if is_identity else (width * 2 * len(self.resblocks)) ** -0.5
        nn.init.normal_(self.positions, std=0.0 if is_identity else 0.01)
        for layer in self.resblocks:
            assert isinstance(layer, FrameLayer)
            nn.init.normal_(layer.attn.in_proj_weight, std=width**-0.5)
            nn.init.normal_(layer.attn.out_proj.weight, std=output_std)
            nn.init.normal_(layer.mlp.c_fc.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(layer.mlp.c_proj.weight, std=output_std)
            nn.init.zeros_(layer.mlp.c_fc.bias)
            nn.init.zeros_(layer.mlp.c_proj.bias)


class FrameLayer(nn.Module):
    """One layer of `FrameTransformer`; its parameters are named as those of a layer of open_clip's text transformer.

    Args:
        width: D.
        num_heads: H, a divisor of D.
    """

    def __init__(self, width: int, *, num_heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = QuickGeluMlp(width)

    def forward(self, x: Float[Tensor, "clip frame dim"]) -> Float[Tensor, "clip frame dim"]:
        """(V, F, D) to (V, F, D)."""
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, need_weights=False)[0]
        attended: Tensor = x + self.mlp(self.ln_2(x))
        return attended


class QuickGeluMlp(nn.Module):
    """W_2 QuickGELU(W_1 x), four times as wide inside; QuickGELU(x) = x sigmoid(1.702 x).

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Float[Tensor, "clip frame dim"]) -> Float[Tensor, "clip frame dim"]:
        """(V, F, D) to (V, F, D)."""
        hidden = self.c_fc(x)
        projected: Tensor = self.c_proj(hidden * torch.sigmoid(1.702 * hidden))
        return projected
