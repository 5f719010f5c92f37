"""HICRA: the advantage of a sample, raised on its planning tokens (arXiv 2509.03646, section 2.3).

``A = R - mean over the group of R`` without a standard deviation; on planning tokens ``A' = A + alpha |A|``.  A
reward's sign matters: where A is negative the penalty on planning tokens is *damped* by the factor ``1 - alpha``.  It
does not show that such training helps; on Llama-3.1-8B-Instruct it published no gain.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float


def group_advantage(rewards: Float[np.ndarray, "group sample"]) -> Float[np.ndarray, "group sample"]:
    """Reward minus the mean of its group; NaN rewards leave their sample without one and the group's mean alone.

    It does not show which tokens earned it.
    """
    return rewards - np.nanmean(rewards, axis=1, keepdims=True)


def hicra_advantage(
    advantage: Float[np.ndarray, "sample"], planning: Bool[np.ndarray, "sample token"], *, alpha: int | float = 0.2
) -> Float[np.ndarray, "sample token"]:
    """The advantage of each token: ``A + alpha |A|`` on planning tokens and ``A`` elsewhere.

    Raises:
        ValueError: alpha below zero.

    It does not show that training with it helps.
    """
    if alpha < 0:
        raise ValueError(f"alpha amplifies planning tokens and cannot be {alpha}; the published value is 0.2")
    return advantage[:, None] + alpha * np.abs(advantage)[:, None] * planning
