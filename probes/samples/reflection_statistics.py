r"""The arithmetic of reference tokens that depend on the reasoning: spread, weights, rewards, and a query filter.

With :math:`l_{ij} = \log \pi(y_j \mid q, c_i, y_{<j})` for N chains of thought :math:`c_i` and m reference tokens
(arXiv 2506.13351; its weight function is not stated, so two forms are offered):

.. math:: \sigma_j = \mathrm{std}_i(l_{ij}), \qquad w_j = \sigma_j / \textstyle\sum_j \sigma_j \ \text{ or an even mask
          of the top tokens}, \qquad R3_i = \sum_j w_j \big[ l_{ij} - \log \pi(y_j \mid q, c_{masked}, y_{<j}) \big].

The standard deviation is the population one (the source does not say which). The source's other form carries a token's
doubt on to those behind it: with :math:`p_{ik} = e^{l_{ik}}` and distance :math:`d = j - k`,

.. math:: l'_{ij} = l_{ij} + \sum_{k < j,\ k\ reflective} \log P_{ik}(j), \qquad
          P_{ik}(j) = p_{ik} + (1 - p_{ik})(1 - e^{-\gamma d}),

because a reference is read behind its own earlier tokens: once a wrong value stands there, what follows from it is
likely again. What these do not show: whether a token varies because the reasoning decides it or because a chain breaks
the format before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from hooks.streams import stream

NULL_DRAWS = 200
"""Draws of pure noise behind :func:`noise_share`."""


@dataclass(frozen=True, eq=False)
class Read:
    """One query's reference, read after each of its chains of thought."""

    problem: str
    logp: Float[np.ndarray, "chain token"]
    """Log-probability of each reference token after each chain, nats."""
    masked: Float[np.ndarray, "token"] | None = None
    """The same with the chain masked out; None where it was not read."""
    ranks: Int[np.ndarray, "chain token"] | None = None
    """Rank of each reference token, 1 the likeliest; None where it was not read."""
    entropy: Float[np.ndarray, "chain token"] | None = None
    """Entropy at each reference token, nats."""
    js: Float[np.ndarray, "chain token"] | None = None
    """Jensen-Shannon divergence of base and RL model at each reference token, nats; None where one model read."""
    correct: Float[np.ndarray, "chain"] | None = None
    """Whether the text that each chain came from was right: 1, 0, NaN ungraded."""

    def __post_init__(self) -> None:
        if self.logp.size == 0:
            raise ValueError(f"Problem {self.problem!r} has no chain or no reference token; leave it out.")
        if not np.isfinite(self.logp).all():
            raise ValueError(f"Problem {self.problem!r} has a log-probability that is not finite; see its reference.")
        shapes = {"masked": self.logp.shape[1:], **dict.fromkeys(("ranks", "entropy", "js"), self.logp.shape)}
        for name, shape in {**shapes, "correct": self.logp.shape[:1]}.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise ValueError(f"{name} of problem {self.problem!r} has the shape {value.shape}, not {shape}.")


def spread(logp: Float[np.ndarray, "chain token"]) -> Float[np.ndarray, "token"]:
    """Standard deviation of each token's log-probability over chains (population), nats; NaN with a single chain.

    arXiv 2506.13351. It does not show which chains make a token likely.
    """
    return logp.std(axis=0) if len(logp) > 1 else np.full(logp.shape[1], np.nan)


def weights(sigma: Float[np.ndarray, "token"], *, top: int | float | None = None) -> Float[np.ndarray, "token"]:
    """Weights that sum to one: in proportion to the spread, or even over the ``top`` share of the tokens.

    NaN where nothing varies.

    Raises:
        ValueError: a share outside 0 to 1.

    It does not show the source's own weights, whose form is not stated.
    """
    if top is None:
        total = sigma.sum()
        return sigma / total if total > 0 else np.full(len(sigma), np.nan)
    if not 0 < top <= 1:
        raise ValueError(f"top is a share of the tokens above 0 and at most 1, not {top}.")
    if not np.nanmax(sigma) > 0:
        return np.full(len(sigma), np.nan)
    count = math.ceil(top * len(sigma))
    out = np.zeros(len(sigma))
    out[np.argsort(-sigma, kind="stable")[:count]] = 1 / count
    return out


def r3(
    logp: Float[np.ndarray, "chain token"],
    masked: Float[np.ndarray, "token"],
    weight: Float[np.ndarray, "token"],
) -> Float[np.ndarray, "chain"]:
    """Reasoning-reflection reward of each chain: weighted gain in log-probability over the masked chain, nats.

    arXiv 2506.13351. It does not show gains that other reference answers would have had.
    """
    return (logp - masked[None, :]) @ weight


def propagated(
    logp: Float[np.ndarray, "chain token"], reflective: Bool[np.ndarray, "token"], *, gamma: int | float
) -> Float[np.ndarray, "chain token"]:
    """Log-probabilities with the doubt of earlier reflective tokens carried on, :math:`l'` at the head of this file.

    Args:
        logp: log-probability of each reference token after each chain, nats.
        reflective: tokens whose doubt is carried on, for instance those of an even mask of :func:`weights`.
        gamma: how fast doubt fades with distance, a token; 0 never. The source gives no value.

    Raises:
        ValueError: a gamma below 0.

    arXiv 2506.13351. It does not show which of the two forms trains better; the source prefers the masked baseline.
    """
    if gamma < 0:
        raise ValueError(f"gamma says how fast doubt fades and is 0 or more, not {gamma}.")
    out = logp.astype(float).copy()
    doubt = -np.expm1(np.minimum(logp, 0.0))
    for k in np.flatnonzero(reflective):
        distance = np.arange(1, logp.shape[1] - k)
        # P = 1 - (1 - p) exp(-gamma d); a token of no probability at all takes what follows with it.
        with np.errstate(divide="ignore"):
            out[:, k + 1 :] += np.log1p(-doubt[:, k, None] * np.exp(-gamma * distance))
    return out


def length_reward(reference: int, answer: int, *, beta: int | float) -> float:
    """``1 - beta |m - m'| / m`` for a reference of m tokens and an answer of m', reasoning not counted.

    Raises:
        ValueError: a reference without tokens.

    It does not show how the source mixes it with R3.
    """
    if reference < 1:
        raise ValueError("A reference answer has at least one token.")
    return 1 - beta * abs(reference - answer) / reference


def carrying(sigma: Float[np.ndarray, "token"], share: int | float = 0.8) -> float:
    """The least share of tokens that holds ``share`` of the summed spread; NaN where nothing varies.

    With m tokens it comes in steps of 1/m. It does not show which tokens they are.
    """
    total = sigma.sum()
    if not total > 0:
        return math.nan
    held = np.cumsum(np.sort(sigma)[::-1]) / total
    # A hair of slack: four equal tokens of five hold 0.8 whatever the order of summation.
    return float(1 + np.searchsorted(held, share - 1e-12)) / len(sigma)


def noise_share(
    chains: int, tokens: int, share: int | float = 0.8, *, n_draws: int = NULL_DRAWS, seed: int = 0
) -> float:
    """What :func:`carrying` gives on average if all tokens vary alike: independent normal noise of one size.

    It does not show noise that is larger at unlikely tokens, as that of log-probabilities often is.
    """
    noise = stream(seed, "reflection null", chains, tokens).normal(size=(n_draws, chains, tokens))
    return float(np.mean([carrying(spread(draw), share) for draw in noise]))


def filter_queries(
    reads: Sequence[Read],
    *,
    rho: int | float,
    k: int | float,
    share: int | float,
    previous: Sequence[str] = (),
    carry: int | float = 0.1,
    seed: int = 0,
) -> pd.DataFrame:
    """Which queries are worth training on: neither too hard nor indifferent to the reasoning (arXiv 2506.13351).

    A query is *too hard* if no chain brings the mean rank of its worst ``rho`` of reference tokens to ``k`` or below.
    Of the others, the ``share`` with the smallest largest spread have *low variation*. A tenth of the previous set is
    carried forward all the same. None of rho, k and share is published, so all three have to be given.

    Args:
        reads: queries with ranks.
        rho: share of each reference's tokens that count as worst, above 0.
        k: mean rank that at least one chain has to reach.
        share: share of the queries that are not too hard which is dropped for low variation.
        previous: names of the queries of the set before.
        carry: share of these that is carried forward.
        seed: of the choice of those.

    Returns:
        A row a query: ``problem``, ``best_rank``, ``largest_sigma``, ``too_hard``, ``low_variation``, ``carried``,
        ``kept``.

    Raises:
        ValueError: reads without ranks, or a share that is none.

    It does not show what training on the kept queries gives.
    """
    if not 0 < rho <= 1 or not 0 <= share < 1 or not 0 <= carry <= 1:
        raise ValueError(f"rho, share and carry are shares, not {rho}, {share} and {carry}.")
    rows = []
    for read in reads:
        if read.ranks is None:
            raise ValueError(f"Problem {read.problem!r} has no ranks; read its reference with read_references.")
        worst = max(1, math.ceil(rho * read.ranks.shape[1]))
        best = float(np.sort(read.ranks, axis=1)[:, -worst:].mean(axis=1).min())
        rows.append((read.problem, best, float(spread(read.logp).max()), best > k))
    frame = pd.DataFrame(rows, columns=["problem", "best_rank", "largest_sigma", "too_hard"])
    left = frame[~frame["too_hard"]].sort_values(["largest_sigma", "problem"])
    low = set(left["problem"].iloc[: int(share * len(left))])
    frame["low_variation"] = frame["problem"].isin(low)
    before = sorted(set(previous))
    order = stream(seed, "carried queries").permutation(len(before))[: math.ceil(carry * len(before))]
    frame["carried"] = frame["problem"].isin({before[at] for at in order})
    frame["kept"] = ~(frame["too_hard"] | frame["low_variation"]) | frame["carried"]
    return frame
