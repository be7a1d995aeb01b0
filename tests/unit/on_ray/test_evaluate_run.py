"""A run scored under protocols, families and subsets: what each is made of, what is refused, what is written down."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812  the field's usual name

from conical.core.errors import DataError, ProtocolError, StoreError
from conical.core.records import DatasetSummary, SplitCount
from conical.engine.data import load_evaluation_set, text_splitter
from conical.engine.embedding import embed_texts, embed_videos
from conical.engine.protocols import Protocol
from conical.metrics import EvaluationName, dual_softmax, qb_norm, rank_queries
from conical.models.dual_encoder import build_dual_encoder
from conical.models.weight_files import load_encoder
from conical.on_ray.evaluate import evaluate_run
from conical.runs.dependencies import data_source
from conical.runs.log import open_tracker
from conical.store import (
    DatasetBook,
    RunFolder,
    Sweep,
    Trial,
    Workspace,
    manifest_hash,
    read_manifest,
    write_dataset_book,
    write_sweep,
)
from conical.store.audits import LeakFree, write_leak_free
from unit.runs.scored_runs import RecordingTracker, small_experiment, write_run, write_workspace

CAPTIONED, PAIRED = "captioned-gallery", "paired-supplement"
LEAK_FREE = ("test1", "test4", "test6")


@dataclasses.dataclass(frozen=True)
class Scored:
    experiment: object
    workspace: Workspace
    run: RunFolder
    records: dict
    tracker: RecordingTracker = dataclasses.field(default_factory=RecordingTracker)

    def evaluate(self, changes: dict | None = None, **options: bool):
        asked = self.experiment.replace({f"evaluate.{key}": value for key, value in (changes or {}).items()})
        return evaluate_run(self.run, self.workspace, self.tracker, asked.evaluate, **options)


def write_leak_free_list(workspace: Workspace, folder: str, ids=LEAK_FREE, **changes: str) -> None:
    content = manifest_hash(read_manifest(workspace.manifest(folder)))
    found = LeakFree(video_ids=tuple(ids), num_test=8, rules=("no shared source",), manifest_hash=content)
    write_leak_free(workspace.audit(folder), dataclasses.replace(found, **changes))


@pytest.fixture(scope="module")
def base(small_clip, tmp_path_factory):
    experiment = small_experiment(
        small_clip,
        f'evaluate.protocols=["raw","{CAPTIONED}","{PAIRED}"]',
        'evaluate.families=["dsl","qbnorm"]',
        'evaluate.subsets=["leak-free"]',
        "evaluate.qbnorm_bank=5",
        "evaluate.fusion_weights=[0.3,0.6]",  # without 0, so that the supplements do change the gallery
    )
    workspace = write_workspace(experiment, tmp_path_factory.mktemp("scored") / "workspace")
    write_leak_free_list(workspace, experiment.dataset.folder)
    return experiment, workspace, write_run(experiment, workspace)


@pytest.fixture(scope="module")
def scored(base) -> Scored:
    experiment, workspace, run = base
    records = evaluate_run(run, workspace, open_tracker(experiment, workspace), experiment.evaluate)
    return Scored(experiment, workspace, run, {str(record.name): record for record in records})


@pytest.fixture
def fresh(base, scored, tmp_path) -> Scored:
    """The same, not scored yet, in a copy that a test may change."""
    experiment, workspace, run = base
    root = tmp_path / "workspace"
    shutil.copytree(workspace.root, root, ignore=shutil.ignore_patterns("evaluation", "mlflow.db", "mlartifacts"))
    copied = RunFolder(root / run.path.relative_to(workspace.root))
    copied.write(dataclasses.replace(run.read(), looks=()))
    plain = experiment.replace({"evaluate.protocols": ["raw"], "evaluate.families": [], "evaluate.subsets": []})
    return Scored(plain, Workspace(root), copied, {})


@pytest.fixture(scope="module")
def embedded(base):
    """Embeddings computed beside the scorer: (texts, videos) of a split, and a text's."""
    experiment, workspace, run = base
    encoder = build_dual_encoder(experiment.model)
    load_encoder(encoder, run.encoder)
    encoder.eval()
    source = data_source(experiment, workspace, has_supplements=False)

    def of_split(split: str):
        data = load_evaluation_set(source, split, split=text_splitter(encoder.reader))
        texts = embed_texts(encoder, data.texts, batch_size=4).vectors
        return data, texts, embed_videos(encoder, data.frames, batch_size=4)["clip"]

    def of_texts(*texts: str) -> torch.Tensor:
        return embed_texts(encoder, [(text,) for text in texts], batch_size=4).vectors

    return of_split, of_texts


# ---- what each is made of


def test_every_combination_is_scored_and_subsets_are_of_test_only(scored) -> None:
    assert len(scored.records) == 3 * 3 * 3
    assert {name.part for name in scored.run.evaluation_names()} == {"val", "test", "test-leak-free"}
    for name, record in scored.records.items():
        stored = scored.run.read_evaluation(record.split, record.protocol, family=record.family, subset=record.subset)
        assert stored is not None
        assert stored.metrics == record.metrics, name


def test_raw_is_captions_against_frames(scored, embedded) -> None:
    data, text, video = embedded[0]("test")
    record = scored.records["test/raw"]
    np.testing.assert_allclose(record.similarity, (text @ video.T).numpy(), atol=1e-6)
    assert record.hashes.keys() == {"queries", "gallery"}
    assert record.settings == {}
    assert record.texts == tuple(" ".join(pieces) for pieces in data.texts)


def test_a_captioned_gallery_is_frames_joined_with_supplements_of_b_and_c(scored, embedded) -> None:
    of_split, of_texts = embedded
    data, text, video = of_split("test")
    record = scored.records[f"test/{CAPTIONED}"]
    weight = record.settings["fusion"]["weight"]
    captions = {video_id: data.texts[row][0] for row, video_id in reversed(list(enumerate(ids_of(data))))}
    gallery = []
    for number, video_id in enumerate(data.video_ids):
        written = of_texts(*(f"prompt {prompt} says {captions[video_id]}" for prompt in "BC")).mean(dim=0)
        gallery.append(F.normalize((1 - weight) * video[number] + weight * written, dim=-1))
    np.testing.assert_allclose(record.similarity, (text @ torch.stack(gallery).T).numpy(), atol=1e-6)


def ids_of(data) -> list[str]:
    return [data.video_ids[column] for column in data.text_video]


def test_its_weight_is_the_best_on_val_and_recorded_with_all_that_were_tried(scored, embedded) -> None:
    val, test = (scored.records[f"{split}/{CAPTIONED}"].settings["fusion"] for split in ("val", "test"))
    assert val["weight"] == test["weight"]
    note = scored.records[f"test/{CAPTIONED}"].settings_note
    assert note == f"supplements B, C weigh {test['weight']:g} in the gallery, chosen on val"
    assert test["split"] == "val"
    assert tuple(test["weights"]) == scored.experiment.evaluate.fusion_weights
    best = max(test["recalls"])
    assert test["recalls"][test["weights"].index(test["weight"])] == best
    # the recall at the chosen weight is the one that val itself is scored with
    assert scored.records[f"val/{CAPTIONED}"].metrics["t2v/R1"].value == pytest.approx(best)


def test_a_paired_query_is_the_caption_and_a_supplement_of_its_own_video(scored, embedded) -> None:
    of_split, of_texts = embedded
    data, _, video = of_split("test")
    record = scored.records[f"test/{PAIRED}"]
    first = {video_id: data.texts[row][0] for row, video_id in reversed(list(enumerate(ids_of(data))))}
    queries = [
        f"{pieces[0]}. prompt A says {first[video_id]}"
        for pieces, video_id in zip(data.texts, ids_of(data), strict=True)
    ]
    assert record.texts == tuple(queries)
    np.testing.assert_allclose(record.similarity, (of_texts(*queries) @ video.T).numpy(), atol=1e-6)
    assert record.settings == {
        "paired": {"prompts": ("A",), "uses_target_video": True, "videos_lacking_supplements": 0}
    }
    assert record.settings_note == "supplement A of the target video in the query"
    assert record.uses_target
    assert not scored.records["test/raw"].uses_target
    # the dataset's own captions are the same queries, so that captioners can be compared
    assert record.hashes["queries"] == scored.records["test/raw"].hashes["queries"]


def test_families_rescore_with_queries_as_rows(scored, embedded) -> None:
    of_split, _ = embedded
    _, text, video = of_split("test")
    similarity = (text @ video.T).numpy()
    dsl = scored.records["test/raw.dsl"]
    rescored = dual_softmax(similarity.astype(np.float64), tau=100.0)
    np.testing.assert_allclose(dsl.similarity, rescored, atol=1e-6)
    np.testing.assert_array_equal(rank_queries(rescored, dsl.text_video).better, dsl.rankings["t2v"].better)
    assert dsl.settings_note == "dual softmax at tau 100"
    assert dsl.settings == {"dsl": {"tau": 100.0, "chosen": "fixed in the settings"}}


def test_the_bank_is_of_train_only_and_no_larger_than_asked(scored, embedded) -> None:
    of_split, _ = embedded
    _, text, video = of_split("test")
    train, train_text, _ = of_split("train")
    record = scored.records["test/raw.qbnorm"]
    assert record.settings["qbnorm"]["bank"] == "5 captions and 5 videos of train"
    assert record.settings_note == "QB-Norm at beta 20, k 1, bank of 5 captions and 5 videos of train"
    # which 5 of the 16 captions does not matter here: some choice of 5 gives exactly these scores
    similarity = (text @ video.T).numpy()
    drawn = np.sort(np.random.default_rng(bank_seed()).permutation(len(train.texts))[:5])
    expected = qb_norm(similarity, (train_text[drawn] @ video.T).numpy(), beta=20.0, k=1)
    np.testing.assert_allclose(record.similarity, expected, atol=1e-5)
    np.testing.assert_array_equal(
        rank_queries(record.similarity, record.text_video).better, record.rankings["t2v"].better
    )


def bank_seed() -> int:
    from conical.core.seeds import derive_seed

    return derive_seed(0, "qbnorm", "captions")


def test_the_leak_free_part_ranks_its_queries_against_the_whole_gallery(scored) -> None:
    whole, part = scored.records["test/raw"], scored.records["test-leak-free/raw"]
    chosen = np.isin([whole.video_ids[column] for column in whole.text_video], LEAK_FREE)
    np.testing.assert_array_equal(part.ranks_t2v, whole.ranks_t2v[chosen])
    np.testing.assert_array_equal(part.similarity, whole.similarity[chosen])
    assert part.texts == tuple(np.array(whole.texts)[chosen])
    np.testing.assert_array_equal(part.ranks_v2t, whole.ranks_v2t[np.isin(whole.video_ids, LEAK_FREE)])
    assert (part.num_queries, part.num_gallery) == (6, 8)
    assert part.settings["subset"] == {"rules": ("no shared source",), "of_test_videos": 8}
    assert part.settings_note == "queries of 3 of 8 videos against the whole gallery"
    assert part.hashes["subset"] != ""
    assert part.hashes["queries"] != whole.hashes["queries"]
    assert part.hashes["gallery"] == whole.hashes["gallery"]


class _Shouted(Protocol):
    def texts(self, data, split):
        return tuple(tuple(piece.upper() for piece in text) for text in data.split(split).texts)

    def note(self, settings):
        return "shouted"


SHOUTED = _Shouted(name="shouted", options=("paired_prompts",), splits=("train",), uses_target=True)


def test_an_edited_protocol_from_outside_makes_its_numbers_stale(fresh, monkeypatch) -> None:
    asked = {"protocols": [f"{__name__}:SHOUTED", "raw"], "splits": ["test"]}
    fresh.evaluate(asked)
    monkeypatch.setattr("conical.engine.options.source_fingerprint", lambda path: "edited" if ":" in path else "")
    with pytest.raises(ProtocolError, match=r"test/shouted of .* was scored with another code of protocol: "):
        fresh.evaluate(asked)
    assert fresh.evaluate({"splits": ["test"]})[0].protocol == "raw", "what does not use it is fresh"


def test_a_protocol_from_outside_is_scored_stored_and_recognised(fresh) -> None:
    asked = {"protocols": [f"{__name__}:SHOUTED"], "splits": ["test"]}
    (record,) = fresh.evaluate(asked)
    assert (str(record.name), record.settings_note, record.uses_target) == ("test/shouted", "shouted", True)
    assert record.texts[0].isupper()
    assert record.depends_on["settings"] == {"paired_prompts": ["A"]}
    assert {name.rpartition(" of ")[2] for name in record.depends_on["data"]} == {
        *("test", "train", "encoder", "protocol"),
    }
    (stored,) = fresh.evaluate(asked)
    assert (stored.settings_note, stored.uses_target) == ("shouted", True)
    assert [look.name for look in fresh.run.read().looks] == ["test/shouted"]
    with pytest.raises(ProtocolError, match=r"test/shouted of .* was scored with paired_prompts A, asked B: "):
        fresh.evaluate({**asked, "paired_prompts": ["B"]})


# ---- what is refused


def test_a_gallery_with_supplements_of_a_is_refused_before_anything_is_scored(fresh) -> None:
    with pytest.raises(ProtocolError, match="refuses supplements of prompt A: it reads the human caption"):
        fresh.evaluate({"protocols": [CAPTIONED], "gallery_prompts": ["A", "B"]})
    assert fresh.run.evaluation_names() == ()
    assert fresh.run.read().test_looks == 0


def test_a_paired_prompt_that_is_not_captioned_is_refused(fresh) -> None:
    with pytest.raises(ProtocolError, match=r"paired-supplement wants supplements of prompt D, .* is A, B, C: choose"):
        fresh.evaluate({"protocols": [PAIRED], "paired_prompts": ["D"]})


def test_supplements_that_were_not_written_are_named(fresh) -> None:
    shutil.rmtree(fresh.workspace.captions(fresh.experiment.dataset.folder))
    with pytest.raises(DataError, match="supplements of prompt B, C are not written: run caption first"):
        fresh.evaluate({"protocols": [CAPTIONED]})
    # raw reads none
    assert len(fresh.evaluate()) == 2


def test_a_leak_free_part_needs_an_audit_of_this_manifest(fresh) -> None:
    asked, folder = {"subsets": ["leak-free"]}, fresh.experiment.dataset.folder
    write_leak_free_list(fresh.workspace, folder, manifest_hash="older")
    with pytest.raises(ProtocolError, match=r"was made for another manifest \(older, now .*\): run conical data audit"):
        fresh.evaluate(asked)
    write_leak_free_list(fresh.workspace, folder, ids=())
    with pytest.raises(ProtocolError, match=r"no test video of .* is free of leaks"):
        fresh.evaluate(asked)
    shutil.rmtree(fresh.workspace.audit(folder))
    with pytest.raises(StoreError, match="run conical data audit first"):
        fresh.evaluate(asked)


def test_a_run_that_is_not_finished_is_not_scored(fresh) -> None:
    fresh.run.write(dataclasses.replace(fresh.run.read(), status="running"))
    with pytest.raises(DataError, match="is running, not finished: train it to the end first"):
        fresh.evaluate()


# ---- what is refused


def as_trial(fresh: Scored, *, best_key: str, is_finished: bool = True) -> None:
    """The run as trial 1 of a sweep whose best value is another run's."""
    key = fresh.run.read().key
    trials = tuple(
        Trial(number=number, run_key=run_key, settings={}, value=value, status="finished", epochs=1)
        for number, (run_key, value) in enumerate([(best_key, 9.0), (key, 5.0)])
    )
    sweep = Sweep(key="s", metric="val/raw/t2v/R1", tracking_id="t", is_finished=is_finished, trials=trials)
    write_sweep(fresh.workspace.experiment(fresh.experiment.name) / "sweeps" / "s" / "sweep.json", sweep)
    fresh.run.write(dataclasses.replace(fresh.run.read(), label="trial 1"))


def test_a_trial_that_lost_is_refused_on_test_and_free_on_val(fresh) -> None:
    as_trial(fresh, best_key="winner")
    with pytest.raises(
        ProtocolError,
        match=r"is trial 1 of sweep s and was not chosen on val, so it is not scored on test: score the winner "
        r"\(conical evaluate winner\), or give --allow-trial, which is recorded",
    ):
        fresh.evaluate()
    assert fresh.run.read().test_looks == 0
    assert len(fresh.evaluate({"splits": ["val"]})) == 1


def test_an_insisting_user_is_written_down(fresh) -> None:
    as_trial(fresh, best_key="winner")
    fresh.evaluate(allow_trial=True)
    (look,) = fresh.run.read().looks
    assert (look.name, look.is_forced) == ("test/raw", True)
    note = fresh.run.read().looks_note(EvaluationName(split="test"))
    assert note == "a trial that its sweep did not choose"
    # what was scored is shown again without a look
    assert len(fresh.evaluate()) == 2
    assert fresh.run.read().test_looks == 1


def test_no_trial_of_an_unfinished_sweep_is_scored_on_test(fresh) -> None:
    as_trial(fresh, best_key="winner", is_finished=False)
    with pytest.raises(ProtocolError, match="let the sweep end, then score its winner, or give --allow-trial"):
        fresh.evaluate()


def test_the_winner_is_scored(fresh) -> None:
    as_trial(fresh, best_key=fresh.run.read().key)
    fresh.evaluate()
    assert [look.is_forced for look in fresh.run.read().looks] == [False]


# ---- what is written down


def test_each_scoring_of_test_is_a_look_with_its_name(scored) -> None:
    record = scored.run.read()
    assert record.test_looks == len(record.looks) == 18
    assert {look.name for look in record.looks} == {name for name in scored.records if name.startswith("test")}
    assert all(look.time.startswith("20") and look.time.endswith("+00:00") for look in record.looks)


def test_what_was_scored_is_not_scored_again_unless_repeated(fresh) -> None:
    first = fresh.evaluate()
    again = fresh.evaluate()
    assert fresh.run.read().test_looks == 1
    assert fresh.run.read().looks_note(EvaluationName(split="test")) == ""
    assert [record.metrics for record in again] == [record.metrics for record in first]
    fresh.evaluate(repeat=True)
    assert [look.name for look in fresh.run.read().looks] == ["test/raw", "test/raw"]
    note = fresh.run.read().looks_note(EvaluationName(split="test"))
    assert note == "test was looked at 2 times, 2 of them as here"


def test_a_kill_before_the_result_is_stored_hides_no_look(fresh, monkeypatch) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(RunFolder, "write_evaluation", die)
    with pytest.raises(Killed):
        fresh.evaluate({"splits": ["test"]})
    assert fresh.run.evaluation_names() == ()
    assert [look.name for look in fresh.run.read().looks] == ["test/raw"]


def test_names_in_the_tracker_tell_all_apart(scored) -> None:
    client = open_tracker(scored.experiment, scored.workspace).client
    tracked = client.get_run(scored.run.read().tracking_id)
    table = Path(client.download_artifacts(tracked.info.run_id, "evaluation/metrics.csv")).read_text()
    for name, record in scored.records.items():
        assert f"{name},t2v,R1,{record.metrics['t2v/R1'].value:.2f}" in table
    assert tracked.data.metrics["test/t2v R1"] == scored.records["test/raw"].metrics["t2v/R1"].value
    assert tracked.data.metrics["best val/t2v R1"] == scored.records["val/raw"].metrics["t2v/R1"].value
    assert len(tracked.data.metrics) == 9
    assert tracked.data.tags["conical.test_looks"] == "18"
    assert "conical.partial" not in tracked.data.tags


def test_a_partial_dataset_marks_its_numbers(fresh) -> None:
    folder = fresh.experiment.dataset.folder
    summary = DatasetSummary(
        name="scenes",
        variant="",
        splits={"train": SplitCount(expected=9, found=8), "test": SplitCount(expected=11, found=9)},
        num_captions=0,
        num_blank_captions=0,
        num_duplicate_captions=0,
    )
    book = DatasetBook(summary=summary, root="/r", reader={}, manifest_hash="m")
    write_dataset_book(fresh.workspace.dataset_book(folder), book)
    val, test = fresh.evaluate()
    assert (val.is_partial, test.is_partial) == (False, True)
    # 8 have frames, whatever the import found
    assert test.completeness == {"test": SplitCount(expected=11, found=8)}
    assert test.partial_note == "partial: 8 of 11 test videos"
    assert fresh.tracker.tags["conical.partial"] == "partial: 8 of 11 test videos"


def test_train_counts_for_a_run_that_was_trained(fresh) -> None:
    from conical.runs.completeness import completeness_of

    counts = {
        "train": SplitCount(expected=602, found=600),
        "val": SplitCount(expected=100, found=100),
        "test": SplitCount(expected=200, found=200),
    }
    assert completeness_of(counts, split="test", is_trained=False) == {"test": counts["test"]}
    assert completeness_of(counts, split="test", is_trained=True).keys() == {"test", "train", "val"}
    assert completeness_of(counts, split="val", is_trained=True).keys() == {"train", "val"}
