"""A pair by its names: what travels to a worker instead of its weights; each worker process loads them once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hooks.model import Model
from hooks.pair import Pair
from hooks.rollouts import Rollouts
from hooks.twin import random_twin


@dataclass(frozen=True)
class PairName:
    """What :meth:`hooks.pair.Pair.load` needs to load a pair; the same name gives the same weights anywhere."""

    base: str
    """Folder, hub id or organism of the base."""
    rl: str | None = None
    """The same of the tuned model, or a LoRA adapter."""
    dtype: str = "auto"
    """Precision of the weights."""
    device: str = "auto"
    """Device of both models; ``auto`` is settled on the worker."""

    def load(self) -> Pair:
        """The pair; the last one loaded stays with this process, so that many tasks load it once."""
        return _load(self)

    def twin(self, seed: int) -> Model:
        """A randomly initialised twin of the base; see :func:`hooks.twin.random_twin`."""
        return _twin(self, seed)

    @property
    def base_name(self) -> str:
        """The base alone: a name without a tuned model is an organism's, which stands for both."""
        return self.base if self.rl is not None else f"{self.base}:base"

    def read(self, texts: str | Path) -> Rollouts:
        """Rollouts from a file; where they have no ids, cut by the base's tokenizer."""
        found = Rollouts.read(texts)
        return found if found.frame["prompt_ids"].map(len).all() else found.with_ids(self.load().base)


@lru_cache(maxsize=1)
def _load(name: PairName) -> Pair:
    return Pair.load(name.base, name.rl, dtype=name.dtype, device=name.device)


@lru_cache(maxsize=1)
def _twin(name: PairName, seed: int) -> Model:
    return random_twin(name.load().base, seed=seed)
