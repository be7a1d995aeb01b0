"""Which parameters are not trained."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from conical.core.name_patterns import matching


def freeze_matching(module: nn.Module, patterns: Iterable[str]) -> list[str]:
    """Take the gradient off all parameters whose name matches a pattern of `fnmatch`.

    A frozen BatchNorm still moves its running statistics in training (`models.batch_norm.hold_batch_norm`).

    Returns:
        Their names, in the order of the module.

    Raises:
        ConfigError: a pattern matches no parameter.
    """
    parameters = dict(module.named_parameters())
    frozen = {name for pattern in patterns for name in matching(parameters, pattern, what="model.freeze")}
    for name in frozen:
        parameters[name].requires_grad_(False)
    return [name for name in parameters if name in frozen]
