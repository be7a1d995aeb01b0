"""CLIP as a dual encoder of videos and texts.

Shapes: B clips, F frames per clip, H x W pixels, T texts, L tokens, D embedding width.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from conical.core.errors import ConfigError
from conical.models.architecture import config_preprocess, fault, known_name, model_config, read_config
from conical.models.batch_norm import hold_batch_norm, sync_batch_norm
from conical.models.checkpoint_files import checkpoint_form, is_checkpoint_path
from conical.models.fitting import load_clip
from conical.models.freezing import freeze_matching
from conical.models.heads import build_head
from conical.models.heads.head import Clips, Features, Head, Texts
from conical.models.low_rank import add_lora, load_plain, merged_state_dict
from conical.models.options import ModelOptions
from conical.models.projection import build_projection
from conical.models.text_reader import TextReader, build_text_reader
from conical.models.text_tower import (
    encode_tokens,
    encode_words,
    has_words,
    used_positions,
    vocabulary_size,
)
from conical.models.token_shift import MIN_STEP, TokenShift
from conical.models.vision_tower import encode_frames, give_patches, wide
from conical.models.weight_files import load_parts_beside

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt8


class DualEncoder(nn.Module):
    """A CLIP and a head that compares its texts with its clips.

    What each part gives to the next: a tower its outputs (`Texts`, `Clips`), the projections those in the space of the
    comparison, the head tensors with one row per text or clip (`Features`), which it compares.

    Args:
        reader: its tokenizer and its context.
        image_projection: maps what the image tower gives of a frame.
        text_projection: maps what the text tower gives of a text or word.
        token_shift: that of the image tower, if it has one.
        holds_batch_norm: in training too, BatchNorm layers of the CLIP keep their running statistics.
        head: compares texts and clips.
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
        reader: TextReader,
        *,
        image_projection: nn.Module | None = None,
        text_projection: nn.Module | None = None,
        holds_batch_norm: bool = True,
        token_shift: TokenShift | None = None,
        head: Head,
        head_name: str = "mean_pool",
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.clip = clip
        self.reader = reader
        self.image_projection = image_projection or nn.Identity()
        self.text_projection = text_projection or nn.Identity()
        self.holds_batch_norm = holds_batch_norm
        self.token_shift = token_shift
        # of a frozen text tower, where it was run before (`conical.engine.frozen_towers`)
        self.kept_texts: Callable[[Sequence[str]], Texts | None] | None = None
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

    def train(self, mode: bool = True) -> DualEncoder:
        """Training mode for what is trained: frozen parts draw no dropout, held BatchNorm keeps its statistics."""
        super().train(mode)
        _rest_frozen(self)
        if self.holds_batch_norm:
            hold_batch_norm(self.clip)
        return self

    @property
    def image_size_px(self) -> int:
        """Side of the square frames the image tower takes."""
        return _image_size_px(self.clip)

    @property
    def context_length(self) -> int:
        """Most tokens a text may have, its marks included."""
        return self.reader.context_length

    def tokenize(self, texts: Sequence[str]) -> Int[Tensor, "text token"]:
        """Tokens of texts, cut behind the last token that any embedding of the batch depends on.

        Raises:
            ValueError: a text is longer than the context and would have been truncated; split it first.
        """
        tokens = self.reader.tokens(texts)
        length = used_positions(self.clip, tokens)
        if length == self.context_length:
            self.reader.refuse_long(texts)
        return tokens[:, :length]

    # ---- the towers

    def image_tower(self, frames: Tensor) -> Clips:
        """What the image tower gives of each frame.

        Args:
            frames: uint8 (clip, frame, height, width, 3) pixels, or float (clip, frame, width) what it gave before.
        """
        if frames.is_floating_point():
            return Clips(frames=frames)
        num_clips, num_frames = frames.shape[:2]
        if self.token_shift is not None:
            self.token_shift.set_frames(num_frames)
        pixels = frames.flatten(0, 1).permute(0, 3, 1, 2).float().div_(255.0)
        pixels = (pixels - self.mean) / self.std
        embedded, patches = encode_frames(self.clip, pixels)
        shape = (num_clips, num_frames)
        return Clips(
            frames=embedded.unflatten(0, shape), patches=None if patches is None else patches.unflatten(0, shape)
        )

    def with_captions(self, clips: Clips, supplements: Sequence[Sequence[str]]) -> Clips:
        """The clips with what the text tower gives of their supplements, for heads that read them.

        Args:
            supplements: texts of each clip, none longer than the context.
        """
        most = max(1, *(len(texts) for texts in supplements))
        has_caption = torch.tensor([[place < len(texts) for place in range(most)] for texts in supplements])
        has_caption = has_caption.to(clips.frames.device)
        texts = [text for own in supplements for text in own]
        sentences = self.read(texts or [""]).sentence
        captions = sentences.new_zeros(*has_caption.shape, sentences.shape[-1])
        if texts:
            captions[has_caption] = sentences
        return replace(clips, captions=captions, has_caption=has_caption)

    def text_tower(self, tokens: Int[Tensor, "text token"]) -> Texts:
        """What the text tower gives of each text, and of each word where the head asks for them."""
        if self.head.needs_words:
            sentence, words, is_word = encode_words(self.clip, tokens)
            return Texts(sentence=wide(sentence), words=wide(words), is_word=is_word)
        return Texts(sentence=wide(encode_tokens(self.clip, tokens)))

    # ---- projections and head

    def encode_clips(self, clips: Clips) -> Features:
        """What the head compares of the image tower's outputs, one row per clip."""
        with torch.autocast(clips.frames.device.type, enabled=False):
            projected = replace(
                clips,
                frames=self.image_projection(clips.frames),
                patches=None if clips.patches is None else self.image_projection(clips.patches),
                captions=None if clips.captions is None else self.text_projection(clips.captions),
            )
            return self.head.encode_clips(projected)

    def encode_texts(self, texts: Texts) -> Features:
        """What the head compares of the text tower's outputs, one row per text."""
        with torch.autocast(texts.sentence.device.type, enabled=False):
            projected = replace(
                texts,
                sentence=self.text_projection(texts.sentence),
                words=None if texts.words is None else self.text_projection(texts.words),
            )
            return self.head.encode_texts(projected)

    # ---- from end to end

    def encode_video(self, frames: UInt8[Tensor, "clip frame height width 3"]) -> Float[Tensor, "clip dim"]:
        """Unit-length vectors of clips, whatever the query."""
        return self.head.vectors(self.encode_clips(self.image_tower(frames)))

    def encode_text(self, tokens: Int[Tensor, "text token"]) -> Float[Tensor, "text dim"]:
        """Unit-length sentence embeddings of tokenised texts."""
        return self.encode_texts(self.text_tower(tokens))["text"]

    # ---- weights

    def plain_state(self) -> dict[str, Tensor]:
        """A copy of all weights on the CPU, low-rank changes merged into what they change."""
        return {name: tensor.detach().cpu().clone() for name, tensor in merged_state_dict(self).items()}

    def load_plain_state(self, state: Mapping[str, Tensor]) -> None:
        """Load what `plain_state` gave; low-rank changes begin again at zero.

        Raises:
            RuntimeError: names or shapes do not fit, as `load_state_dict` says.
        """
        load_plain(self, state)

    def read(self, texts: Sequence[str]) -> Texts:
        """What the text tower gives of texts, none longer than the context: kept, or computed."""
        if self.kept_texts is not None and (kept := self.kept_texts(texts)) is not None:
            return kept
        return self.text_tower(self.tokenize(texts).to(self.mean.device))

    def forward(
        self,
        frames: Tensor,
        augmented: Tensor | None,
        texts: Sequence[str],
        supplements: Sequence[Sequence[str]] = (),
    ) -> tuple[Features, Features, Features]:
        """Features (texts, videos, copies) of one batch; those of copies are empty where there are none.

        Args:
            supplements: texts of each clip for a head that reads them.
        """
        clips = [self.image_tower(one) for one in (frames, augmented) if one is not None]
        if self.head.needs_captions:
            clips = [self.with_captions(one, supplements) for one in clips]
        videos, *copies = [self.encode_clips(one) for one in clips]
        return self.encode_texts(self.read(texts)), videos, copies[0] if copies else {}


def build_dual_encoder(options: ModelOptions) -> DualEncoder:
    """Load a dual encoder with its weights, on the CPU, in float32.

    Raises:
        ConfigError: the model, its weights or its config cannot be found or do not fit together, or a pattern of
            `freeze` or `lora` matches nothing.
    """
    import open_clip

    check_model(options)
    weights = options.card.weights
    is_file = is_checkpoint_path(weights)
    clip = _create(options, tag=None if is_file else weights)
    told = config_preprocess(options.card.architecture)
    if is_file:
        told |= load_clip(clip, Path(weights))
    reader = build_text_reader(options)
    _refuse_vocabulary(reader, clip, options)
    preprocess = open_clip.get_model_preprocess_cfg(clip) | told
    encoder = DualEncoder(
        clip,
        reader,
        **_parts(clip, reader, options),
        holds_batch_norm=options.batch_norm == "held",
        token_shift=_token_shift(clip, options.token_shift_layers),
        head_name=options.head,
        mean=preprocess["mean"],
        std=preprocess["std"],
    )
    if is_file:
        load_parts_beside(encoder, Path(weights))
    # last: what is loaded has plain names
    add_lora(clip, options.lora)
    freeze_matching(encoder, options.freeze)
    if not encoder.holds_batch_norm:
        sync_batch_norm(clip)
    return encoder.train()


def _parts(clip: nn.Module, reader: TextReader, options: ModelOptions) -> dict[str, Any]:
    """Fresh projections and head.

    Raises:
        ConfigError: they do not meet in one width, or the head needs what the towers do not give.
    """
    image, text = embedding_width(clip), text_width(clip, reader)
    projections = {
        "image_projection": build_projection(options.image_projection, in_width=image),
        "text_projection": build_projection(options.text_projection, in_width=text),
    }
    image_out, text_out = (
        width if one.kind == "none" else one.width
        for one, width in ((options.image_projection, image), (options.text_projection, text))
    )
    if image_out != text_out:
        raise ConfigError(
            f"texts and frames of model {options.name!r} must have one width, got {text_out} and {image_out}: set "
            "model.image_projection and model.text_projection to one width"
        )
    head = build_head(options.head, width=image_out, settings=options.head_settings)
    _refuse_head(head, clip, options)
    return {**projections, "head": head}


def check_model(options: ModelOptions) -> None:
    """Refuse what can be told without building a model or reading its weights.

    Raises:
        ConfigError: the model is unknown, or its weights are no tag of it and no file of weights.
    """
    architecture, weights = options.card.architecture, options.card.weights
    if architecture.endswith(".json") and is_checkpoint_path(weights):
        read_config(architecture)  # what a file says needs no open_clip, which takes seconds to import
        checkpoint_form(Path(weights))
        return
    import open_clip

    name = known_name(options)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if is_checkpoint_path(weights):
        checkpoint_form(Path(weights))
    elif weights not in tags:
        raise ConfigError(
            f"model.weights {weights!r} is not known for {options.name}: choose one of {', '.join(tags) or 'none'}, or "
            "give the path of a checkpoint"
        )


def _create(options: ModelOptions, *, tag: str | None) -> nn.Module:
    """The model with the weights of a tag of open_clip's, or with random ones that a file is to replace."""
    import open_clip

    name = known_name(options)
    try:
        with _without_root_warnings():  # open_clip would say that the model is random: its weights come next
            # never the towers' own weights: the checkpoint replaces them
            clip: nn.Module = open_clip.create_model(name, pretrained=tag, pretrained_text=False)
    except Exception as error:  # open_clip, timm and transformers raise whatever a config or the network gave them
        tower = model_config(options)["text_cfg"].get("hf_model_name")
        source = f" with weights {tag!r}" if tag else f" with text tower {tower!r}" if tower else ""
        raise ConfigError(
            f"model {options.name!r}{source} cannot be built ({fault(error)}): mend its config, or let this machine "
            "reach the hub that it names"
        ) from error
    return clip


def _refuse_vocabulary(reader: TextReader, clip: nn.Module, options: ModelOptions) -> None:
    """Refuse a tokenizer that gives numbers beyond the text tower's table: its first long word would end in a crash."""
    tokens, rows = reader.vocabulary_size, vocabulary_size(clip)
    if tokens > rows:
        raise ConfigError(
            f"the tokenizer of model {options.name!r} has {tokens:,} tokens, its text tower rows for {rows:,}: give "
            "the tokenizer it was trained with (text_cfg.hf_tokenizer_name) in the model-config JSON"
        )


def _refuse_head(head: Head, clip: nn.Module, options: ModelOptions) -> None:
    """Let the towers give what a head needs, or refuse it."""
    if head.needs_words and not has_words(clip):
        raise ConfigError(
            f"head {options.head!r} needs an embedding of each word, which the text tower of {options.name!r} does not "
            "give (it is neither causal nor of Hugging Face): choose another model or head"
        )
    if head.needs_patches:
        give_patches(clip, head=options.head)


def _token_shift(clip: Any, num_layers: int) -> TokenShift | None:
    if num_layers == 0:
        return None
    grid = getattr(clip.visual, "grid_size", (7, 7))
    step = max(MIN_STEP, (1 + grid[0] * grid[1]) // 7)  # as TS2-Net's code has it
    return TokenShift(clip.visual, num_layers=num_layers, step=step).install()


def _rest_frozen(module: nn.Module) -> None:
    """Evaluation mode for the largest parts that are frozen as a whole."""
    parameters = list(module.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        module.eval()
        return
    for child in module.children():
        _rest_frozen(child)


def text_width(clip: Any, reader: TextReader) -> int:
    """Width of a CLIP's embeddings of texts, as a short one shows."""
    was_training = clip.training
    clip.eval()
    tokens = reader.tokens(["a"])
    with torch.no_grad():
        width = encode_tokens(clip, tokens[:, : used_positions(clip, tokens)]).shape[-1]
    clip.train(was_training)
    return int(width)


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


@contextmanager
def _without_root_warnings() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
