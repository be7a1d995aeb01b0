"""The page of the frame-accuracy suite, on three kinds."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from conical.core.errors import DecodeError
from conical.workbench.frame_accuracy.decode_speed import DecodingTime, measure_times
from conical.workbench.frame_accuracy.kinds import KINDS
from conical.workbench.frame_accuracy.random_access import decord_get_batch, torchcodec_frames_at
from conical.workbench.frame_accuracy.suite import Accuracy
from conical.workbench.frame_accuracy.suite_page import SuiteRun, accuracy_page, run_suite


def _result(kind: str, reader: str, *, num_exact: int = 0, refusal: str = "") -> Accuracy:
    return Accuracy(
        kind=kind, reader=reader, num_frames=30, num_exact=num_exact, milliseconds=1.25, pixels="", refusal=refusal
    )


def test_a_cell_says_exact_wrong_or_refused_and_is_bold_where_allowed() -> None:
    run = SuiteRun(
        results=(
            _result("a.mp4", "pyav", num_exact=30),
            _result("a.mp4", "decord", num_exact=29),
            _result("b.ts", "pyav", num_exact=30),
            _result("b.ts", "decord", refusal="b.ts: decord cannot | open it; choose decoder = 'pyav'"),
        ),
        allowed=frozenset({("a.mp4", "pyav"), ("b.ts", "pyav")}),
        times=(
            DecodingTime(width=320, height=240, decoder="pyav", milliseconds=60.0),
            DecodingTime(width=320, height=240, decoder="decord", milliseconds=None),
        ),
    )
    lines = accuracy_page(run, {"PyAV": "18", "commit": "abc"}).splitlines()
    assert "| `a.mp4` | **exact, 1.2 ms** | wrong (29 of 30), 1.2 ms |" in lines
    assert "| `b.ts` | **exact, 1.2 ms** | refused |" in lines
    assert "| decord | decord cannot / open it | 1 |" in lines
    # exact, wrong, refused, allowed
    assert "| pyav | 2 | 0 | 0 | 2 |" in lines
    assert "| decord | 0 | 1 | 1 | 0 |" in lines
    assert "| 320 x 240 | pyav | 60 | 5000 |" in lines  # 300 frames in 0.06 s
    assert "| 320 x 240 | decord | refused |  |" in lines
    assert any("PyAV 18; commit abc" in line for line in lines)


def test_the_suite_runs_every_reader_on_a_kind(tmp_path: Path) -> None:
    av.logging.set_level(None)
    kinds = ["h264_open_gop.mp4", "one_frame.mp4"]
    run = run_suite(tmp_path, repeats=1, kinds=kinds, has_times=False)
    assert len(run.results) == 2 * 5
    assert {(kind, "pyav") for kind in kinds} <= run.allowed
    assert "SuiteRun(results=10" in repr(run)
    assert accuracy_page(run, {}).count("`one_frame.mp4`") == 1


def test_random_access_of_decord_gives_wrong_frames_unsaid(tmp_path: Path) -> None:
    # the reason for all of this: no error, no warning
    pytest.importorskip("decord")
    av.logging.set_level(None)
    run = run_suite(tmp_path, repeats=1, kinds=["h264_open_gop.avi"], has_times=False)
    found = {result.reader: result for result in run.results}
    assert found["decord get_batch"].status == "wrong"
    assert found["decord"].status == "exact"


@pytest.mark.parametrize("reader", [decord_get_batch, torchcodec_frames_at])
def test_random_access_that_fails_is_a_refusal(tmp_path: Path, reader: object) -> None:
    av.logging.set_level(None)
    path = KINDS["size_changes.h264"].write(tmp_path / "size_changes.h264")
    with pytest.raises(DecodeError, match=r"size_changes.h264: \w+ get_\w+ fails \(.+\)") as caught:
        reader(path, 10)
    assert caught.value.kind == "refused"


def test_times_are_of_each_decoder_and_size(tmp_path: Path) -> None:
    times = measure_times(tmp_path, decoders=("pyav",), repeats=1, sizes=((64, 48), (48, 64)))
    assert [(time.width, time.height, time.decoder) for time in times] == [(64, 48, "pyav"), (48, 64, "pyav")]
    assert all(time.milliseconds is not None and time.milliseconds > 0 for time in times)


def test_the_page_in_the_docs_has_every_kind_and_allows_nothing_wrong() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "frame_accuracy.md").read_text()
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| `")]
    assert [row[0].strip("| `") for row in rows] == list(KINDS)
    allowed = [cell for row in rows for cell in row if "**" in cell]
    assert len(allowed) >= len(KINDS)
    assert all(cell.startswith("**exact") for cell in allowed)
