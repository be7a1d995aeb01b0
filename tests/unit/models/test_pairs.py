"""Models of every kind that open_clip knows: read, cut, split, saved and trained alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from conical.core.errors import ConfigError
from conical.engine.data import text_splitter
from conical.models import ModelOptions
from conical.models.dual_encoder import DualEncoder, build_dual_encoder, embedding_width
from conical.models.options import weights_revision
from conical.models.text_reader import build_text_reader
from conical.models.weight_files import load_encoder, save_encoder
from model_pairs import PAIRS, write_pair, write_towers

TEXTS = ["a dog runs", "the red cat jumps over a ball in the park ."]


@pytest.fixture(scope="module", params=PAIRS)
def pair(request, tmp_path_factory) -> tuple[str, ModelOptions, DualEncoder]:
    folder = tmp_path_factory.mktemp("pair")
    options = write_pair(request.param, folder)
    return request.param, options, build_dual_encoder(options).eval()


def test_the_context_is_the_models_own(pair) -> None:
    name, options, encoder = pair
    kind = PAIRS[name]
    assert (encoder.context_length, encoder.reader.num_marks) == (kind.context, kind.marks)
    without_weights = build_text_reader(options)
    assert without_weights.limit == encoder.reader.limit == (70 if kind.context == 77 else kind.context - kind.marks)


def test_long_captions_are_split_to_what_the_text_tower_reads(pair) -> None:
    _, _, encoder = pair
    caption = "the dog runs and the cat jumps over a red ball in the park , " * 20
    pieces = text_splitter(encoder.reader)(caption)
    assert len(pieces) > 1
    assert " ".join(pieces).split() == caption.split()
    tokens = encoder.tokenize(pieces)  # refuses what would be cut off
    with torch.no_grad():
        assert encoder.encode_text(tokens).isfinite().all()
    with pytest.raises(ValueError, match=r"tokens, at most .* fit: split it first"):
        encoder.tokenize([caption])


def test_a_batch_on_fewer_positions_embeds_as_on_all(pair) -> None:
    name, _, encoder = pair
    cut, whole = encoder.tokenize(TEXTS), encoder.reader.tokens(TEXTS)
    assert (cut.shape[1] < whole.shape[1]) == PAIRS[name].is_cut
    with torch.no_grad():
        expected = F.normalize(encoder.clip.encode_text(whole).float(), dim=-1)
        torch.testing.assert_close(encoder.encode_text(cut), expected, atol=1e-6, rtol=1e-5)
        # and alone as in the batch: nothing of a neighbour's length gets in
        alone = torch.cat([encoder.encode_text(encoder.tokenize([text])) for text in TEXTS])
        torch.testing.assert_close(alone, expected, atol=1e-6, rtol=1e-5)


def test_clips_have_embeddings_of_the_width_that_is_told(pair) -> None:
    name, _, encoder = pair
    side = PAIRS[name].image_size_px
    assert encoder.image_size_px == side
    frames = torch.randint(0, 256, (2, 2, side, side, 3), dtype=torch.uint8)
    with torch.no_grad():
        video = encoder.encode_video(frames)
    assert video.shape == (2, embedding_width(encoder.clip))
    torch.testing.assert_close(video.norm(dim=-1), torch.ones(2))


def test_a_saved_encoder_loads_to_the_bit(pair, tmp_path: Path) -> None:
    _, options, encoder = pair
    save_encoder(encoder, tmp_path / "encoder.safetensors")
    again = build_dual_encoder(options).eval()
    load_encoder(again, tmp_path / "encoder.safetensors")
    with torch.no_grad():
        assert torch.equal(again.encode_text(again.tokenize(TEXTS)), encoder.encode_text(encoder.tokenize(TEXTS)))


def test_the_files_of_a_text_tower_pin_the_model(tmp_path: Path) -> None:
    options = write_pair("timm and bert", tmp_path)
    before = weights_revision(options)
    vocabulary = tmp_path / "bert" / "tokenizer.json"
    vocabulary.write_text(vocabulary.read_text().replace('"dog"', '"hound"'))
    assert weights_revision(options) != before


def test_a_text_tower_is_found_beside_its_json_from_any_folder(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "model").mkdir()
    options = write_pair("timm and bert", tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    relative = ModelOptions(name="model/config.json", weights="model/model.safetensors")
    assert build_text_reader(relative).count("a dog runs") == 3
    assert weights_revision(relative) != weights_revision(ModelOptions(name=options.name, weights="other"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("<!doctype html>", "is no JSON"),
        ("[]", "is not of open_clip's form: it has no embed_dim"),
        ('{"model_cfg": {"embed_dim": 8}}', "is not of open_clip's form: it has no vision_cfg"),
        ('{"embed_dim": 8, "vision_cfg": 3, "text_cfg": {}}', "is not of open_clip's form: vision_cfg is no table"),
        ('{"embed_dim": 8, "vision_cfg": {"depth": 3}, "text_cfg": {}}', "cannot be built .*depth"),
        (
            '{"embed_dim": 8, "vision_cfg": {"timm_model_name": "no_such_tower"}, "text_cfg": {}}',
            "cannot be built .*no_such_tower",
        ),
        (
            '{"embed_dim": 8, "vision_cfg": {}, "text_cfg": {"hf_model_name": "nobody/nothing"}}',
            "with text tower 'nobody/nothing' cannot be built",
        ),
    ],
)
def test_a_config_that_is_none_is_refused_in_one_line(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "config.json").write_text(content)
    torch.save({"w": torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(ConfigError, match=words) as caught:
        build_dual_encoder(ModelOptions(name=str(tmp_path / "config.json"), weights=str(tmp_path / "w.pt")))
    assert "\n" not in str(caught.value)


def test_a_tokenizer_with_more_tokens_than_the_text_tower_is_refused(tmp_path: Path) -> None:
    options = write_pair("clip", tmp_path)
    config = json.loads(Path(options.name).read_text())
    config["model_cfg"]["text_cfg"]["vocab_size"] = 1000
    Path(options.name).write_text(json.dumps(config))
    import open_clip
    from safetensors.torch import save_file

    save_file(open_clip.CLIP(**config["model_cfg"]).state_dict(), options.weights)
    with pytest.raises(ConfigError, match="has 49,408 tokens, its text tower rows for 1,000"):
        build_dual_encoder(options)


def test_a_tokenizer_that_is_not_there_is_named(tmp_path: Path) -> None:
    options = write_pair("clip", tmp_path)
    config = json.loads(Path(options.name).read_text())
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "nobody/nothing"
    Path(options.name).write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"the tokenizer 'nobody/nothing' of model .* cannot be had"):
        build_text_reader(options)


def test_the_small_towers_have_no_weights_to_fetch(tmp_path: Path) -> None:
    write_towers(tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))
    assert not list(tmp_path.rglob("*.bin"))
