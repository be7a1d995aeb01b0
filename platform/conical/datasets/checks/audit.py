"""Look through a dataset for what makes its numbers say too much, or too little."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from conical.core.findings import FINDING_KINDS, HELD_OUT_FIRST, LEAK_KINDS, Finding, KindCount, SplitFindings
from conical.core.records import Failure, VideoRecord
from conical.datasets.checks.leaks import overlaps, shared_sources
from conical.datasets.checks.texts import long_captions, repeated_queries, same_captions


def audit_records(
    records: Sequence[VideoRecord],
    *,
    files: Mapping[str, str] | None = None,
    failures: Sequence[Failure] = (),
    count_tokens: Callable[[str], int] | None = None,
    token_limit: int = 70,
) -> list[Finding]:
    """All that can be found without looking at frames.

    Args:
        records: the videos of all splits.
        files: video id to a hash of its file, where known: copies under other names are found by it.
        count_tokens: tokens of a text, marks not counted; None: the length of captions is not checked.
        token_limit: most tokens that go into the text tower at once.

    Returns:
        The findings, by kind.
    """
    findings = shared_sources(records, files=files) + overlaps(records, files=files)
    findings += same_captions(records) + repeated_queries(records)
    findings += [_of(record, "no-captions") for record in records if not record.captions]
    findings += [_of(record, "no-file") for record in records if not record.uri]
    failed = {failure.video_id: failure for failure in failures}
    findings += [
        _of(record, "no-frames", f"{failed[record.video_id].kind}: {failed[record.video_id].message}")
        for record in records
        if record.uri and record.video_id in failed
    ]
    if count_tokens is not None:
        findings += long_captions(records, count_tokens=count_tokens, limit=token_limit)
    return findings


def leak_free_ids(records: Sequence[VideoRecord], findings: Sequence[Finding]) -> tuple[str, ...]:
    """Test videos that nothing ties to another split, sorted.

    Args:
        findings: of all kinds; those of `LEAK_KINDS` count.
    """
    leaking = {finding.video_a for finding in findings if finding.kind in LEAK_KINDS and finding.split_a == "test"}
    return tuple(sorted(r.video_id for r in records if r.split == "test" and r.video_id not in leaking))


def count_findings(findings: Sequence[Finding]) -> tuple[KindCount, ...]:
    """The findings by kind, every kind once, in the order of `FINDING_KINDS`."""
    counts = []
    for kind in FINDING_KINDS:
        chosen = [finding for finding in findings if finding.kind == kind]
        by_split = {split: [one for one in chosen if one.split_a == split] for split in HELD_OUT_FIRST}
        counts.append(
            KindCount(
                kind=kind,
                splits={split: _count(of_split) for split, of_split in by_split.items() if of_split},
                example=next((one for of_split in by_split.values() for one in of_split), None),
            )
        )
    return tuple(counts)


def _count(findings: Sequence[Finding]) -> SplitFindings:
    return SplitFindings(
        num_findings=len(findings),
        num_videos=len({finding.video_a for finding in findings}),
        total_value=sum(finding.value for finding in findings),
    )


def _of(record: VideoRecord, kind: str, detail: str = "") -> Finding:
    return Finding(kind=kind, split_a=record.split, video_a=record.video_id, detail=detail)
