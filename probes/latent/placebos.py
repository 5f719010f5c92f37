"""Vectors that should not work: what a steering vector has to beat.

* ``random_like``: uniform over directions, of the same length at the same site.
* ``shuffled_pairs``: the same recipe on the same activations with the labels dealt out anew, rescaled to the same
  length.  It keeps all that the recipe and the spread of the activations bring with them, and loses the label.  Dealt
  within groups (problems, say) it keeps what the rows of a group have in common, and is a placebo for the rest alone:
  where they share one activation, as at the last token of a prompt, such a deal changes nothing and is refused.
* ``min_cosine``: among the vectors of *other* strategies at the same site the one with the smallest ``|cosine|``,
  rescaled to the same length: a direction that means something, and something else (the control of Venhoff et al. 2025,
  arXiv 2510.07364).

A vector that beats them all has shown that direction matters; it has not shown that the model itself uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from hooks.direction import Direction
from probes.latent.directions import direction
from probes.latent.labels import label_table
from probes.latent.trial import strategy_of
from probes.stats import Column, stream

Placebo = Callable[[Direction, int], Direction]
"""From the vector under test and a number to a placebo of the same length at the same site."""
SAME = 1 - 1e-6
"""Cosine above which two vectors are one."""


def random_like(one: Direction, *, seed: int, number: int) -> Direction:
    """A random vector of the same length at the same site, uniform over directions."""
    draw = stream(seed, "random direction", str(one.site), number).standard_normal(one.d_model)
    vector = torch.from_numpy(draw / np.linalg.norm(draw) * one.norm).float()
    return replace(one, vector=vector, kind="random", label=f"random {number}", scores={})


def min_cosine(one: Direction, candidates: Sequence[Direction]) -> Direction | None:
    """The vector of another strategy at the same site that is most nearly orthogonal, at the same length.

    None where there is no other strategy.  An opposite vector is near in this sense; the router's control, which takes
    the lowest cosine, prefers it.
    """
    others = [
        other
        for other in candidates
        if other.site == one.site and strategy_of(other.label) != strategy_of(one.label)
    ]  # fmt: skip
    if not others:
        return None
    chosen = min(others, key=lambda other: (abs(one.cosine(other)), other.label))
    return replace(chosen, vector=chosen.vector * (one.norm / chosen.norm), scores={})


def shuffled_pairs(
    acts: Mapping[str, Any], labels: Mapping[str, Column], *, groups: Column | None = None, seed: int = 0
) -> Placebo:
    """Placebos from the data that the vectors came from: the same recipe, its labels dealt out anew.

    Args:
        acts: activations in memory or an open store.
        labels: for each label its column, one value a row; missing leaves a row out.
        groups: the group of each row, within which labels are dealt; all rows are one group by default.
        seed: of the deals.

    Returns:
        a function of a vector (its label says which column) and a number. It raises ValueError where dealing within
        groups leaves the vector as it was.

    It does not show anything about a label that is not among ``labels`` (KeyError).
    """

    def placebo(one: Direction, number: int) -> Direction:
        column = labels[one.label]
        _, values = label_table({one.label: column}, len(column))
        dealt = deal(values[0], groups, seed=seed, label=f"{one.label} {one.site} {number}")
        kind: Any = one.kind if one.kind in ("mean", "logistic", "lda") else "mean"
        made = direction(acts, dealt, site=one.site, kind=kind, label=f"shuffled {number}", origin=one.origin)
        if groups is not None and made.cosine(one) > SAME:
            raise ValueError(
                f"Dealing the labels of {one.label!r} within groups leaves its vector as it was: the rows of a group "
                "share one activation or one label; deal over all rows (groups=None)."
            )
        return replace(
            made, vector=made.vector * (one.norm / made.norm), kind="shuffled", typical_norm=one.typical_norm, scores={}
        )

    return placebo


def deal(values: Float[np.ndarray, "row"], groups: Column | None, *, seed: int, label: str) -> Float[np.ndarray, "row"]:
    """The known labels dealt out anew among all rows, or within each group; missing ones stay where they are."""
    out = np.array(values, dtype=float)
    known = np.flatnonzero(~np.isnan(out))
    owners = np.zeros(len(out), dtype=object) if groups is None else np.asarray(groups, dtype=object)
    names = [str(owner) for owner in owners[known]]
    blocks = [known[[own == name for own in names]] for name in dict.fromkeys(names)]
    random = stream(seed, "shuffled pairs", label)
    for block in blocks:
        out[block] = random.permutation(out[block])
    return out
