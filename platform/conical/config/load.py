"""An experiment from a TOML file and the `--set` of a command line."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conical.config.experiment import Experiment, named_loss, parse_experiment, use_loss_defaults
from conical.config.nested import assign, merge
from conical.core.errors import ConfigError


def load_experiment(path: str | Path | None, overrides: Sequence[str] = ()) -> Experiment:
    """Merge a TOML file into the defaults, then `--set` overrides; no file means the defaults, the offline demo.

    Args:
        path: the file, or None.
        overrides: `loss.tau_tv=40` and the like; the value is read as TOML, a bare word as text.

    Raises:
        ConfigError: the file is absent or not TOML, or a key, type or value is refused; one line per fault.
    """
    written = {} if path is None else _read(path)
    said = [_parse_override(override) for override in overrides]
    data = Experiment().to_dict()
    use_loss_defaults(data, named_loss([*written.items(), *said]))
    merge(written, into=data, owner=Experiment)
    for key, value in said:
        assign(key, value, into=data, owner=Experiment)
    return parse_experiment(data, origin="the settings" if path is None else str(path))


def _read(path: str | Path) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"config {path} cannot be read ({error.strerror}): give the path of a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {path} is not TOML: {error}") from error


def _parse_override(override: str) -> tuple[str, Any]:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set takes KEY=VALUE, got {override!r}: for example --set loss.tau_tv=40")
    return key.strip(), _parse_value(text.strip())


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
