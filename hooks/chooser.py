"""A part of an update over the tensors of one pair: thresholds over all of them first, then tensor by tensor.

The threshold of the largest entries is exact and needs no copy of the update: sizes of float32 order like their bits,
so two passes of counting (the upper and the lower sixteen bits) find the k-th largest of any number of entries. At any
time no more than a few tensors of the size of the largest one are held. Random choices belong to the tensor's name and
the seed alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hooks.part import KINDS, Part, Weight
from hooks.streams import stream


class Chooser:
    """One part, asked for the new tensor of each weight."""

    def __init__(self, part: Part, weights: Sequence[Weight], *, n_layers: int, seed: int = 0) -> None:
        """Bind a part to the weights of a pair.

        Raises:
            ValueError: for a layer or a kind of module that the model has not.
        """
        self.part, self.weights, self.seed = part, weights, seed
        if part.rule in ("layer", "upto") and not 0 <= int(part.value or 0) < n_layers:
            raise ValueError(f"{part} lies outside the model, which has layers 0 to {n_layers - 1}")
        kinds = {weight.kind for weight in weights}
        if part.rule == "module" and part.value not in kinds:
            raise ValueError(f"the model has no {part.value}; it has {', '.join(k for k in KINDS if k in kinds)}")

    def new(self, weight: Weight) -> Float[Tensor, "*shape"]:
        """The tensor that takes the base's place: the base's own or RL's own where nothing has to be cut."""
        if self.part.rule == "rank":
            return self._of_rank(weight, int(self.part.value or 0))
        mask = self._mask(weight)
        if self.part.without:
            mask = not mask if isinstance(mask, bool) else ~mask
        if isinstance(mask, bool):
            return _taken_over(weight) if mask else weight.base
        new = weight.base.clone()
        new[: len(mask)] = torch.where(mask, weight.rl[: len(mask)], weight.base[: len(mask)])
        return new

    def _mask(self, weight: Weight) -> bool | Bool[Tensor, "*common"]:
        rule, value, layer = self.part.rule, self.part.value, weight.layer
        if rule == "largest":
            return self._largest(weight)
        if rule == "random":
            return (self._uniform(weight, "random") < self._rate) & (weight.delta != 0)
        if rule == "rows":
            return self._rows(weight)
        if rule == "upto":
            return layer is not None and layer <= int(value or 0)
        if rule == "layer":
            return layer == value
        if rule == "module":
            return weight.kind == value
        return layer is None if rule == "outside" else rule == "whole"

    def _largest(self, weight: Weight) -> Bool[Tensor, "*common"]:
        cutoff, rate = self._cutoff
        size = weight.delta.abs()
        mask = size > cutoff
        if cutoff > 0:
            mask |= (size == cutoff) & (self._uniform(weight, "tie") < rate)
        return mask

    def _rows(self, weight: Weight) -> Bool[Tensor, "*common"]:
        delta = weight.delta
        score = row_scores(delta)
        chosen = (score > 0) if self.part.value is None else (score > 0) & (score >= self._least)
        return chosen.reshape(-1, *[1] * (delta.dim() - 1)).expand_as(delta)

    def _of_rank(self, weight: Weight, k: int) -> Float[Tensor, "*shape"]:
        delta = weight.delta
        if delta.dim() != 2 or k >= min(delta.shape):
            return _taken_over(weight)
        if not bool(delta.any()):
            return weight.base
        new = weight.base.clone()
        new[: len(delta)] = (weight.base[: len(delta)].double() + low_rank(delta, k)).to(new.dtype)
        return new

    def _uniform(self, weight: Weight, what: str) -> Float[Tensor, "*common"]:
        shape = tuple(weight.delta.shape)
        drawn = stream(self.seed, "graft", what, weight.names[0]).random(shape, dtype="float32")
        return torch.from_numpy(drawn).to(weight.base.device)

    @cached_property
    def _wanted(self) -> int:
        return round(float(self.part.value or 0) * sum(weight.base.numel() for weight in self.weights))

    @cached_property
    def _rate(self) -> float:
        changed = sum(int(torch.count_nonzero(weight.delta)) for weight in self.weights)
        return min(1.0, self._wanted / changed) if changed else 0.0

    @cached_property
    def _cutoff(self) -> tuple[float, float]:
        """The size above which every entry is taken, and the share taken of the entries of exactly that size."""
        high = torch.zeros(1 << 15, dtype=torch.long)
        for weight in self.weights:
            high += torch.bincount(_bits(weight) >> 16, minlength=len(high)).cpu()
        top, above = _reach(high, self._wanted)
        low = torch.zeros(1 << 16, dtype=torch.long)
        for weight in self.weights:
            bits = _bits(weight)
            low += torch.bincount(bits[bits >> 16 == top] & 0xFFFF, minlength=len(low)).cpu()
        bottom, more = _reach(low, self._wanted - above)
        size = torch.tensor([(top << 16) | bottom], dtype=torch.int32).view(torch.float32)
        return float(size), (self._wanted - above - more) / max(1, int(low[bottom]))

    @cached_property
    def _least(self) -> float:
        """The score of the last row that still fits."""
        found = [(row_scores(weight.delta).cpu(), weight.delta) for weight in self.weights]
        scores = torch.cat([score for score, _ in found])
        sizes = torch.cat([torch.full((len(score),), delta.numel() // len(score)) for score, delta in found])
        order = torch.argsort(scores, descending=True, stable=True)
        fits = int((sizes[order].cumsum(0) <= self._wanted).sum())
        return float(scores[order[fits - 1]]) if fits else float("inf")


def _taken_over(weight: Weight) -> Tensor:
    if weight.rl.shape == weight.base.shape:
        return weight.rl
    new = weight.base.clone()
    new[: len(weight.delta)] = weight.rl[: len(weight.delta)]
    return new


def _bits(weight: Weight) -> Int[Tensor, "entry"]:
    return weight.delta.abs().flatten().view(torch.int32)


def _reach(counts: Int[Tensor, "bin"], wanted: int) -> tuple[int, int]:
    """The highest bin down to which at least ``wanted`` entries lie, and how many lie above it."""
    from_top = counts.flip(0).cumsum(0)
    place = int(torch.searchsorted(from_top, max(1, wanted)))
    place = min(place, len(counts) - 1)
    above = int(from_top[place - 1]) if place else 0
    return len(counts) - 1 - place, above


def row_scores(delta: Float[Tensor, "row *shape"]) -> Float[Tensor, "score"]:
    """Root mean square of each row of an update; a vector is one row."""
    rows = delta[None] if delta.dim() < 2 else delta.flatten(1)
    return rows.square().mean(dim=1).sqrt()


def low_rank(delta: Float[Tensor, "row column"], k: int) -> Float[Tensor, "row column"]:
    """The best approximation of rank ``k`` in float64, from the Gram matrix of the shorter side."""
    wide = delta.double()
    if wide.shape[0] < wide.shape[1]:
        return low_rank(delta.T, k).T
    vectors = torch.linalg.eigh(wide.T @ wide).eigenvectors[:, -k:]
    return (wide @ vectors) @ vectors.T
