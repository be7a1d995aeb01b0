"""Contrastive losses: plain functions of tensors, with no configuration, rank or input/output inside."""

from conical.losses.ceo import CeoTerms, ceo_loss
from conical.losses.contrastive import DENOMINATORS, contrastive_term, cosine_similarity
from conical.losses.info_nce import info_nce
from conical.losses.logit_scale import LogitScale
from conical.losses.options import LOSSES, MAX_SCALE, MIN_SCALE, LossOptions

__all__ = [
    "DENOMINATORS",
    "LOSSES",
    "MAX_SCALE",
    "MIN_SCALE",
    "CeoTerms",
    "LogitScale",
    "LossOptions",
    "ceo_loss",
    "contrastive_term",
    "cosine_similarity",
    "info_nce",
]
