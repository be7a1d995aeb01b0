"""Requests to a server of the OpenAI chat form: retries, pauses it asks for, proxies, and whose fault a failure is."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import sleep
from typing import TYPE_CHECKING

from conical.captioning.options import EndpointOptions
from conical.captioning.proxies import proxy_for, without_credentials
from conical.core.errors import ConfigError

if TYPE_CHECKING:
    import httpx2

_BUSY = (408, 429, 500, 502, 503, 504)
_REFUSED_ROW = (400, 413, 422)
_ASKS_TO_WAIT = (429, 503)
_MAY_BE_OF_THE_ROW = (408, 500)
_PROXY_MAY_SAY = (403, 502, 503, 504)
_FIRST_PAUSE_SECONDS = 0.5
_MOST_BYTES = 1 << 23
_SHOWN_CHARACTERS = 200


class NotServedError(Exception):
    """The server gave no answer to a request.

    Args:
        problem: why, one line.
        is_final: no other request would fare better.
        may_be_of_the_row: what was asked may have broken it, as a broken frame breaks a decoder.
    """

    def __init__(self, problem: str, *, is_final: bool = False, may_be_of_the_row: bool = False) -> None:
        super().__init__(problem)
        self.is_final = is_final
        self.may_be_of_the_row = may_be_of_the_row


class RefusedRowError(Exception):
    """The server refused one request for its content."""


class ChatServer:
    """One server; may be used by several threads.

    Args:
        endpoint: address, limits.

    Raises:
        ConfigError: the environment variable of the key is not set, or a proxy is set that cannot be used.
    """

    def __init__(self, endpoint: EndpointOptions) -> None:
        import httpx2

        self.url = endpoint.url.rstrip("/") + "/chat/completions"
        self._endpoint = endpoint
        proxy = proxy_for(self.url)
        self._proxy = without_credentials(proxy) if proxy else ""
        try:
            key = endpoint.api_key()
        except ValueError as error:
            raise ConfigError(str(error)) from error
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        try:
            # redirects are not followed: they would carry the key to another host
            self._client = httpx2.Client(
                verify=httpx2.create_ssl_context(),
                proxy=proxy,
                trust_env=False,
                headers=headers,
                timeout=endpoint.timeout_seconds,
                limits=httpx2.Limits(max_connections=None),
            )
        except (ValueError, ImportError, httpx2.InvalidURL):
            # the error itself is not shown: it may hold the proxy's password
            raise ConfigError(
                f"the proxy {self._proxy} of the environment cannot be used: set it to http://HOST:PORT, or name the "
                "caption server's host in no_proxy"
            ) from None

    @property
    def advice(self) -> str:
        """What to look at when it does not serve."""
        through = f", the proxy {self._proxy} (or name the host in no_proxy)" if self._proxy else ""
        return f"start it, check captions.endpoint.url, captions.model and the key{through}, then run again"

    def ask(self, body: bytes) -> bytes:
        """The answer to one request, which is repeated while the server is busy or away.

        Raises:
            NotServedError: there was none.
            RefusedRowError: the request was refused for its content.
        """
        import httpx2

        problem, asked_pause, is_of_row = "", 0.0, False
        for attempt in range(self._endpoint.max_retries + 1):
            if attempt:
                own_pause = _FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)
                sleep(min(max(own_pause, asked_pause), self._endpoint.timeout_seconds))
            try:
                response, answer = self._post(body)
            except httpx2.RequestError as error:
                problem, asked_pause = self._problem(error), 0.0
                is_of_row = isinstance(error, (httpx2.ReadTimeout, httpx2.RemoteProtocolError, httpx2.DecodingError))
                continue
            if response.status_code == 200:
                return answer
            words = f"server answered {response.status_code}: {_message(answer)}"
            if response.status_code in _REFUSED_ROW:
                raise RefusedRowError(words)
            problem = self._by_way_of_proxy(response.status_code, words) + _to_elsewhere(response)
            if response.status_code not in _BUSY:
                raise NotServedError(problem, is_final=True)
            is_of_row = response.status_code in _MAY_BE_OF_THE_ROW
            asks = response.status_code in _ASKS_TO_WAIT
            asked_pause = seconds_to_wait(response.headers.get("retry-after", "")) if asks else 0.0
        raise NotServedError(problem, may_be_of_the_row=is_of_row)

    def _post(self, body: bytes) -> tuple[httpx2.Response, bytes]:
        """One request; its time limit holds for the whole, however slowly the answer drips."""
        import httpx2

        deadline = time.monotonic() + self._endpoint.timeout_seconds
        chunks, size = [], 0
        with self._client.stream("POST", self.url, content=body) as response:
            for chunk in response.iter_bytes():
                chunks.append(chunk)
                size += len(chunk)
                if size > _MOST_BYTES:
                    raise httpx2.DecodingError(f"an answer of more than {_MOST_BYTES >> 20} MiB")
                if time.monotonic() > deadline:
                    raise httpx2.ReadTimeout("the answer did not end")
        return response, b"".join(chunks)

    def _problem(self, error: httpx2.RequestError) -> str:
        """What went wrong on the way, in words."""
        import httpx2

        reason = " ".join(str(error).split())[:_SHOWN_CHARACTERS] or type(error).__name__
        if isinstance(error, httpx2.TimeoutException):
            return f"no answer within {self._endpoint.timeout_seconds:g} s"
        if not self._proxy:
            return reason
        if isinstance(error, httpx2.ProxyError):
            return f"the proxy {self._proxy} refused: {reason}"
        if isinstance(error, httpx2.ConnectError) and "ssl" not in reason.lower():
            verb = "refused the connection" if "refused" in reason.lower() else "cannot be reached"
            return f"the proxy {self._proxy} {verb}: {reason}"
        return f"{reason}, by way of the proxy {self._proxy}"

    def _by_way_of_proxy(self, status: int, words: str) -> str:
        if status == 407:
            return f"the proxy {self._proxy or 'before it'} refused: {words.replace('server', 'it', 1)}"
        # through a tunnel the server itself has answered; a plain request may not have come so far
        if self._proxy and self.url.startswith("http://") and status in _PROXY_MAY_SAY:
            return f"the proxy {self._proxy} refused, or the server behind it: {words.replace('server', 'it', 1)}"
        return words


def seconds_to_wait(retry_after: str) -> float:
    """The pause that a `Retry-After` header asks for, in seconds or as a date; 0 for none.

    >>> seconds_to_wait("12"), seconds_to_wait("Fri, 31 Dec 1999 23:59:59 GMT"), seconds_to_wait("soon")
    (12.0, 0.0, 0.0)
    """
    try:
        return max(0.0, float(retry_after)) if float(retry_after) < float("inf") else 0.0
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(retry_after)
    except (ValueError, TypeError):
        return 0.0
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _to_elsewhere(response: httpx2.Response) -> str:
    """Where a redirect points to, its host alone; it is not followed."""
    import httpx2

    if not response.has_redirect_location:
        return ""
    try:
        return f" (it redirects to {httpx2.URL(response.headers['location']).host or 'another path'})"
    except httpx2.InvalidURL:
        return " (it redirects)"


def _message(answer: bytes) -> str:
    """What a server says of an error: the message of OpenAI's form, else the beginning of its text."""
    text = answer.decode("utf-8", errors="replace")
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        parsed = None
    for key in ("error", "message", "detail"):
        if isinstance(parsed, dict) and parsed.get(key):
            parsed = parsed[key]
    return " ".join((parsed if isinstance(parsed, str) else text).split())[:_SHOWN_CHARACTERS] or "no text"
