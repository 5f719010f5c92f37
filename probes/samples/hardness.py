r"""How hard is a problem for the base, and what does RL learn from the few times it is solved?

A problem is *easy*, *medium* or *hard* by how many of 8 base samples are right: 7 or 8, 1 to 6, none (arXiv 2605.28388
names Hard@8 so; the other edges are ours). With c of n right, all subsets of 8 are taken at once: k of the 8 are right
with the hypergeometric probability, and

.. math:: E[\text{value of the others} \mid k] = \frac{1}{n-8}\Big(\frac{c-k}{c}\sum_{right} v +
          \frac{(n-c)-(8-k)}{n-c}\sum_{wrong} v\Big)

is what the base does on the samples that did *not* choose the bin. Without that the base would look too good on easy
problems and too bad on hard ones, and an unchanged model would seem to lose and to gain.

In a group of G samples with s successes the group-relative advantage (population standard deviation) is exactly

.. math:: A_+ = \sqrt{(G-s)/s}, \qquad A_- = -\sqrt{s/(G-s)},

so that successes carry :math:`s A_+ = \sqrt{s(G-s)}` of gradient mass, failures as much, and a lone success of eight
has seven times the weight of each failure. It does not show what training did with that weight: lengths, clipping and
the size of a sample's own gradient are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import hypergeom

NAMES = ("easy", "medium", "hard")


@dataclass(frozen=True)
class Bins:
    """Edges of the bins, as counts of right samples among ``draws``."""

    draws: int = 8
    """Base samples that choose the bin."""
    easy: int = 7
    """Right samples from which on a problem is easy; below, it is medium."""
    hard: int = 0
    """Right samples up to which it is hard."""

    def __post_init__(self) -> None:
        if not 0 <= self.hard < self.easy <= self.draws:
            raise ValueError(
                f"Bins need 0 <= hard < easy <= draws, not hard={self.hard}, easy={self.easy}, draws={self.draws}."
            )

    def inside(self, name: str) -> Int[np.ndarray, "count"]:
        """The counts of right samples that belong to a bin."""
        ends = {"easy": (self.easy, self.draws), "medium": (self.hard + 1, self.easy - 1), "hard": (0, self.hard)}
        first, last = ends[name]
        return np.arange(first, last + 1)

    @property
    def words(self) -> dict[str, str]:
        """Each bin in words, such as "hard (0 of 8)"."""
        out = {}
        for name in NAMES:
            counts = self.inside(name)
            ends = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
            out[name] = f"{name} ({ends} of {self.draws})"
        return out


def bin_weights(
    n: Int[np.ndarray, "problem"], c: Int[np.ndarray, "problem"], bins: Bins
) -> Float[np.ndarray, "problem bin"]:
    """The chance that a problem falls into each bin when ``bins.draws`` of its samples are drawn without return.

    Raises:
        ValueError: a problem with fewer samples than are drawn.

    It does not show how hard a problem is for another model.
    """
    _check(n, bins.draws)
    chances = _chances(n, c, bins.draws)
    return np.stack([chances[:, bins.inside(name)].sum(axis=1) for name in NAMES], axis=1)


def held_out(
    n: Int[np.ndarray, "problem"],
    c: Int[np.ndarray, "problem"],
    right: Float[np.ndarray, "problem"],
    wrong: Float[np.ndarray, "problem"],
    bins: Bins,
) -> Float[np.ndarray, "problem bin"]:
    """Each bin's chance times the mean value of the samples that did not choose it; divide by :func:`bin_weights`.

    Args:
        n: graded samples of each problem, more than ``bins.draws``.
        c: right ones.
        right: sum of a value over the right samples of each problem.
        wrong: sum over the wrong ones.
        bins: the bins.

    Raises:
        ValueError: a problem with no sample beyond those that are drawn.

    It does not show the value on the samples that were drawn.
    """
    _check(n, bins.draws + 1)
    chances = _chances(n, c, bins.draws)
    k = np.arange(bins.draws + 1)[None, :]
    n_, c_ = n[:, None].astype(float), c[:, None].astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        of_right = np.where(c_ > 0, (c_ - k) / c_ * right[:, None], 0.0)
        of_wrong = np.where(n_ > c_, (n_ - c_ - (bins.draws - k)) / (n_ - c_) * wrong[:, None], 0.0)
    # Counts that cannot be drawn have a chance of zero, whatever stands in their place.
    value = chances * (of_right + of_wrong) / (n_ - bins.draws)
    return np.stack([value[:, bins.inside(name)].sum(axis=1) for name in NAMES], axis=1)


def group_advantage(group: int, successes: int) -> tuple[float, float]:
    """Group-relative advantage of a success and of a failure, standardised by the population standard deviation.

    A group all of whose samples are alike has no gradient: the side that is there has 0, the other does not exist and
    is NaN.

    Raises:
        ValueError: a group below 2, or more successes than samples.

    It does not show implementations that add a constant to the deviation, or divide by none.
    """
    if group < 2 or not 0 <= successes <= group:
        raise ValueError(f"{successes} successes in a group of {group}: a group has >= 2 samples and 0 to all succeed.")
    failures = group - successes
    success = math.sqrt(failures / successes) if successes else math.nan
    failure = -math.sqrt(successes / failures) if failures else math.nan
    return success, failure if failure else 0.0


def success_mass(
    n: Int[np.ndarray, "problem"], c: Int[np.ndarray, "problem"], *, group: int = 8, rare: int = 1
) -> tuple[Float[np.ndarray, "problem"], Float[np.ndarray, "problem"]]:
    """Expected gradient mass of successes in a group drawn from each problem's samples: from rare ones, and in all.

    Args:
        n: graded samples of each problem, at least ``group``.
        c: right ones.
        group: samples of a group.
        rare: successes of a group up to which they are rare.

    Raises:
        ValueError: a problem with fewer samples than a group.

    It does not show the mass of failures, which is the same.
    """
    _check(n, group)
    chances = _chances(n, c, group)
    s = np.arange(group + 1)
    mass = chances * np.sqrt(s * (group - s))[None, :]
    return mass[:, : rare + 1].sum(axis=1), mass.sum(axis=1)


def _check(n: np.ndarray, least: int) -> None:
    if len(n) and n.min() < least:
        raise ValueError(f"A problem has only {int(n.min())} graded base samples; bins and groups need >= {least}.")


def _chances(n: np.ndarray, c: np.ndarray, draws: int) -> np.ndarray:
    """P(k of the drawn samples are right), a row a problem; equal counts are computed once."""
    pairs, back = np.unique(np.stack([n, c], axis=1), axis=0, return_inverse=True)
    table = hypergeom.pmf(np.arange(draws + 1)[None, :], pairs[:, :1], pairs[:, 1:], draws)
    return np.asarray(table, dtype=float)[back.reshape(-1)]
