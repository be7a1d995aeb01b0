"""Dual encoders: what turns frames and texts into embeddings of one space."""

from conical.models.options import MODELS, ModelCard, ModelOptions

__all__ = ["MODELS", "ModelCard", "ModelOptions"]
