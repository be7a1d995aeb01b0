"""Splitting keeps every word, meets the limit and prefers the ends of sentences."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conical.captioning import split_text


def words(piece: str) -> int:
    return len(piece.split())


def characters(piece: str) -> int:
    return len(piece)


def test_a_text_within_the_limit_stays_whole() -> None:
    assert split_text("A dog runs. It jumps.", count_tokens=words, limit=5) == ["A dog runs. It jumps."]


def test_sentences_come_before_clauses_and_clauses_before_words() -> None:
    text = "A dog runs. Then it jumps, lands and barks, happily. The end of it all here."
    assert split_text(text, count_tokens=words, limit=4) == [
        "A dog runs.",
        "Then it jumps,",
        "lands and barks, happily.",
        "The end of it",
        "all here.",
    ]


def test_neighbouring_sentences_are_joined_while_they_fit() -> None:
    assert split_text("One. Two. Three. Four. Five.", count_tokens=words, limit=2) == [
        "One. Two.",
        "Three. Four.",
        "Five.",
    ]


def test_a_decimal_number_is_not_cut() -> None:
    assert split_text("It takes 3.5 seconds to fall.", count_tokens=words, limit=3) == [
        "It takes 3.5",
        "seconds to fall.",
    ]


def test_a_word_above_the_limit_is_cut_inside() -> None:
    assert split_text("ab abcdefgh c", count_tokens=characters, limit=3) == ["ab", "abc", "def", "gh", "c"]


@pytest.mark.parametrize("text", ["", "  \n "])
def test_a_text_without_words_gives_no_piece(text: str) -> None:
    assert split_text(text, count_tokens=words, limit=70) == []


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="limit must be >= 1 token, got 0"):
        split_text("a", count_tokens=words, limit=0)


def test_a_limit_that_no_character_meets_is_refused() -> None:
    with pytest.raises(ValueError, match="limit of 1 tokens is too small: the single character 'ö' has 2 tokens"):
        split_text("ö", count_tokens=lambda piece: len(piece.encode()), limit=1)


@given(text=st.text(alphabet="ab .,;!?\n-é", max_size=200), limit=st.integers(1, 12))
def test_no_word_is_lost_and_every_piece_meets_the_limit(text: str, limit: int) -> None:
    pieces = split_text(text, count_tokens=words, limit=limit)
    assert " ".join(pieces).split() == text.split()
    assert all(1 <= words(piece) <= limit for piece in pieces)


@given(text=st.text(max_size=120), limit=st.integers(1, 12))
def test_no_character_is_lost_when_words_are_cut(text: str, limit: int) -> None:
    pieces = split_text(text, count_tokens=characters, limit=limit)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(1 <= len(piece) <= limit for piece in pieces)


def test_clip_tokens_are_counted_as_the_real_tokenizer_does() -> None:
    from open_clip import SimpleTokenizer

    tokenizer = SimpleTokenizer()
    text = ", ".join(f"object number {number} is bright" for number in range(40)) + "."
    assert len(tokenizer.encode(text)) > 77
    pieces = split_text(text, count_tokens=lambda piece: len(tokenizer.encode(piece)), limit=70)
    assert all(len(tokenizer.encode(piece)) <= 70 for piece in pieces)
    assert " ".join(pieces) == text


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("一只狗在跑。它跳起来，然后休息。猫在看。", ["一只狗在跑。", "它跳起来，", "然后休息。", "猫在看。"]),
        ("犬が走る。跳ぶ！休む？はい。", ["犬が走る。跳ぶ！", "休む？はい。"]),
        ("狗跑。 猫看。", ["狗跑。 猫看。"]),
    ],
)
def test_chinese_and_japanese_sentences_end_at_their_own_marks(text: str, pieces: list[str]) -> None:
    assert split_text(text, count_tokens=characters, limit=8) == pieces


@given(st.text(alphabet="ab 。，！.!, 犬", max_size=40), st.integers(1, 9))
def test_nothing_but_white_space_is_lost_in_any_script(text: str, limit: int) -> None:
    pieces = split_text(text, count_tokens=characters, limit=limit)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(0 < len(piece) <= limit for piece in pieces)
