"""How many samples of each problem were right: the one table that pass@k needs, from whatever holds it.

``c`` correct of ``n`` graded samples a problem. The JSONL format with ``id``, ``c``, ``n`` is that of the tools that
compute pass@k from counts. It does not show whether two samples of a problem are two solutions or one, twice.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from hooks.rollouts import Rollouts

Samples = Rollouts | pd.DataFrame | str | Path
"""Graded rollouts; a table with ``problem`` (or ``id``), ``c``, ``n``; or a path to JSONL of that, or to samples."""


def counts(samples: Samples) -> pd.DataFrame:
    """Correct and graded samples of each problem: columns ``problem``, ``c``, ``n``, sorted by problem.

    Reads graded rollouts, a table or JSONL with ``id`` (or ``problem``), ``c``, ``n``, or any file of graded samples
    that :meth:`hooks.rollouts.Rollouts.read` knows. Samples that nobody graded count neither way.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no graded sample, a missing column, a problem named twice, or impossible counts.
    """
    if isinstance(samples, (str, Path)):
        samples = _read(Path(samples))
    if isinstance(samples, Rollouts):
        graded = samples.frame.dropna(subset=["correct"])
        if graded.empty:
            raise ValueError("These samples are not graded; run probes.tasks.grade on them first.")
        table = graded.assign(correct=graded["correct"].astype(int)).groupby("problem")["correct"].agg(["sum", "size"])
        table = table.set_axis(["c", "n"], axis=1).reset_index()
    else:
        table = samples.rename(columns={"id": "problem"})
        missing = [name for name in ("problem", "c", "n") if name not in table.columns]
        if missing:
            raise ValueError(f"Counts need the columns id (or problem), c and n; {missing[0]} is missing.")
        table = table[["problem", "c", "n"]].copy()
    if table.empty:
        raise ValueError("There are no counts; give a problem at least.")
    if table.isna().any(axis=None):
        bad = table[table.isna().any(axis=1)].iloc[0]
        raise ValueError(f"The counts of problem {bad['problem']!r} have a missing value; leave such problems out.")
    numbers = table[["c", "n"]].apply(pd.to_numeric, errors="coerce")
    whole = numbers.mod(1).eq(0).all(axis=1)
    if not whole.all():
        raise ValueError(f"The counts of problem {table.loc[~whole, 'problem'].iloc[0]!r} are no whole numbers.")
    table = table.astype({"problem": str, "c": int, "n": int}).sort_values("problem").reset_index(drop=True)
    twice = table["problem"][table["problem"].duplicated()]
    if len(twice):
        raise ValueError(f"Problem {twice.iloc[0]!r} stands twice in the counts; add its samples up first.")
    wrong = table[(table["c"] < 0) | (table["c"] > table["n"]) | (table["n"] < 1)]
    if len(wrong):
        bad = wrong.iloc[0]
        raise ValueError(
            f"Problem {bad['problem']!r} has c = {bad['c']} of n = {bad['n']}; there must be samples, and no more "
            "correct ones than samples."
        )
    return table


def _read(path: Path) -> pd.DataFrame | Rollouts:
    if not path.is_file():
        raise FileNotFoundError(f"There are no samples at {path}.")
    if path.suffix == ".jsonl":
        with path.open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines if line.strip()]
        if rows and {"c", "n"} <= set(rows[0]):
            return pd.DataFrame(rows)
    return Rollouts.read(path)
