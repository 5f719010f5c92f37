r"""A part of what RL changed, put on the base: layers, kinds of module, the largest entries, whole rows, a low rank.

With ``w`` a base tensor, ``w'`` the RL model's of the same name and ``m`` a mask, the grafted tensor is ``w'`` where
``m`` holds and ``w`` elsewhere: entries are taken over, never added up, so that the whole update gives the RL model bit
for bit and none of it the base. Only ``rank:k`` computes: ``w + D V V^T`` with ``D = w' - w`` and ``V`` the ``k``
leading right singular vectors of ``D`` (the best approximation of rank ``k``, Eckart and Young 1936); vectors are taken
over whole.

Neither model is changed: the graft is a further module tree over the same storage, in which chosen tensors stand in
place of the base's. A tensor taken over whole is the RL model's own and costs nothing; one that is cut costs a tensor.

It does not show that the chosen part was made for what it does: a part may also suffice by accident, which is what
random parts of the same size stand beside it for.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hooks.bridge import twin
from hooks.chooser import Chooser
from hooks.model import Model
from hooks.pair import Pair
from hooks.part import Part, Weight
from hooks.tree import ATTENTION, MLP


@dataclass(frozen=True, eq=False)
class Graft:
    """The base with a part of the update in it, and how much of the update that is."""

    model: Model
    """To be used inside the context; its weights are gone afterwards."""
    part: Part
    """What was put on."""
    share: float
    """Share of all parameters that differ from the base's."""
    energy: float
    """Share of the update's squared norm that was put on; NaN where the models are equal."""


def weights_of(pair: Pair) -> list[Weight]:
    """The parameters of both models, line by line; tied ones once, rows of the vocabulary cut to the common ones.

    Raises:
        ValueError: when the two differ in shape.
    """
    ours = dict(pair.base.net.named_parameters(remove_duplicate=False))
    theirs = dict(pair.rl.net.named_parameters(remove_duplicate=False))
    if ours.keys() != theirs.keys():
        raise ValueError(f"only one model has {sorted(ours.keys() ^ theirs.keys())[0]}; graft like on like")
    for name, tensor in ours.items():
        one, other = tensor.shape, theirs[name].shape
        if one != other and (one[0], other[0], one[1:]) != (pair.base.d_vocab, pair.rl.d_vocab, other[1:]):
            raise ValueError(f"base and RL differ in shape at {name}: {tuple(one)} and {tuple(other)}")
    layers = {id(tensor): at for at, block in enumerate(pair.base.blocks) for tensor in block.parameters()}
    embedding = pair.base.net.get_input_embeddings().weight
    head = pair.base.net.get_output_embeddings().weight
    # A tensor that is tied in one model and not in the other has to come apart.
    groups: dict[tuple[int, int], list[str]] = {}
    for name, tensor in ours.items():
        groups.setdefault((id(tensor), id(theirs[name])), []).append(name)
    out = []
    for names in groups.values():
        base, rl = ours[names[0]], theirs[names[0]]
        kind = "head" if base is head and base is not embedding else _kind(names[0], layers.get(id(base)))
        out.append(Weight(tuple(names), layers.get(id(base)), kind, base.data, rl.data))
    return out


def _kind(name: str, layer: int | None) -> str:
    words = name.lower().removesuffix(".weight").removesuffix(".bias").split(".")
    if any("norm" in word or word.startswith("ln_") for word in words):
        return "norm"
    if layer is None:
        return "head" if words[-1] in ("lm_head", "embed_out") else "embedding"
    if any(word in ATTENTION for word in words):
        return "attention"
    return "mlp" if any(word in MLP for word in words) else "other"


@contextmanager
def grafted(pair: Pair, part: str | Part, *, seed: int = 0) -> Iterator[Graft]:
    """The base with ``part`` of the update put on, inside the context.

    Args:
        pair: two models of one shape; neither is changed.
        part: a :class:`hooks.part.Part` or its text, such as ``"layer:3"`` or ``"largest:0.01"``.
        seed: of what is drawn at random.

    Raises:
        ValueError: for models of different shape, or a part that this model has not.
    """
    chosen = Part.parse(part) if isinstance(part, str) else part
    model, share, energy = _build(pair, chosen, seed)
    try:
        yield Graft(model, chosen, share, energy)
    finally:
        # Whoever keeps the model keeps no weights, and cannot go on with it by mistake.
        model.__dict__.pop("bridge", None)
        for parameter in model.net.parameters():
            parameter.data = parameter.data.new_empty(0)


@torch.no_grad()
def _build(pair: Pair, part: Part, seed: int) -> tuple[Model, float, float]:
    weights = weights_of(pair)
    chooser = Chooser(part, weights, n_layers=pair.base.n_layers, seed=seed)
    base = pair.base
    net: Any = twin(base.net)
    net.config._attn_implementation = base.net.config._attn_implementation
    net.generation_config = copy.deepcopy(base.net.generation_config)
    moved = entries = 0
    put_on = update = 0.0
    for weight in weights:
        new = chooser.new(weight)
        update += difference(weight.base, weight.rl)[1]
        differing, norm = (0, 0.0) if new is weight.base else difference(weight.base, new)
        put_on, moved, entries = put_on + norm, moved + differing, entries + weight.base.numel()
        parameter = nn.Parameter(new, requires_grad=False)
        for name in weight.names:
            parent, _, leaf = name.rpartition(".")
            setattr(net.get_submodule(parent), leaf, parameter)
    net.config.tie_word_embeddings = net.get_input_embeddings().weight is net.get_output_embeddings().weight
    model = Model(
        net, base.tokenizer, name=f"{base.name} + {part}", path=base.path, revision=base.revision,
        stored_dtype=base.stored_dtype,
    )  # fmt: skip
    return model, moved / entries, put_on / update if update else float("nan")


def difference(base: Float[Tensor, "*shape"], other: Float[Tensor, "*other_shape"]) -> tuple[int, float]:
    """How many entries of two tensors differ, and the squared norm of their difference; over the common rows."""
    rows = min(len(base), len(other))
    delta = other[:rows].double() - base[:rows].double()
    return int(torch.count_nonzero(delta)), float(delta.square().sum())
