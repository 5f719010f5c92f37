r"""What does steering break?  Divergence from the unsteered model, and perplexity, on texts that are already written.

For a text with tokens ``x_1 … x_n`` behind its prompt, ``p`` the unsteered and ``q`` the steered model,

    kl = sum over t of KL(p(. | x_<t) || q(. | x_<t))        nll = - sum over t of ln q(x_t | x_<t)

in nats; divided by the number of tokens and, for the second, put into ``exp``, they are the damage a token and the
perplexity.  Each text is read once unsteered and once with all doses beside each other as rows of one batch.

What it does not show: whether a change is for the worse.  A vector that only makes a rare strategy more likely has a
divergence too; set it beside random vectors of the same length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from hooks.direction import Direction
from hooks.divergence import kl, log_probs
from hooks.pair import Pair
from hooks.positions import Positions
from hooks.rollouts import Rollouts
from hooks.steer import Steering
from probes.latent.trial import plan_of_rows
from probes.stats import Estimate, bootstrap_problems

DAMAGE_TEXTS = 64
"""Texts of the base on which damage is measured."""
NUMBERS = 1 << 27
"""Log-probabilities held at a time."""

Text = tuple[Sequence[int], int]
"""Token ids, and how many of them are the prompt."""


@dataclass(frozen=True)
class Reading:
    """Texts read at several doses; sums over the tokens behind the prompt."""

    kl: Float[np.ndarray, "text row"]
    """KL(unsteered || steered), nats."""
    nll: Float[np.ndarray, "text row"]
    """Negative log-likelihood of the text under the steered model, nats."""
    tokens: Int[np.ndarray, "text"]
    """Tokens behind the prompt."""

    def divergence(self, row: int, *, n_boot: int = 2000, seed: int = 0) -> Estimate:
        """KL a token at one dose, with its interval over texts; NaN without a token."""
        return self._over_texts(self.kl[:, row], lambda mean: mean, n_boot, seed)

    def perplexity(self, row: int, texts: Any = slice(None), *, n_boot: int = 2000, seed: int = 0) -> Estimate:
        """Perplexity of these texts at one dose, with its interval over texts; NaN without a token."""
        only = Reading(self.kl[texts], self.nll[texts], self.tokens[texts])
        return only._over_texts(only.nll[:, row], np.exp, n_boot, seed)

    def _over_texts(self, sums: Float[np.ndarray, "text"], of_mean: Any, n_boot: int, seed: int) -> Estimate:
        written = self.tokens > 0
        columns = {"sum": sums[written], "tokens": self.tokens[written].astype(float)}
        return bootstrap_problems(
            columns, statistic=lambda total, count: of_mean(total / count), n_boot=n_boot, seed=seed
        )


@torch.no_grad()
def read_rows(
    model: Any, texts: Sequence[Text], rows: Sequence[tuple[Direction, float]], positions: str | Positions
) -> Reading:
    """Let a model read texts unsteered and under each (direction, absolute dose).

    Args:
        model: a :class:`hooks.model.Model`.
        texts: what to read.
        rows: what each row of a batch is steered by.
        positions: where; relative to each text's own prompt.

    It does not show whether a change is for the worse.
    """
    divergence, surprise = np.zeros((len(texts), len(rows))), np.zeros((len(texts), len(rows)))
    tokens = np.zeros(len(texts), dtype=np.int64)
    for at, (ids, n_prompt) in enumerate(texts):
        start = max(1, n_prompt)
        tokens[at] = len(ids) - start
        if tokens[at] < 1:
            tokens[at] = 0
            continue
        one = torch.tensor([list(ids)], device=model.device)
        plain = log_probs(model.unembed(model.backbone(one)[0, start - 1 : -1]))
        step = max(1, NUMBERS // (len(ids) * model.d_vocab))
        for first in range(0, len(rows), step):
            some = rows[first : first + step]
            with plan_of_rows(some, positions).on(model, n_prompt=n_prompt):
                hidden = model.backbone(one.expand(len(some), -1))
            moved = log_probs(model.unembed(hidden[:, start - 1 : -1]))
            said = moved.gather(-1, one[:, start:, None].expand(len(some), -1, -1))
            divergence[at, first : first + step] = kl(plain.expand_as(moved), moved).sum(-1).double().cpu().numpy()
            surprise[at, first : first + step] = -said.sum((1, 2)).double().cpu().numpy()
    return Reading(divergence, surprise, tokens)


@torch.no_grad()
def damage(pair: Pair, texts: Rollouts, plan: Steering, *, most: int = DAMAGE_TEXTS) -> float:
    """KL(unsteered || steered), nats a generated token, of any steering on the base's own unsteered texts.

    Read text by text without a cache; NaN without a text.  Does not show whether the change is for the worse.
    """
    total, count = 0.0, 0
    for ids, n_prompt in texts.sequences()[:most]:
        batch = torch.tensor([ids], device=pair.base.device)
        plain = log_probs(pair.base.net(input_ids=batch, use_cache=False).logits[0, n_prompt - 1 : -1])
        with plan.on(pair.base, n_prompt=n_prompt):
            moved = log_probs(pair.base.net(input_ids=batch, use_cache=False).logits[0, n_prompt - 1 : -1])
        each = kl(plain, moved)
        total, count = total + float(each.sum()), count + len(each)
    return total / count if count else math.nan
