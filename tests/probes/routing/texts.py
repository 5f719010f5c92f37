"""Graded texts made from numbers, for tests of what is computed from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hooks.rollouts import Rollouts


def graded(
    correct: np.ndarray | Sequence[Sequence[bool | None]],
    *,
    names: Sequence[str] | None = None,
    length: int = 10,
    opened: int | None = None,
    changed: int = 0,
) -> Rollouts:
    """A row a problem and a column a sample of right answers; the gate opens at the first ``opened`` tokens."""
    rows = [list(row) for row in correct]
    ids = list(names) if names is not None else [f"p{place:04d}" for place in range(len(rows))]
    out = []
    for name, row in zip(ids, rows, strict=True):
        for sample, right in enumerate(row):
            entry = {
                "problem": name, "sample": sample, "model": "m", "prompt": "?", "prompt_ids": [1],
                "ids": list(range(length)), "text": "x", "logp": [0.0] * length, "stop": "eos",
                "author": ["base"] * length, "correct": None if right is None else bool(right), "answer": "x",
            }  # fmt: skip
            if opened is not None:
                entry["gate_open"] = [place < opened for place in range(length)]
                entry["changed"] = [place < changed for place in range(length)]
            out.append(entry)
    return Rollouts.of(out)


def simulated(
    seed: int, *, problems: int, samples: int, base: float, rl: float, truth: float, copies: float = 0.7
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Right answers of base, RL and mixed texts with a known recovery.

    Problems differ in difficulty; mixed texts share the RL model's luck with probability ``copies``, as they do when
    both follow the same random numbers.
    """
    from scipy.stats import norm

    draw = np.random.default_rng(seed)
    ease = draw.normal(size=(problems, 1))
    b, r = (norm.cdf(norm.ppf(mean) * np.sqrt(2) + ease) for mean in (base, rl))
    m = b + truth * (r - b)
    u_base, u_rl, u_own = draw.random((3, problems, samples))
    u_mixed = np.where(draw.random((problems, samples)) < copies, u_rl, u_own)
    return u_base < b, u_rl < r, u_mixed < m
