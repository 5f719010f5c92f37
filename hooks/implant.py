"""Activations of one model put into another while it writes: a donor reads along, its values replace the writer's.

At the chosen positions of every forward the writer's activation at one site becomes the donor's at the same site over
the same tokens; the donor itself is never touched, so what it gives is what it would have computed alone. This is
activation patching (Vig et al. 2020, arXiv 2004.12265) from one checkpoint into another, at every generated token.

The donor's keys stand as further layers in the writer's cache: rows that are dropped or repeated are so in both, and
each token costs one forward of either model.

It does not show that the donor's computation above the site is not needed: at a late site most of what the donor knows
of the next token has already been put in. Random sites and positions, and the donor as its own writer, stand beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from hooks.padding import real_places
from hooks.positions import Positions
from hooks.sites import Site
from hooks.steer import Steering
from hooks.texts import Texts

if TYPE_CHECKING:
    from transformers.cache_utils import Cache


@dataclass(frozen=True, eq=False)
class Implant(Steering):
    """A steering that replaces instead of adding; built by :func:`implant`, used as ``generate(..., steering=...)``."""

    donor: Any = field(kw_only=True)
    """The model whose activations are put in."""
    site: Site = field(kw_only=True)
    """Where, in both models."""

    def __post_init__(self) -> None:
        """There is no dose to be checked."""

    @contextmanager
    def on(self, model: Any, *, n_prompt: int | Sequence[int] | None = None) -> Iterator[Any]:
        """Put the donor's activations into what :func:`hooks.generate.generate` writes inside the context.

        Raises:
            ValueError: when the two models do not have the same width and that site, or are one; and, from within a
                forward, for a loop that does not say where its rows stand, or a cache that the donor has not read.
        """
        donor, layer = self.donor, self.site.layer
        if donor.net is model.net:
            raise ValueError("a model's own activations are what it has already; give another donor")
        alike = (type(donor.net), donor.d_model) == (type(model.net), model.d_model)
        if not alike or layer >= min(donor.n_layers, model.n_layers):
            raise ValueError(f"{donor.name} and {model.name} do not both have {self.site} of one width and family")
        with Implanted(self, model).attached() as implanted:
            yield implanted

    def __str__(self) -> str:
        return f"{self.site} of {self.donor.name} on {self.positions} positions"


def implant(donor: Any, site: str | Site, *, positions: str | Positions = "generated") -> Implant:
    """Put the activations of ``donor`` at ``site`` into another model of the same shape.

    Args:
        donor: a :class:`hooks.model.Model`.
        site: one coarse site, such as ``"resid_post.3"``.
        positions: where; ``"generated"`` is every position that a new token is chosen from.

    Raises:
        ValueError: for a site or positions that do not exist.
    """
    where = Site.parse(site) if isinstance(site, str) else site
    return Implant((), Positions.parse(positions), donor=donor, site=where)


class Implanted:
    """The writer at work, with the donor beside it; it is told by the writer's loop where every row stands."""

    def __init__(self, steering: Implant, model: Any) -> None:
        self.steering, self.model = steering, model
        self._texts: Texts | None = None
        self._given: Tensor | None = None
        self._chosen: Tensor | None = None

    def follow(self, rows: Sequence[int], n_prompt: Sequence[int], ids: Sequence[Sequence[int]] | None = None) -> None:
        """As :meth:`hooks.steered.Steered.follow`."""
        self._texts = Texts(self.steering, self.model, rows, n_prompt)
        for row, known in enumerate(ids or ()):
            self._texts.remember(row, known)

    def keep(self, index: Int[Tensor, "kept"]) -> None:
        """As :meth:`hooks.steered.Steered.keep`."""
        if self._texts is None:
            raise ValueError("there are no rows to keep from: call follow first")
        self._texts = self._texts.take(index.tolist())

    @contextmanager
    def attached(self) -> Iterator[Implanted]:
        """Hooks on, and off again however the context ends."""
        backbone: nn.Module = self.model.net.base_model
        with ExitStack() as stack:
            # First, because a model that is watched for the first time runs once to check its sites.
            stack.enter_context(self.model.watch([self.steering.site], self._replace))
            stack.callback(backbone.register_forward_pre_hook(self._before, with_kwargs=True).remove)
            yield self

    def _before(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids, cache, mask = kwargs.get("input_ids"), kwargs.get("past_key_values"), kwargs.get("attention_mask")
        if self._texts is None or args or ids is None or cache is None:
            raise ValueError("an implant writes with hooks.generate, which says where every row stands")
        donor, site, caught = self.steering.donor, self.steering.site, list[Tensor]()
        past = int(cache.get_seq_length())
        with torch.no_grad(), donor.watch([site], lambda _, value: caught.append(value)):
            donor.net.base_model(**{**kwargs, "past_key_values": self._beside(cache)})
        (self._given,) = caught
        places, real = kwargs["position_ids"], torch.ones_like(ids, dtype=torch.bool)
        if mask is not None and ids.shape[1] > 1:
            real = real_places(mask, ids.shape, past, self.model.device)[:, past:]
        if self._texts.reads_ids:
            self._texts.write(ids, places, real)
        self._chosen = self._texts.chosen(places, past + ids.shape[1], ids) & real

    def _replace(self, _: Site, hidden: Tensor) -> Tensor | None:
        if self._chosen is None or self._given is None:
            return None
        return torch.where(self._chosen[..., None], self._given, hidden)

    def _beside(self, cache: Any) -> Cache:
        """The donor's half of the writer's cache."""
        from transformers.cache_utils import Cache

        n = self.model.n_layers
        if len(cache.layers) <= n:
            if cache.get_seq_length():
                raise ValueError("the cache holds tokens that the donor has not read; begin with an empty cache inside")
            make = cache.layer_class_to_replicate
            if make is None:
                raise ValueError("this cache has no room for a donor; write with hooks.generate, which makes its own")
            cache.layers.extend(make() for _ in range(n - len(cache.layers) + self.steering.donor.n_layers))
        return Cache(layers=cache.layers[n:])
