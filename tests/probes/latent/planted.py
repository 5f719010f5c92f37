"""Activations with a planted direction, for two models at the same tokens."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from scipy.stats import binom

from hooks.activations import Activations
from hooks.rollouts import Rollouts
from probes.stats import stream

WIDTH = 12


def acts(rows: np.ndarray, frame: pd.DataFrame) -> Activations:
    return Activations({"resid_post.0": torch.from_numpy(rows).float()}, frame, {})


def rotation(d: int = WIDTH, seed: int = 0) -> np.ndarray:
    """A random orthogonal matrix."""
    return np.linalg.qr(stream(seed, "rotation").standard_normal((d, d)))[0]


def planted(
    n: int = 800, d: int = WIDTH, *, strength: float = 2.0, angle: float = 0.0, seed: int = 0, shared: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, pd.DataFrame]:
    """Base rows, RL rows, labels, table: the label stands along axis 0 in the base and turned by ``angle`` in the RL.

    ``shared`` is the part of the noise that both models have in common; axes differ in size, so that a rotation can be
    found.
    """
    rng = stream(seed, "planted")
    label = rng.integers(0, 2, n)
    sizes = np.linspace(1.0, 2.0, d)
    common, own, other = (rng.standard_normal((n, d)) * sizes for _ in range(3))
    base = np.sqrt(shared) * common + np.sqrt(1 - shared) * own
    rl = np.sqrt(shared) * common + np.sqrt(1 - shared) * other
    code, turned = np.eye(d)[0], np.cos(angle) * np.eye(d)[0] + np.sin(angle) * np.eye(d)[1]
    frame = pd.DataFrame(
        {"problem": [f"p{i // 4}" for i in range(n)], "sample": [i % 4 for i in range(n)], "pos": 5, "index": 2}
    )
    return base + strength * np.outer(label, code), rl + strength * np.outer(label, turned), label, frame


def texts(frame: pd.DataFrame, *, ids: list[list[int]], prompt: list[int]) -> Rollouts:
    """Rollouts whose rows are those of ``frame``."""
    rows = [
        {
            "problem": problem, "sample": sample, "model": "base", "prompt": "p", "prompt_ids": prompt, "ids": own,
            "text": "t", "logp": [0.0] * len(own), "stop": "length", "author": ["base"] * len(own),
        }
        for problem, sample, own in zip(frame["problem"], frame["sample"], ids, strict=True)
    ]  # fmt: skip
    return Rollouts.of(rows)


SETS = 200
"""Simulated label sets of a null."""
MOST_ALARMS = int(binom.ppf(0.999, SETS, 0.05))
"""More alarms than this at a nominal 5 % are no accident: 21."""
