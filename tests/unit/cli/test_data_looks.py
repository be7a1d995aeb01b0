"""`conical data audit`, `show` and `stats` on a user's own clips."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from clip_factory import write_clip
from conical.cli import data_commands as data_commands
from conical.cli.main import app, run
from conical.core.records import CaptionRecord, Failure
from conical.store import CaptionLedger, FrameRow, FrameStore, Workspace
from conical.store.audits import read_leak_free
from conical.video import FrameRecipe, sample_frames

RECIPE = FrameRecipe(size=32, num_frames=4)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Three clips, imported and not ingested."""
    monkeypatch.setenv("CONICAL_WORKSPACE", str(tmp_path / "workspace"))
    # the real one turns the process's standard error into a file for good
    monkeypatch.setattr(data_commands, "divert_chatter", lambda path: None)
    folder = tmp_path / "videos"
    folder.mkdir()
    rows = []
    for name, split in (("a", "train"), ("b", "val"), ("c", "test")):
        write_clip(folder / f"{name}.mp4", num_frames=12)
        row = {"video_id": name, "uri": f"{name}.mp4", "split": split, "captions": [f"film {name}", "\u0378 x"]}
        rows.append(row | {"source_id": "s" if name in "ac" else "z"})
    (folder / "manifest.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    assert conical("import", "manifest", str(folder)).exit_code == 0
    return Workspace.open()


def conical(*words: str) -> Result:
    return CliRunner(env={"COLUMNS": "120"}).invoke(app, ["data", *words])


def folder_of(workspace: Workspace) -> str:
    (found,) = (workspace.root / "datasets").iterdir()
    return found.name


def ingest(workspace: Workspace, video_id: str) -> None:
    """Write the frames that ingest would, and one failure."""
    store = FrameStore(
        workspace.frames(folder_of(workspace), RECIPE.hash),
        recipe=dataclasses.asdict(RECIPE),
        recipe_hash=RECIPE.hash,
    )
    sampled = sample_frames(workspace.root.parent / "videos" / f"{video_id}.mp4", RECIPE)
    sampled = dataclasses.replace(sampled, is_padded=True)
    store.write_part("0", [FrameRow(video_id=video_id, fingerprint="f", sampled=sampled)])
    store.write_failures("0", [Failure(video_id="b", uri="b.mp4", stage="ingest", kind="corrupt", message="bad")])


def test_audit_prints_the_table_and_where_the_lists_are(workspace: Workspace) -> None:
    found = conical("audit", "manifest")
    printed = " ".join(found.output.split())
    assert found.exit_code == 0, found.output
    assert "1 test video" in printed
    assert "leak-free: 0 of 1 test videos" in printed
    assert "not checked" in printed
    assert read_leak_free(workspace.audit(folder_of(workspace))).num_test == 1


def test_show_draws_a_clip_that_was_not_ingested(workspace: Workspace) -> None:
    found = conical("show", "manifest", "a")
    assert found.exit_code == 0, found.output
    path = workspace.dataset(folder_of(workspace)) / "sheets" / "a.png"
    assert found.stdout.strip().replace("\n", "") == str(path)
    with Image.open(path) as picture:
        assert picture.width == 1500
    assert "no installed font has 1 of the characters (\u0378); a box stands for each" in found.stderr


def test_show_takes_stored_frames_and_supplements(workspace: Workspace, tmp_path: Path, monkeypatch) -> None:
    ingest(workspace, "a")
    fields = {field.name: "x" for field in dataclasses.fields(CaptionRecord)}
    numbers = {"sample": 0, "tokens_out": 3, "truncated": False, "seconds": 0.1}
    rows = [
        CaptionRecord(**fields | numbers | {"key": key, "video_id": video, "text": text})
        for key, video, text in (("1", "a", "a grey film"), ("3", "b", "of another"))
    ]
    CaptionLedger(workspace.captions(folder_of(workspace))).write_part("0", rows)
    seen = []
    from conical.library import sheets as video_view

    draw = video_view.draw_contact_sheet
    monkeypatch.setattr(video_view, "draw_contact_sheet", lambda sheet: seen.append(sheet) or draw(sheet))
    out = tmp_path / "new" / "sheet.png"
    assert conical("show", "manifest", "a", "--out", str(out)).exit_code == 0
    assert out.is_file()
    (sheet,) = seen
    assert sheet.texts == {"Captions": ("film a", "\u0378 x"), "Supplements": ("x: a grey film",)}
    assert sheet.facts == (
        "split train",
        "source s",
        "a.mp4",
        f"frames as stored, recipe {RECIPE.hash}",
        "decoder pyav",
        "fewer frames than asked for: the last one is repeated",
    )
    assert len(sheet.frames.frame_indices) == 4


def test_stats_count_and_draw(workspace: Workspace, tmp_path: Path) -> None:
    ingest(workspace, "a")
    found = conical("stats", "manifest", "--out", str(tmp_path / "figures"))
    printed = " ".join(found.output.split())
    assert found.exit_code == 0, found.output
    assert "│ all │ 3 │ 3 │ 1 │ 6 │ 2 │" in printed
    assert "first to last sampled" in printed
    assert "file size (kB) │ 3 " in printed
    assert "files: 3 .mp4" in printed
    assert "4 a video, 32 px, decoded by 1 pyav; 1 videos have fewer and repeat their last" in printed
    assert "set aside by ingest: 1 corrupt" in printed
    assert (tmp_path / "figures" / "distributions.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "figures" / "distributions.svg").read_bytes().startswith(b"<?xml")


def test_stats_before_ingest_say_so(workspace: Workspace) -> None:
    found = conical("stats", "manifest")
    assert found.exit_code == 0, found.output
    assert "no frames yet: run conical ingest" in found.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["audit", "nothing"], "dataset 'nothing' is not in"),
        (
            ["show", "manifest", "aa"],
            r"video 'aa' is not among the 3 of manifest-\w+, such as 'a'\. Did you mean 'a'\?",
        ),
        (
            ["show", "manifest", "a", "--out", "/dev/null/x.png"],
            "cannot be written .*: choose another place with --out",
        ),
        (["stats", "manifest", "--out", "/dev/null/x"], "cannot be written .*: choose another folder with --out"),
        (["stats", "manifest", "--set", "model.name=ViT-Z"], "weights must be given for 'ViT-Z'"),
    ],
)
def test_a_mistake_is_one_line(workspace: Workspace, capsys, words: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as leave:
        run(["data", *words])
    printed = capsys.readouterr().err
    assert leave.value.code == 2
    assert re.search(message, printed), printed
    assert printed.count("\n") == 1


def test_a_video_without_a_file_cannot_be_shown(workspace: Workspace, capsys) -> None:
    (workspace.root.parent / "videos" / "a.mp4").unlink()
    assert conical("import", "manifest", str(workspace.root.parent / "videos"), "--allow-missing").exit_code == 0
    with pytest.raises(SystemExit):
        run(["data", "show", "manifest", "a"])
    assert "video 'a' has no file: get it, then import the dataset again" in capsys.readouterr().err
