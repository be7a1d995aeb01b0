"""Patches that look into the frame before and after: the token shift of TS2-Net, put into an image tower.

Shapes: B clips, F frames per clip, P patches per frame, W width of the tower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from conical.core.errors import ConfigError

if TYPE_CHECKING:
    from jaxtyping import Float

# of TS2-Net's code: the patches that take the following frame's values stand this far behind those that take the
# previous frame's
_OFFSET = 3
MIN_STEP = _OFFSET + 1


def shift_tokens(
    x: Float[Tensor, "image token dim"], num_frames: int, *, step: int = 7
) -> Float[Tensor, "image token dim"]:
    """Some patches of each frame replaced by those at the same place in the frame before or after, whole tokens each.

    With x_f,p patch p = 0 .. P - 1 of frame f (the class token stands before them and stays):

        y_f,p = x_f-1,p   where p mod step = 0 and there is a frame before
        y_f,p = x_f+1,p   where p mod step = 3 and there is a frame after
        y_f,p = x_f,p     elsewhere

    Args:
        x: (B * F, 1 + P, W), frames of a clip in the order of time, class token first.
        num_frames: F; of 1 nothing changes.
        step: >= `MIN_STEP`.

    Raises:
        ConfigError: `num_frames` does not divide the images, or `step` is too small.

    Source: Liu et al. 2022, "TS2-Net: Token Shift and Selection Transformer for Text-Video Retrieval", token shift
        module. In its code step is (1 + P) // 7, which is 7 for the 7 x 7 patches of ViT-B/32, so that one column of
        the grid looks back and one ahead, and 28 for the 14 x 14 of ViT-B/16.

    The patch of the second frame takes the first frame's value:

    >>> import torch
    >>> shift_tokens(torch.tensor([[[0.0], [1.0]], [[0.0], [2.0]]]), 2)[:, :, 0]
    tensor([[0., 1.],
            [0., 1.]])
    """
    _check_step(step)
    if num_frames < 1 or len(x) % num_frames:
        raise ConfigError(f"num_frames must be >= 1 and divide the {len(x)} images, got {num_frames}")
    frames: Tensor = x.unflatten(0, (-1, num_frames))
    back, ahead = slice(1, None, step), slice(1 + _OFFSET, None, step)
    shifted = frames.clone()
    shifted[:, 1:, back] = frames[:, :-1, back]
    shifted[:, :-1, ahead] = frames[:, 1:, ahead]
    return shifted.flatten(0, 1)


class TokenShift:
    """The shift in front of the attention of an image tower's last layers; what flows past the attention stays.

    It holds no weights: the tower's `state_dict` is as before.

    Args:
        visual: open_clip's `VisionTransformer`, with a class token.
        num_layers: how many of its last layers shift, in [1, layers].
        step: of `shift_tokens`.

    Raises:
        ConfigError: the tower is of another kind, or a number is out of range.

    Source: Liu et al. 2022 (TS2-Net); its code shifts the last two of twelve layers, in front of the attention and
        behind its norm.
    """

    def __init__(self, visual: nn.Module, *, num_layers: int = 2, step: int = 7) -> None:
        _check_step(step)
        layers = _layers(visual)
        if not 1 <= num_layers <= len(layers):
            raise ConfigError(f"num_layers must be in [1, {len(layers)}], the layers of the tower, got {num_layers}")
        self._attentions: list[nn.Module] = [layer.attn for layer in layers[-num_layers:]]
        self._handles: list[RemovableHandle] = []
        self._step, self._num_frames = step, 1

    def install(self) -> TokenShift:
        """Shift from now on; a second call changes nothing."""
        if not self._handles:
            self._handles = [attention.register_forward_pre_hook(self._shift) for attention in self._attentions]
        return self

    def remove(self) -> None:
        """Leave the tower as it was."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def set_frames(self, num_frames: int) -> None:
        """Say how many frames each clip of the coming batches has; with 1, as at first, nothing shifts.

        It must not change between forward and backward where the tower recomputes its activations.
        """
        if num_frames < 1:
            raise ConfigError(f"num_frames must be >= 1, got {num_frames}")
        self._num_frames = num_frames

    def _shift(self, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        tokens = inputs[0]
        shifted = shift_tokens(tokens, self._num_frames, step=self._step)
        # query, key and value are one tensor, given once or three times
        return tuple(shifted if value is tokens else value for value in inputs)


def _layers(visual: nn.Module) -> list[Any]:
    transformer = getattr(visual, "transformer", None)
    layers = list(getattr(transformer, "resblocks", []))
    has_attention = bool(layers) and all(isinstance(getattr(layer, "attn", None), nn.Module) for layer in layers)
    if not has_attention or not isinstance(getattr(visual, "class_embedding", None), Tensor):
        raise ConfigError(
            f"token shift needs an open_clip VisionTransformer with a class token, got {type(visual).__name__}: "
            "choose a ViT, such as ViT-B-32"
        )
    if not getattr(transformer, "batch_first", True):
        raise ConfigError("token shift needs a tower with the batch first, got one with the tokens first")
    return layers


def _check_step(step: int) -> None:
    if step < MIN_STEP:
        raise ConfigError(f"step must be >= {MIN_STEP}, got {step}")
