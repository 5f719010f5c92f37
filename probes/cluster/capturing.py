"""A capture as tasks: one a shard, all into one store.

A shard of an :class:`hooks.store.ActivationStore` is whole or absent and its bytes belong to the request, whoever
writes it; so a task that is run twice, by a retry or by the same call the next day, changes nothing.  The store has
the bytes of ``hooks.capture(pair, texts, store=...)`` on processors that are equal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hooks.capture import capture
from hooks.deposit import SHARD_BYTES, SHARD_TOKENS, Ledger
from hooks.positions import Positions
from hooks.rollouts import Rollouts
from hooks.rows import Reduce
from hooks.store import ActivationStore
from probes.cluster.pairs import PairName
from probes.latent.sweep import Runner

NOTHING = (1, 1 << 62)
"""The first of more parts than a store has shards: its writer writes the request down and reads nothing."""


@dataclass(frozen=True)
class Request:
    """A capture of both models, or of a twin of the base, over the same texts."""

    pair: PairName
    """Whose activations."""
    texts: Rollouts
    """What is read."""
    store: Path
    """Folder of the store, at the same path on every node."""
    sites: str = "resid_post.*"
    """Names or patterns."""
    positions: str | Positions = "all"
    """Which positions become rows."""
    reduce: Reduce | None = None
    """One row a span instead."""
    batch_tokens: int | None = None
    """Padded tokens a batch."""
    shard_bytes: int = SHARD_BYTES
    """Bytes of one site after which a shard ends."""
    shard_tokens: int = SHARD_TOKENS
    """Tokens read after which a shard ends: the smaller, the more tasks."""
    twin_seed: int | None = None
    """Read a randomly initialised twin of the base instead of the pair."""

    def part(self, shard: tuple[int, int]) -> int:
        """Write the i-th of n parts of the store, and return i."""
        model: Any = self.pair.load() if self.twin_seed is None else self.pair.twin(self.twin_seed)
        capture(
            model, self.texts, sites=self.sites, positions=self.positions, reduce=self.reduce, store=self.store,
            batch_tokens=self.batch_tokens, shard_bytes=self.shard_bytes, shard_tokens=self.shard_tokens, shard=shard,
        )  # fmt: skip
        return shard[0]


def capture_shards(
    request: Request, *, runner: Runner = map, progress: Callable[[int, int], object] | None = None
) -> ActivationStore:
    """Write a store, a shard a task; the same call goes on where a killed one stopped.

    Args:
        request: what to capture.
        runner: who writes the shards.
        progress: called with shards done and shards in all.

    Returns:
        the store, with both sides of a pair.

    Raises:
        ValueError: as :func:`hooks.capture.capture`.
        FileNotFoundError: when the workers wrote somewhere else.
    """
    request = replace(request, store=Path(request.store).resolve())
    list(runner(request.part, [NOTHING]))
    try:
        count = Ledger.read(request.store).n_shards
    except FileNotFoundError as error:
        raise FileNotFoundError(_elsewhere(request.store)) from error
    for done in runner(request.part, [(one + 1, count) for one in range(count)]):
        if progress is not None:
            progress(done, count)
    store = ActivationStore.open(request.store)
    if not store.complete:
        raise FileNotFoundError(_elsewhere(request.store))
    return store


def _elsewhere(store: Path) -> str:
    return f"the workers wrote no shards to {store}: give a folder on a file system that all nodes share"
