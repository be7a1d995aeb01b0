"""Low-rank adaptation: a frozen weight plus a trained product of two thin matrices.

    W' = W + (alpha / rank) B A,   A: (rank, columns), B: (rows, rank)

W is looked at as a matrix: of a convolution's weight (out, in, height, width) the columns are its last three dimensions
together. A weight that stacks several (`in_proj_weight`, timm's `qkv`: queries, keys, values) has one A for all and its
own rows of B for each. A starts uniform in +-columns^-1/2 and B at zero, so that W' = W at first.

Each adapted weight is a parametrization of torch's: whoever reads `attn.in_proj_weight` gets W', whichever module or
library it is, and all names but those of the adapted weights stay. Their three tensors are called

    attn.parametrizations.in_proj_weight.original     W, frozen
    attn.parametrizations.in_proj_weight.0.lora_a     A
    attn.parametrizations.in_proj_weight.0.lora_b     B

Source: Hu et al. 2022 (LoRA), section 4.1 and equation 3. They draw A from a Gaussian of unstated width; this start of
A is that of their code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from conical.core.errors import ConfigError
from conical.core.name_patterns import matching
from conical.models.lora_options import LoraOptions

if TYPE_CHECKING:
    from jaxtyping import Float


class LowRank(nn.Module):
    """W -> W + (alpha / rank) B A.

    Args:
        weight: (rows, ...) what is adapted, with at least two dimensions.
        rank: >= 1.
        alpha: > 0.
    """

    def __init__(self, weight: Float[Tensor, "row ..."], *, rank: int, alpha: float) -> None:
        super().__init__()
        rows, columns = _sides(weight)
        self.scale = alpha / rank
        self.lora_a = nn.Parameter(weight.new_empty(rank, columns))
        self.lora_b = nn.Parameter(weight.new_zeros(rows, rank))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    def forward(self, weight: Float[Tensor, "row ..."]) -> Float[Tensor, "row ..."]:
        """The adapted weight, of the same shape."""
        # at full precision whatever is around: what is trained is then what is merged
        with torch.autocast(weight.device.type, enabled=False):
            return weight + (self.scale * (self.lora_b @ self.lora_a)).view(weight.shape)


def add_lora(module: nn.Module, options: LoraOptions) -> list[str]:
    """Freeze all parameters of a module and adapt those that `targets` match; rank 0 changes nothing.

    Args:
        module: changed in place; it computes what it did until B is trained.

    Returns:
        Names of the adapted parameters, as they were before.

    Raises:
        ConfigError: a pattern matches no parameter, or one that cannot be adapted: a vector, one that is shared by two
            modules, one with a side shorter than the rank, or one that is adapted already.
    """
    if options.rank == 0:
        return []
    if next(_adapted(module), None) is not None:
        raise ConfigError("this module has LoRA already: load the model anew before another is added")
    parameters = dict(module.named_parameters(remove_duplicate=False))
    patterns = {pattern: matching(parameters, pattern, what="lora.targets") for pattern in options.targets}
    places: dict[Tensor, list[str]] = {}
    for name, parameter in parameters.items():
        places.setdefault(parameter, []).append(name)
    for pattern, names in patterns.items():
        for name in names:
            _refuse_unfit(name, places[parameters[name]], parameters[name], pattern=pattern, rank=options.rank)
    module.requires_grad_(False)
    chosen = [name for name in parameters if any(name in names for names in patterns.values())]
    for name in chosen:
        owner, _, attribute = name.rpartition(".")
        change = LowRank(parameters[name], rank=options.rank, alpha=options.alpha)
        parametrize.register_parametrization(module.get_submodule(owner), attribute, change)
    return chosen


def merged_state_dict(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module as if it never had LoRA: plain names, and W' under that of each adapted weight.

    Returns:
        Detached tensors. They share memory with the module, as those of `state_dict` do, but for the adapted ones.
    """
    state: dict[str, Tensor] = module.state_dict()
    for prefix, attribute, owner in _adapted(module):
        stem = f"{prefix}parametrizations.{attribute}."
        state = {key: value for key, value in state.items() if not key.startswith(stem)}
        state[f"{prefix}{attribute}"] = getattr(owner, attribute).detach()
    return state


def load_plain(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a state with plain names; in a module with LoRA each W is replaced and each change becomes zero.

    Args:
        module: its parameters and buffers are replaced, all but A.
        state: as `merged_state_dict` gives it, or the same model's without LoRA.

    Raises:
        RuntimeError: names or shapes do not fit, as `load_state_dict` says.
    """
    whole = dict(state)
    own = module.state_dict()
    for prefix, attribute, _ in _adapted(module):
        stem = f"{prefix}parametrizations.{attribute}."
        if f"{prefix}{attribute}" in whole:
            whole[f"{stem}original"] = whole.pop(f"{prefix}{attribute}")
        whole[f"{stem}0.lora_a"] = own[f"{stem}0.lora_a"]
        whole[f"{stem}0.lora_b"] = torch.zeros_like(own[f"{stem}0.lora_b"])
    module.load_state_dict(whole)


def _adapted(module: nn.Module) -> Iterator[tuple[str, str, nn.Module]]:
    """Where there is LoRA: what stands before the name of the weight, that name, and the module that owns it."""
    for name, owner in module.named_modules():
        if parametrize.is_parametrized(owner):
            lists = owner.parametrizations
            assert isinstance(lists, nn.ModuleDict)
            for attribute, changes in lists.items():
                if any(isinstance(change, LowRank) for change in changes.children()):
                    yield f"{name}." if name else "", attribute, owner


def _refuse_unfit(name: str, places: list[str], parameter: Tensor, *, pattern: str, rank: int) -> None:
    here = f"lora.targets {pattern!r} matches {name!r}"
    if ".parametrizations." in f".{name}":
        raise ConfigError(f"{here}, a part of a weight that is computed already: LoRA needs a plain weight")
    if len(places) > 1:
        raise ConfigError(f"{here}, which is shared ({', '.join(places)}): LoRA needs a weight with one owner")
    if parameter.ndim < 2:
        raise ConfigError(
            f"{here} of shape {tuple(parameter.shape)}: LoRA needs a weight with at least two dimensions, so narrow "
            "the pattern, for instance to '*.weight' of a linear layer"
        )
    shorter = min(_sides(parameter))
    if rank > shorter:
        raise ConfigError(f"{here} of shape {tuple(parameter.shape)}: lora.rank must be <= {shorter} there, got {rank}")


def _sides(weight: Tensor) -> tuple[int, int]:
    return weight.shape[0], weight[0].numel()
