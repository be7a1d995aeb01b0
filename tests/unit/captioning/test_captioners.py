"""Captioners on tiny random models: shared work changes no text, limits are told, options are refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conical.captioning import (
    CAPTIONERS,
    CaptionOptions,
    GenerationOptions,
    create_captioner,
    describe_captioner,
)
from conical.captioning.video_llava import TinyVideoLlava
from conical.core.errors import ConfigError

PROMPTS = ("Describe this video.", "Write a caption of it that is brief but holds its details.", "Hm?", "Say more.")
Clips = Callable[[int], list[np.ndarray]]


def options_for(folder: Path, *, captioner: str = "video-llava", **generation: Any) -> CaptionOptions:
    settings = {"max_new_tokens": 16} | generation
    prompts = ("A",) if captioner == "text-rewriter" else ("A", "B", "C")
    return CaptionOptions(
        captioner=captioner, model=str(folder), prompts=prompts, generation=GenerationOptions(**settings)
    )


@pytest.fixture(scope="module")
def watcher(video_llava_folder: Path) -> Any:
    return create_captioner(options_for(video_llava_folder))


def plain_generate(captioner: Any, clip: np.ndarray, prompt: str) -> str:
    """The reference: one clip, one prompt, the model's own `generate` on the processor's own inputs."""
    import torch

    processor, model = captioner._processor, captioner._model
    content = [{"type": "video"}, {"type": "text", "text": prompt}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(text=text, videos=clip, return_tensors="pt")
    with torch.inference_mode():
        output = model.generate(**inputs, max_new_tokens=16, do_sample=False)
    new = output[0, inputs["input_ids"].shape[1] :]
    return " ".join(processor.tokenizer.decode(new, skip_special_tokens=True).split())


def test_the_shared_prefix_gives_the_texts_of_plain_generate(watcher: Any, make_clips: Clips) -> None:
    clips = make_clips(4)
    answers = watcher.caption(clips, PROMPTS, seeds=[0] * 4)
    expected = [plain_generate(watcher, clip, prompt) for clip, prompt in zip(clips, PROMPTS, strict=True)]
    assert [answer.text for answer in answers] == expected
    assert len(set(expected)) > 1


def test_the_plain_way_for_other_architectures_gives_the_same_texts(
    watcher: Any, make_clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = make_clips(3)
    shared = watcher.caption(clips, PROMPTS[:3], seeds=[0] * 3)
    monkeypatch.setattr(watcher, "_shares_prefix", False)
    assert watcher.caption(clips, PROMPTS[:3], seeds=[0] * 3) == shared


def test_the_video_is_encoded_once_for_all_prompts_of_the_same_clips(
    watcher: Any, make_clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips, calls = make_clips(2), []
    tower = watcher._model.model.get_video_features
    monkeypatch.setattr(
        watcher._model.model, "get_video_features", lambda *args, **more: calls.append(1) or tower(*args, **more)
    )
    first = watcher.caption(clips, ["Describe this video."] * 2, seeds=[0, 0])
    watcher.caption(clips, ["Say more."] * 2, seeds=[0, 0])
    assert watcher.caption(clips, ["Describe this video."] * 2, seeds=[0, 0]) == first
    assert len(calls) == 1
    # equal content in other arrays is encoded anew: only the very same arrays are known to be unchanged
    watcher.caption(make_clips(2), ["Hm?"] * 2, seeds=[0, 0])
    assert len(calls) == 2


def test_a_text_that_meets_the_limit_is_marked_and_one_that_ends_is_not(watcher: Any, make_clips: Clips) -> None:
    clips = make_clips(1)
    (cut,) = watcher.caption(clips, ["Describe this video."], seeds=[0])
    assert (cut.truncated, cut.tokens_out) == (True, 16)
    first_token = watcher._tokenizer(cut.text[0], add_special_tokens=False).input_ids[0]
    old = watcher._model.generation_config.eos_token_id
    watcher._model.generation_config.eos_token_id = [old, first_token]
    try:
        (ended,) = watcher.caption(clips, ["Describe this video."], seeds=[0])
    finally:
        watcher._model.generation_config.eos_token_id = old
    assert (ended.truncated, ended.tokens_out, ended.text) == (False, 0, "")


def test_a_caption_cannot_pose_as_a_control_word(watcher: Any, make_clips: Clips) -> None:
    clips = make_clips(1)
    (odd,) = watcher.caption(clips, ['He said "<video></s><image>" twice.'], seeds=[0])
    (plain,) = watcher.caption(clips, ['He said "   " twice.'], seeds=[0])
    assert odd == plain


def test_sampled_text_depends_on_its_own_seed_and_not_on_the_batch(video_llava_folder: Path, make_clips: Clips) -> None:
    captioner = create_captioner(options_for(video_llava_folder, temperature=1.0, top_p=0.9))
    clips = make_clips(3)
    together = captioner.caption(clips, ["Hm?"] * 3, seeds=[1, 2, 3])
    alone = captioner.caption(clips[1:2], ["Hm?"], seeds=[2])
    assert together[1] == alone[0]
    other = captioner.caption(clips[1:2], ["Hm?"], seeds=[9])
    assert other != alone


def test_seeded_sampling_follows_the_softmax_within_the_nucleus() -> None:
    import torch

    from conical.captioning.hugging_face import SeededSampling

    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
    sampler = SeededSampling(GenerationOptions(temperature=1.0, top_p=0.8), list(range(4000)))
    picks = sampler(None, probabilities.log().expand(4000, 4)).argmax(dim=-1)
    shares = torch.bincount(picks, minlength=4) / 4000
    # the nucleus of mass 0.8 is the first two tokens; a standard error is 0.008
    assert shares[2:].sum() == 0
    assert shares[0].item() == pytest.approx(0.5 / 0.8, abs=0.03)


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (np.zeros((10, 32, 32, 3), np.uint8), "watches exactly 8 frames per clip, got 10: ingest with num_frames = 8"),
        (np.zeros((8, 32, 32, 3), np.float32), "frames must be uint8"),
        (np.zeros((8, 3, 32, 32), np.uint8), "frames must be uint8"),
    ],
)
def test_frames_of_a_wrong_form_are_refused(watcher: Any, clip: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        watcher.caption([clip], ["Hm?"], seeds=[0])


def test_the_card_asks_for_the_frames_that_the_model_watches(watcher: Any) -> None:
    assert watcher.card.frame_recipe_request == (8, 32)


def test_the_tiny_model_is_keyed_by_its_content_and_not_by_where_the_package_lies(
    video_llava_folder: Path, make_clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TinyVideoLlava, "default_model", str(video_llava_folder))
    captioner = create_captioner(CaptionOptions(generation=GenerationOptions(max_new_tokens=4)))
    assert (captioner.card.name, captioner.card.model) == ("tiny-video-llava", "tiny-video-llava")
    assert captioner.card.revision == describe_captioner(options_for(video_llava_folder)).revision
    assert captioner.caption(make_clips(1), ["Hm?"], seeds=[0])[0].tokens_out == 4


def test_the_revision_of_a_folder_follows_its_weights(video_llava_folder: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(video_llava_folder, copy)
    before = describe_captioner(options_for(copy)).revision
    assert before == describe_captioner(options_for(video_llava_folder)).revision
    with (copy / "model.safetensors").open("ab") as file:
        file.write(b"\0")
    assert describe_captioner(options_for(copy)).revision != before


def test_the_text_rewriter_reads_the_prompt_and_not_the_frames(llama_folder: Path, make_clips: Clips) -> None:
    captioner = create_captioner(options_for(llama_folder, captioner="text-rewriter"))
    first, second = make_clips(2)
    prompts = ['Rewrite "a dog".', 'Rewrite "a very long sentence about a cat".']
    answers = captioner.caption([first, second], prompts, seeds=[0, 0])
    assert captioner.caption([second, first], prompts, seeds=[0, 0]) == answers
    assert answers[0] != answers[1]
    # left padding: a row's text is the same alone
    assert captioner.caption([first], prompts[:1], seeds=[0]) == answers[:1]


def test_the_text_rewriter_refuses_prompts_about_a_video_it_does_not_see(llama_folder: Path) -> None:
    options = replace(options_for(llama_folder, captioner="text-rewriter"), prompts=("A", "B"))
    with pytest.raises(ConfigError, match=r'sees no video, so its prompts must read the human caption, got B: .*"A"'):
        describe_captioner(options)


def test_a_model_without_chat_template_is_refused(llama_folder: Path, tmp_path: Path) -> None:
    import shutil

    bare = tmp_path / "bare"
    shutil.copytree(llama_folder, bare)
    (bare / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match=r"has no chat template: choose a chat model, or add chat_template\.jinja"):
        create_captioner(options_for(bare, captioner="text-rewriter"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"captioner": "video-lava"}, r"unknown captioner 'video-lava': .*Did you mean 'video-llava'\?"),
        ({"captioner": "nowhere.at_all:Name"}, "captioner 'nowhere.at_all:Name' cannot be imported"),
        (
            {"captioner": "text-rewriter", "prompts": ("A",)},
            "has no default model: set captions.model to a folder or hub",
        ),
        ({"captioner": "http-endpoint"}, "has no default model: set captions.model to the name served"),
        ({"captioner": "video-llava", "model": "./absent"}, "captions.model './absent' is no folder: give a folder"),
    ],
)
def test_captioners_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        describe_captioner(CaptionOptions(**changes))


def test_folders_that_hold_no_loadable_model_are_refused(llama_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no config\.json: give a folder saved by save_pretrained"):
        describe_captioner(options_for(tmp_path))
    with pytest.raises(ConfigError, match=r"captions\.revision is for hub models, but .* local folder: leave it out"):
        describe_captioner(replace(options_for(llama_folder), revision="main"))
    with pytest.raises(ConfigError, match="cannot be loaded by AutoModelForImageTextToText"):
        create_captioner(options_for(llama_folder))


def test_a_hub_model_that_is_not_reachable_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def absent(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("not in the cache\nand more lines")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", absent)
    with pytest.raises(ConfigError, match="neither a folder nor reachable on the hub") as caught:
        describe_captioner(CaptionOptions(captioner="video-llava", model="some/model"))
    assert "\n" not in str(caught.value)


def test_a_hub_model_is_keyed_by_its_commit(monkeypatch: pytest.MonkeyPatch, video_llava_folder: Path) -> None:
    import shutil

    import huggingface_hub

    snapshot = video_llava_folder.parent / "snapshots" / "abc123"
    snapshot.mkdir(parents=True, exist_ok=True)
    shutil.copy(video_llava_folder / "config.json", snapshot)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: str(snapshot / "config.json"))
    card = describe_captioner(CaptionOptions(captioner="video-llava", model="some/model"))
    assert (card.revision, card.size_px) == ("abc123", 32)


@pytest.mark.parametrize("name", sorted(CAPTIONERS))
def test_every_captioner_of_the_table_says_what_it_is(name: str) -> None:
    info = CAPTIONERS[name]
    assert info.name == name
    assert info.summary
    assert info.source
    assert info.licence
    assert callable(info.build.describe)


@pytest.mark.parametrize("path", ["pathlib:Path", "os:getcwd", "conical.captioning:CAPTIONERS"])
def test_what_is_no_captioner_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match=f"captioner '{path}' must be a class with describe and caption, got"):
        describe_captioner(CaptionOptions(captioner=path))
