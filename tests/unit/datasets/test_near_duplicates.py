"""Copies of a clip are found, clips that only resemble each other are not."""

from __future__ import annotations

import doctest
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clip_factory import write_pictures
from conical.datasets.checks import frame_hash
from conical.datasets.checks import near_duplicates as module
from conical.datasets.checks.frame_hash import FrameSignatures, frame_signatures, perceptual_hashes, unit_thumbnails
from conical.datasets.checks.near_duplicates import SignedVideo, find_near_duplicates
from conical.datasets.scenes.render import render_frames
from conical.datasets.scenes.truth import draw_truth
from conical.video import FrameRecipe, sample_frames

NUM_FRAMES = 10


def scene(number: int, *, first: int = 0, last: float = 1.0, num_frames: int = NUM_FRAMES) -> NDArray[np.uint8]:
    """Evenly spaced frames of a generated clip, or of a part of it."""
    truth = draw_truth(7, "train", number)
    indices = np.linspace(first, last * (truth.encoding.num_frames - 1), num_frames).round().astype(int)
    return render_frames(truth, indices.tolist())


def signed(video_id: str, split: str, frames: NDArray[np.uint8]) -> SignedVideo:
    return SignedVideo(video_id=video_id, split=split, signatures=frame_signatures(frames))


def found(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> list[str]:
    """Details of what is found between a test video and a train video."""
    return [one.detail for one in find_near_duplicates([signed("a", "test", a), signed("b", "train", b)])]


def cropped(frames: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    height, width = frames.shape[1:3]
    y, x = round(share * height), round(share * width)
    return frames[:, y : height - y, x : width - x]


def jpeg(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Half the size, and badly encoded."""
    files = [io.BytesIO() for _ in frames]
    for file, frame in zip(files, frames, strict=True):
        Image.fromarray(frame).reduce(2).save(file, "JPEG", quality=20)
    return np.stack([np.asarray(Image.open(file)) for file in files])


COPIES: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    "encoded again": jpeg,
    "brighter": lambda frames: np.clip(0.8 * frames + 35, 0, 255).astype(np.uint8),
    "tinted": lambda frames: np.clip(frames * (1.0, 0.9, 0.8) + (0, 10, 20), 0, 255).astype(np.uint8),
    "cropped": lambda frames: cropped(frames, 0.02),
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("number", range(4))
def test_a_copy_is_found(copy, number: int) -> None:
    frames = scene(number)
    (detail,) = found(frames, copy(frames))
    assert detail.endswith("pictures agree")


@pytest.mark.parametrize("number", range(4))
def test_a_mirrored_copy_is_found_and_called_so(number: int) -> None:
    (detail,) = found(scene(number), scene(number)[:, :, ::-1])
    assert detail.endswith("pictures agree, mirrored")


def test_a_copy_that_starts_later_is_found() -> None:
    late = [number for number in range(8) if found(scene(number), scene(number, first=4))]
    assert len(late) >= 7, late


def test_a_clip_that_was_really_encoded_again_is_found(tmp_path: Path) -> None:
    pictures = scene(0, num_frames=30)
    pictures = pictures[:, : pictures.shape[1] // 2 * 2, : pictures.shape[2] // 2 * 2]
    fine = write_pictures(tmp_path / "fine.mp4", pictures, options={"crf": "10"})
    coarse = write_pictures(tmp_path / "coarse.avi", pictures, codec="mpeg4", options={"qmin": "25", "qmax": "31"})
    (detail,) = found(*(sample_frames(path, FrameRecipe(size=96)).frames for path in (fine, coarse)))
    assert detail.startswith(("9 of", "10 of"))


def test_different_scenes_are_not_found() -> None:
    videos = [signed(f"{n}", ("train", "val", "test")[n % 3], scene(n)) for n in range(45)]
    assert find_near_duplicates(videos) == []


@pytest.mark.parametrize(
    "spoil", [lambda f: cropped(f, 0.15), lambda f: np.rot90(f, axes=(1, 2))], ids=["crop", "turn"]
)
def test_what_the_method_does_not_find(spoil) -> None:
    assert found(scene(1), spoil(scene(1))) == []


def test_flat_frames_say_nothing() -> None:
    black, white = np.zeros((5, 48, 64, 3), np.uint8), np.full((5, 48, 64, 3), 250, np.uint8)
    assert frame_signatures(black).num_pictures == 0
    assert found(black, black) == []
    fades = [np.concatenate([black, scene(number)[:5, :48, :64], white]) for number in (1, 2)]
    assert found(*fades) == []


def title_card() -> NDArray[np.uint8]:
    return scene(30)[:1, :96, :96]


def test_a_title_card_in_common_is_no_copy() -> None:
    """It may stand still for half of the sampled frames: it counts once."""
    a, b = (np.concatenate([np.repeat(title_card(), 5, axis=0), scene(n)[:5, :96, :96]]) for n in (1, 2))
    assert frame_signatures(a).num_pictures == 6
    assert frame_signatures(a).first_frames.tolist() == [0, 5, 6, 7, 8, 9], "one frame a picture is compared"
    assert found(a, b) == []
    assert found(a, np.repeat(title_card(), 10, axis=0)) == [], "one still picture within another video"


def test_two_still_videos_of_one_picture_are_copies() -> None:
    assert found(np.repeat(title_card(), 3, axis=0), np.repeat(title_card(), 8, axis=0)) == ["1 of 1 pictures agree"]


def test_only_videos_of_different_splits_are_compared_and_the_held_out_one_stands_first() -> None:
    videos = [
        signed(name, split, scene(0)) for name, split in (("t2", "train"), ("t1", "train"), ("v", "val"), ("e", "test"))
    ]
    findings = find_near_duplicates(videos)
    assert [(one.split_a, one.video_a, one.video_b) for one in findings] == [
        ("test", "e", "t1"),
        ("test", "e", "t2"),
        ("test", "e", "v"),
        ("val", "v", "t1"),
        ("val", "v", "t2"),
    ]
    assert {one.value for one in findings} == {1.0}
    assert {one.kind for one in findings} == {"near-duplicate"}


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    videos = [signed(f"{n:02}", ("train", "test")[n % 2], scene(n // 4)) for n in range(16)]
    whole = find_near_duplicates(videos)
    assert len(whole) == 16
    for name, size in (("_VIDEOS", 3), ("_COLUMNS", 7), ("_CHECKED", 5)):
        monkeypatch.setattr(module, name, size)
    done = []
    assert find_near_duplicates(videos, report=lambda *step: done.append(step)) == whole
    assert done[-1][0] == done[-1][1], "all pairs were reported"


def slow_hash(thumbnail: NDArray[np.float32]) -> list[bool]:
    """The definition, term by term."""
    side = len(thumbnail)
    grey = 0.299 * thumbnail[..., 0] + 0.587 * thumbnail[..., 1] + 0.114 * thumbnail[..., 2]
    place = (2 * np.arange(side) + 1) * np.pi / (2 * side)
    spectrum = [
        sum(grey[y, x] * np.cos(u * place[y]) * np.cos(v * place[x]) for y in range(side) for x in range(side))
        for u in range(1, 9)
        for v in range(1, 9)
    ]
    return [bool(value > np.median(spectrum)) for value in spectrum]


def test_the_hash_is_the_one_of_the_definition() -> None:
    thumbnail = np.random.default_rng(0).uniform(0, 255, (1, 24, 24, 3)).astype(np.float32)
    bits = np.unpackbits(perceptual_hashes(thumbnail).view(np.uint8)).astype(bool).tolist()
    assert bits == slow_hash(thumbnail[0])
    assert sum(bits) == 32


def test_products_of_unit_thumbnails_are_correlations() -> None:
    a, b = np.random.default_rng(1).uniform(0, 255, (2, 24, 24, 3)).astype(np.float32)
    a, b = (picture - picture.mean(axis=(0, 1)) for picture in (a, b))  # numpy's has one mean for all colours
    ours = float(np.prod(unit_thumbnails(np.stack([a, b])), axis=0).sum())
    assert ours == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1], abs=1e-5)


@pytest.mark.parametrize(("height", "width"), [(24, 24), (48, 96), (31, 100), (9, 17)])
def test_a_thumbnail_keeps_the_mean_and_the_places_of_any_size(height: int, width: int) -> None:
    frames = np.zeros((1, height, width, 3), np.uint8)
    frames[:, :, : width // 2, 0] = 240
    thumbnail = frame_signatures(frames).thumbnails[0]
    assert thumbnail[..., 0].mean() == pytest.approx(frames[..., 0].mean(), abs=1)
    assert (thumbnail[:, :11, 0] == 240).all()
    assert (thumbnail[:, 12:, 0] == 0).all()
    assert thumbnail[..., 1:].max() == 0


def test_signatures_print_counts() -> None:
    assert repr(frame_signatures(scene(0)[:2])) == "FrameSignatures(frames=2, pictures=2)"
    with pytest.raises(AssertionError):
        FrameSignatures(
            hashes=np.zeros(2, np.uint64), thumbnails=np.zeros((1, 24, 24, 3), np.uint8), pictures=np.zeros(2, int)
        )


@pytest.mark.parametrize("part", [frame_hash, module])
def test_the_examples_of_the_docstrings(part) -> None:
    outcome = doctest.testmod(part)
    assert outcome.attempted > 0
    assert outcome.failed == 0
