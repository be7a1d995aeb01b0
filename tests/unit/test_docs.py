"""What the documentation says is true: commands exist, links lead somewhere, its Python runs."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def _commands(page: Path, word: str) -> set[str]:
    """What follows `word` where a command line starts: in backticks, or after an indent or an environment variable."""
    text = page.read_text(encoding="utf-8")
    return set(re.findall(rf"(?:^\s*|`|[A-Z]=\S+ ){word} ((?:data )?[a-z][a-z-]*)", text, re.MULTILINE))


def _names(holder) -> set[str]:
    """Commands of an app, or of a group in it."""
    app = getattr(holder, "typer_instance", holder)
    return {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}


@pytest.fixture
def my_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The modules that the how-tos show, importable as they say."""
    for page in [*sorted((ROOT / "docs").glob("adding_*.md")), ROOT / "docs" / "method.md"]:
        for language, code in _FENCE.findall(page.read_text(encoding="utf-8")):
            if language == "python":
                path = tmp_path / code.partition("\n")[0].removeprefix("# ")
                path.parent.mkdir(exist_ok=True)
                path.write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))

    def module(name: str) -> ModuleType:
        return importlib.import_module(f"my_lab.{name}")

    yield module
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_lab"]:
        del sys.modules[name]


def test_readme_is_shorter_than_120_lines() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) < 120


def test_readme_shows_a_result_and_the_commit_that_made_them() -> None:
    text = README.read_text(encoding="utf-8")
    assert "## Result" in text
    results = text.split("## Result")[1].split("\n## ")[0]
    assert "R@1" in results
    assert re.search(r"commit [0-9a-f]{7}", results)


def test_every_make_target_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    named = {target for page in PAGES for target in _commands(page, "make")}
    assert {"demo", "test", "ui"} <= named <= targets


def test_every_command_that_is_named_exists_and_one_page_names_all() -> None:
    from conical.cli.main import app

    known = _names(app) | {f"{group.name} {name}" for group in app.registered_groups for name in _names(group)}
    assert {word for page in PAGES for word in _commands(page, "conical")} <= known
    assert _commands(ROOT / "docs" / "commands.md", "conical") == known


def test_every_job_that_is_named_exists() -> None:
    named = {name for page in PAGES for name in re.findall(r"jobs/[\w-]+\.py", page.read_text(encoding="utf-8"))}
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    local = [link for link in _LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    broken = [link for link in local if not (page.parent / link.partition("#")[0]).exists()]
    assert broken == []


def test_every_folder_of_the_readmes_tree_exists() -> None:
    tree = README.read_text(encoding="utf-8").partition("## Folders")[2].partition("\n## ")[0]
    above: dict[int, Path] = {-1: ROOT}
    folders = []
    for line in tree.splitlines():
        if match := re.match(r"( {4,})([\w.]+)/(?: |$)", line):
            depth = len(match[1])
            above = {level: path for level, path in above.items() if level < depth}
            above[depth] = above[max(above)] / match[2]
            folders.append(above[depth])
    assert ROOT / "platform" / "conical" / "losses" in folders
    assert [str(path.relative_to(ROOT)) for path in folders if not path.is_dir()] == []
    package = ROOT / "platform" / "conical"
    packages = {path.parent for glob in ("*/__init__.py", "*/*/__init__.py") for path in package.glob(glob)}
    packages = {path for path in packages if path.parent != package / "workbench"}  # said in one line
    assert packages <= set(folders)


def test_the_dataset_how_to_loads_and_refuses(my_lab, tmp_path: Path) -> None:
    from conical import datasets
    from conical.config import load_experiment
    from conical.core.errors import DataError

    my_lab("kitchen")
    lines = ["train\ta.mp4\tan egg", "train\ta.mp4\ta pan", "val\tb.mp4\ta pot", "test\tc.mp4\tx", "test\td.mp4\ty"]
    (tmp_path / "captions.tsv").write_text("\n".join(lines), encoding="utf-8")
    for name in "abcd":
        (tmp_path / f"{name}.mp4").touch()
    overrides = ["dataset.name=my_lab.kitchen:CARD", f"dataset.root={tmp_path}"]
    options = load_experiment(None, overrides).dataset
    records = datasets.load(options.name, options.root)
    assert (records[0].video_id, records[0].captions) == ("a", ("an egg", "a pan"))
    (tmp_path / "captions.tsv").write_text("\n".join(lines[:-1]), encoding="utf-8")
    with pytest.raises(DataError, match="list 'test' of 'kitchen' must have 2 videos, got 1"):
        datasets.load(options.name, options.root)
    (tmp_path / "captions.tsv").write_text("train a.mp4", encoding="utf-8")
    with pytest.raises(DataError, match=r"line 1 must hold split, file and caption, got 'train a.mp4'"):
        datasets.load(options.name, options.root)


def test_the_list_of_the_dataset_how_to_is_read(tmp_path: Path) -> None:
    from conical.datasets import read_manifest_file

    page = (ROOT / "docs" / "adding_a_dataset.md").read_text(encoding="utf-8")
    (rows,) = [code for language, code in _FENCE.findall(page) if language == "json"]
    (tmp_path / "manifest.jsonl").write_text(rows, encoding="utf-8")
    assert [(record.split, record.end_seconds) for record in read_manifest_file(tmp_path).videos] == [
        ("train", None),
        ("test", 20),
    ]


def test_the_captioner_how_to_captions(my_lab) -> None:
    from conical.captioning import create_captioner
    from conical.config import load_experiment

    my_lab("channel")
    overrides = ["captions.captioner=my_lab.channel:ChannelCaptioner", 'captions.prompts=["B"]']
    captioner = create_captioner(load_experiment(None, overrides).captions)
    green = np.zeros((4, 8, 8, 3), dtype=np.uint8)
    green[..., 1] = 200
    answers = captioner.caption([green, np.full_like(green, 9)], ["?", "?"], seeds=[0, 0])
    assert [(answer.text, answer.error) for answer in answers] == [("mostly green", ""), ("", "the clip is grey")]


def _trained_on_noise(small_clip, folder: Path, *overrides: str):
    """One epoch as `conical train` would run it, here; what it reported, and the folder of its checkpoint."""
    from conical.config import load_experiment
    from conical.on_ray.epochs import run_epochs
    from conical.runs.identity import data_source
    from conical.store import Workspace

    experiment = load_experiment(
        None,
        [
            *("mix.human=1", "mix.A=0", "mix.B=0", "optim.epochs=1", "optim.batch_size=4", "frames.size=32"),
            *(f'model.name="{small_clip.name}"', f'model.weights="{small_clip.weights}"', "frames.num_frames=2"),
            *overrides,
        ],
    )
    workspace = Workspace.open(folder / "workspace")
    _write_noise(experiment, workspace)
    reports = []

    def report(epoch) -> None:
        reports.append(epoch)
        epoch.save(folder / "checkpoint")

    run_epochs(experiment, data_source(experiment, workspace), report=report, warn=print)
    return experiment, reports


def test_the_loss_how_to_trains_from_a_config(my_lab, small_clip, tmp_path: Path) -> None:
    my_lab("hinge")
    experiment, reports = _trained_on_noise(small_clip, tmp_path, "loss.name=my_lab.hinge:CARD", "loss.symmetric=true")
    assert experiment.title.startswith("Hinge, ")
    (first, *_) = reports[1].step_metrics
    assert set(first) == {"step", "learning_rate", "loss", "loss_tv", "grad_norm"}
    assert first["grad_norm"] > 0


def test_the_loss_how_to_is_the_formula_it_names(my_lab) -> None:
    import torch

    from conical.losses import Comparison, LossOptions

    hinge = my_lab("hinge").hinge
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    video = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    options = LossOptions(w_tv=3.0, symmetric=False)
    comparison = Comparison(similarity={"tv": text @ video.T}, video_ids=torch.tensor([0, 0, 1]))
    terms = hinge(comparison, taus={"tv": 1.0}, bias=0.0, options=options)
    # positives 1, 0, 0.8; hardest negatives of other videos 0, 1, 0.6; hinges at 0.2: 0, 1.2, 0
    torch.testing.assert_close(terms["loss_tv"], torch.tensor(0.4))
    torch.testing.assert_close(terms["loss"], torch.tensor(1.2))


def test_the_head_how_to_starts_as_the_mean_and_trains_from_a_config(my_lab, small_clip, tmp_path: Path) -> None:
    import dataclasses

    import torch
    from safetensors.torch import load_file

    from conical.models.dual_encoder import build_dual_encoder

    my_lab("weighted_frames")
    head = "my_lab.weighted_frames:CARD"
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 2, 32, 32, 3), dtype=np.uint8))
    with torch.no_grad():
        weighted, mean = (
            build_dual_encoder(dataclasses.replace(small_clip, **more)).encode_video(frames)
            for more in ({"head": head}, {})
        )
    torch.testing.assert_close(weighted, mean)

    _, reports = _trained_on_noise(small_clip, tmp_path, f"model.head={head}")
    assert [report.epoch for report in reports] == [0, 1]
    assert load_file(tmp_path / "checkpoint" / "model.safetensors")["encoder.head.query"].abs().sum() > 0
    assert (tmp_path / "checkpoint" / "best" / "head.safetensors").is_file()


def test_the_protocol_and_family_of_the_how_to_score(my_lab, small_encoder, tmp_path: Path) -> None:
    from conical.cli.score_files import ScoreOptions
    from conical.engine.embedding import EvaluationSet
    from conical.engine.options import EvaluateOptions
    from conical.engine.scorer import Scorer

    my_lab("scoring")
    protocol, family = "my_lab.scoring:FIRST_WORDS", "my_lab.scoring:CENTRED"
    data = EvaluationSet(
        split="test",
        video_ids=("a", "b"),
        frames=np.random.default_rng(0).integers(0, 256, (2, 2, 32, 32, 3), dtype=np.uint8),
        texts=(("a red disc falls",), ("one two", "three four")),
        text_video=np.arange(2),
    )
    options = EvaluateOptions(protocols=(protocol,), families=(family,), num_resamples=100)
    *_, name = options.names()
    assert str(name) == "test/first-words.centred"
    found = Scorer(small_encoder, options, sets={"test": data}).score(name)
    assert found.texts == ("a red disc", "one two three")
    assert found.settings_note == "queries are the first 3 words; columns centred"
    np.testing.assert_allclose(found.similarity.mean(axis=0), 0, atol=1e-6)
    assert ScoreOptions(files=("sim.npy",), rescore=family).family.name == "centred"


def _write_noise(experiment, workspace) -> None:
    """A stored dataset of noise: 8 videos of train, 2 of val."""
    import dataclasses

    from conical.core.records import SampledFrames, VideoRecord
    from conical.store import FrameRow, FrameStore, write_manifest

    rng = np.random.default_rng(0)
    records = [
        VideoRecord(video_id=f"v{k}", uri=f"v{k}.mp4", split="train" if k < 8 else "val", captions=(f"clip {k}",))
        for k in range(10)
    ]
    folder, recipe = experiment.dataset.folder, experiment.frames
    write_manifest(workspace.manifest(folder), records)
    store = FrameStore(
        workspace.frames(folder, recipe.hash), recipe=dataclasses.asdict(recipe), recipe_hash=recipe.hash
    )
    rows = [
        FrameRow(
            video_id=record.video_id,
            fingerprint=record.video_id,
            sampled=SampledFrames(
                frames=rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8),
                frame_indices=(0, 1),
                pts_seconds=(0.0, 0.1),
                decoder="noise",
            ),
        )
        for record in records
    ]
    store.write_part("noise", rows)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_every_notebook_runs_and_stores_no_output(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for number, cell in enumerate(cells):
        exec(compile("".join(cell["source"]), f"{path.name}, code cell {number}", "exec"), namespace)
    assert capsys.readouterr().out


def test_there_is_a_notebook() -> None:
    assert [path.name for path in NOTEBOOKS] == ["first_run.ipynb"]


def test_the_documentation_names_no_path_of_a_machine() -> None:
    for page in [*PAGES, *NOTEBOOKS]:
        assert not re.findall(r"(?<![\w.])/(?:work|root|home|Users|tmp)/", page.read_text(encoding="utf-8")), page.name
