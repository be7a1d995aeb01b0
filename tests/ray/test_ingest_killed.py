"""`conical ingest` killed again and again, whichever process is hit, ends in the store of an undisturbed run."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import conical
from clip_factory import write_clip
from conical.store import FrameStore

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

NUM_GOOD, NUM_BROKEN = 150, 6  # twenty units
LAST_CHANCE_SECONDS = 4.0  # a unit takes about two: some blows fall before it is written, some after
SECONDS_A_RUN = 240
# which process is killed first, if any, and then how the driver ends
BLOWS = (
    ("", signal.SIGKILL),
    ("conical.video.child", signal.SIGKILL),
    ("", signal.SIGINT),
    ("MapWorker", signal.SIGKILL),
    ("", signal.SIGKILL),
)
_COMMAND = "from conical.cli.main import run; run()"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    good = [f"{number:03d}.mp4" for number in range(NUM_GOOD)]
    broken = [f"{number * NUM_GOOD // NUM_BROKEN:03d}-broken.mp4" for number in range(NUM_BROKEN)]
    for number, name in enumerate(good):
        write_clip(root / name, num_frames=3 + number % 20)
    for name in broken:
        (root / name).write_text("no video")
    rows = [
        f"{Path(name).stem},{name},{('train', 'val', 'test')[k % 3]},a clip" for k, name in enumerate([*good, *broken])
    ]
    (root / "manifest.csv").write_text("\n".join(["video_id,uri,split,caption", *rows]))
    return root


def _start(root: Path, workspace: Path) -> subprocess.Popen[bytes]:
    paths = (Path(conical.__file__).parent.parent, Path(__file__).parent.parent)
    settings = ("dataset.name=manifest", f"dataset.root={root}", "frames.num_frames=4")
    slow = "frames.decoder=decoder_fakes:slow_frames"
    return subprocess.Popen(
        [sys.executable, "-c", _COMMAND, "ingest", *(word for value in (*settings, slow) for word in ("--set", value))],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "CONICAL_WORKSPACE": str(workspace),
            "RAY_ADDRESS": "local",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def _store(workspace: Path) -> FrameStore | None:
    found = list(workspace.glob("datasets/*/frames/*/card.json"))
    return FrameStore.open(found[0].parent) if found else None


def _family(run: subprocess.Popen[bytes], title: str) -> list[psutil.Process]:
    """Descendants of the run whose command line holds `title`."""
    found = []
    for process in psutil.Process(run.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if title in " ".join(process.cmdline()):
                found.append(process)
    return found


def _wait_until_it_decodes(run: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS_A_RUN
    while not _family(run, "conical.video.child"):
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _finish(run: subprocess.Popen[bytes], family: list[psutil.Process]) -> tuple[int, str]:
    """Wait for the run, then for what it started; Ray's agents may outlive a killed driver by minutes."""
    _, complaints = run.communicate(timeout=SECONDS_A_RUN)
    for process in psutil.wait_procs(family, timeout=10)[1]:
        process.kill()
    return run.returncode, complaints.decode()


def test_whatever_is_killed_the_next_run_ends_as_an_undisturbed_one(root: Path, tmp_path: Path) -> None:
    code, complaints = _finish(_start(root, tmp_path / "undisturbed"), [])
    assert code == 0, complaints
    expected = _store(tmp_path / "undisturbed")
    assert expected is not None
    assert (len(expected.video_ids()), len(expected.failures())) == (NUM_GOOD, NUM_BROKEN)

    dice, workspace = random.Random(0), tmp_path / "killed"
    for title, blow in BLOWS:
        run = _start(root, workspace)
        _wait_until_it_decodes(run)
        time.sleep(dice.uniform(0, LAST_CHANCE_SECONDS))
        for victim in _family(run, title)[:1] if title else ():
            victim.kill()
            # the run survives this; then the driver is hit as well
            time.sleep(dice.uniform(0, LAST_CHANCE_SECONDS))
        family = psutil.Process(run.pid).children(recursive=True)
        assert run.poll() is None, run.communicate()
        run.send_signal(blow)
        code, complaints = _finish(run, family)
        assert code == (130 if blow == signal.SIGINT else -signal.SIGKILL), complaints
        store = _store(workspace)
        assert store is not None
        assert store.video_ids() <= expected.video_ids()

    code, complaints = _finish(_start(root, workspace), [])
    assert code == 0, complaints
    store = _store(workspace)
    assert store is not None
    assert store.content_hash() == expected.content_hash()
    assert store.video_ids() == expected.video_ids()
    assert store.failures() == expected.failures()
    assert not list(store.path.glob("failures-*"))
