"""The doctor finds what is wrong, says what to do, and survives its own checks."""

from __future__ import annotations

import socket
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from rich.console import Console

from conical.cli.show import print_checks
from conical.config import load_experiment
from conical.core.records import SampledFrames
from conical.on_ray.address import RayNode
from conical.workbench.doctor import checks as doctor
from conical.workbench.doctor import decoders as doctor_decoders
from conical.workbench.doctor import ray_checks
from conical.workbench.doctor.check_result import Check
from conical.workbench.doctor.checks import run_checks
from conical.workbench.frame_accuracy.suite import Reader


# MLflow's own use of SQLAlchemy
@pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning")
def test_a_sound_machine_is_fit_and_nothing_is_left_behind(tmp_path: Path) -> None:
    workspace = tmp_path / "not" / "there" / "yet"
    checks = list(run_checks(workspace=workspace, folder=tmp_path))
    names = [check.name for check in checks]
    assert len(names) == len(set(names))
    of_ray = {"ray auth", "ray address", "ray folder", "ray ports", "ray dashboard", "room"}
    expected = {"python", "packages", "mlflow", "disk", "names", "pyav", "decord"} | of_ray
    assert expected <= set(names)
    assert [check for check in checks if check.status == "fail"] == []
    assert not list(tmp_path.iterdir())


def test_one_failed_check_makes_the_machine_unfit_and_a_warning_does_not() -> None:
    warned = Check(name="a", status="warn", detail="b", advice="c")
    assert print_checks(Console(quiet=True), [warned]) == 0
    assert print_checks(Console(quiet=True), [warned, Check(name="a", status="fail", detail="b", advice="c")]) == 1


@pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning")
def test_a_check_that_breaks_is_a_failed_check(tmp_path: Path) -> None:
    def check_moon() -> Check:
        raise RuntimeError("no\nsuch table")

    broken = next(check for check in run_checks(folder=tmp_path, further=[check_moon]) if check.name == "moon")
    assert (broken.status, broken.detail) == ("fail", "RuntimeError: no such table")


def test_an_old_python_fails() -> None:
    assert doctor.check_python((3, 10)).status == "fail"
    assert doctor.check_python((3, 11)).status == "ok"


def test_absent_packages_fail_and_other_series_warn(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {name: f"{tested or 1}.1" for name, tested in doctor.TESTED_PACKAGES.items()}

    def versions(name: str) -> str:
        if name not in found:
            raise PackageNotFoundError(name)
        return found[name]

    monkeypatch.setattr(doctor, "version", versions)
    assert doctor.check_packages().status == "ok"
    found["ray"] = "2.601.0"  # begins like 2.60 but is another series
    check = doctor.check_packages()
    assert (check.status, check.detail) == ("warn", "other versions than tested: ray 2.601.0 (tested: 2.60)")
    del found["mlflow"]
    check = doctor.check_packages()
    assert (check.status, check.detail) == ("fail", "absent: mlflow")


def test_an_absent_decord_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def versions(name: str) -> str:
        if name == "decord":
            raise PackageNotFoundError(name)
        return doctor.TESTED_PACKAGES[name] or "1"

    monkeypatch.setattr(doctor, "version", versions)
    assert doctor.check_packages().status == "ok"


def test_a_stray_token_is_told_unless_the_mode_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret-token")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    check = ray_checks.check_ray_auth()
    assert check.status == "warn"
    assert "export RAY_AUTH_MODE" in check.advice
    assert "secret-token" not in repr(check)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert ray_checks.check_ray_auth().status == "ok"


def test_an_mlflow_that_does_not_keep_what_it_is_given_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    from conical import tracking
    from conical.core.errors import StoreError

    def refuse() -> str:
        raise StoreError("MLflow did not give back the metric")

    monkeypatch.setattr(tracking, "check", refuse)
    check = doctor.check_mlflow()
    assert (check.status, check.detail) == ("fail", "MLflow did not give back the metric")


@pytest.mark.parametrize(
    ("address", "detail"),
    [
        ("127.0.0.1:1", "Ray at 127.0.0.1:1 (RAY_ADDRESS) does not answer"),
        ("garbage", "RAY_ADDRESS must be host:port of the head"),
        ("http://127.0.0.1:8265", "RAY_ADDRESS=http://127.0.0.1:8265 is a dashboard, which takes submitted jobs only"),
        ("ray://127.0.0.1:10001", "RAY_ADDRESS=ray://127.0.0.1:10001 is Ray Client, which Ray Train"),
    ],
)
def test_an_address_that_a_stage_would_refuse_fails(monkeypatch: pytest.MonkeyPatch, address: str, detail: str) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    check = ray_checks.check_ray_address()
    assert check.status == "fail"
    assert check.detail.startswith(detail)
    assert ray_checks.check_room(load_experiment(None)).detail == "not known"


def test_no_address_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert ray_checks.check_ray_address().detail == "local: Ray starts on this machine"


def test_a_folder_too_long_for_rays_sockets_or_not_there_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/" + "x" * 60)
    check = ray_checks.check_ray_folder()
    assert (check.status, check.advice[:27]) == ("fail", "its sockets there would hav")
    monkeypatch.setenv("RAY_TMPDIR", "/not-there")
    check = ray_checks.check_ray_folder()
    assert (check.status, check.detail) == ("fail", "/not-there cannot be written (No such file or directory)")


def test_a_port_that_a_second_head_would_need_is_named_with_its_option() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as other:
        taken, free = server.getsockname()[1], other.getsockname()[1]
        other.close()
        check = ray_checks.check_ray_ports({taken: "--dashboard-agent-listen-port", free: "--port"})
    assert (check.status, check.detail) == ("warn", f"{taken} in use")
    assert "needs --dashboard-agent-listen-port=PORT, or submitted jobs never start" in check.advice
    assert ray_checks.check_ray_ports({free: "--port"}).status == "ok"


@pytest.mark.parametrize(
    ("settings", "status", "said"),
    [
        ([], "ok", "2 CPUs and 0 GPUs hold every stage"),
        (["ray.num_captioners=100"], "ok", "2 CPUs and 0 GPUs hold every stage"),
        (
            ["ray.use_gpu=true"],
            "fail",
            "caption needs a captioner with 1 CPU and 1 GPU, but the machine",
        ),
        (["ray.cpus_per_worker=2"], "fail", "train needs 2 ranks at once with 2 CPUs each, but the machine"),
    ],
)
def test_stages_that_ask_for_more_than_there_is_fail(
    monkeypatch: pytest.MonkeyPatch, settings: list[str], status: str, said: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.setattr(ray_checks, "nodes_here", lambda: [RayNode(resources={"CPU": 2.0, "GPU": 0.0})])
    check = ray_checks.check_room(load_experiment(None, settings))
    assert (check.status, check.detail[: len(said)]) == (status, said)


def test_each_check_is_told_before_the_next_is_made(tmp_path: Path) -> None:
    made: list[str] = []

    def check_moon() -> Check:
        made.append("moon")
        return Check(name="moon", status="ok", detail="there")

    checks = run_checks(folder=tmp_path, further=[check_moon])
    assert next(checks).name == "python"
    assert made == []


def test_a_workspace_that_cannot_be_written_names_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(doctor.tempfile, "NamedTemporaryFile", refuse)
    check = doctor.check_workspace(tmp_path)
    assert (check.status, check.detail) == ("fail", f"{tmp_path} cannot be written (Read-only file system)")
    assert "set CONICAL_WORKSPACE" in check.advice


@pytest.mark.parametrize(
    ("least", "enough", "status"), [(0, 0, "ok"), (0, 1 << 60, "warn"), (1 << 60, 1 << 61, "fail")]
)
def test_space_and_memory_are_judged_by_two_bounds(tmp_path: Path, least: int, enough: int, status: str) -> None:
    assert doctor.check_disk(tmp_path, least_bytes=least, enough_bytes=enough).status == status
    assert doctor.check_memory(least_bytes=least, enough_bytes=enough).status == status


def test_the_limit_of_a_container_counts_as_memory(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    assert doctor._available_memory_bytes(meminfo, tmp_path) == 8000 * 1024
    (tmp_path / "memory.current").write_text("1000")
    (tmp_path / "memory.max").write_text("5000\n")
    assert doctor._available_memory_bytes(meminfo, tmp_path) == 4000
    (tmp_path / "memory.max").write_text("max\n")
    assert doctor._available_memory_bytes(meminfo, tmp_path) == 8000 * 1024


def test_small_shared_memory_is_told(tmp_path: Path) -> None:
    assert doctor.check_shared_memory(tmp_path, enough_bytes=1 << 60).status == "warn"
    assert doctor.check_shared_memory(tmp_path / "absent").status == "ok"


@pytest.mark.parametrize(("way", "detail"), [("auto", "GiB free"), ("map", "GiB free"), ("decode", "none is made")])
def test_a_folder_for_frame_maps_is_looked_at_unless_none_is_made(tmp_path: Path, way: str, detail: str) -> None:
    experiment = load_experiment(None, [f"ray.frame_access={way}"])
    check = doctor.check_frame_maps(experiment, tmp_path)
    assert check.status == "ok"
    assert detail in check.detail


@pytest.mark.parametrize("name", ["queue.py", "platform/__init__.py", "types.py"])
def test_names_that_shadow_the_standard_library_fail(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.touch()
    check = doctor.check_shadowed_names(tmp_path)
    assert check.status == "fail"
    assert name.removesuffix("/__init__.py") in check.detail


def test_a_source_root_called_platform_is_fine_without_an_init_file(tmp_path: Path) -> None:
    (tmp_path / "platform").mkdir()
    (tmp_path / "notes.py").touch()
    assert doctor.check_shadowed_names(tmp_path).status == "ok"


def test_a_decoder_that_returns_wrong_frames_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    doctor_decoders.write_clips(tmp_path)
    honest = doctor_decoders._try("pyav", tmp_path, at_worst="fail", advice="mend it")
    assert (honest.status, honest.detail) == ("ok", "90 of 90 frames exact in 3 kinds of file")
    reader_of = doctor_decoders.decoder_reader

    def one_late(decoder: str) -> Reader:
        def read(path: Path, num_frames: int) -> SampledFrames:
            sampled = reader_of(decoder)(path, num_frames)
            sampled.frames[3] = sampled.frames[4]
            return sampled

        return read

    monkeypatch.setattr(doctor_decoders, "decoder_reader", one_late)
    found = doctor_decoders._try("pyav", tmp_path, at_worst="fail", advice="mend it")
    assert found.status == "fail"
    assert found.detail == "wrong frames: only 29 of 30 are right in h264_b_frames.mp4"


def test_a_decoder_that_cannot_be_loaded_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> None:
        raise ImportError("no libsomething.so")

    monkeypatch.setattr(doctor_decoders, "decoder_reader", lambda _: absent)
    found = doctor_decoders._try("decord", tmp_path, at_worst="warn", advice="mend it")
    assert (found.status, found.detail) == ("warn", "cannot decode (no libsomething.so)")


def test_a_decoder_that_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    doctor_decoders.write_clips(tmp_path)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    found = doctor_decoders._try("torchcodec", tmp_path, at_worst="warn", advice="mend it")
    assert found.status == "warn"
    assert "torchcodec is not installed" in found.detail


def test_an_av_that_cannot_write_h264_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise ValueError("Unknown encoder 'libx264'")

    monkeypatch.setattr(doctor_decoders, "write_clips", refuse)
    (found,) = list(doctor_decoders.try_decoders())
    assert found.status == "fail"
    assert "libx264" in found.detail
