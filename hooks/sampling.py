"""From logits to a token: tempered, nucleus-filtered, by inverse transform of a named uniform number.

A token is drawn as

    token = min { v : F(v) > u F(V) },   F(v) = sum of p(w) over w <= v,   p = softmax(logits / temperature)

in order of token ids, where ``u`` belongs to (seed, problem, sample, index of the token) and to nothing else.  So a
draw depends neither on the batch nor on its order, two models that agree on ``p`` draw the same token from one ``u``
(common random numbers), and a text decoded by two authors uses the numbers its single authors would have used.

Nucleus sampling is that of Holtzman et al. 2020 (arXiv 1904.09751): the smallest set of most probable tokens whose mass
reaches ``top_p``, ties broken by id.  What this does not give: identity across numeric formats, where ``p`` itself
differs and a draw that falls within rounding of a border may flip.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from hooks.streams import stream

BLOCK = 1 << 25
"""Probabilities handled at a time, so that a large batch over a large vocabulary needs a bounded scratch space."""


def uniforms(seed: int, problem: str, sample: int, length: int) -> Float64[np.ndarray, "length"]:
    """The uniform numbers in [0, 1) of one sample's tokens; a longer request begins with the shorter one's numbers."""
    return stream(seed, "token", problem, sample).random(length)


def choose(
    logits: Float[Tensor, "row vocab"],
    temperature: float,
    top_p: float,
    u: Float64[Tensor, "row"] | None,
) -> Int[Tensor, "row"]:
    """Draw one token a row.

    Args:
        logits: in any float format; computed on in float32, summed in float64.
        temperature: 0 takes the most probable token, the lowest id among equals.
        top_p: share of the mass kept, in (0, 1].
        u: a uniform number a row; may be None at temperature 0 only.

    Raises:
        ValueError: for a temperature below 0, a top_p outside (0, 1], or a missing ``u``.
    """
    check_sampling(temperature, top_p)
    if temperature == 0:
        return logits.argmax(dim=-1)
    if u is None:
        raise ValueError("sampling at a temperature above 0 needs the uniform numbers u; see hooks.sampling.uniforms")
    rows = max(1, BLOCK // logits.shape[-1])
    if len(logits) <= rows:
        return _draw(logits, temperature, top_p, u)
    parts = [_draw(a, temperature, top_p, b) for a, b in zip(logits.split(rows), u.split(rows), strict=True)]
    return torch.cat(parts)


def check_sampling(temperature: float, top_p: float) -> None:
    """Refuse a temperature or a nucleus that means nothing (ValueError)."""
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be 0 (greedy) or above, not {temperature}")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p is the share of probability kept, in (0, 1], not {top_p}")


def log_prob(logits: Float[Tensor, "row vocab"], ids: Int[Tensor, "row"]) -> Float[Tensor, "row"]:
    """Log-probability, in nats, of one token a row under the untempered distribution, computed in float32."""
    # One fused pass; a logsumexp takes four.
    return logits.log_softmax(dim=-1, dtype=torch.float32).gather(-1, ids[:, None])[:, 0]


def tempered(logits: Float[Tensor, "row vocab"], temperature: float, top_p: float) -> Float[Tensor, "row vocab"]:
    """The probabilities that :func:`choose` draws from; at temperature 0, one on the most probable token."""
    if temperature == 0:
        return torch.nn.functional.one_hot(logits.argmax(dim=-1), logits.shape[-1]).float()
    logits = logits.float()
    # Subtracting the maximum first keeps a very low temperature from overflowing.
    p = ((logits - logits.amax(dim=-1, keepdim=True)) / temperature).softmax(dim=-1)
    if top_p < 1:
        p = p * _nucleus(p, top_p)
        p = p / p.sum(dim=-1, keepdim=True)
    return p


def _nucleus(p: Tensor, top_p: float) -> Tensor:
    ranked, order = p.sort(dim=-1, descending=True, stable=True)
    before = ranked.to(_wide(p)).cumsum(dim=-1) - ranked
    return torch.zeros_like(p, dtype=torch.bool).scatter(-1, order, before < top_p)


def _draw(logits: Tensor, temperature: float, top_p: float, u: Tensor) -> Tensor:
    mass = tempered(logits, temperature, top_p).to(_wide(logits)).cumsum(dim=-1)
    total = mass[:, -1:]
    found = torch.searchsorted(mass, u.to(mass)[:, None] * total, right=True)[:, 0]
    # Rounding may push u * total up to the total itself: then the last token that has any mass.
    last = (mass < total).sum(dim=-1)
    return torch.minimum(found, last)


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.float32 if tensor.device.type == "mps" else torch.float64
