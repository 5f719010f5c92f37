r"""A small top-k sparse autoencoder, the clustering of "Base models know how to reason" (arXiv 2510.07364).

With ``x`` a centred sentence vector of length 1, ``W`` and ``b`` the encoder and ``D`` the decoder,

    a = W (x - c) + b        x' = D^T topk(a, k = 3) + c        loss = sum |x - x'|^2 / sum |x - mean(x)|^2

with the means of the batch.  ``D`` starts as ``W``, its rows get norm 1 after every step; ``b`` and ``c`` start at 0.
Adam with a rate of ``2e-4 / sqrt(n / 2^14)``, batches of 512, at most 300 epochs, an end after 10 without a lower
training loss; the weights of the best epoch are kept.  A vector's category is the largest entry of the full ``a``.
Top-k keeps the largest values whatever their sign.

Several seeds train side by side as one batch of small matrices; none depends on the others.  A low loss does not show
that a latent means one thing: with three latents a vector, fits that rebuild equally well sort differently, and more so
the fewer latents there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks.streams import stream

ACTIVE = 3
"""Latents that a vector may use."""
BATCH = 512
EPOCHS = 300
PATIENCE = 10


@dataclass(frozen=True, eq=False)
class SparseAutoencoder:
    """A trained autoencoder."""

    encoder: Float[Tensor, "latent d"]
    """``W``."""
    bias: Float[Tensor, "latent"]
    """``b``."""
    decoder: Float[Tensor, "latent d"]
    """``D``, rows of norm 1."""
    centre: Float[Tensor, "d"]
    """``c``."""
    epochs: int
    """The epoch whose weights these are."""
    loss: float
    """Mean training loss in that epoch."""
    active: int = ACTIVE
    """Latents that a vector may use."""

    def latents(self, rows: Float[np.ndarray, "row d"]) -> Float[np.ndarray, "row latent"]:
        """The full encoder output, before top-k."""
        return _encode(torch.from_numpy(rows), self.encoder, self.bias, self.centre).numpy()

    def categories(self, rows: Float[np.ndarray, "row d"]) -> Int[np.ndarray, "row"]:
        """The latent with the largest encoder output."""
        return self.latents(rows).argmax(axis=1)

    def reconstruct(self, rows: Float[np.ndarray, "row d"]) -> Float[np.ndarray, "row d"]:
        """What the decoder makes of the ``active`` largest latents."""
        latents = _encode(torch.from_numpy(rows), self.encoder, self.bias, self.centre)
        return _decode(latents, self.decoder, self.centre, self.active).numpy()


def fit_autoencoders(
    rows: Float[np.ndarray, "row d"],
    n: int,
    *,
    seeds: Sequence[int],
    active: int = ACTIVE,
    epochs: int = EPOCHS,
    patience: int = PATIENCE,
    batch: int = BATCH,
) -> list[SparseAutoencoder]:
    """Train one autoencoder with ``n`` latents for each seed.

    Args:
        rows: centred vectors of length 1, float32.
        n: latents.
        seeds: each names the start and the order of the batches.
        active: latents that a vector may use; all of them where ``n`` is smaller.
        epochs: passes over the rows, at most.
        patience: epochs without a lower training loss after which a seed ends.
        batch: rows a step.

    Raises:
        ValueError: fewer than two latents, or no row.

    It does not show that the latents are the right categories; see the stability in :mod:`probes.latent.taxonomy`.
    """
    if n < 2 or not len(rows):
        raise ValueError(f"an autoencoder needs at least 2 latents and a row, not {n} and {len(rows)}")
    data = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32))
    weights = _Weights(data.shape[1], n, seeds)
    orders = [stream(seed, "autoencoder", "order", n) for seed in seeds]
    optimiser = torch.optim.Adam(weights.parameters(), lr=2e-4 / math.sqrt(n / 2**14))
    kept: dict[int, SparseAutoencoder] = {}
    best, since = np.full(len(seeds), np.inf), np.zeros(len(seeds), dtype=int)
    for epoch in range(1, epochs + 1):
        # Every seed draws in every epoch, ended or not, so that the others' order does not depend on it.
        drawn = torch.from_numpy(np.stack([order.permutation(len(data)) for order in orders]))
        total = np.zeros(len(seeds))
        for part in drawn.split(batch, dim=1):
            losses = weights.losses(data[part], min(active, n))
            optimiser.zero_grad()
            losses.sum().backward()
            optimiser.step()
            weights.normalise()
            total += losses.detach().numpy() * part.shape[1] / len(data)
        lower = (total < best) & (since < patience)
        best, since = np.where(lower, total, best), np.where(lower, 0, since + 1)
        kept |= {at: weights.one(at, epoch, float(total[at]), min(active, n)) for at in np.flatnonzero(lower).tolist()}
        if (since >= patience).all():
            break
    return [kept[at] for at in range(len(seeds))]


class _Weights:
    """The weights of all seeds, stacked."""

    def __init__(self, d: int, n: int, seeds: Sequence[int]) -> None:
        # The start of a linear layer: uniform within one over the root of its inputs.
        bound = 1 / math.sqrt(d)
        drawn = [stream(seed, "autoencoder", "start", n) for seed in seeds]
        start = np.stack([rng.uniform(-bound, bound, (n, d)) for rng in drawn]).astype(np.float32)
        self.encoder = torch.from_numpy(start).requires_grad_()
        self.bias = torch.zeros(len(seeds), n).requires_grad_()
        self.decoder = self.encoder.detach().clone().requires_grad_()
        self.centre = torch.zeros(len(seeds), d).requires_grad_()
        self.normalise()

    def parameters(self) -> list[Tensor]:
        return [self.encoder, self.bias, self.decoder, self.centre]

    def losses(self, rows: Float[Tensor, "seed row d"], active: int) -> Float[Tensor, "seed"]:
        latents = torch.baddbmm(
            self.bias[:, None], rows - self.centre[:, None], self.encoder.transpose(1, 2)
        )  # [seed, row, latent]
        top = latents.topk(active, dim=-1)
        sparse = torch.zeros_like(latents).scatter(-1, top.indices, top.values)
        made = torch.bmm(sparse, self.decoder) + self.centre[:, None]
        spread = (rows - rows.mean(dim=1, keepdim=True)).square().sum(dim=(1, 2))
        return (rows - made).square().sum(dim=(1, 2)) / spread.clamp_min(1e-12)

    @torch.no_grad()
    def normalise(self) -> None:
        self.decoder.div_(self.decoder.norm(dim=-1, keepdim=True).clamp_min(1e-12))

    def one(self, at: int, epoch: int, loss: float, active: int) -> SparseAutoencoder:
        encoder, bias, decoder, centre = (tensor.detach()[at].clone() for tensor in self.parameters())
        return SparseAutoencoder(encoder, bias, decoder, centre, epoch, loss, active)


def _encode(rows: Tensor, encoder: Tensor, bias: Tensor, centre: Tensor) -> Tensor:
    return (rows - centre) @ encoder.T + bias


def _decode(latents: Tensor, decoder: Tensor, centre: Tensor, active: int) -> Tensor:
    top = latents.topk(active, dim=-1)
    return torch.zeros_like(latents).scatter(-1, top.indices, top.values) @ decoder + centre
