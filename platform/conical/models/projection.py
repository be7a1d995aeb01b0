"""From the width of a tower to that of the space where texts and clips are compared."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from conical.models.projection_options import ProjectionOptions


def build_projection(options: ProjectionOptions, *, in_width: int) -> nn.Module:
    """A fresh projection (..., in_width) -> (..., width).

    With x the embedding, or its LayerNorm, and phi = GELU:

        linear:  y = W x
        mlp:     y = W2 phi(W1 x + b1) + b2

    Each matrix starts normal with mean 0 and standard deviation (its input's width)^-1/2, so that a component of y
    starts with the mean square of those of x; each bias starts at zero.

    Args:
        in_width: of the embeddings, >= 1.

    Returns:
        A module whose parameters are named by its parts: `norm`, `linear`, or `hidden` and `output`; an `nn.Identity`
        for `none`.

    Source: CLIP's projection is linear, without bias, with this start (Radford et al. 2021, sections 2.3 and 2.5, and
    their code); the two layers are SimCLR's (Chen et al. 2020, section 4.2), with GELU in the place of ReLU.

    >>> build_projection(ProjectionOptions(kind="linear", width=4), in_width=8)
    Sequential(
      (linear): Linear(in_features=8, out_features=4, bias=False)
    )
    """
    if options.kind == "none":
        return nn.Identity()
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if options.layer_norm:
        parts["norm"] = nn.LayerNorm(in_width)
    dropout = {"dropout": nn.Dropout(options.dropout)} if options.dropout else {}
    if options.kind == "linear":
        parts |= dropout
        parts["linear"] = _start(nn.Linear(in_width, options.width, bias=False))
        return nn.Sequential(parts)
    hidden_width = options.hidden_width or options.width
    parts |= {"hidden": _start(nn.Linear(in_width, hidden_width)), "gelu": nn.GELU()}
    parts |= dropout
    parts["output"] = _start(nn.Linear(hidden_width, options.width))
    return nn.Sequential(parts)


def _start(linear: nn.Linear) -> nn.Linear:
    nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
    return linear
