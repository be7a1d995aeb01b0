"""The tiny CLIP: open_clip's architecture, taught on single frames, as a zero-shot start that leaves room to improve.

1. take the image tower that `tiny_image_tower` taught to read frames
2. keep it frozen; teach its projection and a text tower with symmetric InfoNCE on frames and captions in the style
   of the web: what stands in the frame, in plain words; no motion, no order, no synonyms
3. save the model config and half-precision weights, as open_clip reads them
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from conical.core.atomic import write_text_atomic
from conical.datasets.scenes.truth import SceneObject
from conical.models.dual_encoder import DualEncoder, embedding_width
from conical.models.heads.mean_pool import MeanPool
from conical.models.text_reader import TextReader
from conical.workbench.tiny_models.image_tower import CLIP_MEAN, CLIP_STD, VISION_CONFIG, warm_cosine
from conical.workbench.tiny_models.training_scenes import RenderedScenes

if TYPE_CHECKING:
    from jaxtyping import Float

_HEADS = VISION_CONFIG["num_attention_heads"]
CLIP_CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 128,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": VISION_CONFIG["image_size"],
            "patch_size": VISION_CONFIG["patch_size"],
            "width": VISION_CONFIG["hidden_size"],
            "layers": VISION_CONFIG["num_hidden_layers"],
            "head_width": VISION_CONFIG["hidden_size"] // _HEADS,
        },
        # the ordinary tokenizer of CLIP: its 49,408 rows are most of the file, so they are narrow
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 3},
    },
    "preprocess_cfg": {"mean": list(CLIP_MEAN), "std": list(CLIP_STD)},
}


def web_caption(visible: Sequence[SceneObject], rng: np.random.Generator) -> str:
    """What an image on the web might be labelled with: one or two things, in plain words.

    Args:
        visible: the objects in the frame, at least one.
        rng: source of all choices.
    """
    chosen = [visible[int(k)] for k in rng.permutation(len(visible))[: 1 if rng.random() < 0.3 else 2]]
    nouns = []
    for item in chosen:
        size = f"{item.size} " if rng.random() < 0.2 else ""
        nouns.append(f"a {size}{item.colour} {item.shape}")
    return f"{rng.choice(('', 'a picture of '))}{' and '.join(nouns)}"


def copy_image_tower(tower: nn.Module, clip: Any) -> None:
    """Copy a `transformers.CLIPVisionModel` into the image tower of an open_clip model of the same shape."""
    source = {name.removeprefix("vision_model."): value for name, value in tower.state_dict().items()}
    target = {
        "class_embedding": source["embeddings.class_embedding"],
        "positional_embedding": source["embeddings.position_embedding.weight"],
        "conv1.weight": source["embeddings.patch_embedding.weight"],
    }
    for theirs, ours in (("pre_layrnorm", "ln_pre"), ("post_layernorm", "ln_post")):
        for kind in ("weight", "bias"):
            target[f"{ours}.{kind}"] = source[f"{theirs}.{kind}"]
    pairs = (
        ("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"), ("self_attn.out_proj", "attn.out_proj"),
        ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"),
    )  # fmt: skip
    for layer in range(VISION_CONFIG["num_hidden_layers"]):
        old, new = f"encoder.layers.{layer}", f"transformer.resblocks.{layer}"
        for kind in ("weight", "bias"):
            parts = [source[f"{old}.self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
            target[f"{new}.attn.in_proj_{kind}"] = torch.cat(parts)
            target |= {f"{new}.{ours}.{kind}": source[f"{old}.{theirs}.{kind}"] for theirs, ours in pairs}
    missing, unexpected = clip.visual.load_state_dict(target, strict=False)
    assert missing == ["proj"], missing
    assert not unexpected, unexpected


def train_tiny_clip(
    tower: nn.Module,
    scenes: RenderedScenes,
    *,
    steps: int,
    batch_frames: int = 256,
    peak_lr: float = 2e-3,
    seed: int = 0,
    report: Callable[[int, float], None] | None = None,
) -> Any:
    """Train the text tower and the image projection.

    Args:
        tower: a trained `CLIPVisionModel`.
        steps: optimiser steps, >= 1.
        batch_frames: frames per step, one of a scene.
        seed: of weights, batches and captions.
        report: called after each step as `report(step, loss)`.

    Returns:
        An `open_clip.CLIP`.
    """
    import open_clip

    torch.manual_seed(seed)
    clip = open_clip.CLIP(**CLIP_CONFIG["model_cfg"])
    copy_image_tower(tower, clip)
    encoder = DualEncoder(
        clip,
        TextReader(open_clip.SimpleTokenizer()),
        head=MeanPool(embedding_width(clip)),
        mean=CLIP_MEAN,
        std=CLIP_STD,
    )
    pooled = _pooled_frames(encoder, scenes)
    text_side = [parameter for name, parameter in clip.named_parameters() if not name.startswith("visual.")]
    trained = [*text_side, clip.visual.proj, *clip.visual.ln_post.parameters()]
    clip.logit_scale.requires_grad_(True)
    optimiser = torch.optim.AdamW(trained, lr=peak_lr, weight_decay=0.02, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: warm_cosine(step, steps=steps))
    rng = np.random.default_rng(seed)
    for step in range(steps):
        rows = rng.choice(len(scenes.truths), size=min(batch_frames, len(scenes.truths)), replace=False)
        columns = rng.integers(scenes.times.shape[1], size=len(rows))
        texts = [_caption_of_frame(scenes, row, column, rng) for row, column in zip(rows, columns, strict=True)]
        text = encoder.encode_text(encoder.tokenize(texts))
        image = F.normalize(clip.visual.ln_post(pooled[rows, columns].float()) @ clip.visual.proj, dim=-1)
        loss = _symmetric_info_nce(text, image, scale=clip.logit_scale.exp())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            clip.logit_scale.clamp_(0, np.log(100))
        if report:
            report(step + 1, loss.item())
    return clip.eval()


def _caption_of_frame(scenes: RenderedScenes, row: int, column: int, rng: np.random.Generator) -> str:
    time = scenes.times[row, column]
    return web_caption([item for item in scenes.truths[row].objects if time >= item.enters], rng)


def _pooled_frames(encoder: DualEncoder, scenes: RenderedScenes) -> Tensor:
    """(scenes, frames, width): the class token before its last norm; the frozen part, computed once."""
    visual: Any = encoder.clip.visual
    caught: list[Tensor] = []
    hook = visual.ln_post.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0][:, 0].half()))
    with torch.inference_mode():
        for frames in torch.from_numpy(scenes.frames).split(32):
            encoder.encode_video(frames)
    hook.remove()
    return torch.cat(caught).view(*scenes.times.shape, -1).clone()


def _symmetric_info_nce(
    text: Float[Tensor, "batch dim"], image: Float[Tensor, "batch dim"], *, scale: Tensor
) -> Tensor:
    """CLIP's own loss (Radford et al., 2021, figure 3)."""
    logits = scale * text @ image.T
    own = torch.arange(len(logits))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def save_clip(clip: Any, folder: str | Path) -> None:
    """Write `open_clip_config.json` and `model.safetensors` (half precision).

    Args:
        clip: from `train_tiny_clip`.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomic(folder / "open_clip_config.json", json.dumps(CLIP_CONFIG, indent=2) + "\n")
    state = {name: value.half().contiguous() for name, value in clip.state_dict().items()}
    save_file(state, str(folder / "model.safetensors"), metadata={"format": "pt"})


def zero_shot_recall_at_1(
    encoder: DualEncoder, frames: Tensor, captions: Sequence[Sequence[str]], *, batch: int = 50
) -> float:
    """Text-to-video R@1 in percent; tied clips share their rank's worth.

    Args:
        frames: uint8, (clips, frames, size, size, 3).
        captions: the queries of each clip.
        batch: clips at a time.
    """
    queries = [text for texts in captions for text in texts]
    own = torch.tensor([row for row, texts in enumerate(captions) for _ in texts])
    with torch.inference_mode():
        video = torch.cat([encoder.encode_video(part) for part in frames.split(batch)])
        similarity = encoder.encode_text(encoder.tokenize(queries)) @ video.T
    best = similarity.max(dim=1, keepdim=True).values
    is_best = similarity == best
    hit = is_best[torch.arange(len(own)), own] / is_best.sum(1)
    return 100 * float(hit.mean())
