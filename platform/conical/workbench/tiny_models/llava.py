"""The tiny Video-LLaVA: transformers' own classes, small enough to be trained on two cores and shipped.

1. render scenes of a seed that no dataset uses
2. teach a CLIP image tower to read single frames (`tiny_image_tower`)
3. freeze it; teach projector and language model to answer prompts A, B and C (`tiny_language`)
4. save in half precision with its processor, as `from_pretrained` wants it
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from conical.captioning.prompts import PROMPTS
from conical.core.seeds import generator
from conical.datasets.scenes.language import LEVELS, describe, named_facts, true_facts, write_captions
from conical.datasets.scenes.truth import SceneTruth, draw_truth
from conical.workbench.tiny_models.image_tower import CLIP_MEAN, CLIP_STD, VISION_CONFIG
from conical.workbench.tiny_models.language_model import mirror, train_language, video_features, whiten_projector
from conical.workbench.tiny_models.training_scenes import IMAGE_PX, NUM_FRAMES, RenderedScenes

_PAD, _BOS, _EOS, _IMAGE, _VIDEO = "<pad>", "<s>", "</s>", "<image>", "<video>"
_TOKENS_A_FRAME = (IMAGE_PX // VISION_CONFIG["patch_size"]) ** 2 + 1
_NUM_VIDEO_TOKENS = NUM_FRAMES * _TOKENS_A_FRAME
_VOCABULARY = 640
_NUM_CORPUS_SCENES = 300
_LANGUAGE_CONFIG: dict[str, Any] = {
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 1024,
    "vocab_size": _VOCABULARY,
}
# the words of the real model's template: "USER: <video>\n... ASSISTANT:"
_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() }}: "
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'video' %}<video>\n"
    "{% elif part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %} "
    "{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


@dataclass(frozen=True, kw_only=True)
class CaptionFigures:
    """How well a captioner tells the truth of scenes, under one prompt.

    Args:
        level: `A`, `B` or `C`.
        recall: of the true facts, percent that are named.
        precision: of the named facts, percent that are true.
        words: mean length of an answer.
    """

    level: str
    num_clips: int
    recall: float
    precision: float
    words: float


def build_tokenizer(seed: int) -> Any:
    """A byte-level byte-pair tokenizer of the scenes' language; any other text falls back to bytes.

    Args:
        seed: of the scenes whose descriptions it is fitted to.

    Returns:
        `PreTrainedTokenizerFast`, padding on the left.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    fast = Tokenizer(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    special = [_PAD, _BOS, _EOS, _IMAGE, _VIDEO]
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    fast.train_from_iterator(_corpus(seed), trainer)
    fast.post_processor = processors.TemplateProcessing(
        single=f"{_BOS} $A", pair=f"{_BOS} $A $B", special_tokens=[(_BOS, special.index(_BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=fast,
        pad_token=_PAD,
        bos_token=_BOS,
        eos_token=_EOS,
        extra_special_tokens={"image_token": _IMAGE, "video_token": _VIDEO},
        padding_side="left",
        model_max_length=_LANGUAGE_CONFIG["max_position_embeddings"],
    )


def _corpus(seed: int) -> list[str]:
    texts = [f"USER: \n{prompt.text} ASSISTANT:" for prompt in PROMPTS.values()] * 200
    for index in range(_NUM_CORPUS_SCENES):
        truth = draw_truth(seed, "tokenizer", index)
        texts += [f" {describe(truth, level)}" for level in LEVELS]
        texts += [f'"{caption}"' for caption in write_captions(truth, generator(seed, "tokenizer", index, "captions"))]
    return texts


def build_processor(tokenizer: Any) -> Any:
    """The `VideoLlavaProcessor` of the tiny model."""
    from transformers import VideoLlavaImageProcessor, VideoLlavaProcessor, VideoLlavaVideoProcessor

    pixels: dict[str, Any] = {
        "size": {"shortest_edge": IMAGE_PX},
        "crop_size": {"height": IMAGE_PX, "width": IMAGE_PX},
        "image_mean": list(CLIP_MEAN),
        "image_std": list(CLIP_STD),
    }
    return VideoLlavaProcessor(
        image_processor=VideoLlavaImageProcessor(**pixels),
        video_processor=VideoLlavaVideoProcessor(**pixels),
        tokenizer=tokenizer,
        patch_size=VISION_CONFIG["patch_size"],
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_CHAT_TEMPLATE,
    )


def build_model(tokenizer: Any, tower: nn.Module, *, seed: int) -> Any:
    """An untrained `VideoLlavaForConditionalGeneration` around a trained image tower.

    Args:
        tokenizer: from `build_tokenizer`.
        tower: a `CLIPVisionModel`.
        seed: of the initial weights.
    """
    from transformers import CLIPVisionConfig, LlamaConfig, VideoLlavaConfig, VideoLlavaForConditionalGeneration

    torch.manual_seed(seed)
    ends = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    config = VideoLlavaConfig(
        vision_config=CLIPVisionConfig(**VISION_CONFIG),
        text_config=LlamaConfig(**_LANGUAGE_CONFIG, **ends),
        image_token_index=tokenizer.convert_tokens_to_ids(_IMAGE),
        video_token_index=tokenizer.convert_tokens_to_ids(_VIDEO),
        vision_feature_layer=-1,
        image_seq_length=_TOKENS_A_FRAME - 1,
        video_seq_length=_NUM_VIDEO_TOKENS,
        **ends,
    )
    model = VideoLlavaForConditionalGeneration(config)
    # two copies, one for still images and one for videos, are part of the architecture
    for copy in (model.model.video_tower, model.model.image_tower):
        copy.load_state_dict(tower.state_dict())
        copy.requires_grad_(False)
    return model.eval()


def head_ids(tokenizer: Any) -> list[int]:
    """Tokens before the video."""
    ids: list[int] = tokenizer(f"USER: {_VIDEO}").input_ids
    assert ids[-1] == tokenizer.convert_tokens_to_ids(_VIDEO), ids
    return ids[:-1]


def train_tiny_video_llava(
    tower: nn.Module,
    scenes: RenderedScenes,
    *,
    steps: int,
    tokenizer_seed: int,
    seed: int = 0,
    report: Callable[[int, float], None] | None = None,
) -> tuple[Any, Any]:
    """Teach projector and language model around a trained image tower.

    Args:
        tower: a trained `CLIPVisionModel`.
        steps: steps of the language model, >= 1.
        tokenizer_seed: of the scenes whose descriptions the tokenizer is fitted to.
        seed: of weights, batches and captions.
        report: called after each step as `report(step, loss)`.

    Returns:
        Model and processor.
    """
    processor = build_processor(build_tokenizer(tokenizer_seed))
    model = build_model(processor.tokenizer, tower, seed=seed)
    features, truths = features_both_ways(model, scenes)
    whiten_projector(model.model.multi_modal_projector, features)
    train_language(
        model,
        processor.tokenizer,
        features=features,
        truths=truths,
        times=np.concatenate([scenes.times, scenes.times]),
        head_ids=head_ids(processor.tokenizer),
        steps=steps,
        seed=seed,
        report=report,
    )
    return model, processor


def features_both_ways(model: Any, scenes: RenderedScenes) -> tuple[Tensor, list[SceneTruth]]:
    """Tower features of the scenes and of their mirror images, with their truths: twice the clips for one rendering."""
    plain = video_features(model, scenes.frames)
    flipped = video_features(model, np.ascontiguousarray(scenes.frames[:, :, :, ::-1]))
    return torch.cat([plain, flipped]), [*scenes.truths, *map(mirror, scenes.truths)]


def save_half(model: Any, processor: Any, folder: str | Path) -> None:
    """Write model and processor as `from_pretrained` reads them, weights in half precision.

    Args:
        model: left in float32.
    """
    from transformers import VideoLlavaForConditionalGeneration

    half = VideoLlavaForConditionalGeneration(model.config).half()
    half.load_state_dict(model.state_dict())
    half.save_pretrained(folder)
    processor.save_pretrained(folder)


def answer(model: Any, processor: Any, *, frames: NDArray[np.uint8], prompts: Sequence[str]) -> list[str]:
    """Greedy answers, the plain way of transformers: processor, `generate`, decode.

    Args:
        model: a `VideoLlavaForConditionalGeneration`.
        frames: uint8, (clips, 8, size, size, 3), RGB.
        prompts: one per clip, rendered.
    """
    texts = [f"USER: {_VIDEO}\n{prompt} ASSISTANT:" for prompt in prompts]
    inputs = processor(text=texts, videos=list(frames), return_tensors="pt", padding=True)
    with torch.inference_mode():
        ids = model.generate(**inputs, max_new_tokens=96, do_sample=False)
    new = ids[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in processor.tokenizer.batch_decode(new, skip_special_tokens=True)]


def measure(
    model: Any,
    processor: Any,
    *,
    frames: NDArray[np.uint8],
    truths: Sequence[SceneTruth],
    captions: Sequence[str],
    batch: int = 50,
) -> tuple[CaptionFigures, ...]:
    """Ask all three prompts about clips and hold the answers against the truth.

    Args:
        model: a `VideoLlavaForConditionalGeneration` in float32.
        frames: uint8, (clips, 8, size, size, 3), RGB.
        captions: a human caption per clip, quoted by prompt A.
        batch: clips at a time.
    """
    figures = []
    for level in LEVELS:
        answers: list[str] = []
        for start in range(0, len(truths), batch):
            some = slice(start, start + batch)
            prompts = [PROMPTS[level].render(caption) for caption in captions[some]]
            answers += answer(model, processor, frames=frames[some], prompts=prompts)
        figures.append(score_answers(level, answers, truths))
    return tuple(figures)


def score_answers(level: str, answers: Sequence[str], truths: Sequence[SceneTruth]) -> CaptionFigures:
    """Recall and precision of the facts named in `answers`, pooled over all clips."""
    named = [named_facts(text) for text in answers]
    true = [true_facts(truth) for truth in truths]
    right = sum(len(said & known) for said, known in zip(named, true, strict=True))
    return CaptionFigures(
        level=level,
        num_clips=len(truths),
        recall=100 * right / sum(map(len, true)),
        precision=100 * right / max(1, sum(map(len, named))),
        words=sum(len(text.split()) for text in answers) / len(answers),
    )
