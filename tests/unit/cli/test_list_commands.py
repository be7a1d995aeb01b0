"""`conical list` fits 80 columns whatever is in it, and `conical export` answers in a line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from conical.captioning import CAPTIONERS, PROMPTS
from conical.cli.list_commands import LISTINGS
from conical.cli.main import app
from conical.datasets import DATASETS
from conical.losses import EXTRAS, LOSSES
from conical.models import HEADS, MODELS, ModelOptions
from conical.models.dual_encoder import build_dual_encoder
from conical.models.weight_files import save_encoder
from unit.runs.stored_runs import scored_run, write_workspace

TABLES = {
    **{"datasets": DATASETS, "models": MODELS, "captioners": CAPTIONERS},
    **{"prompts": PROMPTS, "losses": LOSSES, "extras": EXTRAS, "heads": HEADS},
}


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONICAL_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setattr("conical.cli.common.divert_chatter", lambda _: None)
    return tmp_path / "workspace"


def conical(*words: str) -> str:
    done = CliRunner().invoke(app, words, catch_exceptions=False, env={"COLUMNS": "200"})
    assert done.exit_code == 0
    return done.output


@pytest.mark.parametrize("what", TABLES)
def test_each_card_stands_on_a_line_of_its_own(what: str) -> None:
    lines = conical("list", what).splitlines()
    assert max(map(len, lines)) <= 80
    first_words = [line.split()[0] for line in lines if line and not line.startswith(" ")]
    assert [word for word in first_words if word in TABLES[what]] == list(TABLES[what])


def test_every_listing_is_tested() -> None:
    assert set(LISTINGS) == {*TABLES, "runs"}


def test_runs_are_listed_with_their_labels_as_text(workspace: Path) -> None:
    stored = write_workspace(workspace)
    label = "[bold]no markup[/] :smile: and a label that is longer than its column can ever be in any terminal"
    scored_run(stored, label.replace(" ", "_"), key="aaaa1111bbbb", val=12.34)
    scored_run(stored, "other", "seed=7", "name=second", key="cccc2222dddd")
    output = conical("list", "runs")
    lines = output.splitlines()
    assert max(len(line) for line in lines[:-1]) <= 80
    assert "aaaa1111 " in output
    assert "aaaa1111b" not in output
    (row,) = [line for line in lines if line.startswith("cccc2222")]
    assert row.split() == ["cccc2222", "other", "finished", "7", "10.0", "val", "t2v", "R@1", "second"]
    told = "".join(line[10:].split("  ")[0].strip() for line in lines[1:] if not line.startswith(("cccc", "2 runs")))
    assert "[bold]no_markup[/]_:smile:" in told
    assert lines[-1].startswith("2 runs in ")


def test_a_workspace_without_runs_is_listed(workspace: Path) -> None:
    assert "0 runs in" in conical("list", "runs")


def test_an_unknown_word_is_refused() -> None:
    with pytest.raises(ValueError, match=r"list takes one of datasets, .*, runs; got 'looses'. Did you mean 'losses'"):
        conical("list", "looses")


def test_export_writes_a_folder_and_says_how_to_load_it(workspace: Path, tmp_path: Path) -> None:
    stored = write_workspace(workspace)
    run = scored_run(stored, "one", key="aaaa1111")
    save_encoder(build_dual_encoder(ModelOptions()), run.encoder)
    output = conical("export", "one", "--to", str(tmp_path / "out"))
    assert f'open_clip.create_model_and_transforms("local-dir:{tmp_path / "out"}")' in output
    assert (tmp_path / "out" / "open_clip_model.safetensors").is_file()
