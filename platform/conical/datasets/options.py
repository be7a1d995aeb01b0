"""Which dataset a run reads."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from conical.core.hashing import stable_hash
from conical.core.options import Options, require
from conical.datasets.scenes.generate import ScenesOptions

_FOLDER_CHARACTERS = 60


@dataclass(frozen=True, kw_only=True)
class DatasetOptions(Options):
    """The `[dataset]` table.

    Args:
        name: a card of `conical.datasets.DATASETS`.
        root: folder with the user's files; "" for `scenes`, which is generated into the workspace.
        reader: further arguments of the dataset's reader, such as `{split = "1k-A"}` for `msrvtt`; every dataset takes
            `videos`, the sub-folder that holds its videos, and `validation`, how many train videos become val where it
            has none.
        allow_missing: go on without the videos that have no file; every number says so.
        allow_shared: choose on val though it shares clips with test; every number says so.
        scenes: size and seed of the generated dataset; read by `scenes` only.
    """

    name: str = "scenes"
    root: str = ""
    reader: dict[str, str] = field(default_factory=dict)
    allow_missing: bool = False
    allow_shared: bool = False
    scenes: ScenesOptions = field(default_factory=ScenesOptions)

    def __post_init__(self) -> None:
        require(bool(self.name), "name must not be empty: give a dataset card such as 'scenes'")
        require(
            (self.name == "scenes") == (not self.root),
            f"root must be given for {self.name!r}" if self.name != "scenes" else "root must be empty for 'scenes'",
        )

        reserved = sorted(self.reader.keys() & {"name", "root", "allow_missing"})
        require(not reserved, f"reader must not hold {', '.join(reserved)}: set dataset.{(*reserved, '')[0]} instead")

    @property
    def folder(self) -> str:
        """Name of the dataset's folder in a workspace; other sizes or seeds of `scenes` live beside the default one."""
        if self.name == "scenes":
            return "scenes" if self.scenes == ScenesOptions() else f"scenes-{stable_hash(self.scenes, length=8)}"
        # "package.module:Name" is a name too; what has no place in a folder's becomes a dot
        words = re.sub(r"[^A-Za-z0-9_-]+", ".", "-".join((self.name, *self.reader.values())))[:_FOLDER_CHARACTERS]
        return f"{words}-{stable_hash([self.root, self.reader], length=8)}"
