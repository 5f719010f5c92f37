"""Which activation: a kind of activation in a layer.

A :class:`Site` is written ``kind.layer``, for instance ``resid_post.12``; layers count from 0 and ``resid_post`` of a
layer is what the next one reads.  The residual stream obeys, in every family without parallel blocks,

    resid_mid = resid_pre + attn_out,    resid_post = resid_mid + mlp_out

where ``attn_out`` and ``mlp_out`` are what is *added* to the stream, behind any output norm a family has (Gemma 2,
OLMo 2).  Where attention and MLP run side by side there is no ``resid_mid``, and resid_post = resid_pre + attn_out +
mlp_out.  Names are those of TransformerLens.  A site says where a number stands, not that it causes anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from hooks.positions import Positions

__all__ = ["FINE", "KINDS", "Kind", "Positions", "Site", "expand_sites"]

Kind = Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "z", "q", "k", "v", "pattern"]

KINDS: tuple[str, ...] = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
"""Coarse sites: tensors [batch, pos, d_model], read from either module tree."""

FINE: tuple[str, ...] = ("z", "q", "k", "v", "pattern")
"""Sites inside attention, read through the TransformerLens bridge only."""


@dataclass(frozen=True, order=True)
class Site:
    """A kind of activation in one layer, such as ``Site("resid_post", 12)``; its text is ``resid_post.12``."""

    kind: str
    """One of :data:`KINDS` or :data:`FINE`."""
    layer: int
    """Counted from 0."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS + FINE:
            raise ValueError(f"there is no site {self.kind!r}; sites are {', '.join(KINDS + FINE)}")
        if self.layer < 0:
            raise ValueError(f"the layer of a site counts from 0, not {self.layer}; expand_sites takes negative ones")

    @classmethod
    def parse(cls, text: str | Site) -> Site:
        """Read ``"resid_post.12"``; a Site is returned as it is.

        Raises:
            ValueError: for an unknown kind or a layer that is no number.
        """
        if isinstance(text, Site):
            return text
        kind, _, layer = text.partition(".")
        if not re.fullmatch(r"\d+", layer):
            raise ValueError(f"{text!r} is not a site; write kind.layer, for instance resid_post.12")
        return cls(kind, int(layer))

    def __str__(self) -> str:
        return f"{self.kind}.{self.layer}"

    @property
    def coarse(self) -> bool:
        """Whether both module trees have it, as a tensor [batch, pos, d_model]."""
        return self.kind in KINDS

    @property
    def bridge_name(self) -> str:
        """The name of its hook in TransformerLens, for instance ``blocks.12.hook_resid_post``."""
        middle = "hook_" if self.coarse else "attn.hook_"
        return f"blocks.{self.layer}.{middle}{self.kind}"


def expand_sites(sites: str | Site | Sequence[str | Site], n_layers: int) -> tuple[Site, ...]:
    """Turn site names and patterns into sites, in the order given, each once.

    Args:
        sites: one or several of: a Site; a name (``"resid_post.12"``); a layer from the end (``"resid_post.-1"``); a
            pattern with ``*``, ``?`` or ``[...]`` for kind or layer (``"resid_post.*"``, ``"*.3"``), where a starred
            kind means the coarse ones.  A comma separates several in one string.
        n_layers: layers of the model; patterns run over them in order, kinds in the order of :data:`KINDS`.

    Raises:
        ValueError: for a kind that does not exist, a layer the model has not, or a pattern that fits nothing.
    """
    given = [sites] if isinstance(sites, (str, Site)) else list(sites)
    found: dict[Site, None] = {}
    for item in given:
        for part in [item] if isinstance(item, Site) else [piece.strip() for piece in item.split(",")]:
            found.update(dict.fromkeys(_expand_one(part, n_layers)))
    if not found:
        raise ValueError("no site was given; write for instance resid_post.*")
    return tuple(found)


def _expand_one(item: str | Site, n_layers: int) -> list[Site]:
    kind, _, layer = str(item).partition(".")
    # A bare "*" must not drag in the bridge-only sites, whose tensors have other shapes.
    kinds = [name for name in KINDS if fnmatchcase(name, kind)] or [name for name in FINE if fnmatchcase(name, kind)]
    if not kinds:
        raise ValueError(f"there is no site {str(item)!r}; kinds are {', '.join(KINDS + FINE)}")
    if re.fullmatch(r"-\d+", layer):
        layer = str(n_layers + int(layer))
    layers = [index for index in range(n_layers) if fnmatchcase(str(index), layer)]
    if not layers:
        raise ValueError(
            f"there is no site {str(item)!r}; the model has layers 0 to {n_layers - 1} (or -{n_layers} to -1)"
        )
    return [Site(name, index) for index in layers for name in kinds]
