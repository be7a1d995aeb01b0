"""How deep below the top of its tower a parameter stands, told by its name.

A tower of n blocks has n + 2 levels: 0 is what comes behind the blocks (last norm, pooling, projection), 1 the last
block, n the first, n + 1 what comes before them (embeddings of patches, tokens and positions, stems and their norms).
A stage of a tower that has stages counts as one block. The image tower, the text tower and CoCa's decoder have a depth
of their own each.

Source: the levels are those of BEiT's code (Bao et al. 2022), of which layer-wise decay by CLIP's users and timm come.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

# what may stand between the name of a tower and its blocks
_WRAPPERS = r"(?:(?:trunk|transformer|encoder|model|text_model|vision_model|backbone)\.)*"
_TOWER = re.compile(r"(?:^|.*\.)clip\.(?:(?P<tower>visual|text_decoder|text)\.)?(?P<rest>.*)")
# open_clip: resblocks, layer1 (ResNet), cross_attn (CoCa's, beside resblocks); timm: blocks, stages, layers, layer1;
# Hugging Face: layer, layers, block, h
_BLOCK = re.compile(rf"{_WRAPPERS}(?:(?:resblocks|cross_attn|blocks|block|stages|layers|layer|h)\.|layer)(\d+)\.")
_STEM = re.compile(
    rf"{_WRAPPERS}(?:embeddings\.|conv_stem|stem\w*\.|patch_embed|conv1\.|bn1\.|ln_pre|norm_pre|\w*_embedding\b|"
    r"pos_embed|\w+_token\b|cls_emb\b|embed_tokens\.|shared\.|wte\.|wpe\.|rel_pos)"
)
# the stem of open_clip's ResNet has three convolutions; a bn2 of timm's comes behind the blocks
_RESNET_STEM = re.compile(r"(?:conv|bn)[123]\.")


class Place(NamedTuple):
    """Where in a tower a parameter stands.

    Args:
        tower: `visual`, `text` or `text_decoder`.
        block: number of its block; None outside of the blocks.
        is_stem: whether it comes before the blocks.
    """

    tower: str
    block: int | None
    is_stem: bool


def depths_from_top(names: Iterable[str]) -> dict[str, int]:
    """Depth of each parameter of a tower; parameters outside of `clip.` have none.

    Args:
        names: of all parameters, trained or not.

    >>> blocks = [f"clip.visual.transformer.resblocks.{number}.ln_1.bias" for number in (0, 1)]
    >>> list(depths_from_top(["clip.visual.conv1.weight", *blocks, "clip.visual.proj"]).values())
    [3, 2, 1, 0]
    """
    places = {name: place for name in names if (place := place_in_tower(name)) is not None}
    blocks: dict[str, set[int]] = {}
    for place in places.values():
        if place.block is not None:
            blocks.setdefault(place.tower, set()).add(place.block)
    return {name: _depth(place, blocks.get(place.tower, set())) for name, place in places.items()}


def place_in_tower(name: str) -> Place | None:
    """Where a parameter stands; None outside of the towers."""
    found = _TOWER.fullmatch(name)
    if found is None or found["rest"] in ("logit_scale", "logit_bias"):
        return None
    # a CLIP of the first form has the parts of its text tower beside `visual`
    tower, rest = found["tower"] or "text", found["rest"]
    block = _BLOCK.match(rest)
    if block is not None:
        return Place(tower, int(block[1]), is_stem=False)
    is_resnet_stem = tower == "visual" and _RESNET_STEM.match(rest) is not None
    return Place(tower, None, is_stem=is_resnet_stem or _STEM.match(rest) is not None)


def _depth(place: Place, blocks: set[int]) -> int:
    if place.block is not None:
        return max(blocks) - place.block + 1
    if not place.is_stem:
        return 0
    return max(blocks) - min(blocks) + 2 if blocks else 1
