"""A folder of images as a clip; as in the frame-accuracy suite each frame's grey level names its index."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clip_factory import grey_level, named_indices
from conical.core.errors import DecodeError
from conical.datasets import finder
from conical.video import FrameRecipe, probe, sample_frames
from conical.video.backends import image_order
from conical.video.backends.image_folder import read_image
from conical.video.backends.image_order import IMAGE_SUFFIXES, natural_key, ordered_images


def _write_frames(folder: Path, names: list[str], *, width: int = 32, height: int = 24) -> Path:
    """Flat images in the order they are to be shown in."""
    folder.mkdir(parents=True)
    for index, name in enumerate(names):
        Image.fromarray(np.full((height, width, 3), grey_level(index), np.uint8)).save(folder / name)
    return folder


def _recipe(num_frames: int, **options: object) -> FrameRecipe:
    return FrameRecipe(size=16, num_frames=num_frames, **options)


@pytest.mark.parametrize(
    "names",
    [
        ["1.jpg", "2.jpg", "10.jpg", "11.jpg", "100.jpg"],
        ["0001.png", "0002.png", "0010.png", "0011.png", "0100.png"],
        ["a2.jpg", "a10.jpg", "b1.jpg", "Frame 3.webp", "frame 20.bmp"],
        ["s2_f10.jpg", "s2_f011.jpg", "s10_f1.jpeg", "s10_f02.JPG", "s10_f2_b.jpg"],
        ["1.jpg", "1a.jpg", "a.jpg", "a1.jpg", "a1b.jpg"],
    ],
)
def test_frames_are_the_images_in_natural_order(tmp_path: Path, names: list[str]) -> None:
    sampled = sample_frames(_write_frames(tmp_path / "clip", names), _recipe(5))
    assert named_indices(sampled.frames) == [0, 1, 2, 3, 4]
    assert sampled.frame_indices == (0, 1, 2, 3, 4)
    assert sampled.pts_seconds == (0.0, 1.0, 2.0, 3.0, 4.0)
    assert not sampled.is_padded


@given(numbers=st.sets(st.integers(0, 10**6), min_size=1), prefix=st.text(alphabet="ab-_ .é"))
def test_numbers_of_one_prefix_are_in_order_whatever_their_padding(numbers: set[int], prefix: str) -> None:
    names = [f"{prefix}{number:0{number % 9}d}.jpg" for number in sorted(numbers)]
    assert sorted(reversed(names), key=natural_key) == names


def test_the_worked_examples_of_the_order_are_true() -> None:
    results = doctest.testmod(image_order)
    assert results.attempted >= 2
    assert results.failed == 0


@pytest.mark.parametrize("decoder", ["auto", "pyav", "decord"])
def test_no_decoder_is_asked_for_images(tmp_path: Path, decoder: str) -> None:
    folder = _write_frames(tmp_path / "clip", ["0.jpg", "1.jpg"])
    assert sample_frames(folder, _recipe(2, decoder=decoder)).decoder == "images"


def test_uniform_positions_are_those_of_a_video(tmp_path: Path) -> None:
    folder = _write_frames(tmp_path / "clip", [f"{k}.png" for k in range(30)])
    sampled = sample_frames(folder, _recipe(10))
    assert sampled.frame_indices == (0, 3, 6, 10, 13, 16, 19, 23, 26, 29)
    assert named_indices(sampled.frames) == list(sampled.frame_indices)


def test_a_short_folder_repeats_its_last_image(tmp_path: Path) -> None:
    sampled = sample_frames(_write_frames(tmp_path / "clip", ["0.jpg", "1.jpg"]), _recipe(4))
    assert sampled.is_padded
    assert named_indices(sampled.frames) == [0, 1, 1, 1]


def test_a_window_counts_one_image_a_second(tmp_path: Path) -> None:
    folder = _write_frames(tmp_path / "clip", [f"{k}.png" for k in range(12)])
    sampled = sample_frames(folder, _recipe(3), start_seconds=2.5, end_seconds=6.0)
    assert named_indices(sampled.frames) == [3, 4, 5]
    with pytest.raises(DecodeError, match=r"clip: no frame between 12.0 s and the end; the file lasts 11.000 s"):
        sample_frames(folder, _recipe(3), start_seconds=12.0)


def test_an_image_that_is_not_sampled_is_not_read(tmp_path: Path) -> None:
    folder = _write_frames(tmp_path / "clip", [f"{k}.png" for k in range(5)])
    for number in (1, 3):
        (folder / f"{number}.png").write_bytes(b"")
    assert named_indices(sample_frames(folder, _recipe(3)).frames) == [0, 2, 4]
    with pytest.raises(DecodeError):
        sample_frames(folder, _recipe(5))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
@pytest.mark.parametrize("damage", ["cut", "zero bytes", "text"])
def test_a_damaged_image_is_named(tmp_path: Path, suffix: str, damage: str) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    path = folder / f"0{suffix}"
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "zero bytes": b"", "text": b"not an image" * 9}[damage])
    with pytest.raises(DecodeError, match=rf"clip/0{suffix}: the image cannot be read") as caught:
        sample_frames(folder, _recipe(1))
    assert caught.value.kind == "corrupt"


def test_a_link_that_leads_nowhere_is_a_damaged_frame(tmp_path: Path) -> None:
    folder = _write_frames(tmp_path / "clip", ["0.png", "1.png", "2.png"])
    (folder / "1.png").unlink()
    (folder / "1.png").symlink_to(tmp_path / "gone.png")
    assert named_indices(sample_frames(folder, _recipe(2)).frames) == [0, 2]
    with pytest.raises(DecodeError, match=r"clip/1.png: the image cannot be read \(.*No such file"):
        sample_frames(folder, _recipe(3))


def test_an_image_too_large_to_be_meant_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _write_frames(tmp_path / "clip", ["0.png"])
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DecodeError, match=r"clip/0.png: the image is too large") as caught:
        sample_frames(folder, _recipe(1))
    assert caught.value.kind == "refused"


def test_a_folder_without_images_is_empty(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    (folder / "deeper.jpg").mkdir(parents=True)
    for name in ("notes.txt", ".hidden.jpg"):
        (folder / name).write_bytes(b"x")
    with pytest.raises(
        DecodeError, match=r"clip: the folder holds no image \(.bmp, .jpeg, .jpg, .png, .webp\)"
    ) as caught:
        sample_frames(folder, _recipe(1))
    assert caught.value.kind == "empty"


def test_what_is_no_image_is_not_counted(tmp_path: Path) -> None:
    folder = _write_frames(tmp_path / "clip", ["0.jpg", "1.jpg"])
    for name in ("captions.json", "Thumbs.db", "._0.jpg"):
        (folder / name).write_bytes(b"x")
    assert [path.name for path in ordered_images(folder)] == ["0.jpg", "1.jpg"]


@pytest.mark.parametrize(("one", "other"), [("01.jpg", "1.jpg"), ("1.jpg", "1.png"), ("A1.jpg", "a1.jpg")])
def test_two_images_of_one_place_are_refused(tmp_path: Path, one: str, other: str) -> None:
    folder = _write_frames(tmp_path / "clip", [one, "2.jpg", other])
    with pytest.raises(DecodeError, match=f"clip: {one} and {other} have the same place in the order") as caught:
        sample_frames(folder, _recipe(1))
    assert caught.value.kind == "refused"


def test_a_probe_counts_the_images(tmp_path: Path) -> None:
    info = probe(_write_frames(tmp_path / "clip", ["0.jpg", "1.JPG", "2.png"]))
    assert (info.container, info.codec, info.num_frames, info.duration_seconds) == ("images", "jpg+png", 3, 2.0)


def test_the_geometry_is_that_of_a_video(tmp_path: Path) -> None:
    # a wide picture: the outer thirds are cut away, the grey centre stays
    picture = np.zeros((24, 72, 3), np.uint8)
    picture[:, 24:48] = 200
    (tmp_path / "clip").mkdir()
    Image.fromarray(picture).save(tmp_path / "clip" / "0.png")
    frame = sample_frames(tmp_path / "clip", _recipe(1)).frames[0]
    assert frame.shape == (16, 16, 3)
    assert frame[:, 2:-2].min() == frame[:, 2:-2].max() == 200


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_honoured(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :12] = 255  # white top left corner
    # what a camera stores so that the tag's turn and mirroring give `upright` (EXIF 2.3, table of Orientation)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "0.png"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    np.testing.assert_array_equal(read_image(path), upright)


def test_every_kind_of_pixel_becomes_rgb(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    see_through = np.dstack([colours, np.full((4, 4), 9, np.uint8)])
    levels = np.arange(0, 256, 16, dtype=np.uint16).reshape(4, 4)
    palette = Image.fromarray(colours).quantize(16)
    cases = {
        "alpha.png": (Image.fromarray(see_through), {}, colours),
        "grey.png": (Image.fromarray(levels.astype(np.uint8)), {}, np.dstack([levels] * 3)),
        "deep.png": (Image.fromarray(levels * 257), {}, np.dstack([levels] * 3)),
        "palette.png": (palette, {"transparency": bytes([0, 255])}, np.asarray(palette.convert("RGB"))),
    }
    for name, (image, options, expected) in cases.items():
        image.save(tmp_path / name, **options)
        np.testing.assert_array_equal(read_image(tmp_path / name), expected, err_msg=name)


def test_import_and_decoding_agree_on_what_an_image_is() -> None:
    # the two layers are siblings and cannot share the list
    assert finder.IMAGE_SUFFIXES == IMAGE_SUFFIXES
