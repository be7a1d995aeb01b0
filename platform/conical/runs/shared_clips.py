"""Clips that two splits hold: said with every number, and refused where a choice would be made on them."""

from __future__ import annotations

from collections.abc import Sequence

from conical.config import Experiment
from conical.core.errors import ProtocolError
from conical.datasets.checks.same_content import SameContent, same_content
from conical.store import FrameStore, Workspace, read_manifest


def shared_clips(experiment: Experiment, workspace: Workspace) -> tuple[SameContent, ...]:
    """What two splits have in common, by the manifest and by the bytes that the frames were read from."""
    folder = experiment.dataset.folder
    files = FrameStore.open(workspace.frames(folder, experiment.frames.hash)).fingerprints()
    return same_content(read_manifest(workspace.manifest(folder)), files=files)


def shared_notes(found: Sequence[SameContent], split: str) -> tuple[str, ...]:
    """What a number of this split must say."""
    return tuple(shared.count for shared in found if split in (shared.split_a, shared.split_b))


def refuse_shared_choice(experiment: Experiment, workspace: Workspace) -> None:
    """Refuse to choose on val where test holds the same clips: the choice would be made on test.

    Raises:
        ProtocolError: they share clips, and `dataset.allow_shared` is false.
    """
    if experiment.dataset.allow_shared:
        return
    for shared in shared_clips(experiment, workspace):
        if {shared.split_a, shared.split_b} == {"val", "test"}:
            raise ProtocolError(
                f"{shared.sentence}: what is chosen on val would be chosen on test. Take them out of one split, or "
                "allow it (--set dataset.allow_shared=true), which every number then says"
            )
