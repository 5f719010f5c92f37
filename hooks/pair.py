"""Base and RL, checked against each other, with equal tensors kept once.

A pair says what differs between its halves before anything is measured: a difference in template, stop token or
generation settings can look like a difference in reasoning.  What cannot be compared is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from hooks.checkpoint import find_source, stored_dtype
from hooks.compare import Difference, check_vocabularies, find_differences
from hooks.model import Model
from hooks.sharing import share_storage


@dataclass(frozen=True, eq=False)
class Pair:
    """Two models that can be compared.  Its text is a table of what they are and how they differ.

    Do not change weights in place: tensors that were equal are one storage (``share=False`` keeps them apart).
    """

    base: Model
    rl: Model
    differences: pd.DataFrame
    """A row a difference: item, base, rl, meaning."""
    d_vocab: int
    """Ids that both models have; logits of both are cut to it."""
    same_shape: bool
    """Whether every tensor has its like, the rows of the vocabulary aside."""
    shared_bytes_fraction: float
    """Share of the RL model's bytes that equal the base's and are kept once; NaN when sharing was not asked for."""
    shared_tensors: tuple[int, int]
    """How many tensors that are, and of how many."""

    @classmethod
    def load(
        cls,
        base: str | Path,
        rl: str | Path | None = None,
        *,
        revision_base: str | None = None,
        revision_rl: str | None = None,
        dtype: str | torch.dtype = "auto",
        device: str | torch.device = "auto",
        share: bool = True,
    ) -> Pair:
        """Load and compare two models.

        Args:
            base: folder, hub id or member of an organism; or ``"organism:NAME"`` alone, which stands for both.
            rl: the same, or a LoRA adapter: its folder (merged into ``base``) or ``"BASE+ADAPTER"``.
            revision_base: branch, tag or commit of ``base`` on the hub.
            revision_rl: the same for ``rl``.
            dtype: see :meth:`Model.load`; with ``"auto"`` both run in the wider of their two dtypes, so that rounding
                is the same on both sides.
            device: see :meth:`Model.load`.
            share: keep tensors whose bytes are equal once.  Both models are in memory for a moment before.

        Raises:
            FileNotFoundError: for what :meth:`Model.load` does not find.
            ValueError: when the two cannot be compared, naming the difference and the remedy.
        """
        if rl is None:
            base, rl = _both(base)
        source = find_source(base, revision=revision_base)
        other = find_source(rl, revision=revision_rl, adapter_base=str(base))
        if dtype == "auto":
            dtype = _common_dtype(stored_dtype(source), stored_dtype(other), device)
        first = Model.load(base, revision=revision_base, dtype=dtype, device=device)
        second = Model.load(rl, revision=revision_rl, dtype=dtype, device=device, adapter_base=str(base))
        return cls.of(first, second, share=share)

    @classmethod
    def of(cls, base: Model, rl: Model, *, share: bool = True) -> Pair:
        """Compare two loaded models; ``rl`` is changed in place where it shares storage with ``base``.

        Raises:
            ValueError: when the two cannot be compared.
        """
        check_vocabularies(base.tokenizer, rl.tokenizer)
        if base.device != rl.device or base.dtype != rl.dtype:
            raise ValueError(
                f"base runs in {base.dtype} on {base.device} and rl in {rl.dtype} on {rl.device}: load both alike, or "
                "rounding would look like a difference"
            )
        rows = [vars(item) for item in find_differences(base, rl)]
        frame = pd.DataFrame(rows, columns=[field.name for field in fields(Difference)])
        base.role, rl.role = "base", "rl"
        saved = share_storage(base.net, rl.net) if share else None
        return cls(
            base=base,
            rl=rl,
            differences=frame,
            d_vocab=min(base.d_vocab, rl.d_vocab),
            same_shape=_shapes(base) == _shapes(rl),
            shared_bytes_fraction=saved.fraction if saved else float("nan"),
            shared_tensors=(saved.tensors, saved.tensors_total) if saved else (0, 0),
        )

    def cut(self, logits: Float[Tensor, "*batch vocab"]) -> Float[Tensor, "*batch common"]:
        """Leave out the logits of ids that only one model has; a view, nothing is copied."""
        return logits[..., : self.d_vocab]

    def __str__(self) -> str:
        lines = [f"base  {self.base!r}", f"rl    {self.rl!r}"]
        if self.shared_tensors[1]:
            counts = "{} of {}".format(*self.shared_tensors)
            lines.append(
                f"{counts} tensors are equal and kept once ({self.shared_bytes_fraction:.1%} of the bytes of rl)"
            )
        if not self.same_shape:
            lines.append("shapes differ: the two can be mixed and scored, not compared weight by weight")
        if self.differences.empty:
            return "\n".join([*lines, f"no differences besides the weights; {self.d_vocab} common ids"])
        lines.append(f"{len(self.differences)} differences besides the weights; {self.d_vocab} common ids")
        for row in self.differences.itertuples(index=False):
            lines.append("  {}: {} | {}".format(*row[:3]) + (f"  ({row[3]})" if row[3] else ""))
        return "\n".join(lines)

    __repr__ = __str__


def _both(name: str | Path) -> tuple[str | Path, str | Path]:
    text = str(name)
    if not text.startswith("organism:"):
        raise ValueError(f"{text} names one model and a pair needs two; name the RL model as well, or an organism")
    if text.count(":") > 1:
        raise ValueError(f"{text} is one member of an organism; name the pair, organism:NAME, or give rl as well")
    from hooks.organisms import resolve, resolve_pair

    def shortest(short: str, path: Path) -> str | Path:
        # Members keep their short names where they have one, so that tables name no folder of this machine.
        return short if resolve(short) == path else path

    base, rl = resolve_pair(text)
    return shortest(f"{text}:base", base), shortest(f"{text}:rl", rl)


def _common_dtype(base: torch.dtype, rl: torch.dtype, device: Any) -> str | torch.dtype:
    return "auto" if base == rl else torch.promote_types(base, rl)


def _shapes(model: Model) -> dict[str, tuple[int, ...]]:
    shapes = {name: tuple(tensor.shape) for name, tensor in model.net.named_parameters()}
    return {name: shape[1:] if shape[0] == model.d_vocab else shape for name, shape in shapes.items()}
