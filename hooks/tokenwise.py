"""Two next-token distributions at every place, over the whole vocabulary, in as few passes as will do.

For p (base) and q (RL) and the token that was written: its log-probabilities and ranks under both, the entropies, KL
both ways, JS, how many of the first k choices agree, and the first choice of each.  The formulas are those of
:mod:`hooks.divergence`; here the exponentials are shared, and the passes stay within a chunk that fits the caches.
With ``top_p`` below 1 the divergences and entropies are those of the nucleus-truncated, renormalised distributions
(arXiv 2603.22446 allows both), while log-probabilities and ranks stay those of the full ones.

What it does not show: whether a difference matters for the answer.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import softplus

from hooks import divergence
from hooks.sampling import tempered

MEASURES = (
    "logp_base",
    "logp_rl",
    "entropy_base",
    "entropy_rl",
    "js",
    "kl",
    "kl_reverse",
    "rank_base",
    "rank_rl",
    "topk_overlap",
    "top_base",
    "top_rl",
)
"""Names of the rows that :func:`compare` returns.  ``kl`` is KL(base || RL), ``kl_reverse`` KL(RL || base), in nats."""


def compare(
    logits_base: Float[Tensor, "token vocab"],
    logits_rl: Float[Tensor, "token vocab"],
    ids: Int[Tensor, " token"],
    *,
    top_p: float = 1.0,
    top_k: int = 10,
) -> Float[Tensor, "measure token"]:
    """Compare two distributions at each place.

    Args:
        logits_base: of the base, over the common vocabulary.
        logits_rl: of the RL model.
        ids: the tokens that were written.
        top_p: share of the mass kept in entropies and divergences.
        top_k: how many first choices are compared.

    Returns:
        float32, a row a measure in the order of :data:`MEASURES`.  A rank is 1 plus the number of strictly better
        tokens.  KL is infinite where one truncated distribution forbids what the other allows.
    """
    z_base, z_rl = logits_base.float(), logits_rl.float()
    log_p, log_q = divergence.log_probs(z_base), divergence.log_probs(z_rl)
    at = ids[:, None]
    own_p, own_q = log_p.gather(1, at), log_q.gather(1, at)
    ranks = [(log_p > own_p).sum(1) + 1, (log_q > own_q).sum(1) + 1]
    k = min(top_k, z_base.shape[1])
    first_p, first_q = log_p.topk(k).indices, log_q.topk(k).indices
    shared = (first_p[:, :, None] == first_q[:, None, :]).sum((1, 2)) / k
    if top_p < 1:
        distances = _plain(tempered(z_base, 1.0, top_p).log(), tempered(z_rl, 1.0, top_p).log())
    else:
        distances = _shared(log_p, log_q)
        if not bool(distances.isfinite().all()):
            distances = _plain(log_p, log_q)
    columns = [own_p[:, 0], own_q[:, 0], *distances, *ranks, shared, first_p[:, 0], first_q[:, 0]]
    return torch.stack([column.to(torch.float32) for column in columns])


def _plain(log_p: Tensor, log_q: Tensor) -> Tensor:
    """The formulas as they stand, right also where probabilities are zero."""
    return torch.stack(
        [
            divergence.entropy(log_p),
            divergence.entropy(log_q),
            divergence.js(log_p, log_q),
            divergence.kl(log_p, log_q),
            divergence.kl(log_q, log_p),
        ]
    )


def _shared(log_p: Tensor, log_q: Tensor) -> Tensor:
    """The same with shared exponentials; NaN where a log-probability is infinite."""
    p, q = log_p.exp(), log_q.exp()
    entropy_p, entropy_q = -_dot(p, log_p), -_dot(q, log_q)
    gap = log_p - log_q
    forward, backward = _dot(p, gap), -_dot(q, gap)
    # ln(p / m) = g + ln 2 - softplus(g) and ln(q / m) = ln 2 - softplus(g) with g = ln p - ln q: every term is small
    # where p and q are close, so a JS of 1e-6 is not lost in the difference of entropies.
    js = 0.5 * (forward + _dot(p.add_(q), softplus(gap).neg_().add_(math.log(2))))
    return torch.stack([entropy_p, entropy_q, js.clamp_min(0), forward.clamp_min(0), backward.clamp_min(0)])


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.linalg.vecdot(a, b)
