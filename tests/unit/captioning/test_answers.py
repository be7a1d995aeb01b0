"""The check of answers: what is no caption costs its row with a reason, and honest captions all pass."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conical.captioning import CaptionText, check_answer, failed_answer

DATA = Path(os.environ.get("CONICAL_SHARED_DATA") or Path(__file__).resolve().parents[4] / "shared" / "data")
GOOD = "A red ball rolls over the grass while a child watches it."


def checked(text: Any, **more: Any) -> CaptionText:
    return check_answer(CaptionText(**{"text": text, "tokens_out": 5, "truncated": False} | more))


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (GOOD, GOOD),
        (f"  {GOOD}\n\n\tIt stops.\r\n", f"{GOOD} It stops."),
        ([{"type": "text", "text": "A red "}, {"type": "text", "text": "ball"}], "A red ball"),
        (["A red ", "ball"], "A red ball"),
        ([{"type": "image"}, {"type": "text", "text": GOOD}], GOOD),
        (f"<think>The user wants a caption.</think>\n{GOOD}", GOOD),
        (f"<think></think>{GOOD}", GOOD),
        (f"<THINK>one</THINK> <think>two\nlines</think>{GOOD}", GOOD),
        (f"<thinking>Hm.</thinking>{GOOD}", GOOD),
        (f"[THINK]Hm.[/THINK]{GOOD}", GOOD),
        (f"◁think▷Hm.◁/think▷{GOOD}", GOOD),
        (f"So I should describe it.</think>\n\n{GOOD}", GOOD),
        (f"<think>a <think>nested</think> thought</think>{GOOD}", GOOD),
        (f"{GOOD}<think>Was that brief?</think>", GOOD),
        (f"<think>Hm.</think><answer>{GOOD}</answer>", GOOD),
        ("a \ud83d\ude00 smiles", "a 😀 smiles"),
        ("Ein Würfel 🎲 rollt.", "Ein Würfel 🎲 rollt."),
        ("一个红色的球在草地上滚动。", "一个红色的球在草地上滚动。"),
        ("یک توپ قرمز می‌چرخد", "یک توپ قرمز می‌چرخد"),
    ],
)
def test_a_caption_is_taken_out_of_an_answer(raw: Any, text: str) -> None:
    assert checked(raw) == CaptionText(text=text, tokens_out=5, truncated=False)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("", "empty text"),
        (" \n\t ", "empty text"),
        (None, "empty text"),
        ([], "empty text"),
        ("<think>only thoughts</think>", "empty text"),
        (7, "not a text but int: "),
        ({"text": "x"}, "not a text but dict: "),
        (b"bytes", "not a text but bytes: "),
        ([{"type": "image"}, 3], "a list without a text: "),
        ("<think>The user wants a caption and I", 'cut off in mid-thought: "<think>The user wants'),
        (f"Hm.</think> {GOOD} <think>but", "cut off in mid-thought: "),
        ("<think>" * 200_000, "cut off in mid-thought: "),
        ("</think>" * 200_000, "empty text: "),
        ("a cat \ud800 sits", 'half a character (lone surrogate): "a cat \\ud800 sits"'),
        ("a cat \udfff", "half a character (lone surrogate): "),
        ("a cat\x00 sits", 'control character U+0000: "a cat\\x00 sits"'),
        ("a \x1b[31mred\x1b[0m cat", "control character U+001B: "),
        ("a cat\x7f", "control character U+007F: "),
        ("... --- !!", "no word: "),
        ("word " * 5000, "too long (24,999 characters, at most 10,000): "),
    ],
)
def test_what_is_no_text_is_refused_and_its_beginning_is_shown(raw: Any, reason: str) -> None:
    answer = checked(raw, truncated=True)
    assert answer.error.startswith(reason)
    assert (answer.text, answer.tokens_out, answer.truncated) == ("", 0, False)
    assert answer.error.isprintable()


@pytest.mark.parametrize(
    "raw",
    [
        "I cannot assist with that request.",
        "I can’t help with that.",
        "I'm sorry, but I can't assist with that.",
        "I’m sorry, but I can’t help with identifying people in this video.",
        "I am really sorry, but I’m not able to process this image",
        "I'm sorry, I cannot",
        "I'm afraid I can't do that.",
        "I’m unable to view videos directly.",
        "I cannot see or analyze the video.",
        "I cannot view the content of this video.",
        "I can not describe this video",
        "I'm not able to identify people in images.",
        "I do not have the ability to view videos.",
        "I don't have access to the video",
        "I cannot provide a description of this video.",
        "I won't be able to help with that",
        "We cannot fulfill this request.",
        "As an AI language model, I cannot watch videos.",
        "As an AI, I don't have eyes.",
        "As an AI developed by OpenAI, I cannot assist.",
        "As a large language model I am not able to see.",
        "As an artificial intelligence I have no eyes",
        "I am an AI assistant and cannot watch videos",
        "Unfortunately, I cannot view the video.",
        "I apologize, but I am unable to provide a caption",
        "My apologies, but I can't",
        "Sorry, I can't do that.",
        "Sorry, no video was provided.",
        "I'm sorry, I don't see any video attached",
        "It seems that no video was attached.",
        "It looks like the video didn't upload",
        "Please upload the video so I can describe it.",
        "Sure! Please provide the video.",
        "Hello! I'm sorry, but I am not able to see images.",
        "**I'm sorry**, but I can't help with that.",
        '"I cannot fulfill this request."',
        "<think>It shows a person.</think>I'm sorry, but I can't help with that.",
        "This request violates our content policy.",
        "抱歉,我无法查看视频。",
        "作为一个AI,我不能看视频。",
    ],
)
def test_a_refusal_is_no_caption(raw: str) -> None:
    assert checked(raw).error.startswith('refusal: "')


@pytest.mark.parametrize(
    "raw",
    [
        "the man is running " * 30,
        "the " * 12,
        "a dog " * 8,
        "A man is walking. " * 4,
        "A man sits at a desk in front of a computer. " * 3,
        "A man. " + "He walks, and then he sits. " * 5,
        "\n".join(f"{number}. a man walks" for number in range(12)),
        "红色的球" * 10,
        "a" * 120,
        "ab" * 60,
        "A cat!" + "!" * 40,
    ],
)
def test_a_text_that_never_stops_repeating_itself_is_no_caption(raw: str) -> None:
    assert checked(raw).error.startswith('endless loop: "')


@pytest.mark.parametrize(
    "caption",
    [
        "I cannot see who is behind the door, says the man on the phone.",
        "A man says: I'm sorry, but I can't help you with the video.",
        'A robot on a stage says "As an AI language model, I cannot dance" and dances.',
        "no, no, no",
        "No, no, no, no, no! cries the child on the swing.",
        "A girl sings let it go, let it go, let it go, and the crowd sings let it go, let it go.",
        "Row, row, row your boat gently down the stream, merrily, merrily, merrily, merrily, life is but a dream",
        "na na na na na na na na hey jude, the crowd sings",
        "ha ha ha ha ha ha ha ha, the baby laughs in its chair",
        "A man walks. A man sits. A man walks. A man sits.",
        "I can't help falling in love with you, an old man sings.",
        "I can't watch, a woman says and hides her eyes.",
        "We cannot see the man's head in these frames.",
        "Sorry, says a sign on a closed shop door.",
        "I'm sorry, a woman says and hugs her son.",
        "As an AI robot walks through the city, a crowd cheers.",
        "An AI assistant shows a chart.",
        "The video was uploaded by a fan and shows a cat.",
        "No image is shown at first, then a cat appears.",
        "Please share this video, a man says.",
        "The content of the bottle is poured against the wall.",
        "I think the man thinks.",
        "3 - 2 - 1 go",
        "a",
    ],
)
def test_an_honest_caption_passes(caption: str) -> None:
    assert checked(caption).text == caption


@pytest.mark.shared_data
@pytest.mark.skipif(not DATA.is_dir(), reason="real annotations are absent: set CONICAL_SHARED_DATA")
def test_real_captions_pass() -> None:
    """Each 20th caption of MSR-VTT; of all its 200,000 and MSVD's 80,827 none was refused when the check was made."""
    with zipfile.ZipFile(DATA / "annotations" / "msrvtt" / "train_val_annotation.zip") as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("train_val_videodatainfo.json"))
        sentences = json.loads(archive.read(name))["sentences"][::20]
    assert len(sentences) == 7010
    assert [s["caption"] for s in sentences if checked(s["caption"]).error] == []


@given(st.one_of(st.text(), st.characters(), st.lists(st.text()), st.none(), st.integers(), st.binary()))
def test_any_answer_gives_a_text_that_files_hold_or_one_printable_line(raw: Any) -> None:
    answer = checked(raw)
    assert bool(answer.text) != bool(answer.error)
    answer.text.encode("utf-8")
    assert answer.error.isprintable()


@pytest.mark.parametrize("raw", ["a text", None, 7, {"text": "x"}])
def test_an_answer_of_another_form_is_refused(raw: Any) -> None:
    assert check_answer(raw).error.startswith("no CaptionText: a ")


@pytest.mark.parametrize("tokens", [None, "5", -1, 2**70, 1.5])
def test_a_count_that_is_none_becomes_zero(tokens: Any) -> None:
    assert checked(GOOD, tokens_out=tokens).tokens_out == 0


def test_an_error_of_the_captioner_is_kept_as_one_printable_line() -> None:
    assert checked("", error="out of\nmemory \ud800\x00").error == "out of memory \\ud800\\x00"
    assert len(failed_answer("x" * 9999).error) == 400
    assert failed_answer(" ").error == "no reason given"


def test_captioners_keep_no_check_of_their_own() -> None:
    """One place decides: no captioner of the table judges a text before the stage does."""
    package = Path(__file__).resolve().parents[3] / "platform" / "conical"
    users = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if "check_answer(" in path.read_text(encoding="utf-8")
    }
    assert users == {"captioning/answers.py", "on_ray/caption_worker.py"}
