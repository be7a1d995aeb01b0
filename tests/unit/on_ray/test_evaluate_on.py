"""A run scored on videos that are none of its own dataset: the numbers, what is stored, what is said and refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from conical.core.errors import ConfigError, DataError, ProtocolError
from conical.core.records import VideoRecord
from conical.engine.embedding import embed_texts, embed_videos
from conical.library.held_out import read_held_out
from conical.metrics import EvaluationName, dual_softmax
from conical.models.dual_encoder import build_dual_encoder
from conical.models.weight_files import load_encoder
from conical.on_ray.evaluate_on import EvaluatedOn, evaluate_on
from conical.runs.other_dataset import OtherDataset, seen_notes, seen_videos
from conical.store import FrameStore, RunFolder, Sweep, Trial, Workspace, read_manifest, write_manifest, write_sweep
from held_out_folder import CAPTIONS, store_frames, write_held_out, write_images
from unit.runs.scored_runs import RecordingTracker, small_experiment, write_run, write_workspace

NUM_FRAMES = 4


class FileTracker(RecordingTracker):
    """Notes where files go, and that no metric does."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []

    def log(self, run_id: str, rows: object) -> None:
        raise AssertionError("a number of another dataset became a metric of the run")

    def log_files(self, run_id: str, folder: Path, *, under: str) -> None:
        self.places.append(under)

    def log_text(self, run_id: str, text: str, *, path: str) -> None:
        self.places.append(path)


@dataclasses.dataclass(frozen=True)
class Bench:
    """A run and a folder that it is scored on."""

    experiment: object
    workspace: Workspace
    run: RunFolder
    root: Path
    tracker: FileTracker = dataclasses.field(default_factory=FileTracker)

    def on(self, **asked):
        return OtherDataset(**{"root": self.root, "num_frames": NUM_FRAMES, **asked}).experiment(self.experiment)

    def score(self, options: dict | None = None, *, repeat: bool = False, allow_trial=False, **asked) -> EvaluatedOn:
        options = {"splits": ["test"], **(options or {})}
        settings = self.experiment.replace({f"evaluate.{key}": value for key, value in options.items()})
        return evaluate_on(
            self.run,
            self.workspace,
            self.tracker,
            settings.evaluate,
            OtherDataset(**{"root": self.root, "num_frames": NUM_FRAMES, **asked}),
            repeat=repeat,
            allow_trial=allow_trial,
        )


@pytest.fixture(scope="module")
def base(small_clip, tmp_path_factory) -> Bench:
    root = tmp_path_factory.mktemp("on")
    experiment = small_experiment(small_clip, "augment.num_frames=2")
    workspace = write_workspace(experiment, root / "workspace")
    bench = Bench(experiment, workspace, write_run(experiment, workspace), write_held_out(root / "held-out"))
    store_frames(bench.on(), workspace)
    return bench


@pytest.fixture
def bench(base, tmp_path) -> Bench:
    """A copy that a test may change; the folder of images is shared."""
    workspace = Workspace(tmp_path / "workspace")
    shutil.copytree(
        base.workspace.root,
        workspace.root,
        ignore=shutil.ignore_patterns("evaluation_on", "mlflow.db", "mlartifacts", "cache"),
    )
    run = RunFolder(workspace.root / base.run.path.relative_to(base.workspace.root))
    return Bench(base.experiment, workspace, run, base.root)


def as_trained(bench: Bench) -> Bench:
    """The same weights, said to have been trained."""
    experiment = bench.experiment.replace({"optim.epochs": 3})
    bench.run.write(dataclasses.replace(bench.run.read(), config=experiment.to_dict()))
    return dataclasses.replace(bench, experiment=experiment)


# ---- the numbers


def test_recalls_are_those_of_the_embeddings_by_hand(bench) -> None:
    found = bench.score({"families": ["dsl"]})
    encoder = build_dual_encoder(bench.experiment.model)
    load_encoder(encoder, bench.run.encoder)
    encoder.eval()
    store = FrameStore.open(bench.workspace.frames(found.dataset, found.frame_recipe))
    ids = sorted(CAPTIONS)
    frames = np.stack([store.read(video_id).frames for video_id in ids])
    assert frames.shape[:2] == (4, NUM_FRAMES), "all stored frames, not the two that training took"
    texts = [(text, column) for column, video_id in enumerate(ids) for text in CAPTIONS[video_id]]
    text = embed_texts(encoder, [(words,) for words, _ in texts], batch_size=4).vectors
    similarity = (text @ embed_videos(encoder, frames, batch_size=4)["clip"].T).numpy()

    ranks = [1 + sum(row > row[column]) for row, (_, column) in zip(similarity, texts, strict=True)]
    columns = [
        min(1 + sum(scores > scores[query]) for query, (_, own) in enumerate(texts) if own == column)
        for column, scores in enumerate(similarity.T)
    ]
    raw, dsl = found.evaluations
    np.testing.assert_allclose(raw.similarity, similarity, atol=1e-6)
    assert raw.metrics["t2v/R1"].value == pytest.approx(100 * np.mean([rank <= 1 for rank in ranks]))
    assert raw.metrics["t2v/MeanR"].value == pytest.approx(np.mean(ranks))
    np.testing.assert_array_equal(raw.ranks_t2v, ranks)
    assert raw.metrics["v2t_any/R1"].value == pytest.approx(100 * np.mean([rank <= 1 for rank in columns]))
    assert all(raw.metrics[f"{way}/R1"].low is not None for way in ("t2v", "v2t"))
    rescored = dual_softmax(similarity.astype(np.float64), tau=100.0)
    np.testing.assert_allclose(dsl.similarity, rescored, atol=1e-6)
    assert (raw.num_queries, raw.num_gallery) == (6, 4)


# ---- what is stored and said


def test_numbers_lie_apart_from_the_runs_own(bench) -> None:
    found = bench.score()
    assert bench.run.evaluation_names() == ()
    assert bench.run.read().looks == ()
    assert found.place.path == bench.run.path / "evaluation_on" / found.dataset
    assert sorted(path.name for path in found.place.path.iterdir()) == ["looks.json", "test-raw.json", "test-raw.npz"]
    assert bench.tracker.tags == {}
    assert bench.tracker.places == [f"on/{found.dataset}", f"on/{found.dataset}/metrics.csv"]
    (scored,) = found.evaluations
    assert scored.depends_on["settings"] == {"num_frames": NUM_FRAMES}
    assert scored.depends_on["data"].keys() == {
        *("encoder", "manifest", "files of test", "captions of test", "frames of test")
    }
    assert scored.settings["on"] == {
        "seen": {},
        "dataset": found.dataset,
        "root": str(bench.root),
        "num_frames": NUM_FRAMES,
        "num_padded": 1,
        "test_looks": 1,
    }
    stored = found.place.read_evaluation(scored.name)
    assert stored is not None
    assert (stored.metrics, stored.note) == (scored.metrics, scored.note)


def test_padding_and_a_missing_list_are_said(bench) -> None:
    found = bench.score()
    assert found.notes == ("captions.json is read without splits: all 4 videos are test",)
    assert found.frames.padded == 1
    assert found.evaluations[0].settings_note == (
        f"on {bench.root}, 4 frames a video, in 1 video the last one repeated"
    )


def test_it_is_shown_from_the_store_and_each_repeat_is_a_look(bench) -> None:
    first = bench.score()
    again = bench.score()
    assert again.evaluations[0].metrics == first.evaluations[0].metrics
    assert len(again.record.looks) == 1
    assert again.record.looks_note(EvaluationName(split="test")) == ""
    repeated = bench.score(repeat=True)
    assert repeated.evaluations[0].settings["on"]["test_looks"] == 2
    assert "test was looked at 2 times" in repeated.record.looks_note(EvaluationName(split="test"))


def test_a_run_that_trained_the_same_shares_its_looks(bench) -> None:
    twin = bench.workspace.experiment("other") / "runs" / bench.run.path.name
    shutil.copytree(bench.run.path, twin)
    bench.score()
    assert len(dataclasses.replace(bench, run=RunFolder(twin)).score().record.looks) == 2


def test_other_numbers_of_frames_captions_or_weights_are_refused_until_repeated(bench, tmp_path) -> None:
    root = tmp_path / "held-out"
    shutil.copytree(bench.root, root)
    moved = dataclasses.replace(bench, root=root)
    for num_frames in (NUM_FRAMES, 3):
        store_frames(moved.on(num_frames=num_frames), bench.workspace)
    moved.score()
    with pytest.raises(
        ProtocolError, match=r"test/raw of run .* on .*held-out was scored with num_frames 4, asked 3: -"
    ):
        moved.score(num_frames=3)
    (root / "captions.json").write_text(json.dumps({**CAPTIONS, "v1": ["another text"]}))
    with pytest.raises(ProtocolError, match=r"another manifest and on other captions of test: --repeat scores again"):
        moved.score()
    assert len(moved.score(repeat=True).record.looks) == 2
    moved.run.encoder.write_bytes(moved.run.encoder.read_bytes() + b" ")
    with pytest.raises(ProtocolError, match="was scored with another encoder: "):
        moved.score()


def test_what_the_run_was_trained_on_is_said_with_the_number(bench) -> None:
    trained = as_trained(bench)
    manifest = bench.workspace.manifest(bench.experiment.dataset.folder)
    own = read_manifest(manifest)
    # the id of one video is in train, the images of another are those of a val video
    renamed = [dataclasses.replace(record, video_id="v2") if record.video_id == "train0" else record for record in own]
    write_manifest(manifest, renamed)
    store = FrameStore.open(bench.workspace.frames(bench.experiment.dataset.folder, bench.experiment.frames.hash))
    others = FrameStore.open(bench.workspace.frames(bench.on().dataset.folder, bench.on().frames.hash))
    copied = others.fingerprints()["v3"]
    rows = [
        _row(store, video_id, copied if video_id == "val1" else mark) for video_id, mark in store.fingerprints().items()
    ]
    store.drop(store.video_ids())
    store.write_part("1", rows)

    (scored,) = trained.score().evaluations
    assert scored.shared == (
        "1 of 4 videos was trained on (same id: 1, same file: 0)",
        "1 of 4 videos was in the val split that chose the epoch (same id: 0, same file: 1)",
    )
    assert scored.settings["on"]["seen"] == {"train": ["v2"], "val": ["v3"]}
    assert trained.score().evaluations[0].shared == scored.shared


def _row(store: FrameStore, video_id: str, fingerprint: str):
    from conical.store import FrameRow

    return FrameRow(video_id=video_id, fingerprint=fingerprint, sampled=store.read(video_id))


def test_nothing_is_seen_by_an_untrained_run_and_nothing_is_known_without_its_dataset(bench) -> None:
    (scored,) = bench.score().evaluations
    assert scored.shared == ()
    trained = as_trained(bench)
    shutil.rmtree(bench.workspace.dataset(bench.experiment.dataset.folder))
    seen = seen_videos(trained.experiment, trained.on(), bench.workspace, split="test")
    assert seen is None
    assert seen_notes(seen)[0].startswith("whether the run was trained on these videos is not known")
    assert trained.score(repeat=True).evaluations[0].shared == seen_notes(None)


# ---- what is read


@pytest.mark.parametrize("column", ["caption", "sentence"])
def test_captions_of_a_file_make_its_videos_the_test_split(bench, tmp_path, column: str) -> None:
    path = tmp_path / "MSRVTT_JSFUSION_test.csv"
    path.write_text(f"key,video_id,{column}\nret0,v1,a dog\nret1,v0,a cat\nret2,v1,a hound\n")
    on = bench.on(captions=path)
    records, summary = read_held_out(on.dataset, bench.root)
    assert records == [
        VideoRecord(video_id="v1", uri="frames/v1", split="test", captions=("a dog", "a hound")),
        VideoRecord(video_id="v0", uri="frames/v0", split="test", captions=("a cat",)),
    ]
    store_frames(on, bench.workspace)
    (scored,) = bench.score(captions=path).evaluations
    assert (scored.num_queries, scored.video_ids) == (3, ("v0", "v1"))
    assert summary.notes == ("MSRVTT_JSFUSION_test.csv is read without splits: all 2 videos are test",)


def test_videos_that_are_not_there_are_refused_or_counted(bench, tmp_path) -> None:
    path = tmp_path / "captions.csv"
    path.write_text("video_id,caption\nv0,a cat\nv9,nothing\n")
    with pytest.raises(DataError, match=r"videos of 'frames' are missing: test 2 expected, 1 found \(v9\)"):
        bench.score(captions=path)
    store = bench.on(captions=path, allow_missing=True)
    only = dataclasses.replace(store, dataset=dataclasses.replace(store.dataset, reader={"captions": str(path)}))
    path.write_text("video_id,caption\nv0,a cat\n")
    store_frames(only, bench.workspace)
    path.write_text("video_id,caption\nv0,a cat\nv9,nothing\n")
    (scored,) = bench.score(captions=path, allow_missing=True).evaluations
    assert scored.partial_note == "partial: 1 of 2 test videos"


def test_a_folder_with_lists_is_read_as_ever(bench, tmp_path) -> None:
    root = write_held_out(tmp_path / "listed")
    (root / "train.txt").write_text("v0\nv1\nv2\nv3\n")
    with pytest.raises(DataError, match=r"listed has no test video with a caption; splits that have: train"):
        bench.score(root=root)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"holds no captions.json and no captions.csv: name a file with --captions, columns video_id and caption"),
        ({"MSRVTT_JSFUSION_test.csv": ""}, r"or sentence; there is MSRVTT_JSFUSION_test.csv"),
        (
            {"captions.csv": "video_id,text\na,x\n"},
            r"must have columns video_id and caption or sentence, it has video_id",
        ),
        ({"captions.json": "[3]"}, r"captions.json, entry 1 must have texts video_id and caption, .*, got '3'"),
        ({"captions.json": '{"v0": [1]}'}, r"entry 1 must have texts video_id and caption"),
        ({"captions.json": "3"}, r"captions.json must be an object or a list, got int"),
        ({"captions.json": "{"}, r"captions.json is not JSON \(.*\): save it anew"),
        ({"captions.json": "{}"}, r"dataset 'frames' is empty"),
        ({"captions.json": '{"v0": "x"}', "captions.csv": ""}, r"captions.csv, got both: remove one"),
        ({"captions.json": '{"v0": "x"}'}, r"videos of 'frames' are missing: test 1 expected, 0 found \(v0\)"),
    ],
)
def test_a_folder_that_cannot_be_scored_is_one_line(bench, tmp_path, files: dict[str, str], message: str) -> None:
    root = tmp_path / "bad"
    root.mkdir()
    for name, text in files.items():
        (root / name).write_text(text)
    with pytest.raises(DataError, match=message):
        bench.score(root=root)
    assert not (bench.run.path / "evaluation_on").exists()


# ---- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocols": ["raw", "captioned-gallery"]}, r"under raw only, got captioned-gallery: supplements belong"),
        ({"families": ["dsl", "qbnorm"]}, r"without a bank of train captions, got qbnorm: leave it out"),
        ({"subsets": ["leak-free"]}, r"is scored whole, got subset leak-free: leave it out"),
        ({"splits": ["train"]}, r"is scored on test or val, got train"),
    ],
)
def test_what_needs_more_than_frames_and_captions_is_refused(bench, options: dict, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        bench.score(options)


def test_options_out_of_range_are_one_line(bench, tmp_path) -> None:
    with pytest.raises(ValueError, match="num_frames must be >= 1, got 0"):
        bench.score(num_frames=0)
    with pytest.raises(DataError, match=r"there is no folder .*absent: give the root of a dataset"):
        bench.score(root=tmp_path / "absent")
    with pytest.raises(DataError, match=r"there is no file .*absent.csv: give captions with columns"):
        bench.score(captions=tmp_path / "absent.csv")
    with pytest.raises(ValueError, match="captions is read for dataset 'frames' only, got it for 'msvd'"):
        bench.score(name="msvd", captions=tmp_path / "absent.csv")
    with pytest.raises(ConfigError, match="dataset 'scenes' is generated"):
        bench.score(name="scenes")
    with pytest.raises(ConfigError, match="has no option 'order': choose one of captions, videos"):
        bench.score(reader={"order": "x"})


def test_an_unfinished_run_and_a_losing_trial_are_refused(bench) -> None:
    record = bench.run.read()
    bench.run.write(dataclasses.replace(record, status="running"))
    with pytest.raises(DataError, match="is running, not finished: train it to the end first"):
        bench.score()
    bench.run.write(record)
    trials = tuple(
        Trial(number=number, run_key=key, settings={}, value=value, status="finished", epochs=1)
        for number, (key, value) in enumerate([("winner", 9.0), (record.key, 5.0)])
    )
    sweep = Sweep(key="s", metric="val/raw/t2v/R1", tracking_id="t", is_finished=True, trials=trials)
    write_sweep(bench.workspace.experiment(bench.experiment.name) / "sweeps" / "s" / "sweep.json", sweep)
    with pytest.raises(ProtocolError, match="was not chosen on val, so it is not scored on test"):
        bench.score()
    assert [look.is_forced for look in bench.score(allow_trial=True).record.looks] == [True]


def test_the_runs_own_dataset_is_refused(bench, tmp_path) -> None:
    root = write_images(tmp_path / "own", {"a": 1})
    own = bench.experiment.replace({"dataset.name": "frames", "dataset.root": str(root)})
    with pytest.raises(ConfigError, match=r"the run was trained on .*own: conical evaluate without another dataset"):
        OtherDataset(root=root).experiment(own)
