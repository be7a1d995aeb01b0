"""The generated dataset: what it writes, what it refuses, and what its language can say."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest

from conical.core.errors import DataError
from conical.datasets.scenes.generate import (
    NOT_A_VIDEO_ID,
    TRUNCATED_ID,
    ScenesOptions,
    draw_captions,
    generate_scenes,
    oracle_recall_at_1,
    read_scenes,
    read_truth,
)
from conical.datasets.scenes.language import describe, named_facts, true_facts
from conical.datasets.scenes.render import render_frames
from conical.datasets.scenes.truth import (
    COLOURS,
    RADIUS,
    Background,
    Encoding,
    SceneObject,
    SceneTruth,
    draw_truth,
)

SMALL = ScenesOptions(train=6, val=2, test=4, seed=3)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    generate_scenes(folder, SMALL)
    return folder


def decode(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def scene(*objects: SceneObject) -> SceneTruth:
    return SceneTruth(
        objects=objects,
        background=Background(texture="striped", tint=(100, 100, 100), drift=(0.2, 0.1), seed=1),
        encoding=Encoding(width_px=128, height_px=96, fps=12, num_frames=25, num_b_frames=0, gop_frames=12, crf=20),
    )


def thing(colour: str, shape: str, **changes: object) -> SceneObject:
    plain = {"size": "large", "motion": "still", "x": 0.5, "y": 0.5, "travel": 0.0, "enters": 0.0, "angle_degrees": 0.0}
    return SceneObject(colour=colour, shape=shape, **{**plain, **changes})  # type: ignore[arg-type]


TWO = scene(
    thing("red", "circle", motion="left", x=0.7, y=0.3, travel=0.4),
    thing("blue", "square", size="small", x=0.4, y=0.7, enters=0.5),
)


def test_the_files_are_the_same_for_any_number_of_processes(root: Path, tmp_path: Path) -> None:
    generate_scenes(tmp_path, SMALL, num_processes=2)
    assert files_of(tmp_path) == files_of(root)


def test_another_seed_gives_other_files(root: Path, tmp_path: Path) -> None:
    generate_scenes(tmp_path, ScenesOptions(train=1, val=1, test=1, seed=4))
    first = "videos/train_00000.mp4"
    assert (tmp_path / first).read_bytes() != (root / first).read_bytes()


def test_generating_again_touches_nothing(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    generate_scenes(root, SMALL)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_an_interrupted_generation_is_done_again_to_the_same_files(root: Path, tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 5:
            raise StopError

    with pytest.raises(StopError):
        generate_scenes(tmp_path, SMALL, report=stop)
    with pytest.raises(DataError, match=r"scenes\.json is missing; generate it first"):
        read_scenes(tmp_path)
    generate_scenes(tmp_path, SMALL)
    assert files_of(tmp_path) == files_of(root)


def test_a_folder_with_other_scenes_is_refused(root: Path) -> None:
    with pytest.raises(DataError, match=r'holds other scenes .*"seed":3.*asked for .*"seed":9.*choose another folder'):
        generate_scenes(root, ScenesOptions(train=6, val=2, test=4, seed=9))


def test_a_spoilt_card_is_named(tmp_path: Path) -> None:
    (tmp_path / "scenes.json").write_text("{")
    with pytest.raises(DataError, match=r"scenes\.json is not JSON .*delete"):
        generate_scenes(tmp_path, SMALL)


def test_progress_counts_every_clip(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    options = ScenesOptions(train=2, val=1, test=1)
    generate_scenes(tmp_path, options, report=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": 0}, r"scenes\.train must be >= 1, got 0"),
        ({"val": -1}, r"scenes\.val must be >= 1, got -1"),
        ({"test": 0}, r"scenes\.test must be >= 1, got 0"),
        ({"seed": -2}, r"scenes\.seed must be >= 0, got -2"),
    ],
)
def test_impossible_options_are_refused(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScenesOptions(**changes)


def test_no_process_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"num_processes must be >= 1, got 0"):
        generate_scenes(tmp_path, SMALL, num_processes=0)


def test_the_manifest_lists_all_clips_and_the_two_broken_ones_in_train(root: Path) -> None:
    records = read_scenes(root)
    counts = {split: sum(record.split == split for record in records) for split in ("train", "val", "test")}
    assert counts == {"train": 8, "val": 2, "test": 4}
    assert {record.video_id for record in records if not record.extra["truth"]} == {TRUNCATED_ID, NOT_A_VIDEO_ID}
    assert all(record.captions and (root / record.uri).is_file() for record in records)


@pytest.mark.parametrize("video_id", [TRUNCATED_ID, NOT_A_VIDEO_ID])
def test_a_broken_clip_cannot_be_decoded_and_has_no_truth(root: Path, video_id: str) -> None:
    with pytest.raises(av.FFmpegError):
        decode(root / "videos" / f"{video_id}.mp4")
    with pytest.raises(DataError, match=r"no ground truth for 'broken_.*broken clips have none"):
        read_truth(root, video_id)


def test_decoded_frames_show_the_truth(root: Path) -> None:
    for record in read_scenes(root):
        if record.split == "test":
            truth = read_truth(root, record.video_id)
            frames = decode(root / record.uri)
            encoding = truth.encoding
            assert frames.shape == (encoding.num_frames, encoding.height_px, encoding.width_px, 3)
            assert 2 <= encoding.num_frames / encoding.fps <= 6.1
            assert np.abs(frames.astype(int) - render_frames(truth)).mean() < 6


def test_files_differ_in_size_rate_and_codec_settings() -> None:
    encodings = [draw_truth(0, "train", index).encoding for index in range(60)]
    shapes = {np.sign(each.width_px - each.height_px) for each in encodings}
    assert shapes == {-1, 0, 1}
    assert {each.num_b_frames > 0 for each in encodings} == {True, False}
    assert len({each.fps for each in encodings}) >= 4


def test_b_frames_are_really_written(tmp_path: Path) -> None:
    options = ScenesOptions(train=12, val=1, test=1)
    generate_scenes(tmp_path, options)
    for index in range(options.train):
        truth = draw_truth(0, "train", index)
        with av.open(str(tmp_path / "videos" / f"train_{index:05d}.mp4")) as container:
            kinds = {frame.pict_type for frame in container.decode(video=0)}
        assert (av.video.frame.PictureType.B in kinds) == (truth.encoding.num_b_frames > 0)


def test_truth_survives_json() -> None:
    truth = draw_truth(0, "test", 5)
    assert SceneTruth.from_json(json.loads(json.dumps(truth.to_json()))) == truth


def test_objects_stay_in_the_stage_and_keep_apart() -> None:
    crossings = 0
    for index in range(60):
        objects = draw_truth(1, "train", index).objects
        assert 2 <= len(objects) <= 3
        for time in (0.0, 0.5, 1.0):
            centres = [np.array(item.centre(time)) for item in objects]
            radii = [RADIUS[item.size] for item in objects]
            assert all(
                ((centre >= radius) & (centre <= 1 - radius)).all()
                for centre, radius in zip(centres, radii, strict=True)
            )
        ends = [np.array(item.centre(1.0)) for item in objects]
        crossings += any(
            np.linalg.norm(ends[i] - ends[j]) < 0.9 * (RADIUS[objects[i].size] + RADIUS[objects[j].size])
            for i in range(len(ends))
            for j in range(i)
        )
    assert crossings <= 3


def test_an_object_is_painted_at_its_place_after_its_entry() -> None:
    first, last = render_frames(TWO, [0, 24])
    # stage of a 128 x 96 frame: x from 16 to 112
    assert np.array_equal(first[29, 16 + 67], COLOURS["red"])
    assert np.array_equal(last[29, 16 + 29], COLOURS["red"])
    assert not np.array_equal(first[67, 16 + 38], COLOURS["blue"])
    assert np.array_equal(last[67, 16 + 38], COLOURS["blue"])


def test_each_shape_looks_different() -> None:
    pictures = [
        render_frames(scene(thing("white", shape), thing("red", "circle", x=0.2, y=0.2)), [0])[0]
        for shape in ("circle", "square", "triangle", "star", "cross")
    ]
    for row, one in enumerate(pictures):
        for other in pictures[row + 1 :]:
            assert (np.abs(one.astype(int) - other).max(axis=2) > 60).sum() > 40


def test_two_objects_of_one_colour_are_refused() -> None:
    with pytest.raises(ValueError, match=r"colours of one scene must differ, got red, red"):
        scene(thing("red", "circle"), thing("red", "star"))


def test_objects_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match=r"objects must be in order of entry, got times \[0\.5, 0\.0\]"):
        scene(thing("red", "circle", enters=0.5), thing("blue", "star"))


def test_an_unknown_word_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape must be one of circle, .*got 'cirle'\. Did you mean 'circle'"):
        thing("red", "cirle")


def test_true_facts_by_hand() -> None:
    assert true_facts(TWO) == {
        ("red", "shape", "circle"),
        ("red", "size", "large"),
        ("red", "motion", "left"),
        ("blue", "shape", "square"),
        ("blue", "size", "small"),
        ("blue", "motion", "still"),
        ("order", "red", "blue"),
        ("background", "texture", "striped"),
    }


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("A red ball rolls to the left.", {("red", "shape", "circle"), ("red", "motion", "left")}),
        ("huge golden star", {("yellow", "size", "large"), ("yellow", "shape", "star")}),
        ("a violet thing", set()),
        ("a turquoise box does not move", {("cyan", "shape", "square"), ("cyan", "motion", "still")}),
        (
            "A white cross, then a green wedge",
            {("white", "shape", "cross"), ("green", "shape", "triangle"), ("order", "white", "green")},
        ),
        (
            "an orange dot comes after a blue star",
            {("orange", "shape", "circle"), ("blue", "shape", "star"), ("order", "blue", "orange")},
        ),
        (
            "red circle then blue circle then white circle",
            {(colour, "shape", "circle") for colour in ("red", "blue", "white")}
            | {("order", "red", "blue"), ("order", "blue", "white"), ("order", "red", "white")},
        ),
        (
            "a green box rises while a red box sinks over checks",
            {
                ("green", "shape", "square"),
                ("green", "motion", "up"),
                ("red", "shape", "square"),
                ("red", "motion", "down"),
                ("background", "texture", "checked"),
            },
        ),
        ("a dog catches a frisbee", set()),
        ("", set()),
    ],
)
def test_facts_are_read_from_sentences(text: str, facts: set[tuple[str, str, str]]) -> None:
    assert named_facts(text) == facts


def test_a_wrong_sentence_names_facts_that_are_not_true() -> None:
    wrong = named_facts("A small red circle moves right, then a small blue star stays still, on a cloudy ground.")
    assert wrong - true_facts(TWO) == {
        ("red", "size", "small"),
        ("red", "motion", "right"),
        ("blue", "shape", "star"),
        ("background", "texture", "cloudy"),
    }


def test_descriptions_by_hand() -> None:
    assert describe(TWO, "C") == "A red circle and a blue square."
    assert describe(TWO, "B") == (
        "A large red circle moves left, then a small blue square stays still, on a striped ground."
    )
    assert describe(TWO, "A") == (
        "At first a large red circle moves left, then a small blue square stays still. Behind them lies a striped "
        "ground. It feels balanced, as if one waits for the other."
    )


def test_descriptions_a_and_b_name_every_fact_and_nothing_else_and_get_shorter() -> None:
    for index in range(100):
        truth = draw_truth(2, "test", index)
        detailed, succinct, simple = (describe(truth, level) for level in "ABC")
        assert named_facts(detailed) == named_facts(succinct) == true_facts(truth)
        assert named_facts(simple) < true_facts(truth)
        assert len(simple.split()) <= 12 < len(succinct.split()) <= 30 < len(detailed.split()) + 3 <= 48


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match=r"level must be one of A, B, C; got 'D'"):
        describe(TWO, "D")


def test_captions_are_partial_true_and_varied() -> None:
    starts = set()
    for index in range(100):
        truth = draw_truth(0, "train", index)
        captions = draw_captions(0, "train", index)
        assert 4 <= len(captions) == len(set(captions)) <= 6
        for caption in captions:
            said = named_facts(caption)
            assert said
            assert said <= true_facts(truth), caption
            assert len(said) < len(true_facts(truth)), caption
            starts.add(caption.split()[0])
    assert {"A", "a", "There", "look,"} <= starts


def test_the_oracle_shares_a_hit_among_clips_that_fit_as_well(tmp_path: Path) -> None:
    generate_scenes(tmp_path, ScenesOptions(train=1, val=1, test=2))
    lines = (tmp_path / "annotations.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    colours = [{item.colour for item in read_truth(tmp_path, f"test_0000{k}").objects} for k in (0, 1)]
    only_first = next(iter(colours[0] - colours[1]))
    item = next(item for item in read_truth(tmp_path, "test_00000").objects if item.colour == only_first)
    for row in rows:
        if row["split"] == "test":
            # the first clip's query fits it alone; the second clip's says nothing, so both clips fit: 1/2
            is_first = row["video_id"].endswith("0")
            row["captions"] = [f"a {only_first} {item.shape}"] if is_first else ["something happens"]
    (tmp_path / "annotations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert oracle_recall_at_1(tmp_path, "test") == pytest.approx(75.0)


def test_the_oracle_needs_a_split_with_clips(root: Path) -> None:
    with pytest.raises(DataError, match=r"no whole clip in split 'dev'.*splits are train, val, test"):
        oracle_recall_at_1(root, "dev")
