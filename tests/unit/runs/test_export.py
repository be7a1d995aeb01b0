"""An exported run is a folder that open_clip loads by itself, with a card that shows what was stored and no more."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from conical.config import Experiment, load_experiment
from conical.core.errors import DataError, StoreError
from conical.models import ModelOptions
from conical.models.dual_encoder import DualEncoder, build_dual_encoder
from conical.models.weight_files import save_encoder
from conical.runs.export import export_run
from conical.runs.finding import one_finished_run
from conical.runs.model_card import escape_markdown
from conical.store import RunFolder, TestLook, Workspace
from unit.runs.stored_runs import evaluation, write_run

LABEL = "a|b <script> `x` *c* [d](e) # --- \u202e: {y}"
PICTURES = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)


def settings(*overrides: str) -> Experiment:
    return load_experiment(None, ["frames.num_frames=3", "loss.tau_tv=41.5", *overrides])


def trained(options: ModelOptions) -> DualEncoder:
    """An encoder whose weights are not those that it was loaded with."""
    encoder = build_dual_encoder(options).eval()
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=noise)
    return encoder


@pytest.fixture(scope="module")
def encoder() -> DualEncoder:
    return trained(ModelOptions())


@pytest.fixture
def run(encoder: DualEncoder, tmp_path: Path) -> RunFolder:
    """A scored run of the tiny CLIP."""
    private = {"dataset.name": "manifest", "dataset.root": str(tmp_path / "private")}
    experiment = settings().replace({"label": LABEL, **private})
    records = [evaluation(split, skill=1.0) for split in ("val", "test")]
    folder = write_run(Workspace.open(tmp_path / "workspace"), experiment, *records, key="abcd1234", looks=0)
    record = folder.read().with_look(TestLook(name="test/raw", time="t")).with_look(TestLook(name="test/raw", time="t"))
    folder.write(dataclasses.replace(record, environment={"commit": "c0ffee", "machine": "secret-host"}))
    save_encoder(encoder, folder.encoder)
    return folder


def card_of(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def test_open_clip_gives_the_embeddings_of_the_run_to_the_bit(run: RunFolder, encoder: DualEncoder, tmp_path) -> None:
    folder = export_run(run, tmp_path / "out" / "clip")
    clip, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    clip.eval()
    texts = ["a red circle moves left", "two stars"]
    # frames stand in memory as height, width, channel: sums over them come in that order
    pixels = torch.stack([preprocess(Image.fromarray(picture)) for picture in PICTURES])
    pixels = pixels.to(memory_format=torch.channels_last)
    with torch.no_grad():
        per_frame = F.normalize(clip.encode_image(pixels), dim=-1)
        assert torch.equal(per_frame, encoder_frames(encoder))
        assert torch.equal(
            F.normalize(per_frame[None].mean(dim=1), dim=-1), encoder.encode_video(torch.from_numpy(PICTURES)[None])
        )
        text = F.normalize(clip.encode_text(tokenizer(texts)), dim=-1)
        assert torch.equal(text, encoder.encode_text(tokenizer(texts)))
        # a text cut to its length has the same embedding, to rounding
        torch.testing.assert_close(text, encoder.encode_text(encoder.tokenize(texts)))


def encoder_frames(encoder: DualEncoder) -> torch.Tensor:
    pixels = torch.from_numpy(PICTURES).permute(0, 3, 1, 2).float().div(255)
    return F.normalize(encoder.clip.encode_image((pixels - encoder.mean) / encoder.std), dim=-1)


def test_the_preprocessing_is_the_runs(run: RunFolder, encoder: DualEncoder, tmp_path: Path) -> None:
    encoder = build_dual_encoder(ModelOptions())
    encoder.pixel_mean, encoder.pixel_std = (0.5, 0.4, 0.3), (0.1, 0.2, 0.3)
    save_encoder(encoder, run.encoder)
    clip = open_clip.create_model(f"local-dir:{export_run(run, tmp_path / 'out')}")
    found = open_clip.get_model_preprocess_cfg(clip)
    assert (tuple(found["mean"]), tuple(found["std"])) == ((0.5, 0.4, 0.3), (0.1, 0.2, 0.3))
    assert (found["interpolation"], found["resize_mode"]) == ("bicubic", "shortest")
    assert found["size"] in (64, (64, 64), [64, 64])


def test_an_export_is_the_model_of_another_run(run: RunFolder, encoder: DualEncoder, tmp_path: Path) -> None:
    folder = export_run(run, tmp_path / "out")
    options = ModelOptions(
        name=str(folder / "open_clip_config.json"), weights=str(folder / "open_clip_model.safetensors")
    )
    frames = torch.from_numpy(PICTURES)[None]
    with torch.no_grad():
        assert torch.equal(build_dual_encoder(options).eval().encode_video(frames), encoder.encode_video(frames))


def test_a_head_with_parameters_goes_along(run: RunFolder, tmp_path: Path) -> None:
    save_file({"query": torch.ones(2)}, run.head, metadata={"conical.head": "mean_pool"})
    folder = export_run(run, tmp_path / "out")
    assert torch.equal(load_file(folder / "head.safetensors")["query"], torch.ones(2))
    assert json.loads((folder / "open_clip_config.json").read_text())["conical"] == {
        "run": "abcd1234",
        "head": "mean_pool",
    }
    assert "open_clip loads the CLIP alone" in card_of(folder)
    assert '.safetensors"\nhead = "mean_pool"\n' in card_of(folder)
    # the next export has none: the head of before must not stay
    run.head.unlink()
    export_run(run, folder)
    assert not (folder / "head.safetensors").exists()
    assert "open_clip loads the CLIP alone" not in card_of(folder)


def test_a_hugging_face_tokenizer_goes_along(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(("<pad>", "<unk>", "<eos>", "a", "red", "circle"))}
    plain = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", unk_token="<unk>", eos_token="<eos>"
    ).save_pretrained(tmp_path / "words")
    config = {
        "embed_dim": 16,
        "custom_text": True,
        "vision_cfg": {"image_size": 64, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {
            **{"context_length": 8, "vocab_size": 6, "width": 16, "heads": 2, "layers": 1},
            "hf_tokenizer_name": str(tmp_path / "words"),
        },
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    clip = open_clip.CustomTextCLIP(**{key: value for key, value in config.items() if key != "custom_text"})
    save_file(clip.state_dict(), tmp_path / "clip.safetensors")
    experiment = settings(f"model.name={tmp_path / 'config.json'}", f"model.weights={tmp_path / 'clip.safetensors'}")
    folder = write_run(Workspace.open(tmp_path / "workspace"), experiment, key="hf")
    encoder = build_dual_encoder(experiment.model).eval()
    save_encoder(encoder, folder.encoder)

    out = export_run(folder, tmp_path / "out")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{out}")
    tokens = tokenizer(["a red circle"])
    assert torch.equal(tokens, encoder.reader.tokens(["a red circle"]))
    assert tokens[0, :3].tolist() == [3, 4, 5]
    loaded = open_clip.create_model(f"local-dir:{out}").eval()
    with torch.no_grad():
        assert torch.equal(F.normalize(loaded.encode_text(tokens), dim=-1), encoder.encode_text(tokens))


def test_the_card_has_front_matter_that_hubs_read(run: RunFolder, tmp_path: Path) -> None:
    card = card_of(export_run(run, tmp_path / "out"))
    front = yaml.safe_load(card.split("---\n")[1])
    assert front == {
        "license": "apache-2.0",
        "library_name": "open_clip",
        "tags": ["clip", "open_clip", "conical", "video-text-retrieval"],
    }


def test_weights_of_unknown_origin_have_an_unknown_licence(run: RunFolder, tmp_path: Path) -> None:
    record = run.read()
    config = {**record.config, "model": {**record.config["model"], "weights": str(tmp_path / "mine.safetensors")}}
    run.write(dataclasses.replace(record, config=config))
    card = card_of(export_run(run, tmp_path / "out"))
    assert card.startswith("---\nlicense: unknown\n")
    assert "mine.safetensors" in card
    assert str(tmp_path) not in card


def test_the_card_shows_stored_numbers_settings_and_hashes(run: RunFolder, tmp_path: Path) -> None:
    folder = export_run(run, tmp_path / "out")
    card = card_of(folder)
    scored = run.read_evaluation("test")
    assert scored is not None
    first = scored.metrics["t2v/R1"]
    assert f"| t2v | {first.value:.1f} [{first.low:.1f}, {first.high:.1f}] |" in card
    assert card.index("### val, protocol raw") < card.index("### test, protocol raw")
    assert "The test split was looked at 2 times." in card
    assert "| `loss.tau_tv` | 41.5 |" in card
    assert "`loss.tau_ta`" not in card
    assert "| commit | c0ffee |" in card
    assert "| hash of manifest | 4acf |" in card


def test_numbers_that_use_the_target_video_are_marked(run: RunFolder, tmp_path: Path) -> None:
    mark = "the queries use the target video"
    assert mark not in card_of(export_run(run, tmp_path / "out"))
    run.write_evaluation(dataclasses.replace(evaluation("test", skill=1.0), uses_target=True))
    assert mark in card_of(export_run(run, tmp_path / "out"))


def test_the_card_shows_nothing_of_the_machine(run: RunFolder, tmp_path: Path) -> None:
    card = card_of(export_run(run, tmp_path / "out"))
    assert "dataset.root" not in card
    assert "private" not in card
    assert "secret-host" not in card
    assert str(tmp_path) not in card


def test_a_label_is_text_and_no_markup(run: RunFolder, tmp_path: Path) -> None:
    card = card_of(export_run(run, tmp_path / "out"))
    (heading,) = re.findall(r"^# (.*)$", card, re.MULTILINE)
    assert heading == r"a\|b &lt;script&gt; \`x\` \*c\* \[d\]\(e\) \# ---  : \{y\}"
    assert "<script>" not in card
    assert escape_markdown("one\ntwo") == "one two"


def test_a_run_without_numbers_says_so(run: RunFolder, tmp_path: Path) -> None:
    for path in run.evaluations.iterdir():
        path.unlink()
    assert "Nothing was scored yet." in card_of(export_run(run, tmp_path / "out"))


def test_only_an_export_is_replaced(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreError, match="mine is not empty and holds no export: give a folder that is absent"):
        export_run(run, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    with pytest.raises(StoreError, match=r"thesis.txt is a file: give a folder"):
        export_run(run, tmp_path / "mine" / "thesis.txt")
    (tmp_path / "empty").mkdir()
    folder = export_run(run, tmp_path / "empty")
    # what a user put beside an export stays, such as a repository
    (folder / "notes.txt").write_text("mine")
    export_run(run, folder)
    assert (folder / "notes.txt").read_text() == "mine"
    assert not list(tmp_path.glob(".export-*"))


def test_a_damaged_encoder_leaves_no_folder(run: RunFolder, tmp_path: Path) -> None:
    run.encoder.write_bytes(b"weights")
    with pytest.raises(StoreError, match=r"encoder .* cannot be read"):
        export_run(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_label_of_two_seeds_is_not_guessed(run: RunFolder, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "workspace")
    assert one_finished_run(workspace, "demo", "abcd") == run
    assert one_finished_run(workspace, "demo", LABEL) == run
    other = write_run(workspace, settings("seed=1").replace({"label": LABEL}), key="efgh5678")
    with pytest.raises(DataError, match=r"2 runs are called .*: choose one by its key, abcd1234 \(seed 0\), efgh5678"):
        one_finished_run(workspace, "demo", LABEL)
    other.write(dataclasses.replace(other.read(), status="failed"))
    with pytest.raises(DataError, match="is failed, not finished: train it first"):
        one_finished_run(workspace, "demo", "efgh")
