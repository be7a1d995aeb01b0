"""What was scored is shown again only as the answer to the same question: same options, same data."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conical.core.errors import ProtocolError
from conical.metrics import EvaluationName
from conical.on_ray.evaluate import evaluate_run
from conical.runs.staleness import stale_by_name, stale_notes
from conical.store import (
    CaptionLedger,
    EvaluationRecord,
    FrameRow,
    FrameStore,
    RunFolder,
    Workspace,
    manifest_hash,
    read_manifest,
    write_manifest,
)
from conical.store.audits import LeakFree, write_leak_free
from unit.runs.scored_runs import RecordingTracker, small_experiment, write_run, write_workspace

CAPTIONED, PAIRED = "captioned-gallery", "paired-supplement"


@dataclasses.dataclass(frozen=True)
class Scored:
    experiment: Any
    workspace: Workspace
    run: RunFolder
    tracker: RecordingTracker = dataclasses.field(default_factory=RecordingTracker)

    def evaluate(self, changes: dict[str, Any] | None = None, **options: bool) -> list[EvaluationRecord]:
        asked = self.experiment.replace({f"evaluate.{name}": value for name, value in (changes or {}).items()})
        return evaluate_run(self.run, self.workspace, self.tracker, asked.evaluate, **options)

    def change_manifest(self, change: Callable[[Any], Any]) -> None:
        path = self.workspace.manifest(self.experiment.dataset.folder)
        write_manifest(path, [changed for record in read_manifest(path) if (changed := change(record)) is not None])

    def write_leak_free(self, *ids: str) -> None:
        folder = self.experiment.dataset.folder
        content = manifest_hash(read_manifest(self.workspace.manifest(folder)))
        found = LeakFree(video_ids=ids, num_test=8, rules=("r",), manifest_hash=content)
        write_leak_free(self.workspace.audit(folder), found)


@pytest.fixture(scope="module")
def base(small_clip, tmp_path_factory) -> Scored:
    """Scored on test under each protocol and family."""
    experiment = small_experiment(
        small_clip,
        'evaluate.splits=["test"]',
        f'evaluate.protocols=["raw","{CAPTIONED}","{PAIRED}"]',
        'evaluate.families=["dsl","qbnorm"]',
        'evaluate.subsets=["leak-free"]',
        "evaluate.fusion_weights=[0.5]",
    )
    workspace = write_workspace(experiment, tmp_path_factory.mktemp("stored") / "workspace")
    found = Scored(experiment, workspace, write_run(experiment, workspace))
    found.write_leak_free("test1", "test2")
    found.evaluate()
    return found


@pytest.fixture
def scored(base: Scored, tmp_path: Path) -> Scored:
    root = tmp_path / "workspace"
    shutil.copytree(base.workspace.root, root, ignore=shutil.ignore_patterns("mlflow.db", "mlartifacts"))
    return Scored(base.experiment, Workspace(root), RunFolder(root / base.run.path.relative_to(base.workspace.root)))


@pytest.mark.parametrize(
    ("changes", "name", "difference"),
    [
        ({"dsl_tau": 5.0}, "test/raw.dsl", "dsl_tau 100.0, asked 5.0"),
        ({"qbnorm_beta": 5.0}, "test/raw.qbnorm", "qbnorm_beta 20.0, asked 5.0"),
        ({"qbnorm_k": 2}, "test/raw.qbnorm", "qbnorm_k 1, asked 2"),
        ({"qbnorm_bank": 3}, "test/raw.qbnorm", "qbnorm_bank 5000, asked 3"),
        ({"gallery_prompts": ["B"]}, f"test/{CAPTIONED}", "gallery_prompts B, C, asked B"),
        ({"fusion_weights": [0.1]}, f"test/{CAPTIONED}", "fusion_weights 0.5, asked 0.1"),
        ({"paired_prompts": ["B"]}, f"test/{PAIRED}", "paired_prompts A, asked B"),
    ],
)
def test_another_option_than_that_of_the_stored_numbers_is_refused(
    scored: Scored, changes: dict[str, Any], name: str, difference: str
) -> None:
    looks = scored.run.read().test_looks
    with pytest.raises(
        ProtocolError, match=f"was scored with {difference}: conical evaluate --repeat scores again$"
    ) as e:
        scored.evaluate(changes)
    assert str(e.value).startswith(f"{name} of run {scored.run.path.name}")
    assert scored.run.read().test_looks == looks


def test_what_an_evaluation_does_not_depend_on_may_be_asked_otherwise(scored: Scored) -> None:
    looks = scored.run.read().test_looks
    plain = {"protocols": ["raw"], "families": [], "subsets": []}
    found = scored.evaluate({**plain, "dsl_tau": 5.0, "gallery_prompts": ["B"], "batch_size": 3})
    assert [str(record.name) for record in found] == ["test/raw"]
    assert len(scored.evaluate()) == 18
    assert scored.run.read().test_looks == looks


def test_scored_again_the_new_options_are_the_known_ones(scored: Scored) -> None:
    asked = {"protocols": ["raw"], "families": ["dsl"], "subsets": [], "dsl_tau": 5.0}
    scored.evaluate(asked, repeat=True)
    assert scored.evaluate(asked)[1].settings["dsl"]["tau"] == 5.0
    with pytest.raises(ProtocolError, match=r"with dsl_tau 5\.0, asked 100\.0"):
        scored.evaluate({**asked, "dsl_tau": 100.0})


def test_a_leaking_prompt_is_refused_though_the_gallery_is_stored(scored: Scored) -> None:
    with pytest.raises(ProtocolError, match="refuses supplements of prompt A: it reads the human caption"):
        scored.evaluate({"gallery_prompts": ["A"]})


def test_other_videos_and_captions_are_another_question(scored: Scored) -> None:
    plain = {"protocols": ["raw"], "families": [], "subsets": []}
    scored.change_manifest(
        lambda record: dataclasses.replace(record, captions=("other",)) if record.video_id == "train0" else record
    )
    assert len(scored.evaluate(plain)) == 1, "raw on test does not depend on train"
    with pytest.raises(ProtocolError, match=r"raw.qbnorm of .* was scored on other captions of train: "):
        scored.evaluate({**plain, "families": ["qbnorm"]})
    scored.change_manifest(
        lambda record: dataclasses.replace(record, captions=("other",)) if record.video_id == "test0" else record
    )
    with pytest.raises(ProtocolError, match=r"test/raw of .* was scored on other captions of test: "):
        scored.evaluate(plain)
    scored.change_manifest(lambda record: None if record.video_id == "test0" else record)
    with pytest.raises(
        ProtocolError, match=r"test/raw of .* was scored on other files of test, captions of test, frames of test: "
    ):
        scored.evaluate(plain)


def test_another_leak_free_list_is_another_question(scored: Scored) -> None:
    asked = {"protocols": ["raw"], "families": []}
    scored.write_leak_free("test1", "test2", "test5")
    with pytest.raises(ProtocolError, match=r"test-leak-free/raw of .* was scored with another leak-free list: "):
        scored.evaluate(asked)
    assert len(scored.evaluate({**asked, "subsets": []})) == 1


def test_what_was_scored_is_shown_where_the_data_have_gone(scored: Scored) -> None:
    shutil.rmtree(scored.workspace.dataset(scored.experiment.dataset.folder))
    assert len(scored.evaluate()) == 18


def _replace_files(scored: Scored) -> None:
    """Other files behind two test videos, decoded again: what `ingest --verify` leaves."""
    store = FrameStore.open(scored.workspace.frames(scored.experiment.dataset.folder, scored.experiment.frames.hash))
    names = ["test0", "test1"]
    rows = []
    for name in names:
        sampled = store.read(name)
        changed = dataclasses.replace(sampled, frames=255 - sampled.frames)
        rows.append(FrameRow(video_id=name, fingerprint="another file", sampled=changed))
    store.drop(names)
    store.write_part("again", rows)


def _decode_otherwise(scored: Scored) -> None:
    """The same file gives other frames: another decoder, or a part that was replaced by hand."""
    store = FrameStore.open(scored.workspace.frames(scored.experiment.dataset.folder, scored.experiment.frames.hash))
    sampled, mark = store.read("test0"), store.fingerprints()["test0"]
    store.drop(["test0"])
    changed = dataclasses.replace(sampled, frames=sampled.frames[:, ::-1].copy())
    store.write_part("again", [FrameRow(video_id="test0", fingerprint=mark, sampled=changed)])


def _mend_a_caption(scored: Scored) -> None:
    scored.change_manifest(
        lambda record: dataclasses.replace(record, captions=("mended",)) if record.video_id == "test0" else record
    )


def _edit_a_supplement(scored: Scored) -> None:
    """A text under its old key, as only an editor of Parquet files can."""
    ledger = CaptionLedger(scored.workspace.captions(scored.experiment.dataset.folder))
    rows = ledger.records()
    for part in ledger.path.glob("part*"):
        part.unlink()
    edited = [
        dataclasses.replace(row, text="edited")
        if (row.video_id, row.prompt_id) in (("test0", "B"), ("test0", "A"))
        else row
        for row in rows
    ]
    CaptionLedger(ledger.path).write_part("edited", edited)


def _replace_the_encoder(scored: Scored) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(scored.run.encoder)
    name = min(tensors)
    save_file({**tensors, name: tensors[name] + 1}, scored.run.encoder)


@pytest.mark.parametrize(
    ("change", "name", "reason"),
    [
        (_replace_files, "test/raw", "on other files of test, frames of test"),
        (_decode_otherwise, "test/raw", "on other frames of test"),
        (_mend_a_caption, "test/raw", "on other captions of test"),
        (_edit_a_supplement, f"test/{CAPTIONED}", "on other supplements of test"),
        (_edit_a_supplement, f"test/{PAIRED}", "on other supplements of test"),
        (_replace_the_encoder, "test/raw", "with another encoder"),
    ],
)
def test_whatever_a_number_answers_for_is_noticed_everywhere(
    scored: Scored, change: Callable[[Scored], None], name: str, reason: str
) -> None:
    parsed = EvaluationName(split="test", protocol=name.partition("/")[2])
    asked = {"protocols": [parsed.protocol], "families": [], "subsets": []}
    before = scored.evaluate(asked)
    assert stale_notes([scored.run], parsed, scored.workspace) == []
    change(scored)
    with pytest.raises(ProtocolError, match=rf"^{name} of run .* was scored {reason}: "):
        scored.evaluate(asked)
    assert scored.tracker.tags["conical.stale"] == f"{name} {reason}"
    (note,) = stale_notes([scored.run], parsed, scored.workspace)
    assert note.startswith(f"Stale: {name} of ")
    assert f"was scored {reason} than are there now" in note
    assert stale_by_name(scored.run, before, scored.workspace) == {name: reason}
    again = scored.evaluate(asked, repeat=True)
    assert scored.tracker.tags["conical.stale"] == ""
    assert stale_by_name(scored.run, again, scored.workspace) == {}
