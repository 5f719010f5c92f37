"""Is it the right strategy at the right place? The base steered by strategy where a gate opens, and six controls.

At an open place the RL model says which strategy it is in, and the base writes under that strategy's vector with its
learned coefficient (:mod:`probes.routing.vectors`). The gate is forced to look at both models, since the strategy is
read off the RL model; what is written comes from the base alone. The controls are those of arXiv 2510.07364's second
version, each taking away one part of the claim:

* ``random_category``: another strategy drawn at each place, all alike;
* ``random_category_without_top``: likewise, but never one of the three that fit best there (fewer, where there are not
  enough strategies to leave one over);
* ``random_places``: the right strategy, at random places as many as the full arm opened;
* ``random_vectors``: random directions of the vectors' own lengths, with the learned coefficients;
* ``random_both``: random directions and random strategies: what the coefficients do by themselves;
* ``min_cosine``: the strategy whose vector points furthest away from the right one.

What it does not show: that the base finds place or strategy by itself; both come from the RL model here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks.gate import Gate, Sight
from hooks.rollouts import Rollouts
from hooks.shift import Shift
from hooks.streams import stream
from probes.routing.gates import random
from probes.routing.runs import Arm, opened_share
from probes.routing.vectors import StrategyVectors

Pick = Literal["right", "random_category", "random_category_without_top", "min_cosine"]
PICKS: dict[str, tuple[Pick, bool]] = {
    "strategy": ("right", False),
    "random_category": ("random_category", False),
    "random_category_without_top": ("random_category_without_top", False),
    "random_places": ("right", False),
    "random_vectors": ("right", True),
    "random_both": ("random_category", True),
    "min_cosine": ("min_cosine", False),
}
"""For each kind of arm how it picks the strategy, and whether its vectors are random."""
TOP = 3
"""Best fitting strategies that ``random_category_without_top`` leaves out."""


def strategy_arms(
    vectors: StrategyVectors, name: str, gate: Gate, write: Callable[[Arm], Rollouts], *, seed: int = 0
) -> Iterator[tuple[Arm, Rollouts]]:
    """The arm steered by strategy at a gate's places, then its six controls, each matched to it.

    Args:
        vectors: one a strategy, with coefficients.
        name: of the gate's own arm, which the steered arm is matched to.
        gate: where; it is made to look at both models.
        write: writes and grades an arm.
        seed: of random strategies and directions.

    It does not show what the vectors mean; it shows what they do.
    """
    both = replace(gate, needs="both")
    full = f"strategies at {name}"
    kinds = [
        kind for kind in PICKS if len(vectors.names) > 1 or kind in ("strategy", "random_places", "random_vectors")
    ]
    share = 0.0
    for kind in kinds:
        pick, at_random = PICKS[kind]
        where = replace(random(share), needs="both") if kind == "random_places" else both
        label = full if kind == "strategy" else f"{kind.replace('_', ' ')}, {full}"
        arm = Arm(
            label, where, write="steered", kind=kind, matched=name if kind == "strategy" else full,
            steering=shift(vectors, pick, random_vectors=at_random, seed=seed),
        )  # fmt: skip
        texts = write(arm)
        if kind == "strategy":
            share = opened_share(texts)
        yield arm, texts


def shift(vectors: StrategyVectors, pick: Pick = "right", *, random_vectors: bool = False, seed: int = 0) -> Shift:
    """The push of one arm, for :func:`hooks.mix.mix` with ``write="steered", reach="place"``.

    Args:
        vectors: trained ones.
        pick: which strategy's vector a place gets.
        random_vectors: random directions of the same lengths in their stead.
        seed: of what is random.
    """
    used = vectors if not random_vectors else vectors.scrambled(seed)
    away = vectors.furthest()

    def sort(sight: Sight) -> Int[Tensor, "position"]:
        if sight.other_hidden is None:
            raise ValueError('a strategy is read off the other model: use a gate with needs="both"')
        scores = vectors.scores(sight.other_hidden)
        best = scores.argmax(dim=-1)
        if pick == "right":
            return best
        if pick == "min_cosine":
            return away.to(best.device)[best]
        leave = min(TOP, scores.shape[1] - 1) if pick == "random_category_without_top" else 0
        return drawn(scores, leave, chance(sight, seed))

    digest = vectors.digest if not random_vectors else f"{vectors.digest} scrambled {seed}"
    return Shift(vectors.site, sort, used.move, vectors.read_site, name=f"{pick} ({digest}, seed {seed})")


def drawn(
    scores: Float[Tensor, "position category"], leave: int, uniform: Float[Tensor, "position"]
) -> Int[Tensor, "position"]:
    """A category drawn by a uniform number among all but the ``leave`` that score highest."""
    left = scores.argsort(dim=-1, descending=True, stable=True)[:, leave:]
    at = (uniform * left.shape[1]).long().clamp(max=left.shape[1] - 1)
    return left.gather(1, at[:, None].to(left.device))[:, 0]


def chance(sight: Sight, seed: int) -> Float[Tensor, "position"]:
    """A uniform number for each position that no gate and no token uses, named by sample and place.

    Raises:
        ValueError: for a sight that does not know its samples.
    """
    if sight.row is None:
        raise ValueError("a random strategy is drawn by the sample's own numbers, and this sight knows no samples")
    rows, index = sight.row.cpu().numpy(), sight.index.cpu().numpy()
    out = np.empty(len(rows))
    for row in np.unique(rows):
        mine = rows == row
        problem, sample = sight.samples[row]
        numbers = stream(seed, "category", problem, sample).random(int(index[mine].max()) + 1)
        out[mine] = numbers[index[mine]]
    return torch.from_numpy(out).to(sight.index.device)
