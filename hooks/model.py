"""One set of weights, two module trees: the bare Hugging Face model to run fast, the bridge to look inside.

The bare tree (:attr:`Model.net`) runs with fused attention and is what capture, scoring and generation use; the
TransformerLens bridge (:attr:`Model.bridge`) is booted over the same storage on first use and gives names, analysis
and the sites inside attention.  Sites of the residual stream are read from either and agree to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hooks import bridge as bridges
from hooks import prompts
from hooks.checkpoint import find_source, load_config, load_net, load_tokenizer, stored_dtype
from hooks.fingerprint import hash_tensors
from hooks.foreign import PreTrainedModel, Tokenizer
from hooks.padding import pad_left
from hooks.prompts import Template
from hooks.sites import Site, expand_sites
from hooks.tree import Watcher, find_blocks, find_place, residual_error, watching


class Model:
    """A causal language model with its tokenizer: evaluation mode, no gradients of its own.

    Do not change weights in place: the bridge, and in a :class:`hooks.pair.Pair` the other model, read the same
    storage.
    """

    name: str
    """As it was asked for."""
    path: str
    """Folder or hub id of the weights."""
    revision: str | None
    net: PreTrainedModel
    """The bare tree."""
    tokenizer: Tokenizer
    stored_dtype: torch.dtype
    """What the checkpoint holds; :attr:`dtype` is what runs."""
    blocks: list[nn.Module]
    """Decoder layers of the bare tree."""
    adapter: str | None = None
    """Folder or hub id of the LoRA adapter that was merged into the weights."""
    role: str | None = None
    """``"base"`` or ``"rl"`` in a pair."""

    def __init__(
        self,
        net: PreTrainedModel,
        tokenizer: Tokenizer,
        *,
        name: str,
        path: str | None = None,
        revision: str | None = None,
        stored_dtype: torch.dtype | None = None,
    ) -> None:
        """Take a loaded network and its tokenizer; :meth:`load` is the usual way.

        Raises:
            ValueError: when the family is not supported.
        """
        self.name, self.path, self.revision = name, path or name, revision
        self.net, self.tokenizer = net, tokenizer
        self.blocks = find_blocks(net)
        self.stored_dtype = stored_dtype or self.dtype
        net.eval()
        net.requires_grad_(False)
        self._check_logits()

    @classmethod
    def load(
        cls,
        path_or_hub_id: str | Path,
        *,
        revision: str | None = None,
        dtype: str | torch.dtype = "auto",
        device: str | torch.device = "auto",
        adapter_base: str | None = None,
    ) -> Model:
        """Load a model from a folder, a hub id, ``organism:NAME:MEMBER``, an adapter's folder or ``BASE+ADAPTER``.

        Args:
            path_or_hub_id: what to load; a LoRA adapter is merged into its base.
            revision: branch, tag or commit of a hub id.
            dtype: ``"auto"`` keeps the checkpoint's own on an accelerator, while on a CPU half precision is widened to
                float32, which is exact for the weights and faster and more precise there; both dtypes are recorded.
                A dtype or its name is taken as it is.
            device: ``"auto"`` takes the GPU if there is one, else the CPU; the model's text says which.
            adapter_base: the model that an adapter's folder is merged into, instead of the one it names itself.

        Raises:
            FileNotFoundError: when folder, tokenizer or safetensors are missing, or the hub cannot be reached.
            ValueError: for an unknown architecture, dtype or organism.
        """
        source = find_source(path_or_hub_id, revision=revision, adapter_base=adapter_base)
        place = _device(device)
        config = load_config(source)
        tokenizer = load_tokenizer(source)
        stored = stored_dtype(source)
        net = load_net(source, config, dtype=_dtype(dtype, stored, place))
        commit = getattr(config, "_commit_hash", None)
        placed: Any = net
        model = cls(
            placed.to(place),
            tokenizer,
            name=source.name,
            path=source.path,
            revision=commit or revision,
            stored_dtype=stored,
        )
        model.adapter = source.adapter
        return model

    @property
    def n_layers(self) -> int:
        """Number of decoder layers."""
        return len(self.blocks)

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(self.net.config.hidden_size)

    @property
    def d_vocab(self) -> int:
        """Number of logits, which may be padded beyond the tokenizer's entries."""
        return int(self.net.get_output_embeddings().weight.shape[0])

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are held in."""
        return next(self.net.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.net.parameters()).device

    @cached_property
    def weights_hash(self) -> str:
        """SHA-256 of all weights as stored, the same on every device; see :mod:`hooks.fingerprint`."""
        return hash_tensors(self.net.state_dict(), stored_dtype=self.stored_dtype)

    @cached_property
    def eos_ids(self) -> tuple[int, ...]:
        """Tokens that end a text: the tokenizer's, and those that the checkpoint's generation settings name."""
        found = {self.tokenizer.eos_token_id}
        settings = self.net.generation_config
        # Settings derived from config.json repeat a class default there that the tokenizer may never write.
        if settings is not None and (not settings._from_model_config or found == {None}):
            named = settings.eos_token_id
            found |= set(named) if isinstance(named, (list, tuple)) else {named}
        return tuple(sorted(int(token) for token in found if token is not None))

    @property
    def pad_id(self) -> int:
        """What fills a batch; never read, since every batch goes with its mask."""
        for token in (self.tokenizer.pad_token_id, *self.eos_ids):
            if token is not None and int(token) < self.d_vocab:
                return int(token)
        return 0

    @cached_property
    def bridge(self) -> Any:
        """The TransformerBridge over the same storage, eager attention, raw weights; booted on first use (seconds).

        Raises:
            ValueError: when TransformerLens cannot wrap the architecture.
        """
        return bridges.boot(self.net, self.tokenizer, self.path)

    def encode(self, texts: Sequence[str], *, template: Template = "auto") -> list[list[int]]:
        """Tokenise prompts, unpadded, with the beginning-of-sequence token exactly once; see :mod:`hooks.prompts`."""
        return prompts.encode(self.tokenizer, texts, template=template)

    def decode(self, ids: Sequence[int] | Int[np.ndarray, " pos"]) -> str:
        """Return the text of ids without special tokens."""
        return prompts.decode(self.tokenizer, [int(token) for token in ids])

    @contextmanager
    def watch(self, sites: str | Site | Sequence[str | Site], fn: Watcher) -> Iterator[None]:
        """Call ``fn(site, tensor[batch, pos, d_model])`` at coarse sites during forwards of :attr:`net`.

        A tensor that ``fn`` returns takes the activation's place; what was registered later sees it.  The hooks are
        removed however the context ends.

        Raises:
            ValueError: for sites that the model has not, or that do not add up in its family.
        """
        chosen = expand_sites(sites, self.n_layers)
        self._refuse(chosen)
        with watching(self.blocks, chosen, fn):
            yield

    def _refuse(self, sites: Sequence[Site]) -> None:
        for site in sites:
            find_place(self.blocks[site.layer], site)
            part = site.kind in ("attn_out", "mlp_out", "resid_mid")
            if part and self.residual_error > _tolerance(self.dtype):
                raise ValueError(
                    f"{site} of {type(self.net).__name__} is not what is added to the residual stream (off by "
                    f"{self.residual_error:.1%}): the family scales it; use resid_pre or resid_post"
                )

    def bridge_activations(
        self, rows: Sequence[Sequence[int]], sites: str | Site | Sequence[str | Site]
    ) -> dict[str, list[Float[Tensor, "..."]]]:
        """Read any site, also those inside attention, from the bridge in one forward.

        Args:
            rows: unpadded ids, one list a row.
            sites: coarse ones or ``z``, ``q``, ``k``, ``v``, ``pattern``, such as ``"z.*"``.

        Returns:
            for each site a list with one tensor a row: coarse sites ``[pos, d_model]``; ``z``, ``q``, ``k``, ``v``
            ``[pos, head, d_head]`` (``k`` and ``v`` have the heads of grouped attention; ``q`` and ``k`` are before
            rotary positions and before their norms); ``pattern`` ``[head, query, key]``.

        Raises:
            ValueError: for sites that the bridge of this family has not.
        """
        batch = pad_left(rows, pad_id=self.pad_id, device=self.device)
        return bridges.read(self.bridge, batch, expand_sites(sites, self.n_layers))

    def backbone(
        self,
        input_ids: Int[Tensor, "batch pos"],
        attention_mask: Int[Tensor, "batch total"] | None = None,
        position_ids: Int[Tensor, "batch pos"] | None = None,
        past_key_values: Any = None,
        use_cache: bool = False,
    ) -> Float[Tensor, "batch pos d_model"]:
        """Run the layers and the final norm, without logits.  A cache that is passed is extended in place."""
        hidden: Tensor = self.net.base_model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
        ).last_hidden_state
        return hidden

    def unembed(self, hidden: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_vocab"]:
        """Turn final hidden states (behind the final norm) into logits, with the family's scale or cap."""
        config = self.net.config
        logits: Tensor = self.net.get_output_embeddings()(hidden)
        if getattr(config, "logit_scale", None) is not None:
            logits = logits * config.logit_scale
        if getattr(config, "logits_scaling", None) is not None:
            logits = logits / config.logits_scaling
        cap = getattr(config, "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def new_cache(self) -> Any:
        """Make an empty key-value cache that keeps every position, so that it can be cut back to any length."""
        from transformers import DynamicCache

        return DynamicCache()

    @cached_property
    def residual_error(self) -> float:
        """How far the residual stream is from the sum of its parts on four tokens, relative to its size."""
        return residual_error(self.net, self.blocks, self._few_ids)

    @property
    def _few_ids(self) -> list[int]:
        return [token % self.d_vocab for token in (5, 6, 7, 8)]

    def _check_logits(self) -> None:
        ids = torch.tensor([self._few_ids], device=self.device)
        with torch.no_grad():
            ours, theirs = self.unembed(self.backbone(ids)).float(), self.net(ids, use_cache=False).logits.float()
        if float((ours - theirs).norm()) > _tolerance(self.dtype) * float(theirs.norm()):
            raise ValueError(f"{type(self.net).__name__} changes its logits in a way that is not known here")

    def __repr__(self) -> str:
        held = "" if self.dtype == self.stored_dtype else f" (stored {_short(self.stored_dtype)})"
        count = sum(tensor.numel() for tensor in self.net.parameters())
        return (
            f"{self.name}: {type(self.net).__name__}, {count / 1e6:.1f} M parameters, {self.n_layers} layers, width "
            f"{self.d_model}, {self.d_vocab} tokens, {_short(self.dtype)}{held} on {self.device}"
        )


def _device(device: str | torch.device) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    place = torch.device(device)
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} was asked for and there is no GPU; use device='cpu'")
    return place


def _dtype(dtype: str | torch.dtype, stored: torch.dtype, place: torch.device) -> torch.dtype:
    if dtype == "auto":
        half = stored in (torch.bfloat16, torch.float16)
        return torch.float32 if half and place.type == "cpu" else stored
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f"{dtype!r} is no floating-point dtype; use auto, float32, bfloat16 or float16")
    return found


def _tolerance(dtype: torch.dtype) -> float:
    return 1e-3 if dtype in (torch.float32, torch.float64) else 0.05


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
