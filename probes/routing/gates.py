"""When may the other model write? The gates by name, and their thresholds from a budget.

A gate opens where its score exceeds its threshold (:mod:`hooks.gate` holds the scores). A budget turns that round: the
threshold is the empirical quantile of the scores on given text at which the gate opens on at most ``share`` of the
places,

    threshold = s_(floor(share * n) + 1),   s_(1) >= s_(2) >= ... the n scores in descending order,

so that ties never open more than was asked for. JS is the rule of arXiv 2603.22446, greedy disagreement that of arXiv
2510.07364, entropy the baseline router of arXiv 2505.21600 (R2R).

What it does not show: the share on other text. A gate changes the text it reads next, so the share it opens while
decoding differs from its budget; results always carry the share that was really open.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from hooks.gate import Gate, Sight, always, disagreement, entropy, js, kl, margin, never, places, probe
from hooks.gate import every as _every
from hooks.gate import first as _first
from hooks.gate import random as _random
from hooks.pair import Pair
from hooks.rollouts import Rollouts
from probes.routing.sights import Half, sights

__all__ = [
    "Gate",
    "Half",
    "Sight",
    "always",
    "budgeted",
    "disagreement",
    "entropy",
    "every_n",
    "first_k",
    "js",
    "kl",
    "margin",
    "never",
    "place_scores",
    "places",
    "probe",
    "random",
    "threshold_at",
]


def first_k(k: int) -> Gate:
    """Open at the first ``k`` places of every text: is choosing how to begin enough?

    Raises:
        ValueError: ``k`` is negative.
    """
    if k < 0:
        raise ValueError(f"first_k opens a number of places and cannot open {k}.")
    return replace(_first(k), name=f"first {k}")


def every_n(n: int) -> Gate:
    """Open at every ``n``-th place, beginning with the first."""
    return replace(_every(n), name=f"every {n}")


def random(rate: float) -> Gate:
    """Open at a share ``rate`` of places, whatever stands there: the control that any other gate has to beat."""
    return replace(_random(rate), name=f"random {rate:.3g}")


def budgeted(
    gate: Gate,
    share: float,
    *,
    pair: Pair,
    text: Rollouts,
    primary: Half = "base",
    batch_tokens: int = 4096,
    seed: int = 0,
) -> Gate:
    """The same gate with the threshold at which it opens on at most ``share`` of the places of ``text``.

    Args:
        gate: any gate; only its score is used.
        share: of places, between 0 and 1.
        pair: whose models read the text, teacher-forced.
        text: usually samples of the base; the budget holds there and nowhere else.
        primary: which half the gate takes for its primary.
        batch_tokens: padded tokens read at a time.
        seed: of the uniform numbers shown to a gate that asks for chance.

    Raises:
        ValueError: a share outside [0, 1], or text without a token.
    """
    scored = place_scores(gate, pair, text, primary=primary, batch_tokens=batch_tokens, seed=seed)
    return replace(gate, threshold=threshold_at(scored["score"].to_numpy(dtype=float), share))


def threshold_at(scores: Float[np.ndarray, "place"], share: float) -> float:
    """The least threshold above which at most ``share`` of the scores lie; -inf for all, the maximum for none.

    Raises:
        ValueError: no scores, a score that is NaN, or a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"A budget is a share of places between 0 and 1, not {share}.")
    if len(scores) == 0 or np.isnan(scores).any():
        raise ValueError("A budget needs at least one place and a score at each; there is no text to take it from.")
    allowed = math.floor(share * len(scores) + 1e-9)
    return -math.inf if allowed >= len(scores) else float(np.sort(scores)[::-1][allowed])


@torch.no_grad()
def place_scores(
    gate: Gate,
    pair: Pair,
    text: Rollouts,
    *,
    primary: Half = "base",
    batch_tokens: int = 4096,
    seed: int = 0,
) -> pd.DataFrame:
    """The score of a gate at every place of given text: a row a generated token.

    Both models read the same ids, as they would while decoding that very text. Columns: ``problem``, ``sample``,
    ``index`` (0 for the first generated token), ``id`` (the token that stands there), ``score``, ``open``.

    It does not show where the gate would open in the text that it would itself bring about.
    """
    tables = [
        places.assign(score=gate.scores(seen).double().cpu().numpy())
        for seen, places in sights(gate, pair, text, primary=primary, batch_tokens=batch_tokens, seed=seed)
    ]
    if not tables:
        return pd.DataFrame(columns=["problem", "sample", "index", "id", "score", "open"])
    frame = pd.concat(tables).sort_values(["text", "index"], kind="stable").drop(columns="text")
    return frame.reset_index(drop=True).assign(open=lambda table: table["score"] > gate.threshold)
