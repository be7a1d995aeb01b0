"""Is this machine fit to run? One check per line, each with what to do about it; the command line prints them."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import conical
from conical.config import Experiment
from conical.core.errors import ConicalError, StoreError
from conical.store.frames.place import frame_map_folder
from conical.store.workspace import ENVIRONMENT_VARIABLE, Workspace
from conical.workbench.doctor.check_result import Check
from conical.workbench.doctor.decoders import try_decoders
from conical.workbench.doctor.ray_checks import (
    check_ray_address,
    check_ray_auth,
    check_ray_dashboard,
    check_ray_folder,
    check_ray_ports,
    check_room,
)

# The versions that the tests run with; another patch level passes, another series is told.
TESTED_PACKAGES = {
    "ray": "2.60",
    "torch": "2.14",
    "torchvision": "0.29",
    "open_clip_torch": "3",
    "transformers": "5",
    "av": "18",
    "decord": "0.6",
    "mlflow": "3",
    "optuna": "5",
    "pyarrow": "",
    "numpy": "2",
    "pydantic": "2",
    "matplotlib": "3",
}
_OPTIONAL_PACKAGES = ("decord",)
_GIB = 1 << 30


def run_checks(
    *,
    experiment: Experiment | None = None,
    workspace: Path | None = None,
    folder: Path | None = None,
    further: Sequence[Callable[[], Check]] = (),
) -> Iterator[Check]:
    """Look at everything a run needs, without changing anything.

    Args:
        experiment: whose stages must find room; None: the offline demo.
        workspace: where results will go; None: `CONICAL_WORKSPACE`, else `./workspace`.
        folder: where programs will be started, looked through for names that shadow the standard library; None: here.
        further: checks of the caller.

    Yields:
        The checks in order, each as soon as it is known; a check that breaks is itself a failed one.
    """
    chosen = workspace or Path(os.environ.get(ENVIRONMENT_VARIABLE) or "workspace")
    here = folder or Path.cwd()
    single: list[Callable[[], Check]] = [
        check_python,
        check_packages,
        check_device,
        check_ray_auth,
        check_ray_address,
        check_ray_folder,
        check_ray_ports,
        check_ray_dashboard,
        lambda: check_room(experiment or Experiment()),
        check_mlflow,
        lambda: check_workspace(chosen),
        lambda: check_disk(chosen),
        lambda: check_frame_maps(experiment or Experiment(), chosen),
        check_memory,
        check_shared_memory,
        lambda: check_shadowed_names(here),
        *further,
    ]
    yield from map(_guarded, single)
    yield from try_decoders()


def _guarded(check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - a doctor that dies of a patient tells nothing about the others
        name = getattr(check, "__name__", "check").removeprefix("check_").replace("_", " ").replace("<lambda>", "check")
        reason = " ".join(str(error).split())[:200]
        advice = "report this line; the other checks stand"
        return Check(name=name, status="fail", detail=f"{type(error).__name__}: {reason}", advice=advice)


def check_python(current: tuple[int, int] = sys.version_info[:2]) -> Check:
    """Python 3.11 or newer."""
    detail = f"{current[0]}.{current[1]} on {platform.system()} {platform.machine()}"
    if current < (3, 11):
        return Check(
            name="python", status="fail", detail=detail, advice="install python >= 3.11 and run make setup again"
        )
    return Check(name="python", status="ok", detail=detail)


def check_packages() -> Check:
    """The packages of the lock file, in the series that the tests run with."""
    absent, other = [], []
    for name, tested in TESTED_PACKAGES.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            absent.append(name)
            continue
        if tested and not f"{found}.".startswith(f"{tested}."):
            other.append(f"{name} {found} (tested: {tested})")
    needed = [name for name in absent if name not in _OPTIONAL_PACKAGES]
    if needed:
        return Check(name="packages", status="fail", detail=f"absent: {', '.join(needed)}", advice="run make setup")
    if other:
        detail = f"other versions than tested: {', '.join(other)}"
        return Check(name="packages", status="warn", detail=detail, advice="run make setup for the locked versions")
    return Check(name="packages", status="ok", detail=f"{len(TESTED_PACKAGES) - len(absent)} at their tested versions")


def check_device() -> Check:
    """What will compute."""
    import torch

    cores = os.cpu_count() or 1
    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())}
        return Check(name="device", status="ok", detail=f"{torch.cuda.device_count()} x {', '.join(sorted(names))}")
    if cores < 2:
        advice = "use a machine with at least 2 cores: training runs 2 workers"
        return Check(name="device", status="warn", detail="1 CPU core, no GPU", advice=advice)
    return Check(name="device", status="ok", detail=f"{cores} CPU cores, no GPU: enough for the demo")


def check_mlflow() -> Check:
    """One run written to and read from a throw-away database."""
    from conical import tracking

    try:
        return Check(name="mlflow", status="ok", detail=f"{tracking.check()} on SQLite")
    except ConicalError as error:
        advice = "run make setup, and see that the temporary folder can be written"
        return Check(name="mlflow", status="fail", detail=" ".join(str(error).split())[:200], advice=advice)


def check_workspace(workspace: Path) -> Check:
    """Whether results can be written, tried in the nearest folder that exists."""
    existing = _nearest_existing(workspace)
    try:
        with tempfile.NamedTemporaryFile(dir=existing, prefix=".writable-"):
            pass
    except OSError as error:
        advice = f"set {ENVIRONMENT_VARIABLE} to a folder you own"
        detail = f"{workspace.absolute()} cannot be written ({error.strerror})"
        return Check(name="workspace", status="fail", detail=detail, advice=advice)
    return Check(name="workspace", status="ok", detail=f"{workspace.absolute()} can be written")


def check_disk(workspace: Path, *, least_bytes: int = 2 * _GIB, enough_bytes: int = 10 * _GIB) -> Check:
    """Free space where results go."""
    free = shutil.disk_usage(_nearest_existing(workspace)).free
    advice = f"free some space, or set {ENVIRONMENT_VARIABLE} to a larger disk"
    return _amount("disk", free, "free", least_bytes=least_bytes, enough_bytes=enough_bytes, advice=advice)


def check_frame_maps(experiment: Experiment, workspace: Path) -> Check:
    """The folder that all processes of a machine map frames from is on a disk of its own."""
    if experiment.ray.frame_access == "decode":
        return Check(name="frame maps", status="ok", detail="none is made: ray.frame_access is decode")
    try:
        folder = frame_map_folder(experiment.ray.frame_map_folder, cache=Workspace(workspace.absolute()).cache)
    except StoreError as error:
        detail, _, advice = str(error).partition(": ")
        return Check(name="frame maps", status="fail", detail=detail, advice=advice)
    free = shutil.disk_usage(_nearest_existing(folder)).free
    return Check(name="frame maps", status="ok", detail=f"{folder}, {free / _GIB:.1f} GiB free")


def check_memory(*, least_bytes: int = 3 * _GIB, enough_bytes: int = 6 * _GIB) -> Check:
    """Memory that programs may still take, the container's limit included."""
    advice = "end other programs, or use a machine with more memory"
    available = _available_memory_bytes()
    return _amount("memory", available, "available", least_bytes=least_bytes, enough_bytes=enough_bytes, advice=advice)


def check_shared_memory(path: Path = Path("/dev/shm"), *, enough_bytes: int = 2 * _GIB) -> Check:
    """Ray's object store lives in shared memory, on disk (slow) where that is small."""
    if not path.is_dir():
        return Check(name="shared memory", status="ok", detail=f"no {path} on this system")
    free = shutil.disk_usage(path).free
    advice = "start the container with --shm-size=4g; a small one sends Ray's object store to the disk"
    return _amount("shared memory", free, "free", least_bytes=0, enough_bytes=enough_bytes, advice=advice)


def check_shadowed_names(folder: Path) -> Check:
    """Names that would be imported in place of the standard library's when a program starts from this folder."""
    # the source root is called platform, which is fine as long as it is no package
    source_root = Path(conical.__file__).absolute().parent.parent
    candidates = dict.fromkeys((*sorted(folder.absolute().iterdir()), source_root))
    found = [path for path in candidates if _shadows(path)]
    if found:
        advice = "rename or remove them: import of that name breaks python, pytest and ray job submit"
        detail = f"shadow the standard library: {', '.join(map(str, found))}"
        return Check(name="names", status="fail", detail=detail, advice=advice)
    return Check(name="names", status="ok", detail=f"nothing in {folder.absolute()} shadows the standard library")


def _shadows(path: Path) -> bool:
    is_module = path.suffix == ".py" and path.is_file()
    return path.stem in sys.stdlib_module_names and (is_module or (path / "__init__.py").is_file())


def _nearest_existing(path: Path) -> Path:
    here = path.absolute()
    return next(folder for folder in (here, *here.parents) if folder.is_dir())


def _amount(name: str, found_bytes: int, word: str, *, least_bytes: int, enough_bytes: int, advice: str) -> Check:
    detail = f"{found_bytes / _GIB:.1f} GiB {word}"
    if found_bytes < least_bytes:
        detail += f", at least {least_bytes / _GIB:.1f} are needed"
        return Check(name=name, status="fail", detail=detail, advice=advice)
    if found_bytes < enough_bytes:
        return Check(name=name, status="warn", detail=f"{detail}, {enough_bytes / _GIB:.1f} advised", advice=advice)
    return Check(name=name, status="ok", detail=detail)


def _available_memory_bytes(meminfo: Path = Path("/proc/meminfo"), limits: Path = Path("/sys/fs/cgroup")) -> int:
    if meminfo.is_file():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        machine = int(lines["MemAvailable"].split()[0]) * 1024
    else:
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit, used = limits / "memory.max", limits / "memory.current"
    if limit.is_file() and used.is_file() and (text := limit.read_text().strip()).isdigit():
        return min(machine, int(text) - int(used.read_text()))
    return machine
