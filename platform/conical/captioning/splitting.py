"""Long texts in pieces that a text tower can read whole.

CLIP's tokenizer cuts a long text off in silence (77 tokens with its two marks). Here nothing is lost: a text is cut
at the ends of sentences, else of clauses, else between words; neighbouring parts are joined again while they fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# Each pattern matches the white space to cut at; the last resort, inside a word, has none.
# marks of Chinese and Japanese end a sentence without a blank after them
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？｡])\s*")
_CLAUSE_END = re.compile(r"(?<=[,;:])\s+|(?<=[，；：、])\s*|\s+(?=[-–—]\s)")
_WORD_END = re.compile(r"\s+")
_BOUNDARIES = (_SENTENCE_END, _CLAUSE_END, _WORD_END)


def split_text(text: str, *, count_tokens: Callable[[str], int], limit: int) -> list[str]:
    """Cut a text into pieces of at most `limit` tokens without losing a word.

    Args:
        text: any text; runs of white space count as one blank.
        count_tokens: number of tokens of a piece, start and end marks not counted.
        limit: most tokens a piece may have, >= 1.

    Returns:
        The pieces in order; nothing but white space between them is left out. A single word above the limit is cut
        inside the word. A text without words gives no piece.

    Raises:
        ValueError: `limit` is below 1, or a single character has more tokens than `limit`.

    Source:
        docs/method.md 3 (at sentence, then clause, then word boundaries; 70 tokens in CLIP's context).

    >>> split_text("A dog runs. It jumps, then it rests.", count_tokens=lambda piece: len(piece.split()), limit=4)
    ['A dog runs.', 'It jumps,', 'then it rests.']
    """
    if limit < 1:
        raise ValueError(f"limit must be >= 1 token, got {limit}")
    plain = " ".join(text.split())
    return _split(plain, count_tokens=count_tokens, limit=limit, level=0) if plain else []


def _split(text: str, *, count_tokens: Callable[[str], int], limit: int, level: int) -> list[str]:
    if count_tokens(text) <= limit:
        return [text]
    if level == len(_BOUNDARIES):
        return _split_word(text, count_tokens=count_tokens, limit=limit)
    pieces: list[str] = []
    first = 0  # where the last piece begins
    for begin, end in _parts(text, _BOUNDARIES[level]):
        if pieces and count_tokens(text[first:end]) <= limit:
            pieces[-1] = text[first:end]
        else:
            pieces.extend(_split(text[begin:end], count_tokens=count_tokens, limit=limit, level=level + 1))
            first = end - len(pieces[-1])
    return pieces


def _parts(text: str, boundary: re.Pattern[str]) -> list[tuple[int, int]]:
    """Begin and end of each part between boundaries; none is empty."""
    cuts = [(match.start(), match.end()) for match in boundary.finditer(text)]
    begins, ends = [0, *(end for _, end in cuts)], [*(start for start, _ in cuts), len(text)]
    return [(begin, end) for begin, end in zip(begins, ends, strict=True) if begin < end]


def _split_word(word: str, *, count_tokens: Callable[[str], int], limit: int) -> list[str]:
    pieces: list[str] = []
    while word:
        length = len(word)
        # halving first keeps a very long word from being counted once a character
        while length > 1 and count_tokens(word[:length]) > limit:
            length //= 2
        while length < len(word) and count_tokens(word[: length + 1]) <= limit:
            length += 1
        if count_tokens(word[:length]) > limit:
            raise ValueError(
                f"limit of {limit} tokens is too small: the single character {word[0]!r} has "
                f"{count_tokens(word[0])} tokens; raise the limit"
            )
        pieces.append(word[:length])
        word = word[length:]
    return pieces
