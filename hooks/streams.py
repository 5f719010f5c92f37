"""Named random streams: the same seed and labels give the same numbers, whatever was drawn before or beside them."""

from __future__ import annotations

import hashlib

import numpy as np


def stream(seed: int, *labels: str | int) -> np.random.Generator:
    """A random generator that belongs to ``(seed, labels)`` alone.

    The key is the SHA-256 of the seed and the labels, each with its length, so that no two lists of labels share a
    stream by accident and neither order nor batch size changes a result.
    """
    digest = hashlib.sha256()
    for part in (seed, *labels):
        text = f"{type(part).__name__}:{part}".encode()
        digest.update(len(text).to_bytes(8, "big") + text)
    return np.random.default_rng(int.from_bytes(digest.digest()[:16], "big"))
