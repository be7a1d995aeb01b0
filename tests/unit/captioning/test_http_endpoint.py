"""The HTTP captioner against a server on loopback."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from conical.captioning import CaptionOptions, EndpointOptions, GenerationOptions, create_captioner
from conical.captioning import http_endpoint as module
from conical.core.errors import ClusterError, ConfigError

CLIP = np.full((2, 16, 24, 3), 200, np.uint8)


@dataclass
class FakeServer:
    """What it was asked and what it shall say: one (status, body) a request, the last one repeated."""

    url: str = ""
    answers: list[tuple[int, str]] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)


def answer(text: str | None, *, finish: str = "stop", tokens: int = 5) -> tuple[int, str]:
    choice = {"message": {"content": text}, "finish_reason": finish}
    return 200, json.dumps({"choices": [choice], "usage": {"completion_tokens": tokens}})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.setattr(module, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    fake = FakeServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fake.requests.append((self.path, dict(self.headers), body))
            status, text = fake.answers[min(len(fake.requests), len(fake.answers)) - 1]
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            return

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    fake.url = f"http://127.0.0.1:{httpd.server_port}/v1"
    yield fake
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def captioner_at(url: str, *, temperature: float = 0.0, **endpoint: Any) -> Any:
    options = CaptionOptions(
        captioner="http-endpoint",
        model="served",
        revision="v1",
        num_frames=2,
        generation=GenerationOptions(max_new_tokens=7, temperature=temperature),
        endpoint=EndpointOptions(url=url, **({"max_retries": 2, "timeout_seconds": 5.0} | endpoint)),
    )
    return create_captioner(options)


def test_a_request_carries_the_frames_as_jpeg_and_the_settings(server: FakeServer) -> None:
    server.answers = [answer("  a grey\nsquare ")]
    (text,) = captioner_at(server.url).caption([CLIP], ["Describe."], seeds=[2**40 + 3])
    assert (text.text, text.tokens_out, text.truncated, text.error) == ("a grey square", 5, False, "")
    path, _, body = server.requests[0]
    assert path == "/v1/chat/completions"
    assert (body["model"], body["max_tokens"], body["temperature"], body["seed"]) == ("served", 7, 0.0, 3)
    *images, prompt = body["messages"][0]["content"]
    assert prompt == {"type": "text", "text": "Describe."}
    assert len(images) == 2
    from PIL import Image

    header, _, data = images[0]["image_url"]["url"].partition(",")
    assert header == "data:image/jpeg;base64"
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert np.abs(pixels.astype(int) - CLIP[0]).max() <= 2


def test_answers_stay_with_their_rows_when_requests_overlap(server: FakeServer) -> None:
    server.answers = [answer("x")]
    captioner = captioner_at(server.url, concurrency=4)
    captioner._caption_one = lambda clip, prompt, seed: prompt
    assert captioner.caption([CLIP] * 5, list("abcde"), seeds=[0] * 5) == list("abcde")


def test_an_answer_cut_at_the_limit_is_marked(server: FakeServer) -> None:
    server.answers = [answer("a gr", finish="length")]
    assert captioner_at(server.url).caption([CLIP], ["x"], seeds=[0])[0].truncated


def test_a_busy_server_is_asked_again(server: FakeServer) -> None:
    server.answers = [(503, "busy"), (429, "slow down"), answer("done")]
    assert captioner_at(server.url).caption([CLIP], ["x"], seeds=[0])[0].text == "done"
    assert len(server.requests) == 3


def test_a_server_that_stays_busy_ends_the_job_after_the_retries(server: FakeServer) -> None:
    server.answers = [(503, "busy")]
    with pytest.raises(ClusterError, match=r"does not serve \(HTTP 503: busy\): start it, check captions"):
        captioner_at(server.url).caption([CLIP], ["x"], seeds=[0])
    assert len(server.requests) == 3


def test_a_refused_key_ends_the_job_at_once(server: FakeServer) -> None:
    server.answers = [(401, "who are you")]
    with pytest.raises(ClusterError, match="HTTP 401: who are you"):
        captioner_at(server.url).caption([CLIP], ["x"], seeds=[0])
    assert len(server.requests) == 1


def test_a_redirect_is_not_followed_since_it_would_carry_the_key_away(server: FakeServer) -> None:
    server.answers = [(302, "over there")]
    with pytest.raises(ClusterError, match="HTTP 302"):
        captioner_at(server.url).caption([CLIP], ["x"], seeds=[0])


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ((400, "too many images"), "HTTP 400: too many images"),
        ((200, "<html>"), "unreadable answer: <html>"),
        ((200, '{"choices": []}'), "unreadable answer"),
        ((200, "[1]"), "unreadable answer"),
    ],
)
def test_a_request_refused_for_its_content_fails_that_row_alone(
    server: FakeServer, reply: tuple[int, str], error: str
) -> None:
    server.answers = [reply]
    (text,) = captioner_at(server.url).caption([CLIP], ["x"], seeds=[0])
    assert text.text == ""
    assert error in text.error


def test_a_server_that_is_away_ends_the_job_with_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    # port 1 of loopback: nothing listens there
    with pytest.raises(ClusterError, match=r"server at http://127\.0\.0\.1:1/v1/chat/completions does not serve"):
        captioner_at("http://127.0.0.1:1/v1").caption([CLIP], ["x"], seeds=[0])


def test_the_key_comes_from_the_environment_and_appears_in_no_error(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONICAL_TEST_KEY", "sk-very-secret")
    server.answers = [(403, "no")]
    captioner = captioner_at(server.url, api_key_env="CONICAL_TEST_KEY")
    with pytest.raises(ClusterError) as caught:
        captioner.caption([CLIP], ["x"], seeds=[0])
    assert server.requests[0][1]["Authorization"] == "Bearer sk-very-secret"
    assert "secret" not in str(caught.value) + repr(captioner.card)


def test_a_key_that_is_not_exported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONICAL_TEST_KEY", raising=False)
    with pytest.raises(
        ConfigError, match=r"variable CONICAL_TEST_KEY named by endpoint\.api_key_env is not set: export"
    ):
        captioner_at("http://127.0.0.1:1/v1", api_key_env="CONICAL_TEST_KEY")
