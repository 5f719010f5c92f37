"""When does the other model write? A gate gives every position a score and opens where it exceeds a threshold.

    open(t)  iff  score(what may be seen at t) > threshold

A gate sees the primary's logits, the other model's where it asks for them (``needs="both"``), the index of the
position, a uniform number of its own, or the primary's activations at a site. It never sees the token that was drawn.
JS > threshold is the rule of arXiv 2603.22446; greedy disagreement that of arXiv 2510.07364; entropy is the baseline
router of R2R (arXiv 2505.21600). Random, first-k and every-n places are the controls at a matched rate.

A gate decides *where*; what is written there is the business of :func:`hooks.mix.mix`. That a gate recovers a gain
says nothing about why the models part there, and a gate that sees both models is an oracle, not a router.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks.divergence import entropy as entropy_of
from hooks.divergence import js as js_between
from hooks.divergence import kl as kl_between
from hooks.divergence import log_probs

Needs = Literal["none", "primary", "both"]
"""Whose logits a gate looks at; a gate that does not ask for the other model leaves it idle."""


@dataclass(frozen=True)
class Sight:
    """What a gate may see, for any number of positions at once: of several rows, several positions of each.

    A position is a place from which a token is chosen; everything in here is known before that token is.
    """

    primary_logits: Float[Tensor, "position vocab"]
    """The primary's logits over the ids common to both models, in the model's own format."""
    other_logits: Float[Tensor, "position vocab"] | None
    """The other model's logits; None unless the gate needs both."""
    index: Int[Tensor, "position"]
    """0 where the first new token is chosen, 1 for the next ..."""
    uniform: Float[Tensor, "position"]
    """A number in [0, 1) of the gate's own stream, which no token is drawn from."""
    hidden: Float[Tensor, "position d_model"] | None
    """The primary's activation at the site that the gate names; None where it names none."""
    last_ids: Int[Tensor, "position"]
    """The token just before the place, the last one the models have read there."""
    row: Int[Tensor, "position"] | None = None
    """Which entry of ``samples`` the position belongs to."""
    samples: Sequence[tuple[str, int]] = ()
    """Problem and sample of every row of the batch."""
    context: Callable[[int], list[int]] | None = None
    """The new tokens that stand before a position (an entry of this object's axis), prompt left out."""
    other_hidden: Float[Tensor, "position d_other"] | None = None
    """The other model's activation at the site that a :class:`hooks.shift.Shift` names; None where none is named."""

    @cached_property
    def primary_logp(self) -> Float[Tensor, "position vocab"]:
        """Log-probabilities of the primary, computed once however many formulas ask."""
        return log_probs(self.primary_logits)

    @cached_property
    def other_logp(self) -> Float[Tensor, "position vocab"]:
        """Log-probabilities of the other model.

        Raises:
            ValueError: when the gate did not ask for the other model.
        """
        if self.other_logits is None:
            raise ValueError('this gate looks at the other model: build it with needs="both"')
        return log_probs(self.other_logits)

    @cached_property
    def primary_entropy(self) -> Float[Tensor, "position"]:
        """Entropy of the primary, nats."""
        return entropy_of(self.primary_logp)

    @cached_property
    def js(self) -> Float[Tensor, "position"]:
        """Jensen-Shannon divergence of the two models, nats."""
        return js_between(self.primary_logp, self.other_logp)


@dataclass(frozen=True)
class Gate:
    """A score a position and the threshold above which the other author writes.

    ``score`` must judge each position by itself: the engine asks for several positions at once, also for positions
    that a cut will undo, so a score that remembers earlier calls would make the text depend on the batch.
    ``dataclasses.replace(gate, threshold=...)`` gives the same gate at another rate.
    """

    name: str
    needs: Needs
    score: Callable[[Sight], Float[Tensor, "position"]]
    threshold: float = 0.0
    hidden: str | bool | None = None
    """A coarse site of the primary to be shown as ``Sight.hidden``, such as ``"resid_post.2"``; True for the last."""

    def __post_init__(self) -> None:
        if self.needs not in ("none", "primary", "both"):
            raise ValueError(f'a gate needs "none", "primary" or "both", not {self.needs!r}')

    def __str__(self) -> str:
        return f"{self.name} > {self.threshold:g}"

    @property
    def site(self) -> str | None:
        """The site asked for, spelt out; None when no activation is."""
        if self.hidden is True:
            return "resid_post.-1"
        return self.hidden or None

    def scores(self, sight: Sight) -> Float[Tensor, "position"]:
        """The checked scores.

        Raises:
            ValueError: for a score of another shape, or one that is NaN (a position is open or closed, never neither).
        """
        score = self.score(sight)
        if score.shape != sight.index.shape:
            raise ValueError(
                f"gate {self.name!r} gave scores of shape {tuple(score.shape)} for {len(sight.index)} positions; "
                "give one number a position"
            )
        return score


def js(threshold: float = 0.1) -> Gate:
    """Open where the two models' distributions part by more than ``threshold`` nats of JS (at most ln 2)."""
    return Gate("js", "both", lambda sight: sight.js, threshold)


def kl(threshold: float = 0.5, *, reverse: bool = False) -> Gate:
    """Open where KL(primary || other) exceeds ``threshold`` nats; ``reverse`` takes KL(other || primary)."""

    def score(sight: Sight) -> Float[Tensor, "position"]:
        pair = (sight.primary_logp, sight.other_logp)
        return kl_between(*(pair[::-1] if reverse else pair))

    return Gate("kl_reverse" if reverse else "kl", "both", score, threshold)


def disagreement() -> Gate:
    """Open where the two models' most probable tokens differ, however they are sampled."""
    return Gate(
        "disagreement",
        "both",
        lambda sight: (sight.primary_logits.argmax(-1) != sight.other_logits.argmax(-1)).float(),  # type: ignore[union-attr]
        0.5,
    )


def entropy(threshold: float = 1.0) -> Gate:
    """Open where the primary is uncertain: entropy above ``threshold`` nats. The other model stays idle elsewhere."""
    return Gate("entropy", "primary", lambda sight: sight.primary_entropy, threshold)


def margin(threshold: float = 0.2) -> Gate:
    """Open where the primary's two best tokens stand closer than ``threshold`` in probability; score 1 - margin."""

    def score(sight: Sight) -> Float[Tensor, "position"]:
        best = sight.primary_logp.topk(2, dim=-1).values.exp()
        return 1.0 - (best[:, 0] - best[:, 1])

    return Gate("margin", "primary", score, 1.0 - threshold)


def random(rate: float) -> Gate:
    """Open at a share ``rate`` of positions, by the gate's own stream: the control at a matched rate."""
    if not 0 <= rate <= 1:
        raise ValueError(f"rate is a share of positions between 0 and 1, not {rate}")
    return Gate("random", "none", lambda sight: 1.0 - sight.uniform, 1.0 - rate)


def first(k: int) -> Gate:
    """Open at the first ``k`` places of every text."""
    return Gate("first", "none", lambda sight: (k - sight.index).float(), 0.0)


def every(n: int) -> Gate:
    """Open at places 0, n, 2n ..."""
    if n < 1:
        raise ValueError(f"every(n) needs n of at least 1, not {n}")
    return Gate("every", "none", lambda sight: (sight.index % n == 0).float(), 0.5)


def always() -> Gate:
    """Open everywhere: the other author writes the whole text."""
    return Gate("always", "none", lambda sight: torch.ones_like(sight.index, dtype=torch.float32), 0.0)


def never() -> Gate:
    """Open nowhere: the primary writes the whole text."""
    return Gate("never", "none", lambda sight: torch.zeros_like(sight.index, dtype=torch.float32), 0.0)


def places(chosen: Mapping[tuple[str, int], Iterable[int]], *, name: str = "places") -> Gate:
    """Open at given indices of given texts, ``{(problem, sample): indices}``; a text that is not named stays closed.

    Meant for places found beforehand (strategy spans, another run's open positions); places of one text mean little in
    another that has taken a different turn.
    """
    lists = {
        (str(problem), int(sample)): np.asarray(sorted(at), dtype=np.int64) for (problem, sample), at in chosen.items()
    }
    nowhere = np.zeros(0, dtype=np.int64)

    def score(sight: Sight) -> Float[Tensor, "position"]:
        if sight.row is None:
            raise ValueError("a gate on given places needs to know the sample of each position (Sight.row)")
        rows, index = sight.row.cpu().numpy(), sight.index.cpu().numpy()
        opened = np.zeros(len(rows), dtype=np.float32)
        for row in np.unique(rows):
            mine = rows == row
            opened[mine] = np.isin(index[mine], lists.get(sight.samples[row], nowhere))
        return torch.from_numpy(opened).to(sight.index.device)

    return Gate(name, "none", score, 0.5)


def probe(
    weight: Float[Tensor, "d_model"],
    bias: float,
    *,
    site: str,
    threshold: float = 0.0,
    name: str = "probe",
) -> Gate:
    """Open where a linear read-out of the primary's activation at ``site`` exceeds ``threshold``.

    Args:
        weight: of the read-out, in the units of the raw activation (fold any standardisation into it).
        bias: added to the product, so that a logistic probe opens at probability one half when threshold is 0.
        site: a coarse site, such as ``"resid_post.2"``.
        threshold: in units of the read-out (log-odds for a logistic probe).
        name: what the gate is called in tables.
    """

    def score(sight: Sight) -> Float[Tensor, "position"]:
        if sight.hidden is None:
            raise ValueError(f"the probe gate reads {site}, which was not shown to it")
        hidden = sight.hidden if sight.hidden.dtype == torch.float64 else sight.hidden.float()
        return hidden @ weight.to(hidden) + bias

    return Gate(name, "none", score, threshold, site)
