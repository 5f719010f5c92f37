"""Was it there before RL?  Every reading of the two models at the same tokens, in one call.

* the base's probe and the RL model's, each read on both models, raw and after a rotation (:mod:`.transfer`);
* cosines and principal angles between the two models' directions, against chance (:mod:`.angles`);
* what the base's probe says k tokens ahead (:mod:`.ahead`), where activations of the tokens before are given.

These are tests (1), (2), (3) and (5) of what it takes to say that a strategy pre-exists (after arXiv 2506.18167 and
2510.07364); test (4), steering by a vector from the base alone, is in :mod:`.steering`.
What it does not show: any number of readings does not make a usable strategy.  What can be read may be the text's, and
a base that reads a strategy in the RL model's text need not ever begin one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from hooks.rollouts import Rollouts
from hooks.sites import Site
from probes.latent.ahead import REACH, Ahead, Within, ahead
from probes.latent.angles import Angles, angles
from probes.latent.labels import Labels
from probes.latent.logistic import STRENGTHS
from probes.latent.transfer import Transfer, transfer
from probes.results import Result, manifest


@dataclass(frozen=True, repr=False, eq=False)
class Preexistence(Result):
    """The readings of one pair over one set of texts."""

    transfer: Transfer
    """Probes of each model, read on both."""
    angles: Angles
    """Directions of both models beside each other."""
    ahead: Ahead | None
    """What the base's probe says k tokens ahead; None without activations of the tokens before."""

    @property
    def frames(self) -> dict[str, pd.DataFrame]:
        """All tables by name: ``models``, ``transfer``, ``alignment``, ``cosines``, ``subspaces``, ``ahead``."""
        out = {
            "models": self.transfer.models,
            "transfer": self.transfer.frame,
            "alignment": self.transfer.alignment,
            "cosines": self.angles.frame,
            "subspaces": self.angles.subspaces,
        }
        return out | ({} if self.ahead is None else {"ahead": self.ahead.frame})

    @property
    def frame(self) -> pd.DataFrame:
        """The two models' own probes side by side, a row a site and label."""
        return self.transfer.models

    def headline(self) -> str:
        """How many probes differ between the models, and how close the directions are."""
        apart = int((self.frame["rl_minus_base_q"] < 0.05).sum())
        text = f"Preexistence: {apart} of {len(self.frame)} probes differ between the models (q < 0.05). "
        return text + self.angles.headline()

    def plot(self) -> go.Figure:
        """Transfer by site."""
        return self.transfer.plot()


def preexistence(
    base_acts: Mapping[str, Any],
    rl_acts: Mapping[str, Any],
    labels: Labels,
    *,
    sites: Sequence[str | Site] | None = None,
    tokens: Rollouts | None = None,
    twin: Mapping[str, Any] | None = None,
    before: Mapping[str, Any] | None = None,
    decisions: pd.DataFrame | None = None,
    site: str | Site | Mapping[str, str] | None = None,
    within: Within | Mapping[str, Within] = "completion",
    ks: Sequence[int] = REACH,
    strengths: float | Sequence[float] = STRENGTHS,
    C: float = 0.1,
    folds: int = 5,
    n_boot: int = 1000,
    seed: int = 0,
) -> Preexistence:
    """Read both models at the same tokens in every way that bears on whether a strategy was there before RL.

    Args:
        base_acts: activations of the base at the decisions, with their table ``rows``.
        rl_acts: activations of the RL model at the same rows.
        labels: one value a row; see :data:`probes.latent.labels.Labels`.
        sites: which; all by default.
        tokens: the texts, for the baselines of last tokens and place; needed with ``before``.
        twin: activations of an untrained model at the same rows.
        before: base activations at the decisions and before them (:func:`probes.latent.ahead.places_before`).
        decisions: ``problem``, ``sample``, ``position`` of each row; ``base_acts.rows`` by default.
        site: of the probes k tokens ahead, one for all labels or one for each; the last of ``sites`` by default.
        within: where the k tokens must lie; see :func:`probes.latent.ahead.ahead`.
        ks: distances.
        strengths: inverse strengths that the probes of both models choose among, as in a sweep.
        C: inverse strength of the probes k tokens ahead, on standardised columns.
        folds: parts of the problems.
        n_boot: bootstrap draws over problems.
        seed: names every random stream.

    Raises:
        ValueError: when rows, labels and texts do not fit each other, or ``before`` comes without ``tokens``.

    Does not show that the base can use what is read; steering does.
    """
    if before is not None and tokens is None:
        raise ValueError("reading k tokens ahead needs the texts for its baseline: give tokens= beside before=")
    options: dict[str, Any] = {"C": C, "folds": folds, "n_boot": n_boot, "seed": seed}
    moved = transfer(base_acts, rl_acts, labels, sites=sites, tokens=tokens, twin=twin, **{**options, "C": strengths})
    turned = angles(base_acts, rl_acts, labels, sites=sites, seed=seed)
    early = None
    if before is not None and tokens is not None:
        rows: pd.DataFrame = base_acts.rows  # type: ignore[attr-defined]
        places = decisions if decisions is not None else rows.assign(position=rows["pos"])
        where = site if site is not None else str([*(sites if sites is not None else base_acts)][-1])
        early = ahead(before, places, labels, tokens=tokens, site=where, within=within, ks=ks, **options)
    made = manifest(what="preexistence", ahead=early is not None, **options)
    return Preexistence(moved, turned, early, manifest=made)
