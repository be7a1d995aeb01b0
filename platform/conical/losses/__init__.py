"""Contrastive losses: plain functions of tensors, with no configuration, rank or input/output inside.

What needs torch is imported when it is first asked for, so that settings can be read without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from conical.losses.options import DENOMINATORS, MAX_SCALE, MIN_SCALE, LossOptions
from conical.losses.table import EXTRAS, LOSSES, ExtraCard, LossCard, loss_card

if TYPE_CHECKING:
    from conical.losses.ceo import CeoTerms, ceo_loss
    from conical.losses.compared import Comparison
    from conical.losses.contrastive import contrastive_term, cosine_similarity
    from conical.losses.infonce import info_nce
    from conical.losses.logit_scale import LogitBias, LogitScale

_MODULES = {
    "CeoTerms": "ceo",
    "Comparison": "compared",
    "ceo_loss": "ceo",
    "contrastive_term": "contrastive",
    "cosine_similarity": "contrastive",
    "info_nce": "infonce",
    "LogitBias": "logit_scale",
    "LogitScale": "logit_scale",
}

__all__ = [
    "DENOMINATORS",
    "EXTRAS",
    "LOSSES",
    "MAX_SCALE",
    "MIN_SCALE",
    "CeoTerms",
    "Comparison",
    "ExtraCard",
    "LogitBias",
    "LogitScale",
    "LossCard",
    "LossOptions",
    "ceo_loss",
    "contrastive_term",
    "cosine_similarity",
    "info_nce",
    "loss_card",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # no function may be called like its module: once that is imported, the name is the module and nobody asks here
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
