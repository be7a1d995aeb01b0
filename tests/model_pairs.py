"""Small random models of the kinds that open_clip knows, on disk as users have them: a JSON, a checkpoint, folders."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

from conical.models import ModelOptions
from conical.models.architecture import known_name

_WORDS = ("a", "the", "dog", "cat", "person", "runs", "jumps", "and", "over", "red", "ball", "in", "park", ".", ",")
_CLIP_VISION = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
_CLIP_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
# timm's smallest, for its own tests; the first has BatchNorm
_CONV_VISION = {"timm_model_name": "test_efficientnet", "timm_pool": "avg", "timm_proj": "linear", "image_size": 96}
_VIT_VISION = {"timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none", "image_size": 160}


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A kind of model.

    Args:
        config: open_clip's, `{folder}` standing for where text towers are.
        context: tokens that fit, marks included.
        marks: tokens around each text.
        is_cut: whether the text tower may run on fewer positions than its context.
    """

    config: dict[str, Any]
    context: int
    marks: int
    is_cut: bool
    image_size_px: int


def _bert(**more: Any) -> dict[str, Any]:
    return {"hf_model_name": "bert", "hf_tokenizer_name": "bert", "hf_proj_type": "mlp", **more}


PAIRS = {
    "clip": Pair(
        config={"embed_dim": 16, "vision_cfg": _CLIP_VISION, "text_cfg": _CLIP_TEXT},
        **{"context": 77, "marks": 2, "is_cut": True, "image_size_px": 32},
    ),
    "timm and bert": Pair(
        config={"embed_dim": 16, "vision_cfg": _CONV_VISION, "text_cfg": _bert(hf_pooler_type="mean_pooler")},
        **{"context": 77, "marks": 2, "is_cut": True, "image_size_px": 96},
    ),
    "timm and bert of 300": Pair(
        config={
            "embed_dim": 24,
            "vision_cfg": {**_CONV_VISION, "timm_proj": "mlp"},
            "text_cfg": _bert(hf_pooler_type="cls_pooler", context_length=300),
        },
        **{"context": 300, "marks": 2, "is_cut": True, "image_size_px": 96},
    ),
    "roberta of 32 positions": Pair(
        config={
            "embed_dim": 16,
            "vision_cfg": _CLIP_VISION,
            "text_cfg": {"hf_model_name": "roberta", "hf_tokenizer_name": "roberta", "hf_proj_type": "linear"},
        },
        **{"context": 32, "marks": 2, "is_cut": True, "image_size_px": 32},
    ),
    "siglip": Pair(
        config={
            "embed_dim": 64,
            "init_logit_bias": -10,
            "custom_text": True,
            "vision_cfg": _VIT_VISION,
            "text_cfg": {
                **{"context_length": 64, "vocab_size": 64, "width": 64, "heads": 2, "layers": 1, "proj_bias": True},
                **{"hf_tokenizer_name": "siglip", "tokenizer_kwargs": {"clean": "canonicalize"}},
                **{"no_causal_mask": True, "pool_type": "last"},
            },
        },
        **{"context": 64, "marks": 1, "is_cut": False, "image_size_px": 160},
    ),
    "coca": Pair(
        config={
            "embed_dim": 16,
            "vision_cfg": {**_CLIP_VISION, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
            "text_cfg": {**_CLIP_TEXT, "context_length": 76, "embed_cls": True, "output_tokens": True},
            "multimodal_cfg": {**_CLIP_TEXT, "context_length": 76, "attn_pooler_heads": 2},
            "custom_text": True,
        },
        **{"context": 76, "marks": 2, "is_cut": False, "image_size_px": 32},
    ),
    "eva": Pair(
        config={
            "embed_dim": 16,
            "vision_cfg": {
                **{"timm_model_name": "eva02_tiny_patch14_224", "timm_pool": "token", "timm_proj": None},
                "image_size": 224,
            },
            "text_cfg": _CLIP_TEXT,
            "custom_text": True,
        },
        **{"context": 77, "marks": 2, "is_cut": True, "image_size_px": 224},
    ),
    "clipa of 32 positions": Pair(
        config={
            "embed_dim": 16,
            "vision_cfg": _CLIP_VISION,
            "text_cfg": {
                **{**_CLIP_TEXT, "context_length": 32, "vocab_size": 64, "no_causal_mask": True, "pool_type": "last"},
                "hf_tokenizer_name": "bert",
            },
        },
        **{"context": 32, "marks": 2, "is_cut": False, "image_size_px": 32},
    ),
    "worldwide, pooled at its own end token": Pair(
        config={
            "embed_dim": 16,
            "vision_cfg": _CLIP_VISION,
            "text_cfg": {
                **{**_CLIP_TEXT, "vocab_size": 64, "pool_type": "eos", "eos_id": 3},
                "hf_tokenizer_name": "bert",
            },
        },
        **{"context": 77, "marks": 2, "is_cut": True, "image_size_px": 32},
    ),
}


def write_pair(name: str, folder: Path) -> ModelOptions:
    """Write a model of that kind with random weights; its text towers lie beside the JSON, without weights."""
    write_towers(folder)
    path = folder / "config.json"
    path.write_text(json.dumps({"model_cfg": PAIRS[name].config}), encoding="utf-8")
    options = ModelOptions(name=str(path), weights=str(folder / "model.safetensors"))
    torch.manual_seed(0)
    # from a registered config, so that paths beside the JSON are found
    clip = open_clip.create_model(known_name(options), pretrained_text=False)
    with torch.no_grad():
        for parameter in clip.parameters():
            # some start as zeros, and would hide what they multiply; CoCa's decoder starts as whatever memory held
            parameter.nan_to_num_().clamp_(-1, 1).add_(torch.randn_like(parameter) * 0.02)
    save_file({key: value.contiguous() for key, value in clip.state_dict().items()}, options.weights)
    return options


def write_towers(folder: Path) -> None:
    """Folders `bert`, `roberta` and `siglip` as `save_pretrained` writes them; no weights."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, PreTrainedTokenizerFast, RobertaConfig

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertConfig(vocab_size=64, **sizes).save_pretrained(folder / "bert")
    # RoBERTa's positions begin behind the padding's
    RobertaConfig(vocab_size=64, max_position_embeddings=34, pad_token_id=1, **sizes).save_pretrained(
        folder / "roberta"
    )
    marks = {"bert": ("[PAD]", "[UNK]", "[CLS]", "[SEP]"), "roberta": ("<s>", "<pad>", "</s>", "<unk>")}
    marks["siglip"] = ("<pad>", "</s>", "<unk>")
    for name, special in marks.items():
        plain = Tokenizer(
            models.WordLevel({word: number for number, word in enumerate((*special, *_WORDS))}, special[1])
        )
        plain.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        first, last, pad, unknown = {
            "bert": ("[CLS]", "[SEP]", "[PAD]", "[UNK]"),
            "roberta": ("<s>", "</s>", "<pad>", "<unk>"),
            "siglip": ("", "</s>", "<pad>", "<unk>"),
        }[name]
        plain.model.unk_token = unknown
        around = [(mark, plain.token_to_id(mark)) for mark in (first, last) if mark]
        plain.post_processor = processors.TemplateProcessing(single=f"{first} $A {last}".strip(), special_tokens=around)
        PreTrainedTokenizerFast(
            tokenizer_object=plain, pad_token=pad, unk_token=unknown, model_max_length=512
        ).save_pretrained(folder / name)
