"""Vectors as lists of numbers, for references that are written a sum at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

Vector = list[float]


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def unit(a: Sequence[float]) -> Vector:
    length = math.sqrt(dot(a, a))
    return [x / length for x in a]


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return dot(unit(a), unit(b))


def add(a: Sequence[float], b: Sequence[float]) -> Vector:
    return [x + y for x, y in zip(a, b, strict=True)]


def mean(vectors: Sequence[Sequence[float]]) -> Vector:
    return [sum(column) / len(vectors) for column in zip(*vectors, strict=True)]


def softmax(logits: Sequence[float]) -> Vector:
    powers = [math.exp(logit - max(logits)) for logit in logits]
    return [power / sum(powers) for power in powers]


def linear(layer: nn.Linear, a: Sequence[float]) -> Vector:
    bias = [0.0] * layer.out_features if layer.bias is None else layer.bias.tolist()
    return [dot(row, a) + b for row, b in zip(layer.weight.tolist(), bias, strict=True)]


def layer_norm(layer: nn.LayerNorm, a: Sequence[float]) -> Vector:
    centre = sum(a) / len(a)
    deviation = math.sqrt(sum((x - centre) ** 2 for x in a) / len(a) + layer.eps)
    gains, biases = layer.weight.tolist(), layer.bias.tolist()
    return [gain * (x - centre) / deviation + bias for x, gain, bias in zip(a, gains, biases, strict=True)]
