"""What many tests share: a small CLIP that needs no download."""

from __future__ import annotations

import copy
import json
import os

import hypothesis
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# without it Ray writes a token into the home that switches authentication on for later clusters
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
# processes of a parallel run are told the width of a terminal they have not got
os.environ.pop("COLUMNS", None)
# many small products: on few cores more threads only wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")

# a busy machine is slow, not wrong
hypothesis.settings.register_profile("no_deadline", deadline=None)
hypothesis.settings.load_profile("no_deadline")

_SMALL_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="session")
def small_clip(tmp_path_factory):
    """Options of a random CLIP of open_clip's form, on disk."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    from conical.models import ModelOptions

    folder = tmp_path_factory.mktemp("small_clip")
    (folder / "config.json").write_text(json.dumps(_SMALL_CLIP))
    torch.manual_seed(0)
    clip = open_clip.CLIP(**_SMALL_CLIP)
    save_file(clip.state_dict(), folder / "model.safetensors")
    return ModelOptions(name=str(folder / "config.json"), weights=str(folder / "model.safetensors"))


@pytest.fixture(scope="session")
def loaded_small_encoder(small_clip):
    """Read from disk once; tests take copies."""
    from conical.models.dual_encoder import build_dual_encoder

    return build_dual_encoder(small_clip)


@pytest.fixture
def small_encoder(loaded_small_encoder):
    """A dual encoder of 32 px frames with random weights."""
    return copy.deepcopy(loaded_small_encoder).train()
