"""What a study found, as the few numbers that the claims are judged by.

Every field is optional: None is not measured. :meth:`Evidence.gather` reads the fields off the results of the rooms;
anything else is given by name. Shares are fractions, differences in accuracy are fractions of one.

What it does not hold: anything that was chosen after looking. The gate that stands for a pair is named beforehand, or
is the first that has controls.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pandas as pd

from probes.routing import RouteResult
from probes.samples import PassK
from probes.stats import SHARE, Estimate
from probes.stats.bootstrap import bootstrap_table
from probes.weights import Delta


@dataclass(frozen=True)
class Evidence:
    """The numbers that verdicts rest on; None for what was not measured."""

    gap: Estimate | None = None
    """RL minus base in accuracy, on the problems that routing and steering used."""
    recovery: Estimate | None = None
    """Share of the gap that one gate's mixed texts recover; NaN where there is no gain to explain."""
    routed: Estimate | None = None
    """Share of tokens that this gate routed."""
    recovery_over_random: Estimate | None = None
    """Recovery of the gate minus that of random places at its rate."""
    recovery_over_changed: Estimate | None = None
    """Recovery of the gate minus that of random places that change as many tokens, which takes more handed tokens."""
    needed_90: Estimate | None = None
    """Share of routed tokens at which nine tenths of the gain are recovered; infinite if no gate tried reached it."""
    readability: Estimate | None = None
    """AUROC of the next strategy from base activations before its first token, layer chosen inside the folds."""
    readability_over_baseline: Estimate | None = None
    """That AUROC minus the best baseline's (position, length, preceding words, shuffled labels), on the same rows."""
    steering: Estimate | None = None
    """Share of the gap recovered by a direction made from base activations alone, dose chosen on other problems."""
    steering_over_random: Estimate | None = None
    """Accuracy under that direction minus accuracy under random vectors of its norm."""
    passk_first: Estimate | None = None
    """RL minus base at k = 1."""
    passk_last: Estimate | None = None
    """RL minus base at the largest k."""
    largest_k: int | None = None
    """That k."""
    crossing: Estimate | None = None
    """The k at which the base has caught up."""
    unchanged_tolerance: float | None = None
    """Share of parameters unchanged within 1e-5 in bfloat16."""
    unchanged_relative: float | None = None
    """Share of parameters unchanged by the relative test."""
    rank_share: float | None = None
    """Mean numerical rank of the matrices' updates over full rank."""
    rank_share_null: float | None = None
    """The same with each update's entries shuffled."""
    rank_spread: Estimate | None = None
    """Stable rank of each matrix's update over that of its entries shuffled, mean over matrices; 1 for noise."""
    entropy_spread: Estimate | None = None
    """The same of the entropy rank."""
    adapter_rank: int | None = None
    """Rank of the LoRA adapter that the update is, which bounds it; None where all weights were trained."""
    near_zero: Estimate | None = None
    """Share of the RL text's positions whose JS is at most ``near`` nats."""
    near: float = 0.1
    """Threshold of ``near_zero``."""
    backward: Estimate | None = None
    """Share of the gap that is left when the RL model writes and the base is let in where the gate opens."""
    backward_tokens: float | None = None
    """Mean number of tokens a text at which the base was let in."""
    backward_routed: Estimate | None = None
    """Share of the tokens at which the base was let in."""
    suppression: Estimate | None = None
    """Suppression share of the base's texts; NaN where right texts did not gain on wrong ones."""
    suppression_mass: Estimate | None = None
    """The same from the probability of right and wrong texts as wholes."""
    suppression_accuracy: Estimate | None = None
    """Share of the base's samples that are right, which a share after a small shift would equal."""
    suppression_right: Estimate | None = None
    """Mean log-ratio of the base's right texts; below zero the share by text is above one half whatever RL did."""
    scaling_top: Estimate | None = None
    """Asymptote of the sigmoid in compute with its profile interval; NaN where the curve does not rise."""
    scaling_error: Estimate | None = None
    """Size of the sigmoid's error at twice the compute it was fitted to."""
    scaling_lead: Estimate | None = None
    """Held-out error of a power law minus the sigmoid's; above zero the sigmoid foresaw better."""
    phase_fall: Estimate | None = None
    """Slope of execution entropy up to its bend, nats a step; NaN where one line does as well."""
    phase_rise: Estimate | None = None
    """Slope of the entropy of strategic phrases from that bend on, nats a step."""
    phase_over_placebo: Estimate | None = None
    """That slope minus that of placebo phrases of equal coverage."""
    order_over_joint: Estimate | None = None
    """Final accuracy of the recommended order of domains minus that of joint training."""
    order_over_others: Estimate | None = None
    """The same minus the mean of the other orders."""
    order_foreseen: Estimate | None = None
    """Rank correlation of predicted with actual final accuracies over orders; None with fewer than five of them."""
    calibration_stated: Estimate | None = None
    """Calibration error of the confidence that texts state, RL minus base; of a run without Brier term, if known."""
    calibration_tokens: Estimate | None = None
    """The same of the probability of the answer's tokens."""
    calibration_repair: Estimate | None = None
    """Calibration error after training with a Brier term minus after training without."""
    calibration_cost: Estimate | None = None
    """Accuracy after training without a Brier term minus after training with one."""
    format_share: Estimate | None = None
    """Share of the largest format at the last of at least three checkpoints."""
    format_rise: Estimate | None = None
    """That share minus the same format's share in the base."""
    hard_share: Estimate | None = None
    """Share of the problems that none of eight base samples solves."""
    hard_shortcuts: Estimate | None = None
    """Degenerate texts on these problems, RL minus base."""
    solved_before_lost: Estimate | None = None
    """Accuracy lost on problems that at least seven of eight base samples solve; above zero they got worse."""
    hard_over_medium: Estimate | None = None
    """Degenerate texts of a run trained on too-hard problems minus those of one trained on medium ones."""
    medium_over_hard: Estimate | None = None
    """Accuracy of the run trained on medium problems minus that of the one trained on too-hard ones."""
    reflection_share: Estimate | None = None
    """Share of reference tokens that carry 80 % of the spread over chains of thought, under the base."""
    reflection_least: float | None = None
    """The least that share could be: one token of each reference, mean over problems."""
    reflection_under_noise: Estimate | None = None
    """That share minus what noise of one size at every token would need."""
    reflection_gain: Estimate | None = None
    """Rank correlation of the weighted score with being right minus that of the plain score."""

    @classmethod
    def gather(
        cls,
        *,
        route: RouteResult | None = None,
        arm: str | None = None,
        passk: PassK | None = None,
        delta: Delta | None = None,
        tokens: pd.DataFrame | None = None,
        near: float = 0.1,
        n_boot: int = 2000,
        seed: int = 0,
        **measured: Estimate | None,
    ) -> Evidence:
        """Read the numbers off the results that there are.

        Args:
            route: mixed decoding with controls.
            arm: the gate that stands for the pair, named before looking; the first that has controls by default.
            passk: the pass@k comparison.
            delta: the weight comparison.
            tokens: token table of the RL model's *own* text with columns ``problem`` and ``js``.
            near: JS in nats up to which a position counts as unchanged.
            n_boot: bootstrap draws for the share of such positions.
            seed: of the draws.
            **measured: any further field by name, such as ``readability`` or ``steering``.

        Raises:
            ValueError: an arm or a field that does not exist.
        """
        unknown = set(measured) - set(cls.__dataclass_fields__)
        if unknown:
            raise ValueError(
                f"Evidence has no field {sorted(unknown)[0]!r}; it has {', '.join(cls.__dataclass_fields__)}."
            )
        out = cls(near=near)
        if route is not None:
            out = _routing(out, route, arm)
        if passk is not None:
            last = passk.largest
            out = replace(
                out, passk_first=passk.at(1), passk_last=passk.at(last), largest_k=last, crossing=passk.crossing
            )
        if delta is not None:
            known = {name: None if math.isnan(value) else value for name, value in delta.totals.items()}
            out = replace(
                out,
                unchanged_tolerance=known["unchanged_tolerance"],
                unchanged_relative=known["unchanged_relative"],
                rank_share=known["rank_share"],
                rank_share_null=known["rank_share_null"],
                rank_spread=_known(delta.over_shuffled(n_boot=n_boot, seed=seed)),
                entropy_spread=_known(delta.over_shuffled("entropy_rank", n_boot=n_boot, seed=seed)),
            )
        if tokens is not None:
            out = replace(out, near_zero=share_near_zero(tokens, near=near, n_boot=n_boot, seed=seed))
        return replace(out, **measured)  # type: ignore[arg-type]


def _known(value: Estimate) -> Estimate | None:
    """None for what was not asked."""
    return value if value.measured else None


def share_near_zero(tokens: pd.DataFrame, *, near: float = 0.1, n_boot: int = 2000, seed: int = 0) -> Estimate:
    """Share of tokens with a JS of at most ``near`` nats, pooled over texts, resampling problems.

    Raises:
        ValueError: the table lacks ``problem`` or ``js``.

    It does not show whether the other positions matter.
    """
    missing = {"problem", "js"} - set(tokens.columns)
    if missing:
        raise ValueError(f"The token table has no column {sorted(missing)[0]!r}; make it with hooks.score.")
    known = tokens.dropna(subset=["js"])
    counts = known.assign(near=(known["js"] <= near).astype(float)).groupby("problem", observed=True)["near"]
    table = counts.agg(["sum", "size"]).to_numpy(dtype=float).reshape(-1, 2)
    return bootstrap_table(table, lambda part, whole: part / whole, within=SHARE, n_boot=n_boot, seed=seed)


def _routing(evidence: Evidence, route: RouteResult, arm: str | None) -> Evidence:
    """The fields that one gate and its controls fill."""
    gates = route.frame[route.frame["kind"] == "gate"]
    with_controls = [name for name in gates["arm"] if (route.frame["matched"] == name).any()]
    chosen = arm if arm is not None else (with_controls or list(gates["arm"]))[0]
    if chosen not in set(gates["arm"]):
        raise ValueError(f"There is no gate {chosen!r} among the arms; there are {', '.join(gates['arm'])}.")
    run = route.recoveries[chosen]
    out = replace(evidence, gap=run.gap, recovery=run.estimate, routed=run.routed)
    out = replace(
        out,
        recovery_over_random=_lead(route, chosen, "random"),
        recovery_over_changed=_lead(route, chosen, "random_changed"),
    )
    back = route.frame[(route.frame["matched"] == chosen) & (route.frame["kind"] == "backward")]
    if len(back):
        reverse = route.recoveries[str(back["arm"].iloc[0])]
        tokens = reverse.routed.value * reverse.length["mixed"].value
        out = replace(
            out, backward=reverse.estimate, backward_tokens=None if math.isnan(tokens) else tokens,
            backward_routed=reverse.routed,
        )  # fmt: skip
    if run.ratio is None:
        return out
    curve = route.curve(str(gates.loc[gates["arm"] == chosen, "gate"].iloc[0]), targets=(0.9,))
    needed = curve.needed[0.9]
    if needed is None:
        # Not reached by any gate that was tried: the draws rule out shares below, up to the most that was tried.
        most = max(point.routed.value for point in curve.points.values())
        why = "not reached by any gate that was tried"
        needed = Estimate(math.inf, min(curve.least[0.9], most), math.inf, run.n_problems, why)
    return replace(out, needed_90=needed)


def _lead(route: RouteResult, gate: str, control: str) -> Estimate | None:
    """Recovery of a gate minus that of a control, None where it has none of that kind."""
    rows = route.contrasts[(route.contrasts["arm"] == gate) & (route.contrasts["kind"] == control)]
    if rows.empty:
        return None
    row = rows.iloc[0]
    value, low, high = (float(row[name]) for name in ("recovery", "recovery_low", "recovery_high"))
    return Estimate(value, low, high, int(row["problems"]), "Fieller, paired by problem", route.level)
