"""The activations of one site, made ready for many fits: standardised once, repeated rows kept once.

At the last prompt position all samples of a problem have one and the same activation.  A logistic fit on such rows is,
exactly, a weighted fit on the distinct ones, so every fit works on those.  Each fold is penalised in the units of its
own training rows (:meth:`SiteMatrix.scales`), which is standardisation in the fold without a copy of the matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from hooks.store import SiteView
from probes.latent.preconditioner import Preconditioner

SLICE = 256
"""Rows that are worked on in float64 at a time, so that no second copy of a site is made."""


@dataclass(frozen=True, eq=False)
class SiteMatrix:
    """Distinct rows of one site in units of standard deviations, and which rows they stand for."""

    matrix: Float[Tensor, "distinct d"]
    """Standardised over all rows, float32; a constant column is zero."""
    inverse: Int[np.ndarray, "row"]
    """The distinct row of each row."""
    mean: Float[Tensor, "d"]
    """Of the rows as they were given, float64."""
    scale: Float[Tensor, "d"]
    """Standard deviations, float64; 1 for a constant column."""

    @classmethod
    def of(cls, rows: Shaped[Tensor, "row d"] | Shaped[np.ndarray, "row d"], device: Any = None) -> SiteMatrix:
        """Make one from activations; ValueError if some are not finite."""
        given = torch.as_tensor(rows).to(torch.float32).cpu()
        # The sum of a row is finite only if all of it is, or if it overflows, which is looked at more closely.
        for start, part in zip(range(0, len(given), SLICE), given.split(SLICE)):
            if not bool(part.sum().isfinite()) and not bool(part.isfinite().all()):
                bad = start + int((~part.isfinite()).any(1).nonzero()[0, 0])
                raise ValueError(f"row {bad} of the activations is not finite; leave it out")
        first, inverse = distinct(given.numpy())
        counts = torch.from_numpy(np.bincount(inverse, minlength=len(first)).astype(float))
        matrix, mean, scale = _standardised(given, torch.from_numpy(first), counts)
        return cls(matrix if device is None else matrix.to(device), inverse, mean, scale)

    def within(self, kept: Bool[np.ndarray, "row"]) -> SiteMatrix:
        """The same for some of the rows only, standardised over them."""
        if kept.all():
            return self
        used, inverse = np.unique(self.inverse[kept], return_inverse=True)
        counts = torch.from_numpy(np.bincount(inverse, minlength=len(used)).astype(float)).to(self.matrix.device)
        chosen = torch.from_numpy(used).to(self.matrix.device)
        matrix, mean, scale = _standardised(self.matrix, chosen, counts)
        return SiteMatrix(matrix, inverse, self.mean + mean.cpu() * self.scale, scale.cpu() * self.scale)

    @cached_property
    def preconditioner(self) -> Preconditioner | None:
        """Shared by all fits on this matrix; None with fewer rows than columns, where each scale has its own."""
        return Preconditioner(self.matrix) if len(self) >= len(self.mean) else None

    def __len__(self) -> int:
        return len(self.matrix)

    def totals(self, rows: Float[np.ndarray, "problem row"]) -> Float[Tensor, "problem distinct"]:
        """Values of the rows added up over the rows that each distinct row stands for."""
        out = torch.zeros(len(rows), len(self), dtype=torch.float64)
        out.index_add_(1, torch.from_numpy(self.inverse), torch.from_numpy(np.ascontiguousarray(rows)))
        return out.to(self.matrix.device)

    def scales(self, weight: Float[Tensor, "problem distinct"]) -> Float[Tensor, "problem d"]:
        """Variance of each column among the rows with weight; 1 where a column is constant there."""
        mass = weight.sum(1, keepdim=True).clamp_min(1e-300)
        first = torch.zeros(len(weight), self.matrix.shape[1], dtype=torch.float64, device=self.matrix.device)
        second = first.clone()
        for part, own in zip(self.matrix.split(SLICE), weight.split(SLICE, dim=1), strict=True):
            wide = part.double()
            first += own @ wide
            second += own @ wide.square_()
        variance = second / mass - (first / mass) ** 2
        return torch.where(variance > 1e-10, variance, 1.0)

    def raw(
        self, coef: Float[Tensor, "problem d"], intercept: Float[Tensor, "problem"]
    ) -> tuple[Float[Tensor, "problem d"], Float[Tensor, "problem"]]:
        """Coefficients and intercepts in the coordinates of the activations as they were given."""
        outside = coef.cpu() / self.scale
        return outside, intercept.cpu() - outside @ self.mean

    def logits(
        self, coef: Float[Tensor, "problem d"], intercept: Float[Tensor, "problem"]
    ) -> Float[Tensor, "problem distinct"]:
        """What each fit says about each distinct row, float32."""
        return coef.float() @ self.matrix.T + intercept.float()[:, None]


def whole(site: Any) -> torch.Tensor:
    """All rows of one site as a tensor, whether it is one, a site of a store, or an array."""
    if isinstance(site, torch.Tensor):
        return site
    if isinstance(site, SiteView):
        # A view of its own is unmapped when the rows are let go; the store would keep every site it ever opened.
        return SiteView(site.ledger, site.side, site.site).torch()
    return torch.as_tensor(np.asarray(site))


def _standardised(rows: Tensor, chosen: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Some of the rows in units of standard deviations, with means and deviations, a slice of rows at a time."""
    share = counts / counts.sum().clamp_min(1)
    parts = list(zip(chosen.split(SLICE), share.split(SLICE), strict=True))
    mean = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
    for own, weight in parts:
        mean += weight @ rows[own].double()
    square = torch.zeros_like(mean)
    for own, weight in parts:
        square += weight @ (rows[own].double() - mean) ** 2
    spread = square.sqrt()
    # Rounding leaves a constant column a spread of about 1e-8 of its size.
    varies = spread > 1e-7 * mean.abs()
    scale = torch.where(varies, spread, 1.0)
    out = torch.empty(len(chosen), rows.shape[1], dtype=torch.float32, device=rows.device)
    for (own, _), target in zip(parts, out.split(SLICE), strict=True):
        target.copy_(torch.where(varies, (rows[own].double() - mean) / scale, 0.0))
    return out, mean, scale


def distinct(rows: Float[np.ndarray, "row d"]) -> tuple[Int[np.ndarray, "distinct"], Int[np.ndarray, "row"]]:
    """The first of each set of bitwise equal rows, and for each row which of these it equals."""
    n = len(rows)
    if n == 0 or rows.shape[1] == 0:
        return np.arange(n), np.arange(n)
    bits = np.ascontiguousarray(rows, dtype=np.float32).view(np.int32)
    factors = np.random.default_rng(0).integers(1, 2**62, size=rows.shape[1], dtype=np.int64) | 1
    # Sums of integers wrap alike whatever their order, so equal rows have equal keys.
    keys = np.concatenate([part.astype(np.int64) @ factors for part in np.array_split(bits, max(1, n // SLICE))])
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    first, inverse = first[order], place[inverse]
    same = first[inverse]
    # Rows that stand for others are compared with them; the rest equal themselves.
    others = np.flatnonzero(same != np.arange(n))
    for part in np.array_split(others, max(1, len(others) // SLICE)):
        if not np.array_equal(rows[same[part]], rows[part]):
            return np.arange(n), np.arange(n)
    return first, inverse
