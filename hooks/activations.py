"""Activations in memory: what a capture without a store gives back.

One matrix a site, all with the same rows, and a table that says which place in which text each row is.  A store
(:class:`hooks.store.ActivationStore`) answers to the same names, reading from disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from hooks.rows import grouped_folds, join_labels
from hooks.sites import Site


@dataclass(frozen=True, eq=False)
class Activations(Mapping[str, Tensor]):
    """Activations in memory: a mapping from site names to matrices, with the table of their rows."""

    tensors: dict[str, Float[Tensor, "_ _"]]
    """One matrix [row, width] a site, on the CPU."""
    rows: pd.DataFrame
    """A row a stored activation; see :class:`hooks.rows.Selection`."""
    manifest: dict[str, Any]
    """Model, revision, weights, sites, positions, reduction and dtype they came from."""

    def __getitem__(self, key: str | Site) -> Float[Tensor, "row width"]:
        if str(key) not in self.tensors:
            raise KeyError(f"no {str(key)!r} was captured; there are {', '.join(self.tensors)}")
        return self.tensors[str(key)]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __contains__(self, key: object) -> bool:
        return str(key) in self.tensors

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites, in the order asked for."""
        return tuple(Site.parse(name) for name in self.tensors)

    def where(self, keep: Sequence[bool] | pd.Series | np.ndarray) -> Activations:
        """The rows for which ``keep`` is true.

        Raises:
            ValueError: when it has not one value a row.
        """
        mask = np.array(keep, dtype=bool)
        if mask.shape != (len(self.rows),):
            raise ValueError(f"a mask over {len(self.rows)} rows cannot have the shape {mask.shape}")
        kept = {name: tensor[torch.from_numpy(mask)] for name, tensor in self.tensors.items()}
        return Activations(kept, self.rows[mask].reset_index(drop=True), self.manifest)

    def join(self, labels: pd.DataFrame) -> pd.DataFrame:
        """The rows with label columns beside them; see :func:`hooks.rows.join_labels`."""
        return join_labels(self.rows, labels)

    def split(self, by: str = "problem", *, n: int = 5, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
        """Folds of row numbers with no group on both sides; see :func:`hooks.rows.grouped_folds`."""
        return grouped_folds(self.rows, by=by, n=n, seed=seed)

    def __str__(self) -> str:
        size = sum(tensor.nbytes for tensor in self.tensors.values()) / 1e6
        rows, model = len(self.rows), self.manifest["model"]
        return f"{rows} rows of {model} at {len(self)} sites ({size:.1f} MB): {', '.join(self)}"
