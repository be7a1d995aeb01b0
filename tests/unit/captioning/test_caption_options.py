"""Options of captioning refuse what cannot be, in one line."""

from __future__ import annotations

import doctest
import importlib

import pytest

from conical.captioning import CaptionOptions, EndpointOptions, GenerationOptions
from conical.captioning.prompts import PROMPTS


@pytest.mark.parametrize(
    "name", ["answers", "chat_server", "declined", "generation", "keys", "mix", "proxies", "splitting"]
)
def test_the_examples_in_the_docstrings_hold(name: str) -> None:
    module = importlib.import_module(f"conical.captioning.{name}")
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be >= 1, got 0"),
        ({"temperature": -0.1}, r"temperature must be between 0 \(greedy\) and 2, got -0.1"),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1, got 0.0"),
        ({"seed": -1}, "seed must be >= 0, got -1"),
    ],
)
def test_impossible_generation_settings_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GenerationOptions(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"samples": 0}, "samples must be >= 1, got 0"),
        ({"max_missing": -0.1}, "max_missing must be at least 0 and below 1, got -0.1"),
        ({"max_missing": 1.0}, "max_missing must be at least 0 and below 1, got 1.0"),
        ({"max_missing": float("nan")}, "max_missing must be at least 0 and below 1, got nan"),
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
        ({"num_frames": 0}, "num_frames must be >= 1, got 0"),
        ({"dtype": "float61"}, "dtype must be one of .*Did you mean 'float16'"),
        ({"prompts": ()}, "prompts must name at least one of A, B, C"),
        ({"prompts": ("A", "A")}, "prompts must name each prompt once, got 'A' 2 times"),
        ({"prompts": ("D",)}, "unknown prompt 'D': choose from A, B, C, or add its text to custom_prompts"),
        ({"custom_prompts": {"A": "x"}}, "custom_prompts must not reuse the name 'A'"),
        ({"samples": 2}, "samples must be 1 for prompt B, C at temperature 0, got 2"),
    ],
)
def test_impossible_caption_options_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CaptionOptions(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"url": "file:///etc/passwd"}, "endpoint.url must start with http:// or https://"),
        ({"url": "http://"}, "endpoint.url must name a host, got 'http://'"),
        ({"url": "http://me:secret@host/v1"}, "endpoint.url must hold no user name or password: put the key"),
        ({"api_key_env": "sk-12 34"}, "must be the NAME of an environment variable"),
        ({"timeout_seconds": 0.0}, "endpoint.timeout_seconds must be > 0, got 0.0"),
        ({"max_retries": 11}, "endpoint.max_retries must be between 0 and 10, got 11"),
        ({"concurrency": 0}, "endpoint.concurrency must be >= 1, got 0"),
    ],
)
def test_impossible_endpoints_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EndpointOptions(**values)


def test_a_key_mistaken_for_the_name_of_a_variable_is_not_repeated_in_the_message() -> None:
    with pytest.raises(ValueError) as caught:
        EndpointOptions(api_key_env="sk-very-secret")
    assert "secret" not in str(caught.value)


def test_several_samples_of_a_prompt_that_reads_captions_need_no_temperature() -> None:
    assert CaptionOptions(prompts=("A",), samples=3).samples == 3


def test_prompts_given_as_a_list_make_equal_options() -> None:
    assert CaptionOptions(prompts=["A", "B"]).prompts == ("A", "B")


def test_a_custom_prompt_reads_the_caption_exactly_when_its_text_says_so() -> None:
    options = CaptionOptions(
        prompts=("plain", "given"), custom_prompts={"plain": "What?", "given": "More than {caption}"}
    )
    assert [prompt.reads_human_caption for prompt in options.resolved_prompts()] == [False, True]


def test_greedy_identity_ignores_what_greedy_ignores_and_sampling_does_not() -> None:
    assert GenerationOptions(top_p=0.5).to_json() == GenerationOptions().to_json()
    assert GenerationOptions(max_new_tokens=5).to_json() != GenerationOptions().to_json()
    warm = GenerationOptions(temperature=1.0)
    assert GenerationOptions(temperature=1.0, seed=1).to_json() != warm.to_json()


def test_only_a_reads_the_human_caption_and_says_so_when_there_is_none() -> None:
    assert [name for name, prompt in PROMPTS.items() if prompt.reads_human_caption] == ["A"]
    assert '"a {dog}"' in PROMPTS["A"].render("a {dog}")
    with pytest.raises(ValueError, match="prompt A reads the human caption, but the clip has none"):
        PROMPTS["A"].render(None)
