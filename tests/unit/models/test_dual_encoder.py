"""The dual encoder on a small random CLIP: pooling, cut texts, refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from conical.core.errors import ConfigError
from conical.models import MODELS, ModelOptions
from conical.models.dual_encoder import build_dual_encoder
from conical.models.options import weights_revision
from conical.models.text_reader import build_text_reader


def test_a_video_embedding_is_the_normalised_mean_of_normalised_frame_embeddings(small_encoder):
    frames = torch.randint(0, 256, (2, 3, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        video = small_encoder.encode_video(frames)
        single = [F.normalize(small_encoder.encode_video(frames[:, k : k + 1]), dim=-1) for k in range(3)]
    expected = F.normalize(torch.stack(single).mean(0), dim=-1)
    torch.testing.assert_close(video, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(video.norm(dim=-1), torch.ones(2))


def test_a_text_cut_to_the_longest_of_its_batch_embeds_as_the_whole_context(small_encoder):
    texts = ["a red circle", "a large blue square that moves to the left! and then stops!!"]
    cut = small_encoder.tokenize(texts)
    whole = small_encoder.reader.tokens(texts)
    assert cut.shape[1] < whole.shape[1]
    with torch.no_grad():
        torch.testing.assert_close(
            small_encoder.encode_text(cut), small_encoder.encode_text(whole), atol=1e-6, rtol=1e-5
        )


def test_a_cut_text_has_the_gradient_of_the_whole(small_encoder):
    texts = ["a red circle", "two green stars"]
    whole = small_encoder.reader.tokens(texts)
    gradients = []
    for tokens in (small_encoder.tokenize(texts), whole):
        small_encoder.zero_grad()
        small_encoder.encode_text(tokens)[:, 0].sum().backward()
        gradients.append(small_encoder.clip.token_embedding.weight.grad.clone())
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-4)


def test_a_text_that_would_be_truncated_is_refused(small_encoder):
    with pytest.raises(ValueError, match="text has 80 tokens, at most 75 fit: split it first"):
        small_encoder.tokenize(["word " * 80])


def test_a_text_of_exactly_the_context_is_taken(small_encoder):
    assert small_encoder.tokenize(["word " * 75]).shape == (1, 77)


def test_tokens_are_counted_without_truncation(small_encoder):
    assert small_encoder.reader.count("word " * 200) == 200


def test_the_scale_of_clip_itself_is_not_trained(small_encoder):
    assert not small_encoder.clip.logit_scale.requires_grad


@pytest.mark.parametrize("name", MODELS)
def test_each_card_is_complete(name):
    card = MODELS[name]
    assert card.architecture
    assert card.weights
    assert card.source
    assert card.licence
    assert card.image_size_px > 0


def test_openai_weights_need_the_quickgelu_variant():
    with pytest.raises(ValueError, match="weights 'openai' need the quickgelu variant of the model, got 'ViT-B-32'"):
        ModelOptions(name="ViT-B-32", weights="openai")


def test_a_model_without_a_card_needs_weights():
    with pytest.raises(ValueError, match="weights must be given for 'ViT-B-32'"):
        ModelOptions(name="ViT-B-32")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "ViT-Z", "weights": "openai-quickgelu"}, "model.name 'ViT-Z' is unknown"),
        ({"name": "ViT-B-32-quickgelu", "weights": "none-such"}, "model.weights 'none-such' is not known for ViT-B-32"),
        ({"name": "ViT-B-32", "weights": "gone.safetensors"}, "model.weights 'gone.safetensors' is not a file"),
        ({"name": "gone.json", "weights": "x.pt"}, "model config 'gone.json' is not a file"),
    ],
)
def test_a_model_that_cannot_be_had_is_refused_in_one_line(options, message):
    with pytest.raises(ConfigError, match=message):
        build_dual_encoder(ModelOptions(**options))


def test_weights_that_do_not_fit_the_config_are_refused(small_clip, tmp_path):
    from safetensors.torch import save_file

    save_file({"foreign": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match="do not fit the model"):
        build_dual_encoder(ModelOptions(name=small_clip.name, weights=str(tmp_path / "other.safetensors")))


def test_the_revision_follows_the_bytes_of_the_weights(small_clip, tmp_path):
    before = weights_revision(small_clip)
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"other")
    assert before != weights_revision(ModelOptions(name=small_clip.name, weights=str(other)))


def test_tokens_are_counted_without_loading_weights(small_encoder, small_clip) -> None:
    count = build_text_reader(replace(small_clip, weights="none.safetensors")).count
    for text in ("", "a dog", "word " * 200, "Ein Hündchen, größer!"):
        assert count(text) == small_encoder.reader.count(text)
    with pytest.raises(ConfigError, match=r"model\.name 'ViT-Z' is unknown"):
        build_text_reader(ModelOptions(name="ViT-Z", weights="w"))
