"""A frozen tower runs once: its outputs are kept on the local disk, by what they depend on.

    frames   one array per split: what the image tower gives of each stored frame
    views    one more for each transformed copy that is drawn from (`augment.num_views`)
    texts    what the text tower gives of each piece of text, and of its words where the head reads them

What is kept is what a step would compute: the tower in evaluation mode, at the precision of training. So a run on kept
outputs gives the numbers of one that computes them, to the last digits that the company in a batch moves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from conical.core.hashing import stable_hash
from conical.distributed import rank, world_size
from conical.models.dual_encoder import DualEncoder
from conical.models.heads.head import Texts
from conical.store.feature_files import PaddedArray, ShardedArray, open_shards
from conical.video.transform import rotate_and_flip

_CLIPS_AT_ONCE, _TEXTS_AT_ONCE = 32, 128
# of this module's arrays; raised when what they hold changes
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Views:
    """One transformed copy of each clip.

    Args:
        degrees: (video,) rotation of each.
        flip: (video,) whether it is mirrored.
    """

    degrees: NDArray[np.float32]
    flip: NDArray[np.bool_]


class FrozenTowers:
    """The outputs of an encoder's frozen towers.

    Args:
        encoder: on its device; a tower that is trained is not asked about here.
        folder: on the local disk, shared by all processes of a machine.
        autocast: precision of training, and `precision`, its name.
    """

    def __init__(
        self, encoder: DualEncoder, folder: Path, *, autocast: AbstractContextManager[Any], precision: str
    ) -> None:
        self._encoder = encoder
        self._folder = folder
        self._autocast = autocast
        self._precision = precision

    @property
    def has_images(self) -> bool:
        """Whether frames can be embedded once: the image tower is frozen, and frames do not see each other in it."""
        encoder = self._encoder
        is_alone = encoder.token_shift is None and not encoder.head.needs_patches
        return is_alone and is_frozen(encoder.clip.visual)

    @property
    def has_texts(self) -> bool:
        """Whether texts can be embedded once."""
        return is_frozen(*text_parts(self._encoder.clip))

    def frames(
        self, content: str, num_videos: int, open_frames: Callable[[], Any], *, views: Views | None = None
    ) -> ShardedArray:
        """(video, frame, width) outputs of the image tower.

        Args:
            content: hash of the frames, their videos and their order.
            open_frames: gives them, uint8 (video, frame, height, width, 3); called only if something is to be made.
            views: embed transformed copies in their place.
        """
        encoder = self._encoder
        opened: list[Any] = []

        def make(rows: slice) -> NDArray[np.float32]:
            if not opened:
                opened.append(open_frames())
            return np.concatenate(
                [embed(slice(first, min(first + _CLIPS_AT_ONCE, rows.stop))) for first in starts(rows)]
            )

        def starts(rows: slice) -> range:
            return range(rows.start, rows.stop, _CLIPS_AT_ONCE)

        def embed(rows: slice) -> NDArray[np.float32]:
            pixels = torch.from_numpy(np.array(opened[0][rows])).to(encoder.mean.device)
            if views is not None:
                pixels = rotate_and_flip(
                    pixels,
                    degrees=torch.from_numpy(views.degrees[rows]).to(pixels.device),
                    flip=torch.from_numpy(views.flip[rows]).to(pixels.device),
                )
            with torch.no_grad(), self._autocast:
                return encoder.image_tower(pixels).frames.float().cpu().numpy()

        depends_on = {
            "tower": state_hash(encoder.clip.visual),
            "pixels": [encoder.pixel_mean, encoder.pixel_std],
            "frames": content,
            "views": [] if views is None else [views.degrees.tolist(), views.flip.tolist()],
        }
        return ShardedArray(self._open("frames", depends_on, num_videos, make))

    def texts(self, pieces: Sequence[str]) -> KeptTexts:
        """What the text tower gives of pieces of text.

        Args:
            pieces: in any order, with repetitions; none longer than the context.
        """
        encoder = self._encoder
        # by length, so that those of one shard are cut alike
        distinct = sorted(set(pieces), key=lambda piece: (len(piece), piece))
        depends_on = {
            "tower": [state_hash(part) for part in text_parts(encoder.clip)],
            "context": encoder.context_length,
            "texts": hashlib.sha256("\0".join(distinct).encode()).hexdigest(),
        }

        def read(rows: slice) -> list[Texts]:
            starts = range(rows.start, rows.stop, _TEXTS_AT_ONCE)
            with torch.no_grad(), self._autocast:
                return [encoder.read(distinct[first : min(first + _TEXTS_AT_ONCE, rows.stop)]) for first in starts]

        def sentences(rows: slice) -> NDArray[np.float32]:
            return np.concatenate([texts.sentence.float().cpu().numpy() for texts in read(rows)])

        def words(rows: slice) -> NDArray[np.float32]:
            """(row, word, width + 1): the last channel says whether there is a word."""
            found = []
            for texts in read(rows):
                assert texts.words is not None
                assert texts.is_word is not None
                found.append(torch.cat([texts.words.float(), texts.is_word[..., None].float()], dim=2).cpu())
            longest = max(part.shape[1] for part in found)
            return torch.cat([nn.functional.pad(part, (0, 0, 0, longest - part.shape[1])) for part in found]).numpy()

        return KeptTexts(
            {piece: number for number, piece in enumerate(distinct)},
            ShardedArray(self._open("texts", depends_on, len(distinct), sentences)),
            PaddedArray(self._open("words", depends_on, len(distinct), words)) if encoder.head.needs_words else None,
            device=encoder.mean.device,
        )

    def _open(
        self, kind: str, depends_on: Mapping[str, Any], num_rows: int, make: Callable[[slice], NDArray[Any]]
    ) -> list[NDArray[Any]]:
        key = stable_hash({**depends_on, "format": _FORMAT, "precision": self._precision})
        return open_shards(
            self._folder / f"features-{kind}-{key}", num_rows=num_rows, make=make, share=rank(), num_shares=world_size()
        )


class KeptTexts:
    """What the text tower gives of some texts.

    Args:
        numbers: row of each text.
        sentences: (text, width).
        words: (text, word, width + 1), the last channel 1 where there is a word; None where no head reads them.
        device: where it is wanted.
    """

    def __init__(
        self, numbers: Mapping[str, int], sentences: ShardedArray, words: PaddedArray | None, *, device: torch.device
    ) -> None:
        self._numbers = numbers
        self._sentences = sentences
        self._words = words
        self._device = device

    def __call__(self, texts: Sequence[str]) -> Texts | None:
        """The tower's outputs of texts; None if one of them was not kept."""
        if not all(text in self._numbers for text in texts):
            return None
        rows = np.array([self._numbers[text] for text in texts], dtype=np.int64)
        sentence = torch.from_numpy(self._sentences[rows]).to(self._device)
        if self._words is None:
            return Texts(sentence=sentence)
        words = torch.from_numpy(self._words[rows]).to(self._device)
        is_word = words[..., -1] > 0
        length = int(is_word.sum(dim=1).max())
        return Texts(sentence=sentence, words=words[:, :length, :-1], is_word=is_word[:, :length])


def is_frozen(*parts: nn.Module | nn.Parameter) -> bool:
    """Whether nothing of some parts is trained."""
    parameters = [one for part in parts for one in (part.parameters() if isinstance(part, nn.Module) else [part])]
    return not any(parameter.requires_grad for parameter in parameters)


def text_parts(clip: Any) -> list[nn.Module | nn.Parameter]:
    """All of a CLIP that a text's embedding depends on."""
    if hasattr(clip, "text"):
        return [clip.text]
    names = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection")
    return [part for name in names if (part := getattr(clip, name)) is not None]


def state_hash(part: nn.Module | nn.Parameter) -> str:
    """Hash of all weights and buffers of a part, and of what is computed with them."""
    state: Mapping[str, Tensor] = part.state_dict() if isinstance(part, nn.Module) else {"": part}
    digest = hashlib.sha256(repr(part if isinstance(part, nn.Module) else "").encode())
    for name in sorted(state):
        digest.update(f"{name} {tuple(state[name].shape)}".encode())
        digest.update(state[name].detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
