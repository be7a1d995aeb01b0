"""All checks of an audit together, and the list of test videos that they leave."""

from __future__ import annotations

from conical.core.findings import FINDING_KINDS, Finding, SplitFindings
from conical.core.records import Failure, VideoRecord
from conical.datasets.checks.audit import audit_records, count_findings, leak_free_ids


def test_every_kind_but_near_duplicates_is_found_in_records() -> None:
    place = {"source_start_seconds": 0.0, "source_end_seconds": 9.0}
    records = [
        VideoRecord(video_id="t", uri="t.mp4", split="train", captions=("one two",), source_id="s", extra=place),
        VideoRecord(video_id="e", uri="e.mp4", split="test", captions=("one two",), source_id="s", extra=place),
        VideoRecord(video_id="e2", uri="", split="test", captions=("One two", "a b c d")),
        VideoRecord(video_id="v", uri="v.mp4", split="val"),
    ]
    failures = [Failure(video_id="v", uri="v.mp4", stage="ingest", kind="empty", message="v.mp4 has no bytes")]
    found = audit_records(records, failures=failures, count_tokens=lambda text: len(text.split()), token_limit=3)
    # "a b c d" is above the limit by its bytes too
    assert [(one.kind, one.video_a) for one in found] == [
        ("shared-source", "e"),
        ("overlap", "e"),
        ("same-caption", "e"),
        ("same-caption", "e2"),
        ("repeated-query", "e"),
        ("no-captions", "v"),
        ("no-file", "e2"),
        ("no-frames", "v"),
        ("long-caption", "e2"),
    ]
    assert {one.kind for one in found} == set(FINDING_KINDS) - {"near-duplicate"}
    assert found[-2].detail == "empty: v.mp4 has no bytes"
    assert leak_free_ids(records, found) == ("e2",)


def test_nothing_is_found_in_a_clean_dataset() -> None:
    records = [
        VideoRecord(video_id=split, uri=f"{split}.mp4", split=split, captions=(f"a clip of {split}",), source_id=split)
        for split in ("train", "val", "test")
    ]
    assert audit_records(records, count_tokens=len, token_limit=70) == []
    assert leak_free_ids(records, []) == ("test",)


def test_leaks_are_what_ties_a_test_video_to_another_split() -> None:
    records = [VideoRecord(video_id=name, uri="", split="test") for name in "dcba"]
    records.append(VideoRecord(video_id="t", uri="", split="train"))

    def finding(kind: str, video: str, split: str = "test") -> Finding:
        return Finding(kind=kind, split_a=split, video_a=video, split_b="train", video_b="t")

    findings = [
        finding("shared-source", "a"),
        finding("near-duplicate", "b"),
        finding("same-caption", "c"),  # a sentence is no leak of the video
        finding("overlap", "d", "val"),  # the val video of this name
    ]
    assert leak_free_ids(records, findings) == ("c", "d")


def test_findings_are_counted_by_kind() -> None:
    findings = [
        Finding(kind="overlap", split_a=split, video_a=a, split_b="train", video_b=b, value=1.5)
        for split, a, b in (("test", "x", "1"), ("test", "x", "2"), ("val", "x", "1"))
    ]
    counts = {count.kind: count for count in count_findings(findings[::-1])}
    assert tuple(counts) == FINDING_KINDS
    assert counts["overlap"].splits == {
        "test": SplitFindings(num_findings=2, num_videos=1, total_value=3.0),
        "val": SplitFindings(num_findings=1, num_videos=1, total_value=1.5),
    }
    assert list(counts["overlap"].splits) == ["test", "val"]
    assert counts["overlap"].example == findings[1], "of the split that is held out furthest"
    assert (counts["no-file"].splits, counts["no-file"].example) == ({}, None)
