"""Activations on disk: a folder that opens at once, reads only what is asked for, and names what is damaged.

    manifest.json                              what was asked: tokens, rows, sites, weights, versions
    rows.parquet                               a row a stored activation: problem, sample, pos, index, id, ...
    <side>/<site>/00000.safetensors            rows of one site, shard after shard

``ActivationStore.open(path)["resid_post.12"]`` maps that site's shards and reads nothing but their headers.  Rows of
the two sides of a pair are the same rows.  A shard that is truncated, changed, missing or from other weights is refused
by name when its rows are touched; all other rows stay readable.  Opening and reading execute nothing that is in the
files.

What it does not show: that the network that wrote it was the right one; it says which one it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from hooks.deposit import ROWS, Ledger
from hooks.rows import grouped_folds, join_labels
from hooks.shards import DamagedShard, MappedShard
from hooks.sites import Site

Index = int | slice | Sequence[int] | Sequence[bool] | Shaped[np.ndarray, " _"] | Shaped[Tensor, " _"] | pd.Series


@dataclass(frozen=True, eq=False)
class SiteView:
    """One site of a store, as if it were one matrix [row, width].

    ``view[a:b]`` within one shard is a view of the mapped file; any other index copies the rows asked for.  Nothing is
    read before it is touched, and what is touched is compared with its checksum first.
    """

    ledger: Ledger
    """The store's manifest."""
    side: str
    """Which network's."""
    site: str
    """Which site."""
    _open: dict[int, MappedShard] = field(default_factory=dict, repr=False)

    def __reduce__(self) -> tuple[type[SiteView], tuple[Ledger, str, str]]:
        # It travels to another process by name; the files that it has mapped stay here and are mapped anew there.
        return SiteView, (self.ledger, self.side, self.site)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and width."""
        return int(self.ledger.manifest["n_rows"]), self.ledger.sides[self.side].sites[self.site]

    @property
    def dtype(self) -> torch.dtype:
        """Number format on disk."""
        return self.ledger.sides[self.side].torch_dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Index) -> Shaped[Tensor, "*row width"]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                return self._range(start, max(start, stop))
            return self._pick(np.arange(start, stop, step, dtype=np.int64))
        if isinstance(index, (int, np.integer)):
            return self._pick(np.array([index]))[0]
        wanted = np.asarray(index)
        if wanted.dtype == bool:
            if wanted.shape != (len(self),):
                raise IndexError(f"a mask over {self.site} needs {len(self)} values, not {wanted.shape}")
            wanted = np.flatnonzero(wanted)
        return self._pick(wanted.astype(np.int64))

    def torch(self) -> Float[Tensor, "row width"]:
        """The whole site; a view of the file where it is one shard, a copy where it is several."""
        return self._range(0, len(self))

    def numpy(self) -> Float[np.ndarray, "row width"]:
        """The whole site as a numpy array; bfloat16, which numpy lacks, becomes float32."""
        whole = self.torch()
        return (whole.float() if whole.dtype == torch.bfloat16 else whole).numpy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = self.numpy()
        return whole.astype(dtype) if dtype is not None and whole.dtype != dtype else whole

    def chunks(self, rows: int = 65536) -> Iterator[tuple[slice, Float[Tensor, "row width"]]]:
        """Go through the site in order, at most ``rows`` rows at a time and never across a shard: no copies."""
        bounds = self.ledger.row_bounds
        for first, last in pairwise(bounds):
            for start in range(first, last, rows):
                part = slice(start, min(start + rows, last))
                yield part, self[part]

    def readable(self) -> np.ndarray:
        """For each row whether it can be read; reads the whole site to know."""
        good = np.zeros(len(self), dtype=bool)
        bounds = self.ledger.row_bounds
        for number in range(self.ledger.n_shards):
            try:
                self._shard(number).check()
            except (FileNotFoundError, DamagedShard):
                continue
            good[bounds[number] : bounds[number + 1]] = True
        return good

    def _shard(self, number: int) -> MappedShard:
        if number not in self._open:
            self._open[number] = MappedShard(self.ledger.shard(self.side, self.site, number))
        return self._open[number]

    def _range(self, start: int, stop: int) -> Tensor:
        bounds = np.asarray(self.ledger.row_bounds)
        parts = []
        while start < stop:
            number = int(np.searchsorted(bounds, start, side="right")) - 1
            end = min(stop, int(bounds[number + 1]))
            parts.append(self._shard(number).rows(start - int(bounds[number]), end - int(bounds[number])))
            start = end
        if len(parts) == 1:
            return parts[0]
        return torch.cat(parts) if parts else torch.empty(0, self.shape[1], dtype=self.dtype)

    def _pick(self, wanted: Int[np.ndarray, " row"]) -> Tensor:
        if len(wanted) and not (-len(self) <= wanted.min() and wanted.max() < len(self)):
            raise IndexError(f"{self.site} has rows 0 to {len(self) - 1}, not {wanted.min()} to {wanted.max()}")
        wanted = np.where(wanted < 0, wanted + len(self), wanted)
        bounds = np.asarray(self.ledger.row_bounds)
        out = torch.empty(len(wanted), self.shape[1], dtype=self.dtype)
        numbers = np.searchsorted(bounds, wanted, side="right") - 1
        for number in np.unique(numbers):
            here = np.flatnonzero(numbers == number)
            own = wanted[here] - bounds[number]
            low = int(own.min())
            block = self._shard(int(number)).rows(low, int(own.max()) + 1)
            out[torch.from_numpy(here)] = block[torch.from_numpy(own - low)]
        return out


@dataclass(frozen=True, eq=False)
class ActivationStore(Mapping[str, SiteView]):
    """Activations in a folder: a mapping from site names to :class:`SiteView`, with the table of their rows.

    A store of a pair has names like ``base/resid_post.3``; :meth:`side` gives one network's half with plain names.
    """

    ledger: Ledger
    """The store's manifest."""
    rows: pd.DataFrame
    """A row a stored activation; see :class:`hooks.rows.Selection`."""
    sides: tuple[str, ...]
    """The networks whose activations can be read here."""
    _views: dict[str, SiteView] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, path: str | Path, *, side: str | None = None) -> ActivationStore:
        """Open a store, or one side of it; reads the manifest and the table of rows.

        Raises:
            FileNotFoundError: when there is none at ``path``.
            ValueError: when manifest and rows do not fit, or there is no such side.
        """
        folder = Path(path)
        ledger = Ledger.read(folder)
        try:
            rows = pd.read_parquet(folder / ROWS)
        except (OSError, ValueError) as error:
            raise ValueError(f"{folder / ROWS} cannot be read ({error}): delete the store and capture again") from error
        if len(rows) != ledger.manifest["n_rows"]:
            raise ValueError(f"{folder / ROWS} has {len(rows)} rows, the manifest says {ledger.manifest['n_rows']}")
        whole = cls(ledger, rows, tuple(ledger.sides))
        return whole if side is None else whole.side(side)

    def side(self, name: str) -> ActivationStore:
        """The half of the store that one network wrote.

        Raises:
            ValueError: when it has no such side.
        """
        if name not in self.sides:
            raise ValueError(f"{self.path} has no side {name!r}; it has {', '.join(self.sides)}")
        return ActivationStore(self.ledger, self.rows, (name,))

    @property
    def path(self) -> Path:
        """The folder."""
        return self.ledger.path

    @property
    def manifest(self) -> dict[str, Any]:
        """What was asked, of which weights, and with which versions."""
        return self.ledger.manifest

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites, by kind and layer."""
        return tuple(sorted({Site.parse(site) for side in self.sides for site in self.ledger.sides[side].sites}))

    @property
    def complete(self) -> bool:
        """Whether every shard of these sides has been written."""
        return all(spec.path.exists() for spec in self._specs())

    def __getitem__(self, key: str | Site) -> SiteView:
        name = str(key)
        if name not in set(self):
            raise KeyError(f"{self.path} has no {name!r}; it has {', '.join(self)}")
        if name not in self._views:
            side, _, site = name.rpartition("/")
            self._views[name] = SiteView(self.ledger, side or self.sides[0], site)
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        for side in self.sides:
            for site in sorted(Site.parse(name) for name in self.ledger.sides[side].sites):
                yield str(site) if len(self.sides) == 1 else f"{side}/{site}"

    def __len__(self) -> int:
        return sum(len(self.ledger.sides[side].sites) for side in self.sides)

    def __contains__(self, key: object) -> bool:
        return str(key) in set(self)

    def __str__(self) -> str:
        state = "complete" if self.complete else "unfinished"
        return f"{self.path}: {len(self.rows)} rows, {len(self)} sites of {', '.join(self.sides)}, {state}"

    def join(self, labels: pd.DataFrame) -> pd.DataFrame:
        """The rows with label columns beside them; see :func:`hooks.rows.join_labels`."""
        return join_labels(self.rows, labels)

    def split(self, by: str = "problem", *, n: int = 5, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
        """Folds of row numbers with no group on both sides; see :func:`hooks.rows.grouped_folds`."""
        return grouped_folds(self.rows, by=by, n=n, seed=seed)

    def chunks(self, rows: int = 65536) -> Iterator[tuple[pd.DataFrame, dict[str, Float[Tensor, "_ _"]]]]:
        """Go through all sites together, at most ``rows`` rows at a time: the rows' table and each site's numbers."""
        bounds = self.ledger.row_bounds
        for first, last in pairwise(bounds):
            for start in range(first, last, rows):
                part = slice(start, min(start + rows, last))
                yield self.rows.iloc[part], {name: view[part] for name, view in self.items()}

    def describe(self) -> pd.DataFrame:
        """A row a site: side, model, rows, width, dtype, megabytes, shards written and in all."""
        table = []
        for side in self.sides:
            own = self.ledger.sides[side]
            for site in sorted(Site.parse(name) for name in own.sites):
                specs = [self.ledger.shard(side, str(site), number) for number in range(self.ledger.n_shards)]
                table.append(
                    {
                        "side": side,
                        "model": own.model,
                        "site": str(site),
                        "rows": len(self.rows),
                        "width": own.sites[str(site)],
                        "dtype": own.dtype,
                        "megabytes": sum(spec.data_bytes for spec in specs) / 1e6,
                        "written": sum(spec.path.exists() for spec in specs),
                        "shards": len(specs),
                    }
                )
        return pd.DataFrame(table)

    def verify(self) -> pd.DataFrame:
        """Read and check every byte: a row a shard that is missing or damaged, with what is wrong; empty when well."""
        wrong = []
        for spec in self._specs():
            try:
                MappedShard(spec).check()
            except (FileNotFoundError, DamagedShard) as error:
                kind = "missing" if isinstance(error, FileNotFoundError) else "damaged"
                wrong.append({"shard": str(spec.path.relative_to(self.path)), "state": kind, "what": str(error)})
        return pd.DataFrame(wrong, columns=["shard", "state", "what"])

    def _specs(self) -> Iterator[Any]:
        for side in self.sides:
            for site in self.ledger.sides[side].sites:
                for number in range(self.ledger.n_shards):
                    yield self.ledger.shard(side, site, number)
