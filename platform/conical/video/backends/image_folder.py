"""A folder of images as a clip: its frames are the images in natural order."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from conical.core.errors import DecodeError
from conical.video.backends.backend import DecodedFrame
from conical.video.backends.image_order import IMAGES_FPS, ordered_images
from conical.video.geometry import Orientation
from conical.video.probe import VideoInfo

if TYPE_CHECKING:
    from PIL import Image

IMAGES_DECODER = "images"


def image_frames(info: VideoInfo) -> Generator[DecodedFrame, None, None]:
    """Every image of a folder; a file is opened only when its frame is converted.

    Raises:
        DecodeError: as `ordered_images`.
    """
    for index, path in enumerate(ordered_images(info.path)):
        yield DecodedFrame(seconds=index / IMAGES_FPS, to_rgb=partial(read_image, path), orientation=Orientation())


def read_image(path: Path) -> NDArray[np.uint8]:
    """The pixels of an image as they are to be shown: turned as its EXIF orientation says, transparency ignored.

    Args:
        path: the file; of an animation the first picture counts.

    Returns:
        uint8 RGB, (height, width, 3).

    Raises:
        DecodeError: `corrupt`, or `refused` for a picture so large that Pillow takes it for an attack.
    """
    from PIL import Image, ImageOps

    name = f"{path.parent.name}/{path.name}"
    try:
        with Image.open(path) as image:
            return np.asarray(_to_rgb(ImageOps.exif_transpose(image)))
    except Image.DecompressionBombError as error:
        raise DecodeError("refused", f"{name}: the image is too large ({error})") from error
    # Pillow's plug-ins raise all of these on damaged files
    except (OSError, SyntaxError, ValueError, EOFError, OverflowError, IndexError) as error:
        raise DecodeError("corrupt", f"{name}: the image cannot be read ({error})") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow would clip 16 bits to the lowest 8
        return _to_rgb(image.convert("I").point(lambda level: level / 257).convert("L"))
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
