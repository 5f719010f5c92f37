"""Graded texts kept on disk, so that a call that was stopped goes on with the part that is missing.

A file is named by what was asked and by everything that can change a token: decoding, problems, both models' weights.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from hooks.pair import Pair
from hooks.rollouts import Rollouts
from probes.tasks import Problem


def kept(
    folder: str | Path | None,
    name: str,
    write: Callable[[], Rollouts],
    *,
    pair: Pair,
    problems: Sequence[Problem],
    told: Sequence[object],
) -> Rollouts:
    """The texts ``name`` from ``folder``, or freshly written and put there; without a folder always fresh.

    Args:
        folder: where texts are kept.
        name: of these texts.
        write: makes them.
        pair: whose weights count.
        problems: whose prompts and answers count.
        told: whatever else changes a text.
    """
    if folder is None:
        return write()
    asked = [[problem.id, problem.prompt, problem.answer, problem.kind] for problem in problems]
    whole = [name, asked, pair.base.weights_hash, pair.rl.weights_hash, *told]
    key = hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()[:12]
    path = Path(folder) / f"{re.sub(r'[^a-z0-9.]+', '-', name.lower()).strip('-')[:80]}-{key}.parquet"
    if not path.exists():
        write().save(path)
    return Rollouts.load(path)
