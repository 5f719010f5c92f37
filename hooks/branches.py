"""What would the model say next, had it been pushed at just this place? Many places of a text at once, with gradients.

A text is read once, untouched. Then each chosen place is read again as a branch of its own: its query attends to the
untouched keys of everything before it and to its own new key, and to no other branch. So the logits of a branch are
those of reading the text up to that place with the push at that place alone (``reach="place"`` of
:func:`hooks.mix.mix`), and a gradient reaches the push through the branches only.

Cost: one forward over the text without gradients, one over the chosen places with. What it does not show: what a push
does to later tokens; nothing is written here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks.masks import ready, windows_of
from hooks.reader import check_cuttable
from hooks.sites import Site

Change = Callable[[Float[Tensor, "row branch d_model"]], Float[Tensor, "row branch d_model"]]
"""From the activations at the branches to what takes their place."""


def branch_logits(
    model: Any,
    ids: Int[Tensor, "row pos"],
    places: Int[Tensor, "row branch"],
    *,
    site: Site,
    change: Change,
) -> Float[Tensor, "row branch d_vocab"]:
    """Logits of the token after each place, the model being changed at that place alone.

    Args:
        model: a :class:`hooks.model.Model`; its weights get no gradient unless the caller asks for one.
        ids: texts, padded on the right with anything.
        places: positions in each row, in any order; repeat one to fill a row.
        site: where ``change`` acts.
        change: asked once, for all branches; a gradient flows through what it returns.

    Raises:
        ValueError: for a place outside the text, or a model whose attention cannot be cut at a token.
    """
    check_cuttable(model)
    n_pos = ids.shape[1]
    if places.numel() and not (int(places.min()) >= 0 and int(places.max()) < n_pos):
        raise ValueError(f"a branch leaves a text at a position from 0 to {n_pos - 1}")
    cache = model.new_cache()
    along = torch.arange(n_pos, device=ids.device).expand_as(ids)
    with torch.no_grad():
        model.backbone(ids, position_ids=along, past_key_values=cache, use_cache=True)
    with model.watch([site], lambda _, hidden: change(hidden)):
        hidden = model.net.base_model(
            input_ids=ids.gather(1, places),
            attention_mask=_mask(model, places, n_pos),
            position_ids=places,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
    logits: Tensor = model.unembed(hidden)
    return logits


def _mask(model: Any, places: Int[Tensor, "row branch"], n_pos: int) -> Tensor | dict[str, Tensor]:
    slot = torch.arange(n_pos, device=places.device)
    before = slot < places[:, :, None]
    own = torch.eye(places.shape[1], dtype=torch.bool, device=places.device).expand(len(places), -1, -1)
    kinds = {}
    for kind, window in windows_of(model.net.config).items():
        seen = before if window is None else before & (slot > places[:, :, None] - window)
        kinds[kind] = torch.cat([seen, own], dim=-1)[:, None]
    return ready(model, kinds)
