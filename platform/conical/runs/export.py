"""A run as a folder that open_clip loads by itself: `open_clip.create_model("local-dir:FOLDER")`.

open_clip_config.json         {"model_cfg": ..., "preprocess_cfg": ..., "conical": which run, which head}
open_clip_model.safetensors   the best encoder, byte for byte
head.safetensors              its head, if that has parameters: open_clip alone does not know it
tokenizer files               where the text tower takes a Hugging Face tokenizer
README.md                     a model card
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from conical.config import Experiment, parse_experiment
from conical.core.errors import StoreError
from conical.runs.model_card import model_card
from conical.store import RunFolder

CONFIG, WEIGHTS, HEAD, CARD = "open_clip_config.json", "open_clip_model.safetensors", "head.safetensors", "README.md"


def export_run(run: RunFolder, folder: Path) -> Path:
    """Write a finished run as an open_clip folder; an earlier export there is replaced.

    Args:
        folder: where to; absent, empty or an earlier export.

    Returns:
        The folder.

    Raises:
        StoreError: the folder holds something else or cannot be written, or the run's encoder is damaged.
        ConfigError: the run's model is not known here.
    """
    record = run.read()
    experiment = parse_experiment(record.config, origin=f"the settings of run {record.key}")
    folder = folder.expanduser().absolute()
    _refuse_other_folder(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # whole before it is moved: half an export would load as a random model
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as temporary:
            _write(run, experiment, Path(temporary))
            _move(Path(temporary), folder)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written ({error.strerror or error}): choose another folder") from error
    return folder


def _refuse_other_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file: give a folder that is absent, empty or an earlier export")
    if folder.is_dir() and any(folder.iterdir()) and not _is_export(folder):
        raise StoreError(
            f"{folder} is not empty and holds no export: give a folder that is absent, empty or an earlier export"
        )


def _is_export(folder: Path) -> bool:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and "conical" in config


def _write(run: RunFolder, experiment: Experiment, folder: Path) -> None:
    from conical.models.architecture import build_tokenizer, model_config
    from conical.models.weight_files import read_preprocess

    record, model = run.read(), model_config(experiment.model)
    preprocess = {
        "size": model["vision_cfg"]["image_size"],
        # what `conical.video.geometry.centre_square` does to a frame
        **{"interpolation": "bicubic", "resize_mode": "shortest"},
        **read_preprocess(run.encoder),
    }
    made_by = {"run": record.key, "head": experiment.model.head}
    shutil.copyfile(run.encoder, folder / WEIGHTS)
    if run.head.is_file():
        shutil.copyfile(run.head, folder / HEAD)
    if model["text_cfg"].get("hf_tokenizer_name"):
        build_tokenizer(experiment.model).save_pretrained(folder)
    (folder / CARD).write_text(model_card(run, experiment, weights=folder / WEIGHTS), encoding="utf-8")
    config = {"model_cfg": model, "preprocess_cfg": preprocess, "conical": made_by}
    (folder / CONFIG).write_text(json.dumps(config, indent=2), encoding="utf-8")


def _move(source: Path, folder: Path) -> None:
    """Put the files in their place, the config last: with it the folder can be loaded."""
    folder.mkdir(exist_ok=True)
    for stale in (CONFIG, HEAD):
        (folder / stale).unlink(missing_ok=True)
    for path in sorted(source.iterdir(), key=lambda path: path.name == CONFIG):
        path.replace(folder / path.name)
