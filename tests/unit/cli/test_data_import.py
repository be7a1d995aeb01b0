"""`conical data import` on a user's own list: what it prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from conical.cli import data_commands as data_commands
from conical.cli.main import app, run
from conical.config import load_experiment
from conical.store import Workspace, read_dataset_book, read_manifest


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONICAL_WORKSPACE", str(tmp_path / "workspace"))
    # the real one turns the process's standard error into a file for good
    monkeypatch.setattr(data_commands, "divert_chatter", lambda path: None)
    folder = tmp_path / "videos"
    folder.mkdir()
    rows = [
        {"video_id": "a", "uri": "a.mp4", "split": "train", "captions": ["x", "x", " "]},
        {"video_id": "b", "uri": "b.mp4", "split": "test", "captions": ["eine Tür"]},
    ]
    (folder / "mine.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (folder / "a.mp4").touch()
    return folder


def _import(root: Path, *words: str) -> str:
    found = CliRunner().invoke(app, ["data", "import", "manifest", str(root), "--option", "file=mine.jsonl", *words])
    assert found.exit_code == 0, found.output
    return " ".join(found.output.split())


def test_counts_are_printed_and_the_printed_settings_find_the_dataset_again(root: Path, tmp_path: Path) -> None:
    (root / "b.mp4").touch()
    printed = _import(root)
    assert "captions: 1 blank ones left out, 1 repeat one of the same video" in printed
    assert "partial" not in printed
    assert "# other tables: copy those of jobs/configs/manifest-vitb32-ceo.toml; # without them" in printed
    assert "frames of 64 px" in printed
    config = tmp_path / "mine.toml"
    config.write_text(
        CliRunner()
        .invoke(app, ["data", "import", "manifest", str(root), "--option", "file=mine.jsonl"])
        .output.partition("in a config file:")[2]
    )
    options = load_experiment(config).dataset
    folder = options.folder
    workspace = Workspace.open()
    assert [record.video_id for record in read_manifest(workspace.manifest(folder))] == ["a", "b"]
    assert read_dataset_book(workspace.dataset_book(folder)).root == str(root)


def test_one_film_under_two_names_in_two_splits_is_said(root: Path) -> None:
    (root / "a.mp4").write_bytes(b"one film")
    (root / "b.mp4").write_bytes(b"two film")
    assert " is in " not in _import(root)
    (root / "b.mp4").write_bytes(b"one film")
    assert "1 video of test is in train too: b is a (bytes " in _import(root)


def test_a_dataset_with_missing_videos_is_marked(root: Path) -> None:
    printed = _import(root, "--allow-missing")
    assert "partial: videos of 'manifest' are missing: test 1 expected, 0 found (b)" in printed
    (book,) = Workspace.open().root.glob("datasets/*/dataset.json")
    assert read_dataset_book(book).is_partial


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["manifest", "{root}", "--option", "file=mine.jsonl"],
            "1 expected, 0 found (b); listed but not there: b at b.mp4: get",
        ),
        (["scenes", "{root}"], "dataset 'scenes' is generated, not imported"),
        (["manifest", "{root}", "--option", "file"], "--option takes KEY=VALUE, got 'file'"),
        (["manifest", "{root}", "--option", "name=x"], "reader must not hold name: set dataset.name instead"),
        (["manifst", "{root}"], "unknown dataset 'manifst'"),
    ],
)
def test_what_is_wrong_is_one_line(root: Path, words: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as left:
        run(["data", "import", *(word.format(root=root) for word in words)])
    assert left.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not list(root.parent.glob("workspace/datasets/*"))
