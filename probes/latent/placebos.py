"""Vectors that should not work: what a steering vector has to beat.

* ``random_like``: uniform over directions, of the same length at the same site.
* ``shuffled_pairs``: the same recipe on the same activations with the labels dealt out anew within each problem's rows
  (over all rows where a problem has one kind only), rescaled to the same length.  It keeps all that the recipe and the
  spread of the activations bring with them, and loses the label.
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


def random_like(one: Direction, *, seed: int, number: int) -> Direction:
    """A random vector of the same length at the same site, uniform over directions."""
    draw = stream(seed, "random direction", str(one.site), number).standard_normal(one.d_model)
    vector = torch.from_numpy(draw / np.linalg.norm(draw) * one.norm).float()
    return replace(one, vector=vector, kind="random", label=f"random {number}", scores={})


def min_cosine(one: Direction, candidates: Sequence[Direction]) -> Direction | None:
    """The vector of another strategy at the same site that is most nearly orthogonal, at the same length.

    None where there is no other strategy.
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
        groups: the problem of each row; ``acts.rows["problem"]`` by default, all rows as one without it.
        seed: of the deals.

    Returns:
        a function of a vector (its label says which column) and a number.

    It does not show anything about a label that is not among ``labels`` (KeyError).
    """
    table = getattr(acts, "rows", None)
    owners = groups if groups is not None else None if table is None else table.get("problem")

    def placebo(one: Direction, number: int) -> Direction:
        column = labels[one.label]
        _, values = label_table({one.label: column}, len(column))
        dealt = deal(values[0], owners, seed=seed, label=f"{one.label} {one.site} {number}")
        kind: Any = one.kind if one.kind in ("mean", "logistic", "lda") else "mean"
        made = direction(acts, dealt, site=one.site, kind=kind, label=f"shuffled {number}", origin=one.origin)
        return replace(
            made, vector=made.vector * (one.norm / made.norm), kind="shuffled", typical_norm=one.typical_norm, scores={}
        )

    return placebo


def deal(values: Float[np.ndarray, "row"], groups: Column | None, *, seed: int, label: str) -> Float[np.ndarray, "row"]:
    """The known labels dealt out anew within each problem, or among all rows where no problem has both kinds.

    Missing labels stay where they are.
    """
    out = np.array(values, dtype=float)
    known = np.flatnonzero(~np.isnan(out))
    owners = np.zeros(len(out), dtype=object) if groups is None else np.asarray(groups, dtype=object)
    names = [str(owner) for owner in owners[known]]
    blocks = [known[[own == name for own in names]] for name in dict.fromkeys(names)]
    if not any(len(set(out[block])) > 1 for block in blocks):
        blocks = [known]
    random = stream(seed, "shuffled pairs", label)
    for block in blocks:
        out[block] = random.permutation(out[block])
    return out
