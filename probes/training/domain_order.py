r"""Does the order in which domains are trained matter, and can it be told beforehand?

From accuracies :math:`a` after one run on each domain alone, all from one start: transfer
:math:`\mathrm{BWT}(i \to j) = a_{i,j} - a_{0,j}`.  From runs over all domains in some order, after each of T domains:
average backward transfer :math:`\frac{1}{T-1}\sum_{j<T} (a_{T,j} - a_{j,j})` and forgetting
:math:`\max_{t<T} a_{t,j} - a_{T,j}` (arXiv 2507.14783; the averages are those of GEM, arXiv 1706.08840).  The greedy
order takes next the domain whose training leaves the highest mean accuracy on those that remain.  Predicted end:
:math:`\hat a_j = a_{j,j} + \sum_{i\ \mathrm{after}\ j} \mathrm{BWT}(i \to j)`, which assumes that transfer does not
depend on where the model stands and that one pass saturates.

Intervals resample the problems of each domain, all runs together.  The rank correlation of predicted with actual ends
rests on orders, not problems: its interval is the wider of Bonett and Wright's (2000) for so many orders and the
bootstrap's.  What it does not show: the spread between two runs of the same order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float
from scipy.special import ndtri
from scipy.stats import rankdata

from probes.results import Result, manifest
from probes.stats import GAP, SHARE, Estimate, percentile_interval
from probes.training.domains import Cells, DomainRun, Scores, cells

FEWEST_ORDERS = 5
"""Orders below which no correlation of predicted with actual ends is given."""


@dataclass(frozen=True, repr=False, eq=False)
class DomainOrder(Result):
    """Transfer between domains, the order it recommends, and what orders did."""

    frame: pd.DataFrame
    """A row a pair of domains: ``trained``, ``tested``, ``transfer`` with ends."""
    runs: pd.DataFrame
    """A row a run over all domains: ``order``, and with ends ``final`` (mean accuracy), ``predicted``, ``backward``
    (average backward transfer), ``forgetting`` (mean); ``greedy``: whether it is the greedy order."""
    finals: pd.DataFrame
    """A row a run and domain: ``order``, ``domain``, ``actual`` and ``predicted`` with ends, ``forgetting``."""
    entropy: pd.DataFrame
    """A row a domain: mean token entropy ``before`` and ``after`` and their ``change`` with ends; empty without."""
    greedy: tuple[str, ...]
    """The order that the transfer matrix recommends."""
    greedy_steady: float
    """Share of bootstrap draws that recommend the same order; NaN without samples."""
    correlation: Estimate
    """Spearman's rank correlation of predicted and actual final means over orders."""
    over_joint: Estimate | None
    """Final mean of the greedy order's run minus that of joint training; None where either was not run."""
    over_others: Estimate | None
    """Final mean of the greedy order's run minus the mean of the other orders'; None where either was not run."""

    def headline(self) -> str:
        """The recommended order and whether predictions held."""
        steady = f" (in {self.greedy_steady:.0%} of draws)" if self.greedy_steady == self.greedy_steady else ""
        held = f"predicted against actual ends: rank correlation {self.correlation:.2f}"
        if not self.correlation.measured:
            held = self.correlation.method
        return f"greedy order {' → '.join(self.greedy)}{steady}; {held}"

    def plot(self) -> go.Figure:
        """The transfer matrix as a heat map, written values in the cells."""
        table = self.frame.pivot(index="trained", columns="tested", values="transfer")
        figure = go.Figure(
            go.Heatmap(
                z=table.to_numpy().tolist(), x=list(table.columns), y=list(table.index), zmid=0, colorscale="RdBu",
                text=[[f"{value:+.3f}" for value in row] for row in table.to_numpy()], texttemplate="%{text}",
            )
        )  # fmt: skip
        return figure.update_layout(
            template="plotly_white", title=self.headline(), xaxis_title="tested on", yaxis_title="trained on"
        )


def domain_order(
    start: Mapping[str, Scores],
    singles: Mapping[str, Mapping[str, Scores]],
    runs: Sequence[DomainRun] = (),
    *,
    joint: Mapping[str, Scores] | None = None,
    entropy: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]] | None = None,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> DomainOrder:
    """Measure transfer between domains and hold predicted against actual results of orders.

    Args:
        start: accuracy on each domain before training: a number, or graded rollouts, which give intervals.
        singles: for each domain the accuracies on all domains after training on it alone from ``start``.
        runs: over all domains in some order.
        joint: accuracies after training on all domains together.
        entropy: for each domain the token tables (``problem``, ``entropy``) before and after training.
        n_boot: bootstrap draws over the problems of each domain.
        level: of the intervals.
        seed: of the draws.

    Raises:
        ValueError: fewer than two domains, a missing accuracy, or a run whose order is not of these domains.

    It does not show that another run in the same order would end alike.
    """
    domains = tuple(start)
    table = cells(domains, start, singles, runs, joint, n_boot=n_boot, seed=seed)
    transfer = {(i, j): table[("single", i), j] - table[("start",), j] for i in domains for j in domains}
    greedy, steady = _greedy(domains, table)
    run_rows, final_rows, predicted, actual = [], [], [], []
    for index, run in enumerate(runs):
        foreseen = {
            j: table[("single", j), j] + sum(transfer[i, j] for i in run.order[run.order.index(j) + 1 :])
            for j in domains
        }
        row, rows = _run_rows(table, index, run, domains, foreseen, level)
        run_rows.append(row | {"greedy": run.order == greedy})
        final_rows += rows
        predicted.append(np.mean([foreseen[j] for j in domains], axis=0))
        actual.append(np.mean([table[("run", index, len(domains)), j] for j in domains], axis=0))
    own = [value for run, value in zip(runs, actual, strict=True) if run.order == greedy]
    other = [value for run, value in zip(runs, actual, strict=True) if run.order != greedy]
    together = None if joint is None else np.mean([table[("joint",), j] for j in domains], axis=0)
    pair_rows = [
        {"trained": i, "tested": j, **table.row("transfer", value, level, within=GAP, domain=j)}
        for (i, j), value in transfer.items()
    ]
    return DomainOrder(
        frame=pd.DataFrame(pair_rows),
        runs=pd.DataFrame(run_rows),
        finals=pd.DataFrame(final_rows),
        entropy=_entropies(entropy or {}, n_boot=n_boot, level=level, seed=seed),
        greedy=greedy,
        greedy_steady=steady,
        correlation=_correlation(predicted, actual, level),
        over_joint=None if together is None or not own else table.estimate(
            np.mean(own, axis=0) - together, level, within=GAP),
        over_others=None if not own or not other else table.estimate(
            np.mean(own, axis=0) - np.mean(other, axis=0), level, within=GAP),
        manifest=manifest(
            measure="training.domain_order", domains=list(domains), n_boot=n_boot, level=level, seed=seed
        ),
    )  # fmt: skip


def greedy_order(after: Float[np.ndarray, "trained tested"]) -> tuple[int, ...]:
    """Domains in greedy order: next is the one after whose training the mean accuracy on the rest is highest.

    Of equals the first is taken. It does not look ahead.

    It does not show that this order is best.
    """
    left, order = list(range(len(after))), []
    while len(left) > 1:
        means = [np.mean([after[i, j] for j in left if j != i]) for i in left]
        order.append(left.pop(int(np.argmax(means))))
    return (*order, *left)


def _greedy(domains: tuple[str, ...], table: Cells) -> tuple[tuple[str, ...], float]:
    after = np.stack([[table[("single", i), j] for j in domains] for i in domains])
    own = greedy_order(after[:, :, 0])
    drawn = [greedy_order(after[:, :, draw]) == own for draw in range(1, after.shape[2])] if table.resampled else []
    return tuple(domains[index] for index in own), float(np.mean(drawn)) if drawn else math.nan


def _run_rows(
    table: Cells, index: int, run: DomainRun, domains: tuple[str, ...], foreseen: Mapping[str, np.ndarray], level: float
) -> tuple[dict[str, object], list[dict[str, object]]]:
    """What one run came to: its row, and a row a domain."""
    ends = {j: table[("run", index, len(domains)), j] for j in domains}
    back, lost = _within(table, index, run, domains)
    # A prediction adds a transfer for each later domain, and may leave 0 to 1 by as much.
    later = {j: float(len(domains) - 1 - run.order.index(j)) for j in domains}
    most = sum(later.values()) / len(domains)
    final, predicted, forgotten = (np.mean([of[j] for j in domains], axis=0) for of in (ends, foreseen, lost))
    order = " → ".join(run.order)
    row: dict[str, object] = {
        "order": order, **table.row("final", final, level, within=SHARE),
        **table.row("predicted", predicted, level, within=(-most, 1 + most)),
        **table.row("backward", back, level, within=GAP), **table.row("forgetting", forgotten, level, within=GAP),
    }  # fmt: skip
    return row, [
        {
            "order": order, "domain": j, **table.row("actual", ends[j], level, within=SHARE, domain=j),
            **table.row("predicted", foreseen[j], level, within=(-later[j], 1 + later[j]), domain=j),
            **table.row("forgetting", lost[j], level, within=GAP, domain=j),
        }
        for j in domains
    ]  # fmt: skip


def _within(
    table: Cells, index: int, run: DomainRun, domains: tuple[str, ...]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Average backward transfer of one run, and what it forgot of each domain; NaN where only the end is known."""
    last = len(domains)
    nothing = np.full_like(table[("start",), domains[0]], math.nan)
    if len(run.stages) < last:
        return nothing, dict.fromkeys(domains, nothing)
    back = [table[("run", index, last), j] - table[("run", index, run.order.index(j) + 1), j] for j in run.order[:-1]]
    lost = {
        j: np.max([table[("run", index, t), j] for t in range(1, last)], axis=0) - table[("run", index, last), j]
        for j in domains
    }
    return np.mean(back, axis=0), lost


def _correlation(predicted: Sequence[np.ndarray], actual: Sequence[np.ndarray], level: float) -> Estimate:
    """Spearman's correlation over orders."""
    n = len(predicted)
    if n < FEWEST_ORDERS:
        why = f"too few orders to hold predicted against actual ends: {n}, needs at least {FEWEST_ORDERS}"
        return Estimate(math.nan, math.nan, math.nan, n, why, level)
    ranks = [rankdata(np.stack(side), axis=0) for side in (predicted, actual)]
    centred = [side - side.mean(axis=0) for side in ranks]
    spread = np.sqrt((centred[0] ** 2).sum(axis=0) * (centred[1] ** 2).sum(axis=0))
    values = np.divide(
        (centred[0] * centred[1]).sum(axis=0), spread, out=np.full(len(spread), np.nan), where=spread > 0
    )
    value = float(values[0])
    if math.isnan(value):
        return Estimate(value, math.nan, math.nan, n, "no correlation: all orders end, or are foreseen, alike", level)
    half = float(ndtri((1 + level) / 2)) * math.sqrt((1 + value * value / 2) / (n - 3))
    middle = math.atanh(min(max(value, -0.999999), 0.999999))
    ends = [math.tanh(middle - half), math.tanh(middle + half)]
    if len(values) > 1:
        drawn = percentile_interval(values[1:], n=n, level=level)
        ends = [float(np.nanmin([ends[0], drawn.low])), float(np.nanmax([ends[1], drawn.high]))]
    return Estimate(value, ends[0], ends[1], n, "Spearman over orders, Bonett-Wright and bootstrap, the wider", level)


def _entropies(
    tables: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]], *, n_boot: int, level: float, seed: int
) -> pd.DataFrame:
    """Mean token entropy of each domain's samples before and after, all tokens alike, paired by problem."""
    from probes.stats.bootstrap import bootstrap_table

    rows = []
    for domain, both in tables.items():
        sums = [one.groupby("problem")["entropy"].agg(["sum", "count"]) for one in both]
        joined = sums[0].join(sums[1], how="inner", lsuffix="_before", rsuffix="_after").to_numpy(dtype=float)
        row: dict[str, object] = {"domain": domain}
        for name, statistic in (
            ("before", lambda s, n, t, m: s / n), ("after", lambda s, n, t, m: t / m),
            ("change", lambda s, n, t, m: t / m - s / n),
        ):  # fmt: skip
            found = bootstrap_table(joined, statistic, n_boot=n_boot, level=level, seed=seed)
            row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
        rows.append(row)
    ends = [f"{name}{end}" for name in ("before", "after", "change") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["domain", *ends])
