"""The tools of the benchmarks, in the small. No time is asserted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from conical.video import probe
from conical.workbench.bench.harness import markdown_table
from conical.workbench.bench.ingest_speed import ingest_page
from conical.workbench.bench.input_speed import bench_input, input_page
from conical.workbench.bench.memory import PeakMemory
from conical.workbench.bench.sample_clips import ClipSet, pictures, write_clips


def test_clips_have_the_size_and_length_asked_for_and_only_some_are_copies(tmp_path: Path) -> None:
    kind = ClipSet(name="small", width=64, height=48, num_seconds=1, fps=10, num_clips=3, num_distinct=2)
    paths = write_clips(kind, tmp_path / "clips")
    infos = [probe(path) for path in paths]
    assert [(info.width, info.height, info.num_frames) for info in infos] == [(64, 48, 10)] * 3
    first, second, copy = (path.read_bytes() for path in paths)
    assert first == copy != second


def test_pictures_move_unless_they_are_to_be_still() -> None:
    kind = {"name": "small", "width": 64, "height": 48, "num_seconds": 1, "fps": 4}
    for is_still in (False, True):
        first, *_, last = pictures(ClipSet(**kind, is_still=is_still), seed=0)
        assert first.shape == (48, 64, 3)
        assert np.array_equal(first, last) == is_still


def test_the_memory_of_a_family_is_seen_and_that_of_others_is_not() -> None:
    program = "import time; block = bytearray(200_000_000); print('ready', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", program, "the-one-we-look-for"]
    with PeakMemory("the-one-we-look-for") as wanted, PeakMemory("somebody-else") as other:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        child.stdout.readline()
        while wanted.peak_mb < 200:
            assert child.poll() is None
        child.kill()
        child.communicate()
    assert 200 <= wanted.peak_mb < 300
    assert other.peak_mb == 0


def test_the_input_is_measured_on_each_way_from_disk_to_a_step(tmp_path: Path) -> None:
    result = bench_input(tmp_path, num_videos=8, batch_size=4, size=16)
    assert set(result["batches_per_second"]) == set(result["gigabytes_per_second"])
    assert len(result["batches_per_second"]) == 9
    assert {name for name in result["ratios"] if "decoded ahead" in name} == {
        f"{codec} decoded ahead to {other}" for codec in ("raw", "jpeg") for other in ("the plain loop", "the map")
    }
    sizes = result["megabytes_on_disk"]
    assert sizes["map"] < sizes["raw"]
    assert sizes["map"] == (128 + 8 * 10 * 16 * 16 * 3) / 1e6
    assert all(value > 0 for value in (*result["batches_per_second"].values(), *result["ratios"].values()))
    name, rate = next(iter(result["batches_per_second"].items()))
    assert f"| {name} | {rate:.1f} |" in input_page(result)
    assert f"On disk: map {sizes['map']:,.0f} MB, raw" in input_page(result)
    assert result["what"] == "8 clips of 10 frames of 16 px (0 MB), batches of 4 (0 MB)"


def test_the_page_shows_each_contender_and_each_ratio() -> None:
    row = {"num_clips": 500, "seconds": 20.0, "videos_per_second": 25.0, "peak_mb": 1234.5}
    found = {"what": "500 clips", "contenders": {"ours": row}, "ratios": {"to the plain one": 0.912}}
    large = {"4K": {"seconds": 2.0, "decoder_mb": 172.0, "actor_mb": 301.0}}
    page = ingest_page({"recipe": "10 frames", "num_cores": 2, "clips": {"small": found}, "large": large})
    assert "## small\n\n500 clips\n\n|  | clips | videos/s | peak MB |" in page
    assert "| ours | 500 | 25.0 | 1,234 |" in page
    assert "- to the plain one: 0.91" in page
    assert "| 4K | 2.0 | 172 | 301 |" in page


def test_a_table_has_a_ruler_that_puts_numbers_to_the_right() -> None:
    assert markdown_table(["name", "value"], [["a", "1"]]) == "| name | value |\n| --- | ---: |\n| a | 1 |"
