"""What is known of a drafted position, and what the second author would write there.

The four ways of writing at an open gate keep apart *where* and *what* (arXiv 2603.22446, 2510.07364):

    other               the other model's token: place and content from it
    rank_among_top_k    the other model's choice among the primary's k most probable tokens: its content is a ranking
    steered             the primary's token under a steering: no token of the other model at all
    resample            the primary's token, drawn again: the place alone

Everything is computed for whole batches of positions, in blocks that bound the scratch memory; a fact that was not
looked at is NaN, or -1 for a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64, Int
from torch import Tensor

from hooks.divergence import entropy, js, log_probs
from hooks.gate import Gate, Sight
from hooks.sampling import choose

Write = Literal["other", "steered", "resample", "rank_among_top_k"]

FACTS = {
    "gate_score": np.nan, "logp_primary": np.nan, "entropy_primary": np.nan, "js": np.nan, "entropy_other": np.nan,
    "other_choice": -1, "written": -1, "logp_written": np.nan,
}  # fmt: skip
"""What is found out about a position, and what stands there where nobody looked."""

Facts = dict[str, Tensor]


@dataclass(frozen=True)
class Judge:
    """The gate and the second author's way of writing."""

    gate: Gate
    write: Write
    temperature: float
    top_p: float
    write_temperature: float
    """Temperature of the second author."""
    top_k: int

    @property
    def asks_other(self) -> bool:
        """Whether the second author needs the other model's logits."""
        return self.write in ("other", "rank_among_top_k")

    def first(self, sight: Sight, drafted: Int[Tensor, "position"]) -> Facts:
        """Judge positions by what the gate asked to see."""
        return {
            "gate_score": self.gate.scores(sight),
            "logp_primary": _pick(sight.primary_logp, drafted),
            "entropy_primary": sight.primary_entropy,
        }

    def second(
        self,
        primary: Float[Tensor, "position vocab"],
        *,
        other: Float[Tensor, "position vocab"] | None,
        steered: Float[Tensor, "position vocab"] | None,
        token_u: Float64[Tensor, "position"] | None,
        again_u: Float64[Tensor, "position"] | None,
        sight: Sight | None = None,
    ) -> Facts:
        """What the second author would write, and how it differs from the primary.

        Args:
            primary: logits of the primary.
            other: logits of the other model, where it was asked.
            steered: logits of the primary under steering, where it was asked.
            token_u: the positions' random numbers for tokens; None when nothing is sampled.
            again_u: the numbers of the second stream, for "resample".
            sight: of the same positions, whose log-probabilities need no second computation.
        """
        logp = log_probs(primary) if sight is None else sight.primary_logp
        facts: Facts = {}
        other_logp = None
        if other is not None:
            other_logp = log_probs(other) if sight is None else sight.other_logp
            facts["js"] = js(logp, other_logp) if sight is None else sight.js
            facts["entropy_other"] = entropy(other_logp)
            facts["other_choice"] = choose(other, self.temperature, self.top_p, token_u)
        if self.write == "resample":
            token, source = choose(primary, self.write_temperature, self.top_p, again_u), logp
        elif self.write == "steered":
            if steered is None:
                return facts
            token, source = choose(steered, self.write_temperature, self.top_p, token_u), log_probs(steered)
        elif other is None or other_logp is None:
            return facts
        elif self.write == "other":
            same = self.write_temperature == self.temperature
            token = facts["other_choice"] if same else choose(other, self.write_temperature, self.top_p, token_u)
            source = other_logp
        else:
            token, source = self._among(primary, other, token_u), other_logp
        return facts | {"written": token, "logp_written": _pick(source, token)}

    def _among(self, primary: Tensor, other: Tensor, token_u: Tensor | None) -> Tensor:
        # In order of ids, as the inverse transform of hooks.sampling runs over them.
        allowed = primary.topk(min(self.top_k, primary.shape[-1]), dim=-1).indices.sort(dim=-1).values
        chosen = choose(other.gather(-1, allowed), self.write_temperature, self.top_p, token_u)
        return _pick(allowed, chosen)


def _pick(values: Tensor, ids: Tensor) -> Tensor:
    return values.gather(-1, ids[:, None])[:, 0]
