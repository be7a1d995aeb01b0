"""A headless Chromium that a test drives, over the two pipes of its own debugging protocol: no driver, no port.

with open_chromium(tmp_path) as browser:
    page = browser.open(path, width=375)
    page.run("document.title")

Protocol: https://chromedevtools.github.io/devtools-protocol; with `--remote-debugging-pipe` the browser reads commands
from file descriptor 3 and writes answers and events to 4, each a JSON text that ends in a zero byte.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    *("--disable-default-apps", "--mute-audio", "--remote-debugging-pipe"),
)
_DEADLINE_SECONDS = 60.0
# inherited descriptors must not be the ones the browser's ends are moved to
_LOWEST_DESCRIPTOR = 10
_KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowDown": 40, "ArrowUp": 38}


def require_chromium() -> str:
    """The browser's path; skips without one, fails where the environment asks for one."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        if os.environ.get("CONICAL_REQUIRE_BROWSER") == "1":
            pytest.fail("no chromium on this machine, but CONICAL_REQUIRE_BROWSER=1: apt-get install chromium")
        pytest.skip(
            "no chromium on this machine: install it (Debian: apt-get install chromium) to open the report in it"
        )
    return found


def _without_real_time() -> list[str]:
    """What takes the right to real-time priority from the browser, which it has as root.

    Two of its threads that wait for each other there take both cores of a small machine for ever.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None or os.geteuid() != 0:
        return []
    command = [setpriv, "--bounding-set", "-sys_nice", "--inh-caps", "-sys_nice"]
    # a container may not let its root give up a right
    return command if subprocess.run([*command, "true"], check=False, capture_output=True).returncode == 0 else []


@contextlib.contextmanager
def open_chromium(folder: Path) -> Iterator[Chromium]:
    """Start a browser with an empty profile in `folder`; it is gone afterwards."""
    path = require_chromium()
    commands_out, commands_in = os.pipe()
    answers_out, answers_in = os.pipe()
    theirs = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, _LOWEST_DESCRIPTOR) for end in (commands_out, answers_in)]
    log = folder / "chromium.log"
    command = [*_without_real_time(), path, *_FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
    process = os.posix_spawn(
        command[0],
        command,
        dict(os.environ),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            (os.POSIX_SPAWN_DUP2, theirs[0], 3),
            (os.POSIX_SPAWN_DUP2, theirs[1], 4),
        ],
        setpgroup=0,
    )
    for end in (commands_out, answers_in, *theirs):
        os.close(end)
    try:
        yield Chromium(commands=commands_in, answers=answers_out, log=log)
    finally:
        os.close(commands_in)
        os.close(answers_out)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
        os.waitpid(process, 0)


@dataclass
class Chromium:
    """The running browser.

    Args:
        commands: descriptor that takes commands.
        answers: descriptor that gives answers and events.
        log: what the browser printed.
    """

    commands: int
    answers: int
    log: Path
    events: list[dict[str, Any]] = field(default_factory=list)
    _number: int = 0
    _rest: bytes = b""

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """One command and its answer; events that come meanwhile are kept."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": params}
        if session is not None:
            command["sessionId"] = session
        os.write(self.commands, json.dumps(command).encode() + b"\0")
        while True:
            message = self._read()
            if message.get("id") == self._number:
                assert "error" not in message, f"{method}: {message.get('error')}"
                return message["result"]
            self.events.append(message)

    def wait_for(self, event: str, session: str) -> None:
        """Until the event came since the last call of `forget`."""
        while not any(found.get("method") == event and found.get("sessionId") == session for found in self.events):
            self.events.append(self._read())

    def _read(self) -> dict[str, Any]:
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self.answers], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"chromium said nothing for {_DEADLINE_SECONDS:g} s: {self.log.read_text()[-2000:]}"
            part = os.read(self.answers, 1 << 20)
            assert part, f"chromium ended: {self.log.read_text()[-2000:]}"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def open(self, path: Path | str, *, width: int = 1280, height: int = 900, has_script: bool = True) -> Page:
        """Load a file or an address in a page of its own, `width` CSS pixels wide."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable", session)
        is_phone = width < 600
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone}
        self.call("Emulation.setDeviceMetricsOverride", session, **size)
        self.call("Emulation.setScriptExecutionDisabled", session, value=not has_script)
        self.events.clear()
        self.call("Page.navigate", session, url=path.as_uri() if isinstance(path, Path) else path)
        self.wait_for("Page.loadEventFired", session)
        return Page(browser=self, session=session)


@dataclass(frozen=True)
class Page:
    """One loaded page."""

    browser: Chromium
    session: str

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited if it is a promise."""
        answer = self.browser.call(
            "Runtime.evaluate", self.session, expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_until(self, expression: str, *, seconds: float = _DEADLINE_SECONDS) -> None:
        """Until a JavaScript expression is true; for pages that fetch what they show."""
        deadline = time.monotonic() + seconds
        while not self.run(expression):
            assert time.monotonic() < deadline, (expression, self.run("document.body.innerText.slice(0, 2000)"))
            time.sleep(0.1)

    def press(self, key: str, *, times: int = 1) -> None:
        """Press a key as a person does: a named key (`Tab`, `Enter`, ` `) or one letter."""
        text = {"Enter": "\r", "Tab": "", "ArrowDown": "", "ArrowUp": ""}.get(key, key)
        code = _KEYS.get(key, ord(key[0].upper()))
        names = {"key": key, "windowsVirtualKeyCode": code, "nativeVirtualKeyCode": code}
        for _ in range(times):
            kind = "keyDown" if text else "rawKeyDown"
            self.browser.call("Input.dispatchKeyEvent", self.session, type=kind, text=text, **names)
            self.browser.call("Input.dispatchKeyEvent", self.session, type="keyUp", **names)

    def complaints(self) -> list[str]:
        """Everything the console was told, and every exception."""
        # a round trip first: what happened before has been reported by then
        self.run("0")
        kinds = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        return [json.dumps(event) for event in self.browser.events if event.get("method") in kinds]

    def requests(self) -> list[str]:
        """Addresses that were asked for, those inside the file left out."""
        asked = (event for event in self.browser.events if event.get("method") == "Network.requestWillBeSent")
        return [
            event["params"]["request"]["url"]
            for event in asked
            if not event["params"]["request"]["url"].startswith("data:")
        ]

    def screenshot(self, path: Path, *, is_whole: bool = False) -> None:
        """A PNG of the window, or of the whole page."""
        answer = self.browser.call("Page.captureScreenshot", self.session, captureBeyondViewport=is_whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def pdf(self) -> bytes:
        """The page as it is printed on A4."""
        size = {"paperWidth": 8.27, "paperHeight": 11.69, "marginTop": 0.5, "marginBottom": 0.5}
        return base64.b64decode(self.browser.call("Page.printToPDF", self.session, **size)["data"])

    def tree(self) -> list[dict[str, Any]]:
        """What a screen reader is told: the nodes of the accessibility tree that it does not skip."""
        nodes = self.browser.call("Accessibility.getFullAXTree", self.session)["nodes"]
        return [node for node in nodes if not node.get("ignored")]
