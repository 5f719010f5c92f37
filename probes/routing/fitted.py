"""Can the base itself tell where RL would write otherwise? A linear probe on its activations, made into a gate.

Over given texts (usually the base's own) each place is labelled by whether JS of both models exceeds ``beyond``; an
L2-penalised logistic regression predicts that from the base's activation at one site. The gate then looks at the base
alone. Its held-out AUROC comes from five folds over problems.

What it does not show: that the base *uses* what can be read there; and places where the models part need not be those
that decide an answer (:mod:`probes.routing.learned` is trained on these).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped

from hooks.gate import Gate, never
from hooks.gate import probe as probe_gate
from hooks.pair import Pair
from hooks.rollouts import Rollouts
from hooks.streams import stream
from probes.routing.gates import threshold_at
from probes.routing.sights import sights
from probes.stats import Estimate, auroc_interval

FOLDS = 5


@dataclass(frozen=True, eq=False)
class PartingProbe:
    """A probe for places where the models part, and what it is worth."""

    gate: Gate
    """Opens on as many places of the texts as the models part at, or on the share asked for."""
    site: str
    """Where the base is read."""
    share: float
    """Share of the texts' places where the models part."""
    auroc: Estimate
    """Held out, by problems."""

    def __str__(self) -> str:
        return f"probe at {self.site}: AUROC {self.auroc:.3f} where {self.share:.1%} of places part; gate {self.gate}"


def parting_probe(
    pair: Pair,
    texts: Rollouts,
    *,
    site: str | None = None,
    beyond: float = 0.1,
    share: float | None = None,
    C: float = 0.1,
    most_places: int = 50_000,
    n_boot: int = 500,
    seed: int = 0,
) -> PartingProbe:
    """Fit a probe on the base's activations and make it a gate.

    Args:
        pair: whose models read the texts.
        texts: usually samples of the base.
        site: where the base is read; the residual stream at half its depth by default.
        beyond: nats of JS above which a place counts as one where the models part.
        share: of places that the gate opens on; as many as part by default.
        C: inverse strength of the penalty.
        most_places: places fitted on, drawn at random.
        n_boot: draws of the AUROC's interval.
        seed: of folds and draws.

    Raises:
        ValueError: texts where the models part nowhere, or everywhere.

    It does not show that opening there helps; :func:`probes.routing.route` measures that.
    """
    where = site or f"resid_post.{pair.base.n_layers // 2}"
    looks = replace(never(), needs="both", hidden=where)
    seen = [
        (sight.hidden.float().cpu().numpy(), sight.js.cpu().numpy() > beyond, table["problem"].astype(str).to_numpy())
        for sight, table in sights(looks, pair, texts)
        if sight.hidden is not None
    ]
    if not seen:
        raise ValueError("there is no token to fit a probe on; give texts that are not empty")
    hidden, parts, problems = (np.concatenate(list(one)) for one in zip(*seen, strict=True))
    order = np.sort(stream(seed, "probe places").permutation(len(parts))[:most_places])
    hidden, parts, problems = hidden[order], parts[order], problems[order]
    if parts.all() or not parts.any():
        raise ValueError(f"JS exceeds {beyond} at {parts.mean():.0%} of the places; a probe needs both kinds")
    weight, bias = _fit(hidden, parts, C)
    gate = probe_gate(torch.from_numpy(weight).float(), bias, site=where)
    scores = hidden @ weight + bias
    asked = float(parts.mean()) if share is None else share
    held = _held_out(hidden, parts, problems, C, seed)
    found = auroc_interval(held, parts, problems, n_boot=n_boot, seed=seed)
    return PartingProbe(replace(gate, threshold=threshold_at(scores, asked)), where, float(parts.mean()), found)


def _fit(
    hidden: Float[np.ndarray, "place d_model"], parts: Bool[np.ndarray, "place"], C: float
) -> tuple[Float[np.ndarray, "d_model"], float]:
    """Logistic regression on standardised activations, in the units of the raw ones."""
    from sklearn.linear_model import LogisticRegression

    mean, scale = hidden.mean(axis=0), hidden.std(axis=0)
    scale[scale == 0] = 1.0
    line = LogisticRegression(C=C, max_iter=500).fit((hidden - mean) / scale, parts)
    weight = line.coef_[0] / scale
    return weight, float(line.intercept_[0] - weight @ mean)


def _held_out(
    hidden: Float[np.ndarray, "place d_model"],
    parts: Bool[np.ndarray, "place"],
    problems: Shaped[np.ndarray, "place"],
    C: float,
    seed: int,
) -> Float[np.ndarray, "place"]:
    """Each place's score by a probe that never saw its problem; NaN where the other folds hold one kind only."""
    named = np.unique(problems)
    fold_of = dict(zip(named[stream(seed, "probe folds").permutation(len(named))], np.arange(len(named)) % FOLDS))
    folds = np.array([fold_of[problem] for problem in problems])
    scores = np.full(len(parts), np.nan)
    for fold in range(FOLDS):
        out = folds == fold
        if out.any() and (~out).any() and parts[~out].any() and not parts[~out].all():
            weight, bias = _fit(hidden[~out], parts[~out], C)
            scores[out] = hidden[out] @ weight + bias
    return scores
