"""Where a family keeps its blocks, its attention, its MLP and its norms in the Hugging Face module tree.

The layout is found by name, since families agree on a handful of names, and checked by arithmetic when a model is
loaded (:func:`residual_error`): a name that does not mean what it says shows as a residual stream that does not add up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from hooks.foreign import PreTrainedModel
from hooks.sites import Site

Watcher = Callable[[Site, Tensor], Tensor | None]
"""Called with a site and its activation [batch, pos, d_model]; a returned tensor takes the activation's place."""

ATTENTION = ("self_attn", "attention", "attn", "self_attention")
MLP = ("mlp", "feed_forward", "block_sparse_moe")
SECOND_NORM = ("post_attention_layernorm", "ln_2")


def find_blocks(net: PreTrainedModel) -> list[nn.Module]:
    """List the decoder layers of a causal language model, first to last.

    Raises:
        ValueError: when the tree holds no list of as many modules as the configuration has layers.
    """
    base = net.base_model
    for name in ("layers", "h", "blocks", "block"):
        found = getattr(base, name, None)
        if isinstance(found, nn.ModuleList) and len(found) == net.config.num_hidden_layers:
            return list(found)
    raise ValueError(
        f"{type(net).__name__} keeps its layers in no known place; supported are decoder-only families built like "
        "Llama, Qwen, Gemma, GPT-2, GPT-NeoX or OLMo"
    )


@dataclass(frozen=True)
class Place:
    """One module and the side of it on which a site is read and written."""

    module: nn.Module
    side: str
    """``"input"`` or ``"output"``."""
    in_place: bool = False
    """Whether a replacement has to overwrite the tensor, because the block also holds it as its residual."""


def find_place(block: nn.Module, site: Site) -> Place:
    """Find where a coarse site lives in its block.

    ``attn_out`` and ``mlp_out`` are what is added to the residual stream: the output of the norm behind attention or
    MLP in families that have one (Gemma 2 and 3, OLMo 2), as in TransformerLens.

    Raises:
        ValueError: for ``resid_mid`` in a block whose attention and MLP run in parallel, and for unknown blocks.
    """
    behind = hasattr(block, "post_feedforward_layernorm")
    if site.kind == "resid_pre":
        return Place(block, "input")
    if site.kind == "resid_post":
        return Place(block, "output")
    if site.kind == "attn_out":
        return Place(block.get_submodule("post_attention_layernorm") if behind else _first(block, ATTENTION), "output")
    if site.kind == "mlp_out":
        return Place(block.get_submodule("post_feedforward_layernorm") if behind else _first(block, MLP), "output")
    if site.kind != "resid_mid":
        raise ValueError(f"{site} is inside attention: read it with Model.bridge_activations")
    if is_parallel(block):
        raise ValueError(
            f"{site} does not exist: attention and MLP of {type(block).__name__} run in parallel; use resid_pre, "
            "attn_out, mlp_out or resid_post"
        )
    if hasattr(block, "pre_feedforward_layernorm"):
        return Place(block.get_submodule("pre_feedforward_layernorm"), "input", in_place=True)
    return Place(_first(block, MLP if behind else SECOND_NORM), "input", in_place=True)


def is_parallel(block: nn.Module) -> bool:
    """Whether attention and MLP of a block both read ``resid_pre``, so that there is no ``resid_mid``."""
    if hasattr(block, "use_parallel_residual"):
        return bool(block.use_parallel_residual)
    return not any(hasattr(block, name) for name in (*SECOND_NORM, "pre_feedforward_layernorm"))


def _first(block: nn.Module, names: Sequence[str]) -> nn.Module:
    for name in names:
        module = getattr(block, name, None)
        if isinstance(module, nn.Module):
            return module
    raise ValueError(f"{type(block).__name__} has none of {', '.join(names)}; its family is not supported")


@contextmanager
def watching(blocks: Sequence[nn.Module], sites: Sequence[Site], fn: Watcher) -> Iterator[None]:
    """Call ``fn(site, activation)`` at every site during forwards; hooks are removed however the context ends."""
    with ExitStack() as stack:
        for site in sites:
            handle = _attach(find_place(blocks[site.layer], site), site, fn)
            stack.callback(handle.remove)
        yield


def _attach(place: Place, site: Site, fn: Watcher) -> RemovableHandle:
    def read_output(_: nn.Module, __: Any, output: Any) -> Any:
        tensor = output[0] if isinstance(output, tuple) else output
        new = fn(site, tensor)
        if new is None:
            return None
        new = _checked(site, tensor, new)
        return (new, *output[1:]) if isinstance(output, tuple) else new

    def read_input(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tensor = args[0] if args else kwargs["hidden_states"]
        new = fn(site, tensor)
        if new is None:
            return None
        new = _checked(site, tensor, new)
        if place.in_place:
            # The block adds this very tensor to the MLP's output later, so the stream itself must change.
            tensor.copy_(new)
            return None
        return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})

    if place.side == "output":
        return place.module.register_forward_hook(read_output)
    return place.module.register_forward_pre_hook(read_input, with_kwargs=True)


def _checked(site: Site, old: Tensor, new: Tensor) -> Tensor:
    if new.shape != old.shape:
        raise ValueError(f"the activation put in at {site} has shape {tuple(new.shape)}, not {tuple(old.shape)}")
    return new.to(old.dtype)


def residual_error(net: PreTrainedModel, blocks: Sequence[nn.Module], ids: Sequence[int]) -> float:
    """Measure how far the residual stream is from the sum of its parts, relative to its size, over all layers.

    Runs ``net`` once on ``ids``.  About the rounding error of the dtype when the sites mean what they say; of order 1
    when a family scales what it adds (Granite) or keeps another kind of stream.
    """
    kinds = ("resid_pre", "attn_out", "mlp_out", "resid_post")
    sites = [Site(kind, layer) for layer in range(len(blocks)) for kind in kinds]
    sites += [Site("resid_mid", layer) for layer in range(len(blocks)) if not is_parallel(blocks[layer])]
    seen: dict[Site, Float[Tensor, "batch pos d_model"]] = {}

    def keep(site: Site, tensor: Tensor) -> None:
        seen[site] = tensor.detach().float()

    device = next(net.parameters()).device
    with torch.no_grad(), watching(blocks, sites, keep):
        net.base_model(input_ids=torch.tensor([list(ids)], device=device), use_cache=False)
    worst = 0.0
    for layer in range(len(blocks)):
        pre, attn, mlp, post = (seen[Site(kind, layer)] for kind in kinds)
        size = float(post.norm())
        worst = max(worst, float((pre + attn + mlp - post).norm()) / size)
        if Site("resid_mid", layer) in seen:
            worst = max(worst, float((pre + attn - seen[Site("resid_mid", layer)]).norm()) / size)
    return worst
