"""The errors a user can meet, as one tree.

    ConicalError
    ├── UserError (also a ValueError)   the user can mend it; the command line prints one line and exits with 2
    │   ├── ConfigError                 a key, type or value of the configuration
    │   ├── DataError                   a dataset, split, manifest or annotation file
    │   ├── StoreError                  a workspace or store that cannot be read or written
    │   ├── ProtocolError               numbers of different protocols mixed, or the test split touched
    │   └── ClusterError                Ray, a port, a worker or a service that is away
    └── DecodeError                     one video file; `kind` says which failure, ingest counts it

Each message says what is wrong, the value, what is allowed and what to do. Each error survives pickling, since Ray
carries it between processes (an exception with two constructor arguments would not without `__reduce__`).
"""

from __future__ import annotations


class ConicalError(Exception):
    """Root of all errors raised on purpose by this package."""


class UserError(ConicalError, ValueError):
    """Something the user wrote or provided is wrong; the message says how to mend it."""


class ConfigError(UserError):
    """The configuration holds an unknown key, a wrong type or an impossible value."""


class DataError(UserError):
    """A dataset, split, manifest or annotation file is missing or contradicts itself."""


class StoreError(UserError):
    """A workspace or store cannot be read or written."""


class ProtocolError(UserError):
    """Numbers of different protocols would be mixed, or the test split touched during selection."""


class ClusterError(UserError):
    """Ray, a port, a worker or a service cannot be reached or used."""


class DecodeError(ConicalError):
    """A video could not be turned into exact frames.

    Args:
        kind: short machine-readable reason, one of `conical.core.records.FAILURE_KINDS`.
        message: one line for a person.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[type[DecodeError], tuple[str, str]]:
        return type(self), (self.kind, str(self))
