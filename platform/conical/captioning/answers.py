"""The check of one answer, whatever captioner gave it: what the ledger takes is a caption, all else costs its row.

An answer is refused for what it is as a whole (no text, a broken text, a refusal, an endless loop), never for a word in
it: a person in a video may say "I cannot", a song may repeat itself, and a gallery of honest captions must stay whole.
"""

from __future__ import annotations

import re
from typing import Any

from conical.captioning.captioner import CaptionText
from conical.captioning.declined import is_refusal

_SHOWN_CHARACTERS = 100
_REASON_CHARACTERS = 400
_MOST_TOKENS = 1 << 31
_MOST_CHARACTERS = 10_000  # some 2,000 words; [CEO25]'s supplements have fewer than 100

# Words that a model wraps its thoughts in: <think>, [THINK] (Magistral), ◁think▷ (Kimi-VL)
_THOUGHT = re.compile(
    r"<(?P<close>/?)(?:think|thinking|thought|reasoning)>|\[(?P<close_b>/?)THINK\]|◁(?P<close_k>/?)think▷",
    re.IGNORECASE,
)
_ANSWER_MARKS = re.compile(r"</?answer>", re.IGNORECASE)

# A Chinese or Japanese character is a word of its own: no blanks stand between words there. Numbers are left out, so
# that a numbered list of one and the same item is a loop.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\W\d_\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff][\w'-]*")
_CHARACTER_LOOP = re.compile(r"([^\s]{1,4}?)\1{24,}")
_LONGEST_PHRASE = 60  # words


def check_answer(answer: Any) -> CaptionText:
    """A captioner's answer as the ledger takes it: cleaned, or an error that names the fault and shows its beginning.

    Thoughts before the caption are cut off, white space becomes single blanks. Captioners may be anyone's code, so the
    answer may be anything; its text may also be a list of parts as OpenAI's servers give it.

    Returns:
        A text without error, or an error of one printable line without a text.

    >>> check_answer(CaptionText(text="<think>A dog?</think> A dog runs.", tokens_out=9, truncated=False)).text
    'A dog runs.'
    >>> check_answer(CaptionText(text="I’m sorry, but I can’t help with that.", tokens_out=9, truncated=False)).error
    'refusal: "I’m sorry, but I can’t help with that."'
    """
    if not isinstance(answer, CaptionText):
        return failed_answer(f"no CaptionText: a {type(answer).__name__}")
    if answer.error:
        return failed_answer(str(answer.error))
    is_count = isinstance(answer.tokens_out, int) and 0 <= answer.tokens_out < _MOST_TOKENS
    tokens_out = answer.tokens_out if is_count else 0
    raw: Any = answer.text
    try:
        text = _caption_in(_joined(raw))
    except ValueError as fault:
        return failed_answer(f"{fault}: {shown(raw)}" if raw else str(fault))
    return CaptionText(text=text, tokens_out=tokens_out, truncated=bool(answer.truncated))


def failed_answer(reason: str) -> CaptionText:
    """An answer that is no caption; the reason becomes one printable line."""
    line = "".join(map(_printable, " ".join(reason.split())))
    return CaptionText(text="", tokens_out=0, truncated=False, error=line[:_REASON_CHARACTERS] or "no reason given")


def shown(raw: object) -> str:
    """The beginning of an answer in quotation marks, what cannot be printed escaped.

    >>> shown("a\\x00b")
    '"a\\\\x00b"'
    """
    text = " ".join(raw.split()) if isinstance(raw, str) else repr(raw)
    beginning = "".join(map(_printable, text[:_SHOWN_CHARACTERS]))
    return f'"{beginning}"' + (" ..." if len(text) > _SHOWN_CHARACTERS else "")


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


def _joined(raw: Any) -> str:
    """The text of an answer, which may come in parts: strings, or mappings with a `text`."""
    if isinstance(raw, str):
        return raw
    if raw is None:
        raise ValueError("empty text")
    if not isinstance(raw, (list, tuple)):
        raise ValueError(f"not a text but {type(raw).__name__}")
    parts = [part.get("text") if isinstance(part, dict) else part for part in raw]
    texts = [part for part in parts if isinstance(part, str)]
    if raw and not texts:
        raise ValueError("a list without a text")
    return "".join(texts)


def _caption_in(text: str) -> str:
    """The caption in a text.

    Raises:
        ValueError: there is none; says why.
    """
    try:
        # two halves of one character may come apart; a half alone has no meaning and no file can hold it
        text = text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise ValueError("half a character (lone surrogate)") from None
    caption = " ".join(_ANSWER_MARKS.sub(" ", _without_thoughts(text)).split())
    controls = [character for character in caption if ord(character) < 32 or 127 <= ord(character) < 160]
    if controls:
        raise ValueError(f"control character U+{ord(controls[0]):04X}")
    if not caption:
        raise ValueError("empty text")
    if not any(character.isalnum() for character in caption):
        raise ValueError("no word")
    if len(caption) > _MOST_CHARACTERS:
        raise ValueError(f"too long ({len(caption):,} characters, at most {_MOST_CHARACTERS:,})")
    if is_refusal(caption):
        raise ValueError("refusal")
    if _is_loop(caption):
        raise ValueError("endless loop")
    return caption


def _without_thoughts(text: str) -> str:
    """The text outside of thoughts, read once from left to right: an answer may hold a million openings."""
    outside: list[str] = []
    begin, is_thinking = 0, False
    for mark in _THOUGHT.finditer(text):
        if any(mark.groupdict().values()):
            if not is_thinking:
                outside.clear()  # a template began the thought, so the answer holds its end alone
            begin, is_thinking = mark.end(), False
        elif not is_thinking:
            outside.append(text[begin : mark.start()])
            is_thinking = True
    if is_thinking:
        raise ValueError("cut off in mid-thought")
    return " ".join([*outside, text[begin:]])


def _is_loop(text: str) -> bool:
    """Whether a text repeats a phrase like a model that cannot stop.

    A shorter phrase must come more often, and one of few words make up half of the text: songs and cries repeat those.
    """
    if _CHARACTER_LOOP.search(text):
        return True
    words = _WORD.findall(text.lower())
    for length in range(1, min(_LONGEST_PHRASE, len(words) // 3) + 1):
        repeated = _longest_run(words, length) + length
        if repeated // length >= _fewest_repeats(length) and (length >= 4 or 2 * repeated >= len(words)):
            return True
    return False


def _fewest_repeats(length: int) -> int:
    """Repeats from which a phrase of so many words is a loop."""
    return 12 if length == 1 else 8 if length == 2 else 6 if length == 3 else 4 if length < 8 else 3


def _longest_run(words: list[str], length: int) -> int:
    """Most words in a row that equal the word `length` places before them."""
    run = longest = 0
    for before, word in zip(words, words[length:], strict=False):
        run = run + 1 if word == before else 0
        longest = max(longest, run)
    return longest
