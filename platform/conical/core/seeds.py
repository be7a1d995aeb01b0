"""Random numbers as a pure function of what they are for.

Each random choice is drawn from a generator keyed by the run's seed and the names of the choice (epoch, video, use).
Nothing depends on how many numbers were drawn before, so a resumed run, or one spread over more ranks, makes the very
same choices as an undisturbed run in one process.
"""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the purpose spelled by `names`.

    >>> derive_seed(0, "augment", 3) == derive_seed(0, "augment", 3)
    True
    >>> derive_seed(0, "augment", 3) == derive_seed(0, "augment", 4)
    False
    """
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator for the purpose spelled by `names`."""
    return np.random.default_rng(derive_seed(seed, *names))
