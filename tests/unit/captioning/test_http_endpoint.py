"""The HTTP captioner against a server on loopback."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from conical.captioning import CaptionOptions, EndpointOptions, GenerationOptions, chat_server, create_captioner
from conical.captioning.proxies import proxy_for
from conical.core.errors import ClusterError, ConfigError

CLIP = np.full((2, 16, 24, 3), 200, np.uint8)


@dataclass
class FakeServer:
    """What it was asked and what it shall say.

    An answer is (status, body), (status, body, headers) or a function of the handler; the last one is repeated.
    """

    url: str = ""
    answers: list[Any] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)


def answer(text: Any, *, finish: str = "stop", tokens: int = 5) -> tuple[int, str]:
    choice = {"message": {"content": text}, "finish_reason": finish}
    return 200, json.dumps({"choices": [choice], "usage": {"completion_tokens": tokens}})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    fake = FakeServer()
    monkeypatch.setattr(chat_server, "sleep", fake.pauses.append)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fake.requests.append((self.path, dict(self.headers), body))
            reply = fake.answers[min(len(fake.requests), len(fake.answers)) - 1]
            if callable(reply):
                reply(self)
                return
            status, text, headers = (*reply, {})[:3]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        def do_CONNECT(self) -> None:
            fake.requests.append((self.path, dict(self.headers), {}))
            status, text = fake.answers[0]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            return

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.handle_error = lambda *_: None  # clients that go away are part of the tests
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
    assert (text.text, text.tokens_out, text.truncated, text.error) == ("  a grey\nsquare ", 5, False, "")
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
    server.answers = [(500, "oops"), (429, "slow down"), answer("done")]
    assert captioner_at(server.url).caption([CLIP], ["x"], seeds=[0])[0].text == "done"
    assert len(server.requests) == 3
    assert server.pauses == [0.5, 1.0]


def test_a_server_that_stays_busy_ends_the_job_after_the_retries(server: FakeServer) -> None:
    server.answers = [(503, "busy")]
    with pytest.raises(ClusterError, match=r"does not serve \(server answered 503: busy\): start it, check captions"):
        captioner_at(server.url).caption([CLIP], ["x"], seeds=[0])
    assert len(server.requests) == 3


def test_a_refused_key_ends_the_job_at_once(server: FakeServer) -> None:
    server.answers = [(401, "who are you")]
    with pytest.raises(ClusterError, match="server answered 401: who are you"):
        captioner_at(server.url).caption([CLIP], ["x"], seeds=[0])
    assert len(server.requests) == 1


def test_a_redirect_is_not_followed_since_it_would_carry_the_key_away(server: FakeServer) -> None:
    server.answers = [(302, "over there", {"Location": "http://user:secret@elsewhere.example/v1"})]
    with pytest.raises(
        ClusterError, match=r"answered 302: over there \(it redirects to elsewhere\.example\)"
    ) as caught:
        captioner_at(server.url).caption([CLIP], ["x"], seeds=[0])
    assert "secret" not in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ((400, "too many images"), "server answered 400: too many images"),
        ((400, '{"error": {"message": "too many\\nimages", "code": 400}}'), "server answered 400: too many images"),
        ((422, '{"detail": [{"loc": "seed"}]}'), 'server answered 422: {"detail": [{"loc": "seed"}]}'),
        ((413, ""), "server answered 413: no text"),
        ((200, "<html>log\x00in</html>"), 'unreadable answer: "<html>log\\x00in</html>"'),
        ((200, ""), 'unreadable answer: ""'),
        ((200, "not JSON"), 'unreadable answer: "not JSON"'),
        ((200, '{"choices": []}'), "unreadable answer"),
        ((200, "[1]"), "unreadable answer"),
        ((200, "null"), "unreadable answer"),
        ((200, "[" * 100_000), "unreadable answer"),
        ((200, '{"choices": [{"message": {"content": null, "refusal": "I must not."}}]}'), 'refusal: "I must not."'),
        (
            (200, '{"choices": [{"message": {"content": "", "reasoning_content": "Hm"}}]}'),
            'cut off in mid-thought: "Hm"',
        ),
    ],
)
def test_a_bad_answer_fails_that_row_alone(server: FakeServer, reply: tuple[int, str], error: str) -> None:
    server.answers = [reply, answer("fine")]
    bad, good = captioner_at(server.url, concurrency=1).caption([CLIP] * 2, ["x"] * 2, seeds=[0] * 2)
    assert (bad.text, error in bad.error) == ("", True), bad
    assert (good.text, good.error) == ("fine", "")
    assert server.pauses == []


@pytest.mark.parametrize(
    "content",
    [["a list"], None, 7, "a \ud800 half", "<think>hm"],
)
def test_what_the_server_gives_as_a_text_is_handed_on_to_the_check_of_answers(server: FakeServer, content: Any) -> None:
    server.answers = [answer(content)]
    (text,) = captioner_at(server.url).caption([CLIP], ["x"], seeds=[0])
    assert (text.text, text.error) == (content, "")


def hang(handler: BaseHTTPRequestHandler) -> None:
    """Says nothing until the client goes."""
    handler.connection.recv(1)


def close_midway(handler: BaseHTTPRequestHandler) -> None:
    """Promises more than it sends."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')


def drip(handler: BaseHTTPRequestHandler) -> None:
    """Sends a little now and then, for ever."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" ")
        threading.Event().wait(0.02)


def flood(handler: BaseHTTPRequestHandler) -> None:
    """Never stops sending."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" " * 65536)


@pytest.mark.parametrize(
    ("reply", "seconds", "problem"),
    [
        (hang, 0.2, "no answer within 0.2 s"),
        (drip, 0.2, "no answer within 0.2 s"),
        (close_midway, 60.0, "closed connection"),
        (flood, 60.0, "an answer of more than"),
    ],
)
def test_a_server_that_hangs_or_breaks_off_is_asked_again_and_then_named(
    server: FakeServer, reply: Any, seconds: float, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_server, "_MOST_BYTES", 1 << 16)
    server.answers = [reply]
    with pytest.raises(ClusterError, match=problem):
        captioner_at(server.url, timeout_seconds=seconds, max_retries=1).caption([CLIP] * 8, ["x"] * 8, seeds=[0] * 8)
    assert len(server.pauses) == 8  # one before each second attempt


def test_an_answer_that_breaks_off_is_asked_for_again(server: FakeServer) -> None:
    server.answers = [close_midway, answer("done")]
    assert captioner_at(server.url).caption([CLIP], ["x"], seeds=[0])[0].text == "done"


def test_a_request_that_cannot_be_served_costs_its_row_while_others_are_served(server: FakeServer) -> None:
    server.answers = [answer("one"), (500, "crash"), (500, "crash"), (500, "crash"), answer("two")]
    texts = captioner_at(server.url, concurrency=1).caption([CLIP] * 3, ["x"] * 3, seeds=[0] * 3)
    assert [text.text for text in texts] == ["one", "", "two"]
    assert texts[1].error == "server answered 500: crash"


def test_requests_that_break_the_server_end_the_job_when_it_serves_no_other(server: FakeServer) -> None:
    server.answers = [(500, "crash")]
    captioner = captioner_at(server.url, max_retries=0)
    # as a re-run may ask for nothing but what failed before
    for _ in range(7):
        (text,) = captioner.caption([CLIP], ["x"], seeds=[0])
        assert text.error == "server answered 500: crash"
    with pytest.raises(ClusterError, match=r"does not serve .server answered 500: crash"):
        captioner.caption([CLIP], ["x"], seeds=[0])


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("asked", "paused"), [("3", 3.0), ("0", 0.5), ("1e9", 5.0), ("inf", 0.5), ("soon", 0.5), ("-4", 0.5), ("nan", 0.5)]
)
def test_the_pause_that_a_busy_server_asks_for_is_kept_up_to_the_time_limit(
    server: FakeServer, status: int, asked: str, paused: float
) -> None:
    server.answers = [(status, "busy", {"Retry-After": asked}), answer("done")]
    assert captioner_at(server.url).caption([CLIP], ["x"], seeds=[0])[0].text == "done"
    assert server.pauses == [paused]


def test_a_busy_server_may_ask_for_a_pause_by_a_date(server: FakeServer) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=4), usegmt=True)
    server.answers = [(429, "busy", {"Retry-After": date}), answer("done")]
    assert captioner_at(server.url).caption([CLIP], ["x"], seeds=[0])[0].text == "done"
    assert 1 < server.pauses[0] <= 4


def test_a_server_that_is_away_ends_the_job_with_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_server, "sleep", lambda seconds: None)
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


@pytest.mark.parametrize("key", ["sk-secret\nX-Other: 1", "sk-secret-\u00e9"])
def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONICAL_TEST_KEY", key)
    with pytest.raises(ConfigError, match=r"CONICAL_TEST_KEY named by .* holds characters that no key has") as caught:
        captioner_at("http://127.0.0.1:1/v1", api_key_env="CONICAL_TEST_KEY")
    assert "secret" not in str(caught.value)


# ---- proxies

LOOPBACK = ("127.0.0.1", "localhost", "127.8.9.10", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]", "box.localhost")
VARIABLES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")


@pytest.mark.parametrize("host", LOOPBACK)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_proxy_stands_before_this_machine(host: str, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (*VARIABLES, "https_proxy"):
        monkeypatch.setenv(variable, "http://proxy.example:3128")
    assert proxy_for(f"{scheme}://{host}:8000/v1") is None
    assert proxy_for(f"{scheme}://captions.example/v1") == "http://proxy.example:3128"


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_server_on_this_machine_is_reached_past_a_dead_proxy(
    server: FakeServer, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    server.answers = [answer("done")]
    assert captioner_at(server.url).caption([CLIP], ["x"], seeds=[0])[0].text == "done"


@pytest.mark.parametrize(
    ("no_proxy", "url", "has_proxy"),
    [
        ("captions.example", "http://captions.example/v1", False),
        ("captions.example:8000", "http://captions.example:8000/v1", False),
        (".example", "http://captions.example/v1", False),
        ("*", "http://captions.example/v1", False),
        ("10.0.0.0/8, other", "http://10.1.2.3:8000/v1", False),
        ("10.0.0.0/8", "http://11.1.2.3:8000/v1", True),
        ("elsewhere", "http://captions.example/v1", True),
    ],
)
def test_hosts_named_in_no_proxy_are_asked_directly(
    server: FakeServer, no_proxy: str, url: str, has_proxy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "proxy.example:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    assert proxy_for(url) == ("http://proxy.example:3128" if has_proxy else None)


@pytest.mark.parametrize(
    ("scheme", "status", "problem"),
    [
        ("http", 407, r"the proxy http://127\.0\.0\.1:\d+ refused: it answered 407: go away"),
        ("http", 403, r"the proxy http://127\.0\.0\.1:\d+ refused, or the server behind it: it answered 403: go away"),
        ("http", 502, r"the proxy http://127\.0\.0\.1:\d+ refused, or the server behind it: it answered 502: go away"),
        ("https", 403, r"the proxy http://127\.0\.0\.1:\d+ refused: 403"),
        ("https", 407, r"the proxy http://127\.0\.0\.1:\d+ refused: 407"),
        ("https", 502, r"the proxy http://127\.0\.0\.1:\d+ refused: 502"),
    ],
)
def test_a_proxy_that_refuses_is_named_without_its_password(
    server: FakeServer, scheme: str, status: int, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = server.url.removeprefix("http://").removesuffix("/v1")
    monkeypatch.setenv(f"{scheme}_proxy", f"http://someone:pass%40word@{address}")
    server.answers = [(status, "go away")]
    with pytest.raises(ClusterError, match=problem) as caught:
        captioner_at(f"{scheme}://captions.example/v1").caption([CLIP], ["x"], seeds=[0])
    assert "no_proxy" in str(caught.value)
    assert not {"someone", "pass", "word"} & {*re.findall(r"[a-z]+", str(caught.value))}


def test_a_proxy_that_is_away_is_named_without_its_password(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", "http://someone:secret@127.0.0.1:1")
    with pytest.raises(ClusterError, match=r"the proxy http://127\.0\.0\.1:1 refused the connection: ") as caught:
        captioner_at("http://captions.example/v1").caption([CLIP], ["x"], seeds=[0])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "proxy", ["ftp://someone:secret@h:1", "socks9://someone:secret@h:1", "http://someone:secret@:x"]
)
def test_a_proxy_that_cannot_be_used_is_a_mistake_of_the_environment(
    server: FakeServer, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(ConfigError, match=r"the proxy .* of the environment cannot be used: set it to") as caught:
        captioner_at("http://captions.example/v1")
    assert "secret" not in str(caught.value)
