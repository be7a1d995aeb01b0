"""Dual encoders: what turns frames and texts into embeddings of one space."""

from conical.models.heads import HEADS, HeadCard
from conical.models.options import MODELS, ModelCard, ModelOptions

__all__ = ["HEADS", "MODELS", "HeadCard", "ModelCard", "ModelOptions"]
