"""Heads: what makes one embedding of a clip from those of its frames."""

from conical.models.heads.table import HEADS, HeadCard, build_head, head_card

__all__ = ["HEADS", "HeadCard", "build_head", "head_card"]
