"""Options of readers: text values that a user gives by name, checked before a file is opened."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Any

from conical.core.errors import ConfigError
from conical.core.options import did_you_mean, require_choice


def require_option(value: str, allowed: Collection[str], *, option: str, dataset: str) -> None:
    """Refuse a value of an option unless it is one of those allowed.

    Args:
        value: what the user gave.
        allowed: the values there are.
        option: its name, for the message.
        dataset: whose option it is, for the message.

    Raises:
        ConfigError: it is another one.
    """
    try:
        require_choice(f"option {option} of {dataset!r}", value, allowed)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def refuse_unknown_options(
    given: Collection[str], reader: Callable[..., Any], *, dataset: str, common: Sequence[str]
) -> None:
    """Refuse options that a reader does not take, before it is called: what it raises itself is then its own.

    Args:
        given: names of the options.
        reader: called with the root and the options.
        dataset: whose reader it is, for the message.
        common: options that every dataset takes, for the message.

    Raises:
        ConfigError: the reader has no parameter of such a name.
    """
    _, *parameters = inspect.signature(reader).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    own = [parameter.name for parameter in parameters if parameter.kind in named]
    for name in given:
        if name not in own:
            allowed = (*own, *common)
            raise ConfigError(
                f"dataset {dataset!r} has no option {name!r}: choose one of {', '.join(allowed)}."
                + did_you_mean(name, allowed)
            )
