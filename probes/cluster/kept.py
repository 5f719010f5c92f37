"""What a stopped sweep had finished: each site's fits on disk, so that the same call goes on behind them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from itertools import count
from pathlib import Path
from typing import Any

from hooks.rollouts import write_whole
from probes.latent.crossfit import CrossFit
from probes.latent.sweep import Runner

ARRAYS = tuple(one.name for one in fields(CrossFit))


@dataclass(frozen=True)
class Kept:
    """A runner that asks another one only for what is not in its folder.

    The folder belongs to one request: whoever makes it names it by a hash of everything that a fit depends on.
    """

    folder: Path
    """Where results are kept, a file each."""
    runner: Runner
    """Who does what is missing."""
    _calls: Iterator[int] = field(default_factory=count, repr=False)

    def __call__(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """Results in order: those on disk from there, the others made, kept and given as soon as they are there."""
        call = next(self._calls)
        every = [(self.folder / f"{call}-{at:05d}.safetensors", item) for at, item in enumerate(items)]
        known = {path for path, _ in every if path.exists()}
        made = iter(self.runner(function, (item for path, item in every if path not in known)))
        for path, _ in every:
            if path in known:
                yield load(path)
                continue
            result = next(made)
            keep(path, result)
            yield result


def keep(path: Path, result: CrossFit | tuple[CrossFit, list[dict[str, Any]]]) -> None:
    """Write the fits of a site or a baseline, whole or not at all, with the lines of the table where it has some."""
    import numpy as np
    from safetensors.numpy import save_file

    fit, lines = result if isinstance(result, tuple) else (result, None)
    arrays = {name: np.ascontiguousarray(getattr(fit, name)) for name in ARRAYS}
    words = {"lines": json.dumps(lines, default=lambda value: value.item())}
    write_whole(path, lambda temporary: save_file(arrays, temporary, metadata=words))


def load(path: Path) -> CrossFit | tuple[CrossFit, list[dict[str, Any]]]:
    """Read what :func:`keep` wrote, bit for bit."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        fit = CrossFit(*(file.get_tensor(name) for name in ARRAYS))
        lines = json.loads(file.metadata()["lines"])
    return fit if lines is None else (fit, lines)
