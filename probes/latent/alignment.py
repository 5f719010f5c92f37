r"""Is the code the same up to a turn of the space?  Orthogonal Procrustes between two models' activations.

Both sides read the same tokens, so their rows are paired.  With each side's mean taken off, the rotation is

.. math:: R = \arg\min_{R^\top R = I} \lVert (A - \bar a) R - (B - \bar b) \rVert_F

(Schönemann 1966, Psychometrika 31; :func:`scipy.linalg.orthogonal_procrustes`), and the scale that goes with it is the
sum of the singular values of :math:`(A - \bar a)^\top (B - \bar b)` over :math:`\lVert A - \bar a \rVert_F^2`.  Neither
the means nor the scale can change an AUROC within a fold; the rotation can.

Assumes paired rows, and enough of them: with fewer rows than columns a rotation fits anything, so it is fitted on
training problems and judged on others.
What it does not show: that the models compute alike; a rotation is free to undo what training did to the whole space.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class Alignment:
    """A rotation from one model's activations to another's, with the means and the scale that belong to it."""

    rotation: Float[np.ndarray, "d d"]
    """Orthogonal; rows of the source times this are in the target's axes."""
    scale: float
    """Best common factor of the turned source; below one where the fit is poor or the target is smaller."""
    source_mean: Float[np.ndarray, "d"]
    """Taken off the source."""
    target_mean: Float[np.ndarray, "d"]
    """Taken off the target."""

    def forward(self, source: Float[np.ndarray, "row d"]) -> Float[np.ndarray, "row d"]:
        """Source activations in the target's space."""
        return self.scale * ((source - self.source_mean) @ self.rotation) + self.target_mean

    def backward(self, target: Float[np.ndarray, "row d"]) -> Float[np.ndarray, "row d"]:
        """Target activations in the source's space: the same rotation the other way, at the source's size."""
        return (target - self.target_mean) @ self.rotation.T / (self.scale or 1.0) + self.source_mean


def align(source: Float[np.ndarray, "row d"], target: Float[np.ndarray, "_ _"]) -> Alignment:
    """Fit the rotation on paired rows.

    Raises:
        ValueError: when the two have different shapes, or no row.

    Does not show how well it fits; :func:`misfit` on other rows does.
    """
    if source.shape != target.shape or not len(source):
        raise ValueError(
            f"activations of shapes {source.shape} and {target.shape} cannot be aligned; "
            "give both models' activations at the same tokens, at least one row"
        )
    from scipy.linalg import orthogonal_procrustes

    means = source.mean(0, dtype=np.float64), target.mean(0, dtype=np.float64)
    a, b = source - means[0], target - means[1]
    rotation, overlap = orthogonal_procrustes(a, b)
    size = float((a**2).sum())
    return Alignment(rotation, float(overlap) / size if size else 1.0, *means)


def misfit(
    moved: Float[np.ndarray, "row d"], target: Float[np.ndarray, "row d"], mean: Float[np.ndarray, "d"]
) -> tuple[Float[np.ndarray, "row"], Float[np.ndarray, "row"]]:
    """For each row the squared distance of ``moved`` to the target, and of the target to the mean.

    The ratio of their sums is the share of the target's variance that ``moved`` misses.
    """
    return ((moved - target) ** 2).sum(1), ((target - mean) ** 2).sum(1)
