"""An exponential moving average of the trained parameters, for evaluation.

After the t-th update, with p_t the parameters and d the decay:

    a_t = d_t a_(t-1) + (1 - d_t) p_t,   d_t = min(d, (1 + t) / (10 + t)),   a_0 = the parameters at the start

The warm-up of d_t lets a short run forget where it started: with d = 0.999 alone the start would still weigh 0.6 after
500 steps. It lasts (10 d - 1) / (1 - d) updates, 8,990 for 0.999; until then a_t is over about the last tenth of them.

Source: Polyak and Juditsky 1992 for the idea; the warm-up is that of TensorFlow's `ExponentialMovingAverage`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from conical.core.errors import StoreError
from conical.core.options import require

_NUM_UPDATES, _AVERAGE = "num_updates", "average."


class MovingAverage:
    """Averages of the parameters of a module that have `requires_grad` now, on their devices.

    Buffers (running statistics of BatchNorm) are no parameters and are not averaged: averaged weights are used with the
    buffers that the module has.

    Args:
        module: what is trained; the average starts at its present parameters.
        decay: in (0, 1); 0.999 averages over about the last 1,000 steps.

    Raises:
        ValueError: `decay` is out of range.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        require(0.0 < decay < 1.0, f"decay must be in (0, 1), got {decay}")
        self._module = module
        self._decay = decay
        self._num_updates = 0
        self._is_swapped = False
        self._parameters = {name: value for name, value in module.named_parameters() if value.requires_grad}
        self._averages = {name: value.detach().clone() for name, value in self._parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the present parameters; call it after each step of the optimiser."""
        assert not self._is_swapped, "an average of averages: update outside of `swapped`"
        self._num_updates += 1
        decay = min(self._decay, (1 + self._num_updates) / (10 + self._num_updates))
        for name, parameter in self._parameters.items():
            self._averages[name].lerp_(parameter.detach(), 1.0 - decay)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The module has the averaged parameters inside, and to the bit its own ones and its own buffers after."""
        assert not self._is_swapped, "`swapped` cannot be nested"
        parameters = {name: value.detach().clone() for name, value in self._parameters.items()}
        buffers = {name: value.clone() for name, value in self._module.named_buffers()}
        self._is_swapped = True
        _copy(self._averages, into=self._parameters)
        try:
            yield
        finally:
            _copy(parameters, into=self._parameters)
            _copy(buffers, into=dict(self._module.named_buffers()))
            self._is_swapped = False

    def state_dict(self) -> dict[str, Tensor]:
        """`num_updates` and the averages as `average.<name>`; copies."""
        averages = {f"{_AVERAGE}{name}": value.clone() for name, value in self._averages.items()}
        return {_NUM_UPDATES: torch.tensor(self._num_updates), **averages}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state of `state_dict`.

        Raises:
            StoreError: it is of other parameters; nothing is changed.
        """
        own = self.state_dict()
        wrong = [key for key in {**own, **state} if key not in own or key not in state]
        wrong = wrong or [key for key in own if own[key].shape != state[key].shape]
        if wrong:
            raise StoreError(
                f"the stored moving average does not fit what is trained, first at {wrong[0]!r}: train again, or with "
                "the settings it was stored with"
            )
        self._num_updates = int(state[_NUM_UPDATES])
        _copy({name: state[f"{_AVERAGE}{name}"] for name in self._averages}, into=self._averages)


@torch.no_grad()
def _copy(values: Mapping[str, Tensor], *, into: Mapping[str, Tensor]) -> None:
    for name, value in values.items():
        into[name].copy_(value)
