"""The second module tree: TransformerLens' bridge over the same weights, for names, analysis and sites in attention.

The bridge rewrites the tree that it is given, so it gets its own: the class is built on the ``meta`` device and takes
the bare tree's tensors by assignment.  No parameter is copied; TransformerLens itself copies what it has to split
(the joint q, k, v of GPT-2 and GPT-NeoX).  Attention runs eagerly there, so that patterns can be seen.  Weights are
raw: no norm is folded and nothing is centred; ``enable_compatibility_mode`` would change the coordinates of one tree
and not of the other.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hooks.foreign import PreTrainedModel, Tokenizer
from hooks.padding import Padded, pad_left
from hooks.sites import Site


def twin(net: PreTrainedModel) -> PreTrainedModel:
    """Build a second, eager module tree over the storage of ``net``; neither tree's modules are shared."""
    config = copy.deepcopy(net.config)
    config._attn_implementation = "eager"
    with torch.device("meta"):
        second = type(net)(config)
    second.load_state_dict(net.state_dict(), assign=True)
    # Buffers that are not saved (rotary frequencies, embedding scales) are still on meta.
    for name, buffer in net.named_buffers():
        parent, _, leaf = name.rpartition(".")
        _set_buffer(second.get_submodule(parent), leaf, buffer)
    second.tie_weights()
    left = [name for name, tensor in [*second.named_parameters(), *second.named_buffers()] if tensor.is_meta]
    if left:
        raise RuntimeError(f"{type(net).__name__} keeps tensors that its state does not name: {', '.join(left[:3])}")
    second.eval()
    second.requires_grad_(False)
    return second


def _set_buffer(module: nn.Module, name: str, buffer: Tensor) -> None:
    module.register_buffer(name, buffer, persistent=name not in module._non_persistent_buffers_set)


def boot(net: PreTrainedModel, tokenizer: Tokenizer, path: str) -> Any:
    """Boot a TransformerBridge over the storage of ``net``.

    Raises:
        ValueError: when TransformerLens has no adapter for the architecture.
    """
    from transformer_lens.model_bridge import TransformerBridge

    first = next(net.parameters())
    try:
        return TransformerBridge.boot_transformers(
            path,
            hf_model=twin(net),
            # TransformerLens sets the padding and the pad token of the tokenizer that it is given.
            tokenizer=copy.deepcopy(tokenizer),
            dtype=first.dtype,
            device=first.device,
        )
    except (ValueError, NotImplementedError, KeyError) as error:
        raise ValueError(
            f"TransformerLens cannot wrap {type(net).__name__} ({' '.join(str(error).split())[:200]}); sites in the "
            "residual stream are read without it"
        ) from error


def read(bridge: Any, batch: Padded, sites: Sequence[Site]) -> dict[str, list[Float[Tensor, "..."]]]:
    """Run the bridge once on a padded batch and return each site's activation a row, pads cut off."""
    missing = [str(site) for site in sites if site.bridge_name not in bridge.hook_dict]
    if missing:
        raise ValueError(f"the TransformerLens bridge of this family has no {', '.join(missing)}")
    if len(set(batch.lengths)) > 1 and next(bridge.parameters()).dtype == torch.float64:
        # The bridge's eager attention reads NaN at a pad in float64 (see hooks.masks), and hands it on.
        alone = [
            read(bridge, pad_left([ids[-length:].tolist()], pad_id=0, device=ids.device), sites)
            for ids, length in zip(batch.input_ids, batch.lengths, strict=True)
        ]
        return {str(site): [one[str(site)][0] for one in alone] for site in sites}
    seen: dict[Site, Tensor] = {}

    def keeper(site: Site) -> Callable[..., None]:
        # A hook knows itself by its own name, which is not the alias that it was asked for by.
        def keep(tensor: Tensor, hook: Any) -> None:
            seen[site] = tensor.detach()

        return keep

    with torch.no_grad():
        bridge.run_with_hooks(
            batch.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            fwd_hooks=[(site.bridge_name, keeper(site)) for site in sites],
            return_type=None,
        )
    width = batch.input_ids.shape[1]
    out: dict[str, list[Tensor]] = {}
    for site in sites:
        rows = seen[site].unbind(0)
        starts = [width - length for length in batch.lengths]
        # A pattern is [head, query, key] and padded on both sides of attention; everything else begins with pos.
        cut = [row[:, s:, s:] if site.kind == "pattern" else row[s:] for row, s in zip(rows, starts, strict=True)]
        out[str(site)] = cut
    return out
