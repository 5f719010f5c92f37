"""From a strategy's name to vectors: the base writes, its decisions are labelled, and its own activations point.

The same recipe as in a study's steering stage, for any layers, without a study: difference of means between the
decisions at which the strategy was chosen and those at which it was not, on the base's own sampled texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from hooks.capture import capture
from hooks.direction import Direction
from hooks.model import Model
from hooks.rollouts import Rollouts
from probes.latent.choices import decision_labels, decision_mask, decision_rows
from probes.latent.directions import direction
from probes.latent.strategies import annotate
from probes.latent.trial import strategy_of


def pointers(
    model: Model, texts: Rollouts, label: str, layers: Sequence[int], *, annotator: Any = "auto", seed: int = 0
) -> list[Direction]:
    """A direction of one strategy at each layer, from a model's activations on its own texts.

    Args:
        model: whose activations, and whose texts.
        texts: samples with ids.
        label: a strategy ("verification"), or one at a place ("verification (inner)"); without a place the one with
            more examples is taken.
        layers: where, counted from 0.
        annotator: of strategies, see :func:`probes.latent.strategies.annotate`.
        seed: of the held-out halves.

    Raises:
        ValueError: for a layer that the model has not, or a strategy too rare in the texts; the sentence names those
            that are common enough.

    It does not show that adding the vectors brings the strategy about.
    """
    outside = [layer for layer in layers if not 0 <= layer < model.n_layers]
    if outside:
        raise ValueError(f"{model.name} has layers 0 to {model.n_layers - 1}, and {outside[0]} was asked for")
    found = decision_rows(texts, annotate(texts, annotator, tokenizer=model.tokenizer))
    name, column = _column(decision_labels(found), label, model.name)
    sites = [f"resid_post.{layer}" for layer in layers]
    acts = capture(model, texts, sites=sites, positions=decision_mask(texts, found))
    return [direction(acts, column, site=site, label=name, groups=found["problem"], seed=seed) for site in sites]


def _column(labels: pd.DataFrame, label: str, model: str) -> tuple[str, pd.Series]:
    own = [str(name) for name in labels if label in (str(name), strategy_of(str(name)))]
    if not own:
        known = ", ".join(map(str, labels)) or "none"
        raise ValueError(f"{label!r} is too rare in the texts of {model} to make a vector of; common enough: {known}")
    best = max(own, key=lambda name: np.nansum(labels[name].to_numpy(dtype=float)))
    return best, labels[best]
