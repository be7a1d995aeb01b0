"""What cannot be captioned: named, counted, tried again; the workers run in this process."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from caption_fakes import FOLDER_VARIABLE, NUM_FRAMES, NUM_VIDEOS, frame_store, options, records
from conical.captioning import CaptionOptions, EndpointOptions
from conical.core.errors import DataError
from conical.on_ray import caption
from conical.on_ray.caption import refuse_mostly_failed, run_captioning
from conical.on_ray.pool import Unit, UnitWorker
from conical.store import CaptionLedger


def _run_here(
    worker: type[UnitWorker], units: Sequence[Unit], *, arguments: Mapping[str, Any], **_: object
) -> Iterator[Counter[str]]:
    doer = worker(**arguments)
    return (Counter(doer.do(unit)) for unit in units)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Through which a test speaks to the captioners of `caption_fakes`."""
    monkeypatch.setattr(caption, "run_units", _run_here)
    path = tmp_path / "fakes"
    (path / "pids").mkdir(parents=True)
    monkeypatch.setenv(FOLDER_VARIABLE, str(path))
    return path


def test_what_failed_is_tried_again_and_what_was_written_stays_as_it_is(folder: Path, tmp_path: Path) -> None:
    frames, ledger = frame_store(tmp_path, levels={"v00": 0, "v01": 1, "v02": 2}), CaptionLedger(tmp_path / "captions")
    moody = options("MoodyCaptioner", batch_size=2)
    (folder / "mood").write_text("v01 v02")
    first = run_captioning(records(3), frames=frames, ledger=ledger, options=moody)
    assert (first.ok, first.failed) == (3, 6)
    assert {failure.reason for failure in first.failures} == {'refusal: "I cannot help with that."'}
    written = {row.key: row.text for row in ledger.records()}
    with pytest.raises(DataError, match=r"^2 of 3 texts of prompt A failed: 2x refusal: .* tries failed texts again"):
        refuse_mostly_failed(first, ledger)
    refuse_mostly_failed(first, ledger, allowed=0.7)
    (folder / "mood").write_text("v02")
    second = run_captioning(records(3), frames=frames, ledger=ledger, options=moody)
    assert (second.ok, second.failed, second.skipped) == (3, 3, 3)
    refuse_mostly_failed(second, ledger)
    (folder / "mood").write_text("")
    third = run_captioning(records(3), frames=frames, ledger=ledger, options=moody)
    assert (third.ok, third.failed, third.skipped, third.failures) == (3, 0, 6, ())
    assert {row.key: row.text for row in ledger.records()}.items() >= written.items()
    assert not list(ledger.path.glob("failures*"))


def test_answers_of_any_form_cost_their_rows_and_not_the_stage(folder: Path, tmp_path: Path) -> None:
    ledger = CaptionLedger(tmp_path / "captions")
    frames = frame_store(tmp_path)
    summary = run_captioning(records(), frames=frames, ledger=ledger, options=options("OddCaptioner", prompts=("B",)))
    reasons = {failure.video_id: failure.reason for failure in summary.failures}
    assert {row.video_id: row.text for row in ledger.records()} == {"v00": "a fine text", "v01": "parts of a text"}
    assert reasons == {
        "v02": 'half a character (lone surrogate): "half \\ud800"',
        "v03": 'control character U+0000: "nul\\x00"',
        "v04": "empty text",
        "v05": "no CaptionText: a str",
        "v06": "MemoryError: too\\x00large",
        "v07": "no CaptionText: a NoneType",
        "v08": "out of tokens \\ud800",
        "v09": 'cut off in mid-thought: "<think>hm"',
    }


@pytest.fixture
def server() -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """Address of a server of the OpenAI chat form, and what it answers: the last one is repeated."""
    answers: list[tuple[int, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, body = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            return

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}/v1", answers
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def test_a_server_that_refuses_all_is_an_error_and_a_mended_one_is_asked_again(
    tmp_path: Path, server: tuple[str, list[tuple[int, str]]]
) -> None:
    url, answers = server
    settings = CaptionOptions(
        captioner="http-endpoint",
        model="m",
        prompts=("B",),
        num_frames=NUM_FRAMES,
        batch_size=5,
        endpoint=EndpointOptions(url=url, max_retries=0, concurrency=1),
    )
    frames, ledger = frame_store(tmp_path), CaptionLedger(tmp_path / "captions")
    answers[:] = [(400, '{"error": {"message": "at most 1 image"}}')]
    refused = run_captioning(records(), frames=frames, ledger=ledger, options=settings)
    assert (refused.ok, refused.failed) == (0, NUM_VIDEOS)
    with pytest.raises(
        DataError, match=r"^10 of 10 texts of prompt B failed: 10x server answered 400: at most 1 image; "
    ):
        refuse_mostly_failed(refused, ledger)
    # as JSON: half a character, thoughts, a list of parts, a refusal
    contents = (
        r'"a \ud800"',
        r'"<think>hm</think>a cat"',
        r'[{"type": "text", "text": "a dog"}]',
        r'"I can\u2019t assist."',
    )
    answers[:] = [
        (200, f'{{"choices": [{{"message": {{"content": {content}}}}}]}}') for content in (*contents, '"a hat"')
    ]
    mended = run_captioning(records(), frames=frames, ledger=ledger, options=settings)
    assert (mended.ok, mended.failed, mended.skipped) == (8, 2, 0)
    assert sorted(failure.kind for failure in mended.failures) == ["half a character (lone surrogate)", "refusal"]
    assert sorted({row.text for row in ledger.records()}) == ["a cat", "a dog", "a hat"]
    last = run_captioning(records(), frames=frames, ledger=ledger, options=settings)
    assert (last.ok, last.failed, last.skipped) == (2, 0, 8)


@pytest.mark.parametrize("name", ["NoAnswersCaptioner", "FewAnswersCaptioner"])
def test_a_captioner_that_gives_another_number_of_answers_fails_its_rows(
    folder: Path, tmp_path: Path, name: str
) -> None:
    ledger = CaptionLedger(tmp_path / "captions")
    summary = run_captioning(
        records(2),
        frames=frame_store(tmp_path, levels={"v00": 0, "v01": 1}),
        ledger=ledger,
        options=options(name, prompts=("B",)),
    )
    assert (summary.ok, summary.failed) == (0, 2)
    with pytest.raises(
        DataError, match=r"^2 of 2 texts of prompt B failed: 2x (ValueError: the captioner gave 0|TypeErr)"
    ):
        refuse_mostly_failed(summary, ledger)


def test_a_captioner_that_asks_row_by_row_is_asked_for_missing_rows_only(folder: Path, tmp_path: Path) -> None:
    frames, ledger = frame_store(tmp_path, levels={"v00": 0, "v01": 1, "v02": 2}), CaptionLedger(tmp_path / "captions")
    single = options("MoodySingleCaptioner", prompts=("B",))
    (folder / "asked").unlink(missing_ok=True)
    (folder / "mood").write_text("v01")
    run_captioning(records(3), frames=frames, ledger=ledger, options=single)
    (folder / "mood").write_text("")
    run_captioning(records(3), frames=frames, ledger=ledger, options=single)
    assert (folder / "asked").read_text().split() == ["0,1,2", "1"]
