"""The audit of a dataset in a workspace: what it reads, what it leaves."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from conical.config import Experiment
from conical.core.errors import DataError, StoreError
from conical.core.records import DatasetSummary, Failure, SampledFrames, SplitCount, VideoRecord
from conical.library.auditing import audit_dataset
from conical.library.importing import import_dataset
from conical.library.opening import find_folder, open_dataset
from conical.store import (
    DatasetBook,
    FrameRow,
    FrameStore,
    Workspace,
    manifest_hash,
    write_dataset_book,
    write_manifest,
)
from conical.store.audits import read_findings, read_leak_free
from conical.video import FrameRecipe

DATA = Path(os.environ.get("CONICAL_SHARED_DATA") or Path(__file__).resolve().parents[4] / "shared" / "data")
RECIPE = FrameRecipe(size=48, num_frames=4)


def video(video_id: str, split: str, **fields) -> VideoRecord:
    captions = (f"a film of {video_id}",)
    return VideoRecord(
        **{"video_id": video_id, "uri": f"{video_id}.mp4", "split": split, "captions": captions} | fields
    )


RECORDS = [
    video("t1", "train", source_id="s"),
    video("t2", "train", source_id="z"),
    video("v", "val", source_id="y"),
    video("e1", "test", source_id="s"),
    video("e2", "test", source_id="q", captions=("a film of e2", "word " * 80)),
    video("e3", "test", source_id="r"),
]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    found = Workspace.open(tmp_path / "ws")
    write_manifest(found.manifest("films-1k-1234"), RECORDS)
    summary = DatasetSummary(
        name="films",
        variant="",
        splits={"test": SplitCount(expected=3, found=3)},
        num_captions=1234,
        num_blank_captions=5,
        num_duplicate_captions=6,
    )
    book = DatasetBook(summary=summary, root="/films", reader={}, manifest_hash="")
    write_dataset_book(found.dataset_book("films-1k-1234"), book)
    return found


def ingest(workspace: Workspace, pictures: dict[str, int], recipe: FrameRecipe = RECIPE) -> FrameStore:
    """Frames of noise, the same for the same seed."""
    store = FrameStore(
        workspace.frames("films-1k-1234", recipe.hash), recipe=dataclasses.asdict(recipe), recipe_hash=recipe.hash
    )
    indices = tuple(range(recipe.num_frames))
    rows = []
    for video_id, seed in pictures.items():
        coarse = np.random.default_rng(seed).integers(0, 255, (recipe.num_frames, 6, 6, 3), np.uint8)
        frames = coarse.repeat(recipe.size // 6, axis=1).repeat(recipe.size // 6, axis=2)
        sampled = SampledFrames(
            frames=frames, frame_indices=indices, pts_seconds=tuple(i / 2 for i in indices), decoder="pyav"
        )
        rows.append(FrameRow(video_id=video_id, fingerprint=f"file-of-{video_id}@0.0-1.0", sampled=sampled))
    store.write_part("0", rows)
    return store


def kinds(workspace: Workspace) -> set[tuple[str, str]]:
    return {(one.kind, one.video_a) for one in read_findings(workspace.audit("films-1k-1234"))}


def test_an_audit_without_frames_says_what_it_could_not_check(workspace: Workspace) -> None:
    audit = audit_dataset(workspace, "films", Experiment())
    assert kinds(workspace) == {("shared-source", "e1"), ("long-caption", "e2")}
    assert not audit.is_complete
    assert (
        "near-duplicates were not looked for: no frames to compare; run conical ingest, then audit again" in audit.notes
    )
    assert audit.leak_free.rules == (
        "no source in common with train or val (named by all 6 videos)",
        "no seconds of a source or file in common with train or val (known of all 6 videos)",
    )
    assert audit.leak_free.video_ids == ("e2", "e3")
    assert audit.leak_free.manifest_hash == manifest_hash(RECORDS)
    assert read_leak_free(workspace.audit(audit.folder)) == audit.leak_free


def test_an_audit_with_frames_finds_copies(workspace: Workspace) -> None:
    ingest(workspace, {"t1": 1, "t2": 2, "v": 3, "e1": 4, "e2": 5, "e3": 2})
    steps = []
    audit = audit_dataset(workspace, "films-1k-1234", Experiment(), steps.append)
    assert ("near-duplicate", "e3") in kinds(workspace)
    assert audit.is_complete
    assert audit.leak_free.video_ids == ("e2",)
    assert audit.leak_free.rules[2] == "no near-duplicate in train or val (frames of all 6 videos compared)"
    assert {step.stage for step in steps} == {"audit: frames", "audit: compare"}
    assert all(step.done <= step.total for step in steps)


def test_an_audit_of_some_frames_says_of_how_many(workspace: Workspace) -> None:
    store = ingest(workspace, {"t1": 1, "e2": 5})
    store.write_failures("0", [Failure(video_id="v", uri="v.mp4", stage="ingest", kind="empty", message="no bytes")])
    audit = audit_dataset(workspace, "films", Experiment())
    assert "near-duplicates: frames of 2 of 6 videos compared; the others have no frames" in audit.notes
    assert ("no-frames", "v") in kinds(workspace)


def test_frames_of_one_split_alone_cannot_be_compared(workspace: Workspace) -> None:
    ingest(workspace, {"t1": 1, "t2": 2})
    assert not audit_dataset(workspace, "films", Experiment()).is_complete


def test_frames_without_those_of_test_say_nothing_of_test(workspace: Workspace) -> None:
    ingest(workspace, {"t1": 1, "t2": 2, "v": 3})
    audit = audit_dataset(workspace, "films", Experiment())
    assert not audit.is_complete
    assert len(audit.leak_free.rules) == 2


def test_a_rule_that_nothing_could_break_is_not_claimed(workspace: Workspace) -> None:
    manifest = workspace.manifest("films-1k-1234")
    write_manifest(
        manifest, [video("v", "val", uri=""), video("e1", "test"), video("e2", "test", source_id="q", uri="")]
    )
    assert audit_dataset(workspace, "films", Experiment()).leak_free.rules == (
        "no source in common with val (named by 1 of 3 videos)",
        "no seconds of a source or file in common with val (known of 1 of 3 videos)",
    )
    write_manifest(manifest, [video("e1", "test"), video("e2", "test")])
    assert audit_dataset(workspace, "films", Experiment()).leak_free.rules == ()


def test_one_file_under_two_names_is_found_by_its_bytes(workspace: Workspace) -> None:
    write_manifest(workspace.manifest("films-1k-1234"), [video("t", "train"), video("e", "test")])
    store = ingest(workspace, {})
    frames = np.zeros((RECIPE.num_frames, 48, 48, 3), np.uint8)  # black: pictures would not tell
    indices = tuple(range(RECIPE.num_frames))
    sampled = SampledFrames(frames=frames, frame_indices=indices, pts_seconds=indices, decoder="pyav")
    store.write_part("0", [FrameRow(video_id=name, fingerprint="f", sampled=sampled) for name in "te"])
    audit = audit_dataset(workspace, "films", Experiment())
    assert kinds(workspace) == {("shared-source", "e"), ("overlap", "e")}
    assert "the dataset names no sources (source_id): videos were compared by their files only" in audit.notes
    assert "the dataset has no val split" in audit.notes


def test_an_audit_tells_what_the_import_counted(workspace: Workspace) -> None:
    notes = audit_dataset(workspace, "films", Experiment()).notes
    assert "captions: 1,234; 5 blank ones were left out by the import, 6 repeat one of the same video" in notes
    view = open_dataset(workspace, "films")
    assert view.root == Path("/films")
    assert repr(view) == "DatasetView(folder='films-1k-1234')"


def test_a_dataset_is_found_by_the_beginning_of_its_name(workspace: Workspace) -> None:
    assert find_folder(workspace, "films") == "films-1k-1234"
    write_manifest(workspace.manifest("films-full-99"), RECORDS)
    assert find_folder(workspace, "films-f") == "films-full-99"
    with pytest.raises(DataError, match=r"'films' fits 2 folders: give more of one of films-1k-1234, films-full-99"):
        find_folder(workspace, "films")
    write_manifest(workspace.manifest("films"), RECORDS)
    assert find_folder(workspace, "films") == "films", "a whole name fits before beginnings"
    with pytest.raises(DataError, match=r"'flims' is not in .*: choose one of films, .*\. Did you mean 'films'\?"):
        find_folder(workspace, "flims")


def test_a_dataset_whose_import_was_cut_short_is_refused(workspace: Workspace) -> None:
    workspace.dataset_book("films-1k-1234").unlink()
    with pytest.raises(StoreError, match=r"there is no .*: import the dataset first"):
        open_dataset(workspace, "films")


def test_an_empty_workspace_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset 'films' is not in .*, which holds none: import it first"):
        find_folder(Workspace.open(tmp_path), "films")


def test_frames_that_are_asked_for_are_preferred_then_those_of_most_videos(workspace: Workspace) -> None:
    assert open_dataset(workspace, "films").frames is None
    few = ingest(workspace, {"t1": 1}, dataclasses.replace(RECIPE, num_frames=8))
    many = ingest(workspace, {"t1": 1, "t2": 1})
    for recipe_hash, store in ((few.recipe_hash, few), (many.recipe_hash, many), ("", many), ("unknown", many)):
        frames = open_dataset(workspace, "films", recipe_hash=recipe_hash).frames
        assert frames is not None
        assert frames.path == store.path


@pytest.mark.shared_data
@pytest.mark.skipif(not DATA.is_dir(), reason="real annotations are absent: set CONICAL_SHARED_DATA")
def test_the_known_leaks_of_msrvtt_are_found(tmp_path: Path) -> None:
    root = DATA / "annotations" / "msrvtt"
    workspace = Workspace.open(tmp_path)
    settings = {"name": "msrvtt", "root": str(root), "reader": {"split": "1k-A"}, "allow_missing": True}
    experiment = Experiment().replace({f"dataset.{name}": value for name, value in settings.items()})
    import_dataset(experiment, workspace)
    folder = experiment.dataset.folder
    audit = audit_dataset(workspace, folder, Experiment())
    found = read_findings(workspace.audit(folder))
    # "train" of the known counts is train-9k, of which our val is a part
    assert len({one.video_a for one in found if one.kind == "shared-source" and one.split_a == "test"}) == 372
    overlapping = [one for one in found if one.kind == "overlap" and one.split_a == "test"]
    assert (len({one.video_a for one in overlapping}), len(overlapping)) == (52, 55)
    repeated = [one.value for one in found if one.kind == "repeated-query" and one.split_a == "test"]
    assert (len(repeated), sum(repeated)) == (4, 9)
    assert (len(audit.leak_free.video_ids), audit.leak_free.num_test) == (628, 1000)
