"""Checkpoints beside the pair: loaded next to the base, and asked the study's problems, each once."""

from __future__ import annotations

from pathlib import Path

from hooks.generate import generate
from hooks.model import Model
from hooks.organisms import PREFIX, resolve
from hooks.pair import Pair
from hooks.rollouts import Rollouts
from probes.study.config import StudyConfig
from probes.study.materials import Materials, first_samples

MOST = 16
"""Samples of each problem from a further checkpoint, at most."""
FEWEST = 4
"""The same, at least, where the pair has as many."""


def samples_each(config: StudyConfig) -> int:
    """Samples of each problem from a further checkpoint: a quarter of the pair's own, within bounds."""
    return min(config.samples, MOST, max(FEWEST, config.samples // 4))


def beside_base(materials: Materials, path: str) -> Pair:
    """A further checkpoint as the tuned half of a pair with the study's base.

    Raises:
        ValueError: if it cannot be compared with the base.
        FileNotFoundError: if it is not there.
    """
    base, config = materials.pair.base, materials.config
    named = f"{config.base}:base" if config.rl is None else config.base
    return Pair.of(base, Model.load(path, dtype=base.dtype, device=base.device, adapter_base=named))


def sampled(materials: Materials, name: str, path: str, pair: Pair | None = None) -> Rollouts:
    """Graded samples of a further checkpoint on all problems: from disk, from the pair's own, or drawn now.

    Args:
        materials: of the study.
        name: of the file in ``rollouts/``.
        path: what the checkpoint is loaded from.
        pair: the checkpoint beside the base, where it was loaded already.
    """
    config, count = materials.config, samples_each(materials.config)
    if is_tuned(config, path):
        return first_samples(materials.rollouts("rl_samples"), count)
    if materials.path(name).exists():
        return materials.rollouts(name)
    loaded = pair or beside_base(materials, path)
    settings = materials.settings(temperature=config.temperature, top_p=config.top_p, n=count)
    return materials.keep(name, lambda some, move: generate(loaded.rl, some, progress=move, **settings), n=count)


def is_tuned(config: StudyConfig, path: str) -> bool:
    """Whether a further checkpoint is the study's own tuned model."""
    own = config.rl or f"{config.base}:rl"
    return path == own or _place(path) == _place(own)


def _place(path: str) -> Path:
    return resolve(path) if path.startswith(PREFIX) else Path(path).expanduser().resolve()
