"""A steering at work in one model: where every row of every forward stands, and what is done to it there.

Before each forward a hook on the backbone reads ids, mask and cache and works out the absolute position of every token
of every row; the rule for positions then says which are chosen (see :mod:`hooks.texts`).

Nothing outlives the context: the state hangs on this object and on no module.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Int
from torch import Tensor, nn

from hooks.padding import real_places
from hooks.sites import Site
from hooks.standing import Standing, told
from hooks.steer import Part, Steering, act, put
from hooks.texts import Texts


def is_steered(model: Any) -> bool:
    """Whether a steering is switched on in this model at the moment."""
    hooks = model.net.base_model._forward_pre_hooks.values()
    return any(isinstance(getattr(hook, "__self__", None), Steered) for hook in hooks)


@dataclass(frozen=True)
class _Uncached:
    """The last call without a cache, which the next may repeat and lengthen."""

    prompt: Tensor
    """Ids of the first call, with their pads."""
    width: int
    """Columns of the last call."""
    n_prompt: list[int]


class Steered:
    """A model under steering; what :meth:`hooks.steer.Steering.on` hands out.

    A loop that moves rows about (drops finished ones, repeats a prompt) says so with :meth:`follow` and :meth:`keep`
    and passes ``position_ids``; any other loop need say nothing.
    """

    def __init__(self, steering: Steering, model: Any, n_prompt: int | Sequence[int] | None = None) -> None:
        self.steering, self.model, self.n_prompt = steering, model, n_prompt
        self._parts: dict[Site, tuple[int, ...]] = {}
        for at, part in enumerate(steering.parts):
            self._parts[part.direction.site] = (*self._parts.get(part.direction.site, ()), at)
        constant = steering.when is None and steering.schedule is None
        adds = {site: all(steering.parts[at].operator == "add" for at in own) for site, own in self._parts.items()}
        self._adding = {site for site, only in adds.items() if only and constant}
        self._followed: Texts | None = None
        # Weakly, so that a finished generation's cache is not kept in memory by its bookkeeping.
        self._of_cache: WeakKeyDictionary[Any, Texts] = WeakKeyDictionary()
        self._uncached: _Uncached | None = None
        self._now: Texts | None = None
        self._active = False
        self._chosen: Tensor | None = None
        self._dose: list[Tensor | float] = []
        self._vectors: dict[int, Tensor] = {}

    def follow(self, rows: Sequence[int], n_prompt: Sequence[int], ids: Sequence[Sequence[int]] | None = None) -> None:
        """From now on row ``i`` of every forward is text ``rows[i]``, whose prompt has ``n_prompt[i]`` tokens.

        ``ids``: what the cache already holds of each text (for rules that look at ids).  Forwards must then bring
        ``position_ids``.
        """
        self._followed = Texts(self.steering, self.model, rows, n_prompt, max(n_prompt, default=0))
        for row, known in enumerate(ids or ()):
            self._followed.remember(row, known)

    def keep(self, index: Int[Tensor, "kept"]) -> None:
        """The batch now holds these of its rows, in this order."""
        if self._followed is None:
            raise ValueError("there are no rows to keep from: call follow first")
        self._followed = self._followed.take(index.tolist())

    @contextmanager
    def attached(self) -> Iterator[Steered]:
        """Hooks on, and off again however the context ends."""
        backbone: nn.Module = self.model.net.base_model
        with ExitStack() as stack:
            stack.callback(backbone.register_forward_pre_hook(self._before, with_kwargs=True).remove)
            stack.enter_context(self.model.watch(list(self._parts), self._act))
            stack.callback(backbone.register_forward_hook(self._after, with_kwargs=True).remove)
            yield self

    def _act(self, site: Site, hidden: Tensor) -> Tensor | None:
        if not self._active:
            return None
        parts = self._parts[site]
        if site in self._adding:
            # One sum for all of them: a sweep of many vectors, one a row, costs no more than one vector.
            return put(hidden, hidden + self._shift(parts, hidden), self._chosen)
        for at in parts:
            hidden = self._apply(at, self.steering.parts[at], hidden)
        return hidden

    def _apply(self, at: int, part: Part, hidden: Tensor) -> Tensor:
        chosen = self._chosen
        if self.steering.when is not None:
            holds = self.steering.when(hidden)
            chosen = holds if chosen is None else chosen & holds
        if part.operator == "add" and self.steering.schedule is None:
            return put(hidden, hidden + self._shift((at,), hidden), chosen)
        return act(part.operator, hidden, self._vector(at, part, hidden), self._dose[at], chosen)

    def _shift(self, parts: tuple[int, ...], hidden: Tensor) -> Tensor:
        """What unscheduled additions add together, the same at every step as long as the rows stay."""
        assert self._now is not None
        shift = self._now.shifts.get((parts, hidden.dtype))
        if shift is None or shift.device != hidden.device:
            total: Tensor | float = 0.0
            for at in parts:
                dose = self._dose[at]
                scale = dose[..., None] if isinstance(dose, Tensor) else dose
                total = total + scale * self._vector(at, self.steering.parts[at], hidden)
            assert isinstance(total, Tensor)
            shift = self._now.shifts[parts, hidden.dtype] = total.to(hidden.dtype)
        return shift

    def _vector(self, at: int, part: Part, hidden: Tensor) -> Tensor:
        if at not in self._vectors or self._vectors[at].device != hidden.device:
            direction = part.direction
            vector = direction.vector
            if self.steering.relative:
                vector = vector * (direction.typical_norm / direction.norm)
            self._vectors[at] = vector.to(hidden.device)
        return self._vectors[at]

    def _before(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._active, self._chosen = False, None
        ids = args[0] if args else kwargs.get("input_ids")
        shape = kwargs["inputs_embeds"].shape[:2] if ids is None else ids.shape
        cache = kwargs.get("past_key_values")
        past = 0 if cache is None else int(cache.get_seq_length())
        known = self._followed if self._followed is not None else self._of_cache.get(cache) if past else None
        if known is not None and known.steady(past) and len(known.rows) == shape[0]:
            self._now, self._dose, self._active = known, known.alphas, True
            return
        mask = args[1] if len(args) > 1 else kwargs.get("attention_mask")
        now: Tensor | None = None
        if self._followed is not None:
            texts, places = self._followed, kwargs["position_ids"]
            if mask is not None and shape[1] > 1:
                now = real_places(mask, shape, past, self.model.device)[:, past:]
        elif cache is None and (reader := told()) is not None:
            texts, now = self._told(reader, shape)
            places = torch.arange(shape[1], device=self.model.device).expand(len(reader.rows), -1)
        else:
            self._refuse_unmasked(ids, mask, past)
            real = real_places(mask, shape, past, self.model.device)
            places = (real.long().cumsum(dim=1) - 1)[:, past:].clamp_(min=0)
            texts, now = self._texts(ids, real, cache, past), real[:, past:]
        if texts.reads_ids:
            if ids is None:
                raise ValueError(
                    f"positions {self.steering.positions} look at token ids, and the model was given embeddings"
                )
            texts.write(ids, places, torch.ones_like(places, dtype=torch.bool) if now is None else now)
        self._now = texts
        # The longest that a row can be is known without asking the device.
        chosen = texts.chosen(places, past + shape[1], ids)
        chosen = chosen if now is None else chosen & now
        self._chosen, self._active = chosen, chosen.device.type != "cpu" or bool(chosen.any())
        self._dose = texts.doses(places, past + shape[1])

    def _after(self, _: nn.Module, __: tuple[Any, ...], ___: dict[str, Any], output: Any) -> None:
        # A cache that the model made itself is first seen here.
        if self._followed is None and self._now is not None:
            cache = getattr(output, "past_key_values", None)
            if cache is not None:
                self._of_cache[cache] = self._now
        self._active, self._chosen = False, None

    def _told(self, reader: Standing, shape: Sequence[int]) -> tuple[Texts, Tensor]:
        """The texts of a reader of whole texts, and which places of its batch they fill."""
        if reader.stored:
            raise ValueError(
                "activations under steering do not go into a store, where nothing would tell them from clean ones; "
                "capture them in memory, without store="
            )
        if isinstance(self.n_prompt, int):
            lengths = [self.n_prompt] * len(reader.rows)
        elif self.n_prompt is not None:
            if max(reader.rows, default=0) >= len(self.n_prompt):
                raise ValueError(f"n_prompt has {len(self.n_prompt)} entries and none for text {max(reader.rows)}")
            lengths = [self.n_prompt[row] for row in reader.rows]
        else:
            lengths = list(reader.n_prompt)
        ends = torch.tensor(reader.lengths, device=self.model.device)
        inside = torch.arange(int(shape[1]), device=self.model.device) < ends[:, None]
        return Texts(self.steering, self.model, reader.rows, lengths), inside

    def _texts(self, ids: Tensor | None, real: Tensor, cache: Any, past: int) -> Texts:
        if past and cache in self._of_cache:
            texts = self._of_cache[cache]
            if len(texts.rows) != len(real):
                raise ValueError(
                    f"a cache of {len(texts.rows)} rows goes on with {len(real)}; a loop that drops or repeats "
                    "rows must say which, with follow and keep"
                )
            return texts
        if past and self.n_prompt is None:
            raise ValueError(
                f"the cache holds {past} tokens that were read outside this steering, so it is unknown where the "
                "prompt ended; read the prompt inside the context, or pass n_prompt to on()"
            )
        doses = {len(part.alpha) for part in self.steering.parts if isinstance(part.alpha, tuple)}
        if doses and doses != {len(real)}:
            raise ValueError(f"steering has alphas for {doses.pop()} rows and the batch has {len(real)}")
        before = self._uncached if cache is None else None
        # Only the prompt is compared: a beam search reorders what comes after it.
        goes_on = (
            before is not None
            and ids is not None
            and before.width + 1 == ids.shape[1]
            and torch.equal(before.prompt, ids[:, : before.prompt.shape[1]])
        )
        lengths = before.n_prompt if before is not None and goes_on else self._prompts(real)
        widest = real.shape[1] if self.n_prompt is None and not past else None
        texts = Texts(self.steering, self.model, range(len(real)), lengths, widest)
        if cache is not None:
            self._of_cache[cache] = texts
        elif ids is not None:
            prompt = before.prompt if before is not None and goes_on else ids
            self._uncached = _Uncached(prompt, ids.shape[1], lengths)
        return texts

    def _prompts(self, real: Tensor) -> list[int]:
        if isinstance(self.n_prompt, int):
            return [self.n_prompt] * len(real)
        if self.n_prompt is not None:
            if len(self.n_prompt) != len(real):
                raise ValueError(f"n_prompt has {len(self.n_prompt)} entries for a batch of {len(real)} rows")
            return list(self.n_prompt)
        lengths: list[int] = real.sum(dim=1).tolist()
        return lengths

    def _refuse_unmasked(self, ids: Tensor | None, mask: Any, past: int) -> None:
        pad = self.model.pad_id
        if (
            ids is None
            or mask is not None
            or past
            or len(ids) < 2
            or pad == getattr(self.model.tokenizer, "bos_token_id", None)
        ):
            return
        starts = ids[:, 0] == pad
        if bool(starts.any()) and not bool(starts.all()):
            raise ValueError("the batch begins with pads and came without its attention_mask; pass the mask")
