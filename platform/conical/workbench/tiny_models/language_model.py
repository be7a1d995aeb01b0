"""Teaching the tiny Video-LLaVA to write: two answers a clip behind one copy of the video.

Shapes: B clips, V tokens up to the end of the video, S tokens of the two questions with their answers, D width.

A detailed answer (prompt A or B) and the simple one (C) stand one after the other behind the same video tokens. Each
sees the video and itself, not the other, and its positions start where the video ends: exactly what it sees alone, at
little more than half the work.

Left to the answers alone, colours, shapes and order are learnt in 300 steps and motion hardly at all. So there is a
hint: half-way up the language model, a linear head on each frame's class token tells how far each object has come since
its entry. The head is thrown away afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from conical.captioning.prompts import PROMPTS
from conical.datasets.scenes.language import describe, write_captions
from conical.datasets.scenes.truth import COLOURS, SceneTruth
from conical.workbench.tiny_models.image_tower import normalise, warm_cosine

_HINT_WEIGHT = 5.0
_MIRRORED = {"left": "right", "right": "left"}


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """The packed texts of a batch.

    Args:
        ids: int64 (B, S), questions and answers.
        is_answer: bool (B, S), where the loss counts.
        segment: int64 (B, S), 0 or 1 for the first or second question, -1 for padding.
        offset: int64 (B, S), 0-based place within its segment.
    """

    ids: Tensor
    is_answer: Tensor
    segment: Tensor
    offset: Tensor


def mirror(truth: SceneTruth) -> SceneTruth:
    """The scene that the left-right flipped frames show."""
    objects = tuple(
        replace(item, x=1.0 - item.x, motion=_MIRRORED.get(item.motion, item.motion), angle_degrees=-item.angle_degrees)
        for item in truth.objects
    )
    return replace(truth, objects=objects)


def video_features(model: Any, frames: np.ndarray, *, batch: int = 32) -> Tensor:
    """What the frozen image tower says of clips, as `get_video_features` computes it before the projector.

    Args:
        model: a `VideoLlavaForConditionalGeneration`.
        frames: uint8, (clips, frames, height, width, 3).
        batch: clips at a time.

    Returns:
        float16, (clips, frames * tokens, tower width).
    """
    tower = model.model.video_tower
    parts: list[Tensor] = []
    with torch.inference_mode():
        for start in range(0, len(frames), batch):
            pixels = normalise(torch.from_numpy(frames[start : start + batch]))
            hidden = tower(pixel_values=pixels.flatten(0, 1), output_hidden_states=True).hidden_states[-1]
            parts.append(hidden.unflatten(0, pixels.shape[:2]).flatten(1, 2).half())
    return torch.cat(parts)


def whiten_projector(projector: Any, features: Tensor) -> None:
    """Start the projector as if its input were standardised: the tower's scale is whatever training left."""
    sample = features[:256].float().flatten(0, 1)
    mean, std = sample.mean(0), sample.std(0).clamp(min=1e-3)
    with torch.no_grad():
        nn.init.normal_(projector.linear_1.weight, std=mean.numel() ** -0.5)
        nn.init.normal_(projector.linear_2.weight, std=projector.linear_2.in_features**-0.5)
        projector.linear_1.weight /= std
        projector.linear_1.bias.copy_(-projector.linear_1.weight @ mean)


def write_lesson(truths: Sequence[SceneTruth], rng: np.random.Generator, tokenizer: Any) -> Lesson:
    """Two questions with answers about each clip, A or B and then C; prompt A quotes a fresh human caption.

    Args:
        rng: source of the human captions.
    """
    questions, answers = [], []
    for truth in truths:
        caption = str(rng.choice(write_captions(truth, rng)))
        levels = (str(rng.choice(("A", "B"))), "C")
        questions += [f"\n{PROMPTS[level].render(caption)} ASSISTANT:" for level in levels]
        answers += [f" {describe(truth, level)}{tokenizer.eos_token}" for level in levels]
    question_ids = tokenizer(questions, add_special_tokens=False).input_ids
    answer_ids = tokenizer(answers, add_special_tokens=False).input_ids
    pairs = list(zip(question_ids, answer_ids, strict=True))
    return _pack([pairs[start : start + 2] for start in range(0, len(pairs), 2)])


def _pack(rows: Sequence[Sequence[tuple[list[int], list[int]]]]) -> Lesson:
    length = max(sum(len(question) + len(answer) for question, answer in row) for row in rows)
    ids = np.zeros((len(rows), length), dtype=np.int64)
    is_answer = np.zeros((len(rows), length), dtype=bool)
    segment = np.full((len(rows), length), -1, dtype=np.int64)
    offset = np.zeros((len(rows), length), dtype=np.int64)
    for row, pairs in enumerate(rows):
        at = 0
        for number, (question, answer) in enumerate(pairs):
            end = at + len(question) + len(answer)
            ids[row, at:end] = question + answer
            is_answer[row, at + len(question) : end] = True
            segment[row, at:end] = number
            offset[row, at:end] = np.arange(end - at)
            at = end
    return Lesson(
        ids=torch.from_numpy(ids),
        is_answer=torch.from_numpy(is_answer),
        segment=torch.from_numpy(segment),
        offset=torch.from_numpy(offset),
    )


class MotionHint(nn.Module):
    """How far the object of each colour has come, read from a class token inside the language model.

    Args:
        width: of the language model.
        layer: number of layers below the reading.
    """

    def __init__(self, width: int, *, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.norm = nn.LayerNorm(width)
        self.way = nn.Linear(width, 2 * len(COLOURS))

    def forward(self, tokens: Tensor, way: Tensor, is_there: Tensor) -> Tensor:
        """Loss of reading `way` (B, frames, colours, 2), where `is_there`, from `tokens` (B, frames, width)."""
        read = self.way(self.norm(tokens)).unflatten(-1, (len(COLOURS), 2))
        return F.smooth_l1_loss(read[is_there], way[is_there], beta=0.05)


def ways(truths: Sequence[SceneTruth], times: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
    """How far objects have come since their entry.

    Args:
        times: (clips, frames), 0 to 1.

    Returns:
        float32 (clips, frames, colours, 2) in stage units, and bool (clips, frames, colours): which are there.
    """
    names = list(COLOURS)
    way = np.zeros((*times.shape, len(names), 2), dtype=np.float32)
    is_there = np.zeros((*times.shape, len(names)), dtype=bool)
    for row, truth in enumerate(truths):
        for item in truth.objects:
            for column, time in enumerate(times[row]):
                if time >= item.enters:
                    x, y = item.centre(float(time))
                    way[row, column, names.index(item.colour)] = x - item.x, y - item.y
                    is_there[row, column, names.index(item.colour)] = True
    return torch.from_numpy(way), torch.from_numpy(is_there)


def lesson_loss(
    model: Any,
    features: Tensor,
    lesson: Lesson,
    *,
    head_ids: Sequence[int],
    hint: MotionHint | None = None,
    truth_ways: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Cross-entropy of the answers' tokens given the video and the question.

    Args:
        model: a `VideoLlavaForConditionalGeneration`.
        features: (B, video tokens, tower width), from `video_features`.
        lesson: texts of the same clips.
        head_ids: tokens before the video.
        truth_ways: what the hint should read, from `ways`.

    Returns:
        Mean over answer tokens, in nats; with a hint, its weighted loss on top.
    """
    embed = model.model.get_input_embeddings()
    head = embed(torch.tensor(head_ids)).expand(len(features), -1, -1)
    video = model.model.multi_modal_projector(features.float())
    x_BLD = torch.cat([head, video, embed(lesson.ids)], dim=1)  # noqa: N806 - shape letters
    num_video = head.shape[1] + video.shape[1]
    positions = torch.cat([torch.arange(num_video).expand(len(features), -1), num_video + lesson.offset], dim=1)
    out = model.model.language_model(
        inputs_embeds=x_BLD,
        attention_mask=_segment_mask(lesson.segment, num_video),
        position_ids=positions,
        use_cache=False,
        output_hidden_states=hint is not None,
    )
    hidden = out.last_hidden_state
    # the token at place k is predicted at place k - 1; the question's last token stands before each answer
    said = hidden[:, num_video:][:, :-1][lesson.is_answer[:, 1:]]
    loss = F.cross_entropy(model.lm_head(said), lesson.ids[:, 1:][lesson.is_answer[:, 1:]])
    if hint is None or truth_ways is None:
        return loss
    tokens_a_frame = video.shape[1] // truth_ways[0].shape[1]
    class_tokens = out.hidden_states[hint.layer][:, head.shape[1] : num_video : tokens_a_frame]
    hinted: Tensor = loss + _HINT_WEIGHT * hint(class_tokens, *truth_ways)
    return hinted


def _segment_mask(segment: Tensor, num_video: int) -> Tensor:
    """(B, 1, L, L), True where a row may look: backwards, at the video or at its own segment."""
    full = F.pad(segment, (num_video, 0), value=-2)
    length = full.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    own = (full[:, :, None] == full[:, None, :]) | (full[:, None, :] == -2)
    return (causal & own)[:, None]


def train_language(
    model: Any,
    tokenizer: Any,
    *,
    features: Tensor,
    truths: Sequence[SceneTruth],
    times: NDArray[np.float32],
    head_ids: Sequence[int],
    steps: int,
    batch_clips: int = 32,
    peak_lr: float = 2e-3,
    seed: int = 0,
    report: Callable[[int, float], None] | None = None,
) -> None:
    """Train projector and language model in place; the image tower is not touched.

    Args:
        model: a `VideoLlavaForConditionalGeneration`.
        features: (clips, video tokens, tower width).
        times: (clips, frames), 0 to 1.
        head_ids: tokens before the video.
        steps: optimiser steps, >= 1.
        batch_clips: clips per step, two answers each.
        seed: of the batches and the captions.
        report: called after each step as `report(step, loss)`.
    """
    torch.manual_seed(seed)
    config = model.config.text_config
    hint = MotionHint(config.hidden_size, layer=config.num_hidden_layers // 2)
    way, is_there = ways(truths, times)
    trained = [model.model.multi_modal_projector, model.model.language_model, model.lm_head, hint]
    parameters = [parameter for part in trained for parameter in part.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=peak_lr, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: warm_cosine(step, steps=steps))
    rng = np.random.default_rng(seed)
    for step in range(steps):
        rows = rng.choice(len(truths), size=min(batch_clips, len(truths)), replace=False)
        lesson = write_lesson([truths[row] for row in rows], rng, tokenizer)
        loss = lesson_loss(
            model, features[rows], lesson, head_ids=head_ids, hint=hint, truth_ways=(way[rows], is_there[rows])
        )
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        if report:
            report(step + 1, loss.item())
