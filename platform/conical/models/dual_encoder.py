"""CLIP as a dual encoder of videos and texts.

Shapes: B clips, F frames per clip, H x W pixels, T texts, L tokens, D embedding width.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812  the field's usual name
from torch import Tensor, nn

from conical.core.errors import ConfigError
from conical.models.architecture import build_tokenizer, config_preprocess, known_name
from conical.models.heads import build_head
from conical.models.options import ModelOptions
from conical.models.weight_files import load_clip, load_head_beside

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8


class DualEncoder(nn.Module):
    """A CLIP with a head that makes one embedding of a clip from those of its frames.

    Args:
        tokenizer: its tokenizer: texts to (T, context_length) integers.
        head: maps unit-length frame embeddings (B, F, D) to unit-length clip embeddings (B, D).
        head_name: what `model.head` calls it.
        mean: per channel, of pixels in [0, 1].
        std: per channel, of pixels in [0, 1].
    """

    clip: Any
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        clip: nn.Module,
        tokenizer: Any,
        *,
        head: nn.Module,
        head_name: str = "mean_pool",
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.clip = clip
        self.tokenizer = tokenizer
        self.head = head
        self.head_name = head_name
        self.pixel_mean, self.pixel_std = tuple(mean), tuple(std)
        # CLIP's own scale is not used: the loss brings three. Left trainable, DDP would wait for its gradient for ever.
        for name in ("logit_scale", "logit_bias"):
            scale = getattr(clip, name, None)
            if scale is not None:
                scale.requires_grad_(False)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @property
    def image_size_px(self) -> int:
        """Side of the square frames the image tower takes."""
        return _image_size_px(self.clip)

    @cached_property
    def width(self) -> int:
        """Of the embeddings of texts and videos."""
        return embedding_width(self.clip)

    @property
    def context_length(self) -> int:
        """Most tokens a text may have, start and end included."""
        return int(self.clip.context_length)

    def count_tokens(self, text: str) -> int:
        """Tokens of a text without the start and end marks, not truncated.

        CLIP's tokenizer truncates silently at the context length; this asks the byte-pair encoder itself.
        """
        return _count_tokens(self.tokenizer, text)

    def tokenize(self, texts: Sequence[str]) -> Int[Tensor, "text token"]:
        """Tokens of texts, cut to the longest text of the batch.

        A causal text tower pooled at the end-of-text token never looks past it, so the cut is exact.

        Raises:
            ValueError: a text is longer than the context and would have been truncated; split it first.
        """
        tokens: Tensor = self.tokenizer(list(texts), context_length=self.context_length)
        # end of text has the highest number; zero is both the padding and a real token, so it tells nothing
        longest = int(tokens.argmax(dim=1).max()) + 1 if self._cuts_text else self.context_length
        if longest == self.context_length:
            for text in texts:
                count = self.count_tokens(text)
                if count + 2 > self.context_length:
                    raise ValueError(
                        f"text has {count} tokens, at most {self.context_length - 2} fit: split it first: {text[:60]!r}"
                    )
        return tokens[:, :longest]

    def encode_video(self, frames: UInt8[Tensor, "clip frame height width 3"]) -> Float[Tensor, "clip dim"]:
        """Unit-length embeddings of clips: frame embeddings are normalised, then the head makes one of each clip."""
        num_clips, num_frames = frames.shape[:2]
        pixels = frames.flatten(0, 1).permute(0, 3, 1, 2).float().div_(255.0)
        pixels = (pixels - self.mean) / self.std
        per_frame = F.normalize(self.clip.encode_image(pixels).float(), dim=-1)
        per_clip: Tensor = self.head(per_frame.view(num_clips, num_frames, -1))
        return per_clip.float()

    def encode_text(self, tokens: Int[Tensor, "text token"]) -> Float[Tensor, "text dim"]:
        """Unit-length embeddings of tokenised texts."""
        if tokens.shape[1] == self.context_length:
            return F.normalize(self.clip.encode_text(tokens).float(), dim=-1)
        return F.normalize(self._encode_cut_text(tokens).float(), dim=-1)

    def forward(
        self,
        frames: UInt8[Tensor, "clip frame height width 3"],
        augmented: UInt8[Tensor, "clip frame height width 3"] | None,
        tokens: Int[Tensor, "text token"],
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Embeddings (text, video, augmented) of one batch; one call, so that DDP sees the whole step."""
        video = self.encode_video(frames)
        copy = None if augmented is None else self.encode_video(augmented)
        return self.encode_text(tokens), video, copy

    @property
    def _cuts_text(self) -> bool:
        """Whether the text tower is CLIP's own: causal, with learned positions and end-of-text pooling."""
        clip = self.clip
        return bool(hasattr(clip, "token_embedding") and clip.attn_mask is not None and clip.text_pool_type == "argmax")

    def _encode_cut_text(self, tokens: Tensor) -> Tensor:
        """CLIP's text tower on fewer positions than its context; `encode_text` of open_clip takes only the whole."""
        clip, length = self.clip, tokens.shape[1]
        x_TLD = clip.token_embedding(tokens) + clip.positional_embedding[:length]  # noqa: N806  shape letters
        x_TLD = clip.transformer(x_TLD, attn_mask=clip.attn_mask[:length, :length])  # noqa: N806
        x_TLD = clip.ln_final(x_TLD)  # noqa: N806
        pooled = x_TLD[torch.arange(len(tokens), device=tokens.device), tokens.argmax(dim=-1)]
        projection = clip.text_projection
        projected: Tensor = projection(pooled) if isinstance(projection, nn.Linear) else pooled @ projection
        return projected


def build_dual_encoder(options: ModelOptions) -> DualEncoder:
    """Load a dual encoder with its weights, on the CPU, in float32.

    Raises:
        ConfigError: the model, its weights or its config cannot be found or do not fit together.
    """
    import open_clip

    card, name = options.card, known_name(options)
    weights = Path(card.weights)
    is_local = weights.suffix in (".safetensors", ".pt", ".pth", ".bin")
    if is_local and not weights.is_file():
        raise ConfigError(f"model.weights {str(weights)!r} is not a file: give a checkpoint or a pretrained tag")
    tags = open_clip.list_pretrained_tags_by_model(name)
    if not is_local and card.weights not in tags:
        raise ConfigError(f"model.weights {card.weights!r} is not known for {name}: choose one of {', '.join(tags)}")
    if is_local:
        with _without_root_warnings():  # open_clip would say that the model is random: we load it in the next line
            clip = open_clip.create_model(name, pretrained=None, pretrained_text=False)
        told = config_preprocess(card.architecture) | load_clip(clip, weights)
    else:
        clip = open_clip.create_model(name, pretrained=card.weights)
        told = {}
    head = build_head(options.head, width=embedding_width(clip))
    if is_local:
        load_head_beside(head, weights, name=options.head)
    preprocess = open_clip.get_model_preprocess_cfg(clip) | told
    return DualEncoder(
        clip,
        open_clip.get_tokenizer(name),
        head=head,
        head_name=options.head,
        mean=preprocess["mean"],
        std=preprocess["std"],
    )


def embedding_width(clip: Any) -> int:
    """Width of a CLIP's embeddings: as its image tower says, or as a black frame shows (timm's towers do not say)."""
    width = getattr(clip.visual, "output_dim", None)
    if isinstance(width, int):
        return width
    parameter, side, was_training = next(clip.parameters()), _image_size_px(clip), clip.training
    clip.eval()  # a black frame must not reach running statistics
    with torch.no_grad():
        width = clip.encode_image(torch.zeros(1, 3, side, side, dtype=parameter.dtype, device=parameter.device)).shape[
            -1
        ]
    clip.train(was_training)
    return int(width)


def _image_size_px(clip: Any) -> int:
    size = clip.visual.image_size
    return int(size[0] if isinstance(size, (tuple, list)) else size)


def build_token_counter(options: ModelOptions) -> Callable[[str], int]:
    """A function that counts the tokens of a text as the model would, its marks left out; no weights are loaded.

    Raises:
        ConfigError: the model is unknown.
    """
    return partial(_count_tokens, build_tokenizer(options))


def _count_tokens(tokenizer: Any, text: str) -> int:
    if hasattr(tokenizer, "encode"):
        return len(tokenizer.encode(text))
    return len(tokenizer.tokenizer.encode(text, add_special_tokens=False))  # a Hugging Face text tower


@contextmanager
def _without_root_warnings() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
