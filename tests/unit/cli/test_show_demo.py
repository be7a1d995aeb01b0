"""The last lines of the demo."""

from __future__ import annotations

import io
import shlex
import sys
from pathlib import Path

import pytest
from rich.console import Console

from conical.cli import show_demo
from conical.cli.show_demo import next_commands, print_demo
from conical.on_ray.demo import METHODS, DemoResult
from conical.reports import ReportPaths
from unit.reports.report_factory import report


def _printed(width: int, tmp_path: Path, *, is_log: bool = False) -> str:
    import dataclasses

    data = report()
    data = dataclasses.replace(
        data, rows=tuple(row for row in data.rows if row.protocol == "raw"), verdict="No method differs " * 8 + "[x]."
    )
    paths = ReportPaths(page=tmp_path / "a report" / "report.html", tables=(), figures=())
    console = Console(file=io.StringIO(), width=width, color_system=None, soft_wrap=is_log)
    print_demo(console, DemoResult(data=data, paths=paths), config=None, overrides=[])
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [80, 100])
def test_the_demo_ends_with_a_verdict_a_link_and_three_commands(width: int, tmp_path: Path) -> None:
    text = _printed(width, tmp_path)
    assert "Test, text to video" in text
    end = text[text.index("Verdict: ") :].splitlines()
    assert len(end) <= 12
    assert "[x]." in text
    assert f"Report: {(tmp_path / 'a report' / 'report.html').as_uri()}" in end
    assert len([line for line in end if line.startswith("  # ")]) == 3
    commands = [line for line in end if line.startswith("  ") and not line.startswith("  #")]
    assert [shlex.split(line)[-len(rest) :] for line, rest in zip(commands, _ENDS, strict=True)] == _ENDS
    # all but links and commands, which are there to be copied
    assert all(len(line) <= width for line in text.splitlines() if line not in commands and "file://" not in line)


_ENDS = [
    ["compare", "CEO, human captions + supplements", "CEO, human captions", "--metric", "R10"],
    ["train", "--set", "loss.tau_tv=40"],
    ["ui"],
]


@pytest.mark.parametrize("width", [80, 100])
def test_the_table_fits_a_log_whose_sentences_are_not_broken(width: int, tmp_path: Path) -> None:
    table = _printed(width, tmp_path, is_log=True).partition("R@k in percent")[0]
    assert max(map(len, table.splitlines())) <= width


def test_the_next_commands_take_along_what_the_demo_was_called_with() -> None:
    overrides = ["name=mine", "dataset.scenes.train=30"]
    compare, train, ui = (
        shlex.split(command) for _, command in next_commands(config=Path("a b.toml"), overrides=overrides)
    )
    assert compare[-4:] == ["--config", "a b.toml", "--set", "name=mine"]
    given = ["--config", "a b.toml", "--set", "name=mine", "--set", "dataset.scenes.train=30"]
    assert train[-8:] == [*given, "--set", "loss.tau_tv=40"]
    assert ui[-1] == "ui"
    assert {label for method in METHODS.values() if (label := method.changes["label"]) in compare} == set(compare[2:4])


@pytest.mark.parametrize(
    ("is_beside", "is_found", "start"),
    [(True, True, ["conical"]), (True, False, [".venv/bin/conical"]), (False, False, ["PYTHON", "-m", "conical"])],
)
def test_the_commands_can_be_typed_whether_an_environment_is_active_or_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_beside: bool, is_found: bool, start: list[str]
) -> None:
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    if is_beside:
        (folder / "conical").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setattr(show_demo.shutil, "which", lambda _: str(folder / "conical") if is_found else None)
    command = shlex.split(next_commands(config=None, overrides=[])[2][1])
    assert command == [*(str(folder / "python") if word == "PYTHON" else word for word in start), "ui"]
