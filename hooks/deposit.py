"""The writing side of an activation store: what a request is, how it is cut into shards, and what is still missing.

A store is one request: these tokens, these rows, read by one network or by both of a pair (its *sides*).  The request
is written down before any network runs (``manifest.json``, ``rows.parquet``), shards follow in any order and by any
number of processes, and a shard is either whole or absent; so a killed run goes on at the first missing shard and ends
with the bytes of an undisturbed one (given the same batch size, device and library versions).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from hooks.locks import writing
from hooks.rows import Selection
from hooks.sequences import Sequences
from hooks.shards import DTYPES, ShardSpec, ShardWriter, write_file
from hooks.shards import MappedShard as _MappedShard

FORMAT = 1
MANIFEST = "manifest.json"
ROWS = "rows.parquet"
SHARD_BYTES = 64 << 20
"""Bytes of one site after which a shard ends."""
SHARD_TOKENS = 1 << 18
"""Tokens read after which a shard ends, however few rows they gave; what a killed run may lose."""
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Side:
    """One network's part in a store."""

    model: str
    """Its name."""
    revision: str | None
    """Its revision, where it has one."""
    weights: str
    """Hash of its weights."""
    dtype: str
    """Format of its activations, by safetensors name (F32, BF16, ...)."""
    sites: dict[str, int]
    """Width of each site."""

    @property
    def torch_dtype(self) -> torch.dtype:
        """Format of its activations."""
        return DTYPES[self.dtype]


def dtype_name(dtype: torch.dtype) -> str:
    """The safetensors name of a format that activations can be stored in.

    Raises:
        ValueError: for any other.
    """
    if dtype not in _NAMES:
        raise ValueError(f"activations are stored as {', '.join(map(str, _NAMES))}, not {dtype}")
    return _NAMES[dtype]


def shard_bounds(
    lengths: Int[np.ndarray, " sequence"],
    offsets: Int[np.ndarray, " sequence_and_one"],
    row_bytes: int,
    *,
    shard_bytes: int = SHARD_BYTES,
    shard_tokens: int = SHARD_TOKENS,
) -> list[int]:
    """Where to cut the sequences: each shard ends when one site's rows or the tokens read reach their limit.

    Returns:
        sequence numbers, the first 0 and the last ``len(lengths)``; no shard is without rows, and a store without rows
        has no shards.
    """
    bounds = [0]
    rows = tokens = 0
    for sequence, (length, own) in enumerate(zip(lengths, np.diff(offsets))):
        rows, tokens = rows + int(own), tokens + int(length)
        if rows and (rows * row_bytes >= shard_bytes or tokens >= shard_tokens):
            bounds.append(sequence + 1)
            rows = tokens = 0
    if rows:
        bounds.append(len(lengths))
    elif len(bounds) > 1:
        # What is left holds no rows; the last shard takes it, so that bounds cover the data.
        bounds[-1] = len(lengths)
    return bounds


@dataclass(frozen=True)
class Ledger:
    """What a store holds, as written in its manifest."""

    path: Path
    """The store's folder."""
    manifest: dict[str, Any]
    """The manifest as it is on disk."""

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """Read a store's manifest.

        Raises:
            FileNotFoundError: when there is no store.
            ValueError: when its manifest cannot be read or is of a later format.
        """
        file = path / MANIFEST
        if not file.exists():
            raise FileNotFoundError(
                f"{path} is no activation store, it has no {MANIFEST}; `whenlens capture` makes one"
            )
        try:
            manifest = json.loads(file.read_text())
            number = int(manifest["format"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file} cannot be read ({error}): delete the store and capture again") from error
        if number > FORMAT:
            raise ValueError(f"{path} has store format {number}; this version reads up to {FORMAT}")
        return cls(path, manifest)

    @property
    def sides(self) -> dict[str, Side]:
        """The networks in it."""
        return {name: Side(**entry) for name, entry in sorted(self.manifest["sides"].items())}

    @property
    def row_bounds(self) -> list[int]:
        """First row of each shard, and the number of rows at the end."""
        return list(self.manifest["shards"]["rows"])

    @property
    def sequence_bounds(self) -> list[int]:
        """First sequence of each shard, and the number of sequences at the end."""
        return list(self.manifest["shards"]["sequences"])

    @property
    def n_shards(self) -> int:
        """Shards of each site."""
        return max(0, len(self.row_bounds) - 1)

    def shard(self, side: str, site: str, number: int) -> ShardSpec:
        """What shard ``number`` of a site must be."""
        own = self.sides[side]
        start, stop = self.row_bounds[number : number + 2]
        marks = {
            "whenlens": f"activations {FORMAT}",
            "key": self.manifest["key"],
            "weights": own.weights,
            "side": side,
            "site": site,
            "shard": str(number),
            "rows": f"{start}:{stop}",
        }
        file = self.path / side / site / f"{number:05d}.safetensors"
        return ShardSpec(file, stop - start, own.sites[site], own.torch_dtype, marks)

    def part(self, shard: tuple[int, int] | None) -> range:
        """Shards of the i-th of n writers (from 1), or all.

        Raises:
            ValueError: for a part that does not exist.
        """
        i, n = shard or (1, 1)
        if not 1 <= i <= n:
            raise ValueError(f"shard is (i, n) with i from 1 to n, not {shard}")
        return range(self.n_shards * (i - 1) // n, self.n_shards * i // n)

    def missing(self, side: str, number: int) -> list[str]:
        """Sites of a side whose shard ``number`` is still to be written.

        Raises:
            DamagedShard: when a shard is there but is truncated or foreign.
        """
        absent = []
        for site in self.sides[side].sites:
            spec = self.shard(side, site, number)
            if spec.path.exists():
                _MappedShard(spec)
            else:
                absent.append(site)
        return absent

    @contextmanager
    def locked(self, sides: Sequence[str], part: range) -> Iterator[None]:
        """Be the only writer of these shards.

        Raises:
            StoreBusy: when somebody else writes one of them.
        """
        with ExitStack() as stack:
            for side in sides:
                what = f"shards {part.start} to {part.stop - 1} of {self.path} ({side})"
                stack.enter_context(writing(self.path / f".lock-{side}", part.start, part.stop, what))
            yield

    @contextmanager
    def writers(self, side: str, number: int, sites: Sequence[str]) -> Iterator[dict[str, ShardWriter]]:
        """Writers for shard ``number`` of these sites; all are put in place at the end, or none of the unfinished."""
        with ExitStack() as stack:
            yield {site: stack.enter_context(ShardWriter(self.shard(side, site, number))) for site in sites}


def prepare(
    path: Path,
    sequences: Sequences,
    selection: Selection,
    sides: Mapping[str, Side],
    *,
    positions: str,
    shard_bytes: int = SHARD_BYTES,
    shard_tokens: int = SHARD_TOKENS,
) -> Ledger:
    """Find the store of this request at ``path``, or begin it there, or add a side to it.

    Raises:
        ValueError: when ``path`` holds a store of another request, naming what differs, or other files.
        DiskFull: when there is no room.
    """
    with writing(path / ".lock", 0, 1, f"the manifest of {path}", wait=True):
        wanted = _request(sequences, selection, positions)
        if (path / MANIFEST).exists():
            manifest = Ledger.read(path).manifest
            _same(path, manifest, wanted)
        else:
            strangers = sorted(
                item.name for item in path.iterdir() if not item.name.startswith((".lock", ROWS, MANIFEST))
            )
            if strangers:
                raise ValueError(f"{path} holds other files ({strangers[0]}, ...): give the store a folder of its own")
            row_bytes = max(side.torch_dtype.itemsize * max(side.sites.values()) for side in sides.values())
            bounds = shard_bounds(
                sequences.lengths, selection.offsets, row_bytes, shard_bytes=shard_bytes, shard_tokens=shard_tokens
            )
            rows = [int(selection.offsets[bound]) for bound in bounds]
            manifest = {**wanted, "shards": {"rows": rows, "sequences": bounds}, "sides": {}, "versions": _versions()}
            write_file(path / ROWS, _parquet(selection))
        known = manifest["sides"]
        for name, side in sides.items():
            _same_side(path, name, known.get(name), side)
        if set(sides) - set(known):
            manifest = {**manifest, "sides": {**known, **{name: asdict(side) for name, side in sides.items()}}}
            write_file(path / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True).encode())
    return Ledger.read(path)


def _request(sequences: Sequences, selection: Selection, positions: str) -> dict[str, Any]:
    request = {
        "format": FORMAT,
        "tokens": sequences.token_hash,
        "rows": selection.row_hash,
        "reduce": selection.reduce,
        "n_rows": selection.n_rows,
        "n_sequences": len(sequences),
    }
    key = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    return {**request, "key": key, "positions": positions}


def _same(path: Path, manifest: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if manifest["key"] == wanted["key"]:
        return
    names = {"tokens": "tokens", "rows": "positions", "reduce": "reduction"}
    differ = [text for name, text in names.items() if manifest.get(name) != wanted[name]]
    raise ValueError(
        f"{path} holds another request (other {', '.join(differ) or 'counts'}): choose another folder or delete it"
    )


def _same_side(path: Path, name: str, known: Mapping[str, Any] | None, side: Side) -> None:
    if known is None:
        return
    own = asdict(side)
    differ = [field for field in ("weights", "dtype", "sites") if known[field] != own[field]]
    if differ:
        raise ValueError(
            f"{path} holds {name!r} of {known['model']} with other {', '.join(differ)}: choose another folder, "
            "another side, or delete this store"
        )


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "safetensors")}


def _parquet(selection: Selection) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pandas(selection.frame, preserve_index=False), sink, compression="zstd")
    out: bytes = sink.getvalue().to_pybytes()
    return out
