"""How a model reads texts: its tokenizer, how many tokens fit, and how they are counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from conical.models.architecture import build_tokenizer, context_positions
from conical.models.options import ModelOptions

if TYPE_CHECKING:
    from jaxtyping import Int

_CLIP_CONTEXT, _CLIP_LIMIT = 77, 70


class TextReader:
    """A tokenizer with its context.

    Args:
        tokenizer: open_clip's: texts to (T, context_length) integers, too long ones cut off without a word.
        num_positions: of the text tower; None: without a bound. The context is the smallest of what the tokenizer was
            made for, what it says it was trained for, and this.
    """

    def __init__(self, tokenizer: Any, *, num_positions: int | None = None) -> None:
        self.tokenizer = tokenizer
        inner = getattr(tokenizer, "tokenizer", None)
        bounds = (tokenizer.context_length, num_positions, getattr(inner, "model_max_length", None))
        self.context_length = min(int(bound) for bound in bounds if bound)

    @property
    def num_marks(self) -> int:
        """Tokens that stand around each text, such as those of its start and its end."""
        if hasattr(self.tokenizer, "encode"):  # CLIP's own
            return 2
        if getattr(self.tokenizer, "tokenizer_mode", "") == "clips":
            return 3
        return int(self.tokenizer.tokenizer.num_special_tokens_to_add())

    @property
    def room(self) -> int:
        """Most tokens of a text that fit beside the marks."""
        return self.context_length - self.num_marks

    @property
    def limit(self) -> int:
        """Most tokens of a piece of a text: 70 in CLIP's context of 77 (docs/method.md 3), in others what fits."""
        return _CLIP_LIMIT if self.context_length == _CLIP_CONTEXT else self.room

    @property
    def vocabulary_size(self) -> int:
        """How many tokens there are; each has a number below it."""
        inner = self.tokenizer if hasattr(self.tokenizer, "encode") else self.tokenizer.tokenizer
        return int(inner.vocab_size) if inner is self.tokenizer else len(inner)

    def count(self, text: str) -> int:
        """Tokens of a text without the marks, not truncated.

        The tokenizers truncate silently at the context length; this asks what is inside of them.
        """
        if hasattr(self.tokenizer, "encode"):
            return len(self.tokenizer.encode(text))
        plain = self.tokenizer.clean_fn(text)
        return len(self.tokenizer.tokenizer.encode(plain, add_special_tokens=False, verbose=False))

    def tokens(self, texts: Sequence[str]) -> Int[Tensor, "text token"]:
        """(T, context_length) tokens; a text that is too long is cut off: see `refuse_long`."""
        tokens: Tensor = self.tokenizer(list(texts), context_length=self.context_length)
        return tokens

    def refuse_long(self, texts: Sequence[str]) -> None:
        """Raise on the first text that would be cut off.

        Raises:
            ValueError: a text has more tokens than fit.
        """
        for text in texts:
            count = self.count(text)
            if count > self.room:
                raise ValueError(f"text has {count} tokens, at most {self.room} fit: split it first: {text[:60]!r}")


def build_text_reader(options: ModelOptions) -> TextReader:
    """The model's way of reading texts; no weights are loaded.

    Raises:
        ConfigError: the model is unknown, or its tokenizer cannot be had.
    """
    return TextReader(build_tokenizer(options), num_positions=context_positions(options))
