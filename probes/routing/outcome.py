"""What came of the arms: a row an arm, each control against its gate, the curve of a gate over its thresholds.

``frame`` gives every arm's recovery (:mod:`probes.routing.recovery`) against its routed share. ``contrasts`` gives, for
every control, accuracy of the gate minus accuracy of the control, paired over problems, and the same as a share of the
gap. A recovery is the gate's own finding only as far as its contrasts lie above zero. It does not show which of several
contrasts would survive if hundreds of gates had been tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from hooks.rollouts import Rollouts
from probes.results import Result
from probes.routing.curve import Axis, RecoveryCurve, curve, draw, row_of
from probes.routing.paired import pair_up
from probes.routing.recovery import Recovery, mean_difference, of_paired, recovered
from probes.stats import Estimate

Told = tuple[str, str, str, str, float, str]
"""Of one arm: name, kind, the arm it is matched to, gate, threshold, primary."""


@dataclass(frozen=True, repr=False, eq=False)
class RouteResult(Result):
    """Mixed decoding under gates and controls."""

    frame: pd.DataFrame
    """A row an arm: arm, kind, matched, gate, threshold, primary, accuracy, recovery, low, high (of the recovery),
    routed and effective share, each with its interval, tokens, problems."""
    contrasts: pd.DataFrame
    """A row a control: gate minus control in accuracy (``difference``, ``low``, ``high``) and in shares of the gap
    (``recovery``, ``recovery_low``, ``recovery_high``)."""
    recoveries: Mapping[str, Recovery]
    """The full recovery of every arm."""
    rollouts: Mapping[str, Rollouts]
    """The graded mixed texts of every arm."""
    base: Rollouts
    """The base's own texts."""
    rl: Rollouts
    """The RL model's own texts."""

    def headline(self) -> str:
        """The best gate in a sentence, or that there is nothing to explain."""
        gates = self.frame[self.frame["kind"] == "gate"]
        gates = gates.dropna(subset=["recovery"])
        if gates.empty:
            first = next(iter(self.recoveries.values()))
            return f"No recovery: {first.reason} (gap {first.gap:.3f})"
        name = str(gates.sort_values(["recovery", "routed"], ascending=[True, False])["arm"].iloc[-1])
        return f"{name}, best of {len(gates)}: {self.recoveries[name].headline()}"

    def curve(
        self, gate: str | None = None, *, axis: Axis = "routed", targets: tuple[float, ...] = (0.5, 0.9)
    ) -> RecoveryCurve:
        """Recovery over the thresholds of one gate (by name; the first gate's by default), with all controls beside.

        Raises:
            ValueError: no arm has that gate.
        """
        gates = self.frame[self.frame["kind"] == "gate"]
        wanted = gate if gate is not None else str(gates["gate"].iloc[0])
        arms = list(gates.loc[gates["gate"] == wanted, "arm"])
        if not arms:
            raise ValueError(f"No arm has the gate {wanted!r}; there are {', '.join(sorted(set(gates['gate'])))}.")
        beside = list(self.frame.loc[self.frame["matched"].isin(arms), "arm"])
        return curve(
            base=self.base, rl=self.rl, mixed={arm: self.rollouts[arm] for arm in arms},
            controls={arm: self.rollouts[arm] for arm in beside}, axis=axis, targets=targets,
            n_boot=self.manifest["n_boot"], level=self.manifest["level"], seed=self.manifest["seed"],
        )  # fmt: skip

    def plot(self) -> go.Figure:
        """Recovery against routed share: each gate over its thresholds, controls as open marks by their kind."""
        gate = self.frame["kind"] == "gate"
        table = self.frame.assign(line=np.where(gate, self.frame["gate"], ""))
        figure = draw(table[gate])
        for kind, rows in table[~gate].groupby("kind", sort=False):
            for trace in draw(rows.assign(line="")).data:
                figure.add_trace(trace.update(name=f"control: {kind}"))
        return figure.update_layout(title=self.headline())


def outcome(
    *,
    arms: Sequence[Told],
    base: Rollouts,
    rl: Rollouts,
    rollouts: Mapping[str, Rollouts],
    manifest: Mapping[str, Any],
    n_boot: int,
    level: float,
    seed: int,
) -> RouteResult:
    """Put graded arms together; every arm is measured on the problems that all of them have.

    Raises:
        ValueError: an arm is not graded, or the arms share no problem.
    """
    paired = pair_up({"base": base, "rl": rl, **{f"arm {name}": rollouts[name] for name, *_ in arms}})
    options: dict[str, Any] = {"n_boot": n_boot, "level": level, "seed": seed}
    runs = {name: of_paired(paired, f"arm {name}", manifest=manifest, **options) for name, *_ in arms}
    columns = ("arm", "kind", "matched", "gate", "threshold", "primary")
    frame = pd.DataFrame([{**dict(zip(columns, told, strict=True)), **row_of(runs[told[0]])} for told in arms])
    b, r = paired.accuracy["base"], paired.accuracy["rl"]
    rows = []
    for name, kind, matched, *_ in arms:
        if not matched:
            continue
        ours, theirs = paired.accuracy[f"arm {matched}"], paired.accuracy[f"arm {name}"]
        apart = mean_difference(theirs, ours, level=level)
        share = _share_of_gap(b, r, theirs, ours, paired.samples, level)
        rows.append(
            {
                "arm": matched, "control": name, "kind": kind, "difference": apart.value, "low": apart.low,
                "high": apart.high, "recovery": share.value, "recovery_low": share.low, "recovery_high": share.high,
                "problems": len(b),
            }
        )  # fmt: skip
    contrasts = pd.DataFrame(
        rows,
        columns=[
            "arm",
            "control",
            "kind",
            "difference",
            "low",
            "high",
            "recovery",
            "recovery_low",
            "recovery_high",
            "problems",
        ],
    )
    return RouteResult(frame, contrasts, runs, dict(rollouts), base, rl, manifest=manifest)


def _share_of_gap(b: Any, r: Any, theirs: Any, ours: Any, samples: float, level: float) -> Estimate:
    """(gate - control) / (RL - base), by the rules of a recovery; NaN with it."""
    share = recovered(b, r, b + (ours - theirs), samples=samples, level=level)
    if share.measured:
        return share
    return Estimate(np.nan, np.nan, np.nan, share.n, share.method, level)
