"""How far apart are two next-token distributions? The plain formulas, shared by scoring and by the router's gates.

With p and q two distributions over one vocabulary and m = (p + q) / 2, in nats:

    H(p)     = -sum p ln p
    KL(p||q) =  sum p (ln p - ln q)
    JS(p, q) =  KL(p||m) / 2 + KL(q||m) / 2        (Lin 1991; between 0 and ln 2)

All sums run over the whole vocabulary in single precision, or in double precision for double logits: half precision
resolves neither a JS of 1e-3 nor a tail probability. A token of probability zero adds nothing; a NaN logit gives NaN,
never zero. The threshold on JS is the routing rule of arXiv 2603.22446.

What it does not show: whether the difference matters for the answer. Two distributions may part on a synonym.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["entropy", "js", "kl", "log_probs"]


def log_probs(logits: Float[Tensor, "*row vocab"]) -> Float[Tensor, "*row vocab"]:
    """Log-probabilities in nats, in float32 (float64 stays float64)."""
    precise = torch.float64 if logits.dtype == torch.float64 else torch.float32
    return torch.log_softmax(logits, dim=-1, dtype=precise)


def entropy(logp: Float[Tensor, "*row vocab"]) -> Float[Tensor, "*row"]:
    """Entropy in nats of each row of log-probabilities."""
    p = logp.exp()
    return -_weighted(p, logp).sum(-1)


def kl(logp_a: Float[Tensor, "*row vocab"], logp_b: Float[Tensor, "*row vocab"]) -> Float[Tensor, "*row"]:
    """KL(a || b) in nats; infinite where b forbids a token that a allows."""
    return _weighted(logp_a.exp(), logp_a - logp_b).sum(-1).clamp_min(0.0)


def js(logp_a: Float[Tensor, "*row vocab"], logp_b: Float[Tensor, "*row vocab"]) -> Float[Tensor, "*row"]:
    """Jensen-Shannon divergence in nats, symmetric, between 0 and ln 2; float32 resolves about 1e-7."""
    a, b = logp_a.exp(), logp_b.exp()
    # The floor keeps ln m finite where both probabilities vanish in this precision: such tokens have weight zero.
    log_m = ((a + b) * 0.5).clamp_min(torch.finfo(a.dtype).tiny).log()
    terms = _weighted(a, logp_a - log_m) + _weighted(b, logp_b - log_m)
    return (terms.sum(-1) * 0.5).clamp_min(0.0)


def _weighted(weight: Float[Tensor, "*row vocab"], term: Float[Tensor, "*row vocab"]) -> Float[Tensor, "*row vocab"]:
    """``weight * term``, with 0 x infinity = 0 (the limit of x ln x) while NaN stays NaN."""
    return torch.where(weight == 0, weight, weight * term)
