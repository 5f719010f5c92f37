r"""Does the variety of samples go as accuracy comes?  What one model writes for one problem, checkpoint by checkpoint.

For each problem, over its equal number of samples at every checkpoint: distinct ways of solving (from a table of
labels, as the set of strategies a sample uses); self-similarity, the mean over pairs of samples of the Jaccard index of
their token n-grams, :math:`|A \cap B| / |A \cup B|` (near what self-BLEU asks, without its lengths); distinct answers;
pass@k at k = 1 and at all samples, and the slope of pass@k per doubling of k (unbiased pass@k, arXiv 2107.03374; that
curves flatten under RL is arXiv 2504.13837).  Changes from the first to the last checkpoint are paired by problem.

Traps: right answers are alike, so fewer distinct answers and a flatter pass@k can be nothing but accuracy; the
similarity of *correct* samples alone stands beside for that reason. What it does not show: whether variety that went
was worth having.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from scipy.stats import hypergeom

from hooks.streams import stream
from probes.results import Result, manifest
from probes.stats import GAP, SHARE, Estimate
from probes.stats.bootstrap import bootstrap_table
from probes.training.series import Checkpoint, Series

MEASURES: Mapping[str, int] = {
    "strategies": -1, "similarity": 1, "similarity_correct": 1, "answers": -1, "passk_first": 0, "passk_last": -1,
    "passk_slope": -1,
}  # fmt: skip
"""Measures, all between 0 and 1, and the sign of a change that means less variety; pass@1 has none."""


@dataclass(frozen=True, repr=False, eq=False)
class Collapse(Result):
    """Variety of samples along a run."""

    frame: pd.DataFrame
    """A row a checkpoint: ``checkpoint``, ``step`` and each measure with ``_low`` and ``_high``: ``strategies``
    (distinct sets of strategies over samples), ``similarity``, ``similarity_correct``, ``answers`` (distinct answers
    over samples), ``passk_first``, ``passk_last``, ``passk_slope`` (per doubling of k)."""
    changes: pd.DataFrame
    """A row a measure: ``change`` (last minus first checkpoint, paired) with ends, ``less_variety``: whether the
    interval lies on the side of less; missing where it covers zero."""
    samples: int
    """Samples of each problem at each checkpoint."""
    problems: int

    def change(self, measure: str) -> Estimate:
        """Change of one measure from the first to the last checkpoint.

        Raises:
            ValueError: a measure that is not in the table.
        """
        row = self.changes[self.changes["measure"] == measure]
        if row.empty:
            raise ValueError(f"there is no measure {measure!r}; there are {', '.join(self.changes['measure'])}")
        one = row.iloc[0]
        return Estimate(
            float(one["change"]), float(one["low"]), float(one["high"]), int(one["problems"]),
            "bootstrap over problems, paired", self.level,
        )  # fmt: skip

    def headline(self) -> str:
        """Which measures lost variety, which gained, which cannot be told."""
        told = self.changes.dropna(subset=["less_variety"])
        less = [str(name) for name in told.loc[told["less_variety"].astype(bool), "measure"]]
        more = [str(name) for name in told.loc[~told["less_variety"].astype(bool), "measure"]]
        parts = [f"less variety by {', '.join(less)}" if less else "", f"more by {', '.join(more)}" if more else ""]
        said = "; ".join(part for part in parts if part) or "no change of variety can be told"
        return f"{said} ({len(self.frame)} checkpoints, {self.problems} problems, {self.samples} samples each)"

    def plot(self) -> go.Figure:
        """Each measure along the steps, with intervals."""
        figure = go.Figure()
        for name in MEASURES:
            rows = self.frame.dropna(subset=[name])
            if rows.empty:
                continue
            bars = {
                "type": "data", "symmetric": False, "array": list(rows[f"{name}_high"] - rows[name]),
                "arrayminus": list(rows[name] - rows[f"{name}_low"]),
            }  # fmt: skip
            figure.add_trace(
                go.Scatter(
                    x=list(rows["step"]), y=list(rows[name]), error_y=bars, mode="lines+markers",
                    name=name.replace("_", " ").replace("passk", "pass@k"),
                )
            )  # fmt: skip
        return figure.update_layout(
            template="plotly_white", title=self.headline(), xaxis_title="step", yaxis_title="share"
        )


def collapse(
    checkpoints: Sequence[Checkpoint] | Series,
    *,
    labels: Mapping[str, pd.DataFrame] | None = None,
    n: int = 3,
    pairs: int = 28,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Collapse:
    """Measure the variety of samples along a run.

    Args:
        checkpoints: in order, with samples of the same problems.
        labels: for each checkpoint by name a table with ``problem``, ``sample``, ``strategy``, a row a labelled span;
            a sample without a row uses no strategy. Without it strategies are not measured.
        n: tokens of an n-gram; a shorter text is one n-gram.
        pairs: pairs of samples of a problem that are compared at most, drawn from a named stream.
        n_boot: bootstrap draws over problems.
        level: of the intervals.
        seed: of all draws.

    Raises:
        ValueError: what :meth:`Series.of` refuses, fewer than two samples a problem, or labels without a checkpoint.

    It does not show why variety changed.
    """
    series = checkpoints if isinstance(checkpoints, Series) else Series.of(checkpoints)
    if series.samples < 2:
        raise ValueError("variety needs at least 2 samples of each problem at every checkpoint; this series has 1")
    unlabelled = [one.name for one in series.checkpoints if labels is not None and one.name not in labels]
    if unlabelled:
        raise ValueError(f"labels lack the checkpoint {unlabelled[0]!r}; give a table for each or none at all")
    chosen = _pairs(series.samples, pairs, seed)
    tables = [
        _per_problem(one, series, None if labels is None else labels[one.name], n, chosen) for one in series.checkpoints
    ]
    rows = []
    for one, table in zip(series.checkpoints, tables, strict=True):
        row: dict[str, object] = {"checkpoint": one.name, "step": one.step}
        for name in MEASURES:
            found = bootstrap_table(table[[name]].to_numpy(), within=SHARE, n_boot=n_boot, level=level, seed=seed)
            row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
        rows.append(row)
    return Collapse(
        frame=pd.DataFrame(rows),
        changes=_changes(tables[0], tables[-1], n_boot, level, seed),
        samples=series.samples,
        problems=len(series.problems),
        manifest=manifest(
            measure="training.collapse", n=n, pairs=len(chosen), samples=series.samples, n_boot=n_boot, level=level,
            seed=seed, labelled=labels is not None,
        ),
    )  # fmt: skip


def similarity(first: Sequence[int], second: Sequence[int], *, n: int = 3) -> float:
    """Jaccard index of the token n-grams of two texts; NaN if both are empty.

    It does not show whether two texts mean the same.
    """
    return _jaccard(_grams(first, n), _grams(second, n))


def _grams(ids: Sequence[int], n: int) -> frozenset[tuple[int, ...]]:
    if len(ids) < n:
        return frozenset([tuple(ids)] if len(ids) else [])
    return frozenset(tuple(ids[start : start + n]) for start in range(len(ids) - n + 1))


def _jaccard(first: frozenset[tuple[int, ...]], second: frozenset[tuple[int, ...]]) -> float:
    both = len(first | second)
    return len(first & second) / both if both else math.nan


def _pairs(samples: int, most: int, seed: int) -> list[tuple[int, int]]:
    """Pairs of samples, the same for all problems and checkpoints."""
    every = list(combinations(range(samples), 2))
    if len(every) <= most:
        return every
    return [every[index] for index in np.sort(stream(seed, "pairs of samples").permutation(len(every))[:most])]


def _per_problem(
    one: Checkpoint, series: Series, labels: pd.DataFrame | None, n: int, pairs: Sequence[tuple[int, int]]
) -> pd.DataFrame:
    """A row a problem with every measure."""
    used: dict[tuple[str, int], frozenset[str]] = {}
    if labels is not None:
        for name, sample, way in zip(labels["problem"], labels["sample"], labels["strategy"], strict=True):
            key = (str(name), int(sample))
            used[key] = used.get(key, frozenset()) | {str(way)}
    rows = []
    frame = one.rollouts.frame
    for problem, own in frame.groupby("problem", sort=True):
        grams = [_grams(ids, n) for ids in own["ids"]]
        right = own["correct"].fillna(False).to_numpy(dtype=bool)
        alike = {pair: _jaccard(grams[pair[0]], grams[pair[1]]) for pair in pairs}
        both = [value for (a, b), value in alike.items() if right[a] and right[b]]
        answers = own["answer"].dropna()
        ways = {used.get((str(problem), int(sample)), frozenset()) for sample in own["sample"]}
        rows.append(
            {
                "strategies": len(ways) / len(own) if labels is not None else math.nan,
                "similarity": _mean(list(alike.values())),
                "similarity_correct": _mean(both),
                "answers": answers.nunique() / len(answers) if len(answers) > 1 else math.nan,
                **_pass(own["correct"].dropna().astype(bool).to_numpy()),
            }
        )
    return pd.DataFrame(rows, index=pd.Index(series.problems, name="problem"))


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def _pass(correct: np.ndarray) -> dict[str, float]:
    """pass@1, pass@n and the least-squares slope of pass@k over log2 k at powers of two and n."""
    total, right = len(correct), int(correct.sum())
    if total < 2:
        return dict.fromkeys(("passk_first", "passk_last", "passk_slope"), math.nan)
    ks = np.array(sorted({2**power for power in range(total.bit_length()) if 2**power <= total} | {total}))
    values = 1 - hypergeom.pmf(0, total, right, ks)
    slope = float(np.polyfit(np.log2(ks), values, 1)[0])
    return {"passk_first": float(values[0]), "passk_last": float(values[-1]), "passk_slope": slope}


def _changes(first: pd.DataFrame, last: pd.DataFrame, n_boot: int, level: float, seed: int) -> pd.DataFrame:
    rows = []
    for name, sign in MEASURES.items():
        table = np.stack([first[name].to_numpy(dtype=float), last[name].to_numpy(dtype=float)], axis=1)
        found = bootstrap_table(table, lambda a, b: b - a, within=GAP, n_boot=n_boot, level=level, seed=seed)
        less = bool(np.sign(found.value) == sign) if sign and found.excludes_zero else None
        rows.append(
            {"measure": name, "change": found.value, "low": found.low, "high": found.high, "problems": found.n,
             "less_variety": less}
        )  # fmt: skip
    return pd.DataFrame(rows).astype({"less_variety": "boolean"})
