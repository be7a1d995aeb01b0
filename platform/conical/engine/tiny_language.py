"""Teaching the tiny Video-LLaVA to write: two answers a clip behind one copy of the video.

Shapes: B clips, V tokens up to the end of the video, S tokens of the two questions with their answers, D width.

A detailed answer (prompt A or B) and the simple one (C) stand one after the other behind the same video tokens. Each
sees the video and itself, not the other, and its positions start where the video ends: exactly what it sees alone, at
little more than half the work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everybody uses

from conical.captioning.prompts import PROMPTS
from conical.datasets.scenes_language import describe, write_captions
from conical.datasets.scenes_truth import SceneTruth
from conical.engine.tiny_image_tower import normalise, warm_cosine

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
        truths: one a clip.
        rng: source of the human captions.
        tokenizer: of the model.
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


def lesson_loss(model: Any, features: Tensor, lesson: Lesson, *, head_ids: Sequence[int]) -> Tensor:
    """Cross-entropy of the answers' tokens given the video and the question.

    Args:
        model: a `VideoLlavaForConditionalGeneration`.
        features: (B, video tokens, tower width), from `video_features`.
        lesson: texts of the same clips.
        head_ids: tokens before the video.

    Returns:
        Mean over answer tokens, in nats.
    """
    embed = model.model.get_input_embeddings()
    head = embed(torch.tensor(head_ids)).expand(len(features), -1, -1)
    video = model.model.multi_modal_projector(features.float())
    x_BLD = torch.cat([head, video, embed(lesson.ids)], dim=1)  # noqa: N806 - shape letters
    num_video = head.shape[1] + video.shape[1]
    positions = torch.cat([torch.arange(num_video).expand(len(features), -1), num_video + lesson.offset], dim=1)
    hidden = model.model.language_model(
        inputs_embeds=x_BLD,
        attention_mask=_segment_mask(lesson.segment, num_video),
        position_ids=positions,
        use_cache=False,
    ).last_hidden_state
    # the token at place k is predicted at place k - 1; the question's last token stands before each answer
    said = hidden[:, num_video:][:, :-1][lesson.is_answer[:, 1:]]
    return F.cross_entropy(model.lm_head(said), lesson.ids[:, 1:][lesson.is_answer[:, 1:]])


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
        tokenizer: its tokenizer.
        features: (clips, video tokens, tower width).
        truths: one a clip.
        head_ids: tokens before the video.
        steps: optimiser steps, >= 1.
        batch_clips: clips a step, two answers each.
        peak_lr: of AdamW.
        seed: of the batches and the captions.
        report: called after each step as `report(step, loss)`.
    """
    trained = [model.model.multi_modal_projector, model.model.language_model, model.lm_head]
    parameters = [parameter for part in trained for parameter in part.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=peak_lr, weight_decay=0.01, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: warm_cosine(step, steps=steps))
    rng = np.random.default_rng(seed)
    for step in range(steps):
        rows = rng.choice(len(truths), size=min(batch_clips, len(truths)), replace=False)
        lesson = write_lesson([truths[row] for row in rows], rng, tokenizer)
        loss = lesson_loss(model, features[torch.from_numpy(rows)], lesson, head_ids=head_ids)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        if report:
            report(step + 1, loss.item())
