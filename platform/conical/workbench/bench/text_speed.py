"""Captions per second of a Hugging Face text tower: as read here, on its whole context, and in a plain loop."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from conical.models.architecture import known_name
from conical.models.options import ModelOptions
from conical.models.text_reader import build_text_reader
from conical.models.text_tower import encode_tokens, used_positions
from conical.workbench.bench.harness import best_seconds, markdown_table

WORDS = tuple(f"word{number}" for number in range(1000))
_MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
# of MiniLM-L6
_SIZES: dict[str, Any] = {
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
}


def bench_text_tower(*, num_captions: int = 64, num_words: int = 10, positions: int = 512) -> dict[str, Any]:
    """Time one batch of captions in three ways, on the CPU, without gradients.

    Args:
        num_captions: of the batch.
        num_words: of each, a token each.
        positions: of the tower, and its context as read here.

    Returns:
        `rows_per_second` by way, `ratio_to_plain`, and the columns that ours computed.
    """
    import open_clip

    with tempfile.TemporaryDirectory() as name:
        options = _write_model(Path(name), positions=positions)
        torch.manual_seed(0)
        clip = open_clip.create_model(known_name(options), pretrained_text=False).eval()
        reader = build_text_reader(options)
    texts = [" ".join(WORDS[(row * num_words + word) % len(WORDS)] for word in range(num_words)) for row in range(64)]
    texts = (texts * (num_captions // 64 + 1))[:num_captions]
    inner = reader.tokenizer.tokenizer

    def ours() -> Tensor:
        tokens = reader.tokens(texts)
        return encode_tokens(clip, tokens[:, : used_positions(clip, tokens)])

    def whole() -> Tensor:
        encoded: Tensor = clip.encode_text(reader.tokens(texts))
        return encoded

    def plain() -> Tensor:
        batch = inner(texts, padding="longest", return_tensors="pt")
        hidden = clip.text.transformer(**batch).last_hidden_state
        mask = batch["attention_mask"][:, :, None]
        projected: Tensor = clip.text.proj((hidden * mask).sum(1) / mask.sum(1))
        return projected

    ways = {"plain": plain, "ours": ours, "whole context": whole}
    with torch.no_grad():
        torch.testing.assert_close(ours(), plain(), atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(whole(), plain(), atol=1e-4, rtol=1e-3)
        seconds = {name: best_seconds(way) for name, way in ways.items()}  # type: ignore[arg-type]
        columns = used_positions(clip, reader.tokens(texts))
    return {
        "rows_per_second": {name: num_captions / value for name, value in seconds.items()},
        "ratio_to_plain": {name: seconds["plain"] / value for name, value in seconds.items()},
        "columns": columns,
    }


def text_page(results: dict[str, dict[str, Any]]) -> str:
    """A row per kind of batch."""
    rows = [
        [
            kind,
            str(result["columns"]),
            *(
                f"{result['rows_per_second'][way]:.0f} ({result['ratio_to_plain'][way]:.2f})"
                for way in result["ratio_to_plain"]
            ),
        ]
        for kind, result in results.items()
    ]
    header = ("batch", "columns", "plain loop", "ours", "whole context")
    return f"Captions per second, in brackets the ratio to the plain loop.\n\n{markdown_table(header, rows)}\n"


def write_text_tower(folder: Path, *, positions: int) -> None:
    """Folder `bert` with the config of a tower of MiniLM-L6's size and a tokenizer of `WORDS`; no weights."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, PreTrainedTokenizerFast

    BertConfig(vocab_size=2000, max_position_embeddings=positions, **_SIZES).save_pretrained(folder / "bert")
    plain = Tokenizer(models.WordLevel({word: place for place, word in enumerate((*_MARKS, *WORDS))}, "[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    around = [(mark, plain.token_to_id(mark)) for mark in ("[CLS]", "[SEP]")]
    plain.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=around)
    PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="[PAD]", unk_token="[UNK]", model_max_length=positions
    ).save_pretrained(folder / "bert")


def _write_model(folder: Path, *, positions: int) -> ModelOptions:
    write_text_tower(folder, positions=positions)
    vision = {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16}
    text = {"hf_model_name": "bert", "hf_tokenizer_name": "bert", "hf_pooler_type": "mean_pooler"}
    config = {
        "embed_dim": 256,
        "vision_cfg": vision,
        "text_cfg": {**text, "hf_proj_type": "linear", "context_length": positions},
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return ModelOptions(name=str(folder / "config.json"), weights=str(folder / "none.safetensors"))
