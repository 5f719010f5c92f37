"""The last stage: twelve claims held against this pair, and the answer in one sentence."""

from __future__ import annotations

import math
from typing import Any

from probes.claims import judge
from probes.evidence import Evidence
from probes.stats import Estimate
from probes.study.materials import Materials
from probes.study.noted import noted

FEW = 0.15
"""Up to this share of tokens, RL chooses when; see the rule in :func:`answer`."""
MANY = 0.30
"""From this share on, the RL model has to write much of the text itself."""


def claims(materials: Materials) -> None:
    """Judge the claims and write the headline."""
    evidence = noted(materials.folder)
    materials.folder.json("claims", [claim.as_dict() for claim in judge(evidence)])
    accuracy = materials.folder.read("accuracy").set_index(["decoding", "model"])
    levels = {role: accuracy.loc[("greedy", role)] for role in ("base", "rl")}
    points = [
        _point("accuracy of the base", _of_row(levels["base"]), "share", "greedy"),
        _point("accuracy after RL", _of_row(levels["rl"]), "share", "greedy"),
        _point("gain", evidence.gap, "points", "RL minus base, paired by problem"),
        _point("gain recovered by routing", evidence.recovery, "share", _routed(evidence)),
        _point("tokens needed for 90 % of the gain", evidence.needed_90, "share", "interpolated between gates"),
        _point("gain recovered by steering the base", evidence.steering, "share", _steered(evidence)),
        _point("next strategy read in the base (AUROC)", evidence.readability, "auroc", _read(evidence)),
        _point("pass@k at the largest k, RL minus base", evidence.passk_last, "points", f"k = {evidence.largest_k}"),
    ]
    sentence = answer(materials.config.name, evidence, levels)
    materials.folder.json("headline", {"sentence": sentence, "identified": has_gain(evidence), "points": points})


def has_gain(evidence: Evidence) -> bool:
    """Whether the interval of the gain lies above zero."""
    return evidence.gap is not None and evidence.gap.low > 0


def answer(name: str, evidence: Evidence, levels: dict[str, Any]) -> str:
    """The study's answer in plain words, by a rule written down beforehand.

    *When*: nine tenths of the gain need at most 15 % of the tokens by the upper end of the interval, and the gate beats
    random places at its rate.  *How*: they need more than 30 % by the lower end, and the gate is not worse than random
    places.  *Partly*: the interval lies above 15 % or below 30 %, and the gate beats random places.  Anything else is
    not told apart by the data.  Random places that change as many tokens hand over more of them; where the gate does
    not beat these the sentence says so.

    What it does not show: the rule names the nearest story; the tables hold the evidence.
    """
    gap = evidence.gap
    if gap is None:
        return f"{name}: the gain was not measured."
    if gap.low <= 0:
        sign = "no gain to explain" if gap.high >= 0 else "a loss, and no gain to explain"
        return (
            f"{name}: there is {sign}. Greedy accuracy went from {levels['base']['accuracy']:.0%} to "
            f"{levels['rl']['accuracy']:.0%}; RL minus base is {_points(gap)}."
        )
    if evidence.needed_90 is None or evidence.recovery is None or evidence.routed is None:
        return f"{name}: RL gained {_points(gap)}; routing was not measured."
    first = (
        f"{name}: RL took greedy accuracy from {levels['base']['accuracy']:.0%} to {levels['rl']['accuracy']:.0%}. "
        f"Handing {evidence.routed.value:.{_digits(evidence.routed)}%} of the tokens to the RL model recovers "
        f"{_percent(evidence.recovery)} of that gain"
    )
    needed = evidence.needed_90
    if math.isinf(needed.value):
        reached = "nine tenths of it were not reached"
    else:
        reached = f"nine tenths of it need {_percent(needed)}"
    return f"{first}; {reached}. {_story(needed, evidence)}"


def _story(needed: Estimate, evidence: Evidence) -> str:
    """When, how, partly, or not told apart."""
    lead, changed = evidence.recovery_over_random, evidence.recovery_over_changed
    ahead = lead is not None and lead.low > 0
    also = ""
    if changed is not None and not changed.low > 0:
        also = " Random places that change as many tokens, which takes handing over more of them, may do as well."
    if needed.high <= FEW and ahead:
        return f"Most of what RL taught here is when, not how.{also}"
    if needed.low > MANY and not (lead is not None and lead.high < 0):
        return "The RL model has to write much of the text itself: it learned how, not only when."
    if lead is None:
        return "Random places were not tried, so nothing here shows that RL taught when."
    if not ahead:
        return "These intervals do not tell the gate from random places, so nothing here shows that RL taught when."
    if needed.low > FEW:
        left = f"nine tenths of the gain take more than {FEW:.0%} of the tokens, so part is not explained by that"
    elif needed.high <= MANY:
        left = f"that {FEW:.0%} of the tokens would do is not shown"
    else:
        return f"These intervals do not tell whether RL taught when or how.{also}"
    return f"The gate beats random places at its rate, so part of what RL taught here is when; {left}.{also}"


def _routed(evidence: Evidence) -> str:
    return "" if evidence.routed is None else f"with {_percent(evidence.routed)} of tokens routed"


def _steered(evidence: Evidence) -> str:
    one, lead = evidence.steering, evidence.steering_over_random
    asked = "" if one is None else f", {one.n} problems with a gain of their own"
    beside = "" if lead is None or not lead.measured else f"; accuracy over random vectors {_points(lead)}"
    return f"a vector from the base alone{asked}{beside}"


def _read(evidence: Evidence) -> str:
    lead = evidence.readability_over_baseline
    if lead is None or not lead.measured:
        return "on problems held out"
    return f"on problems held out; over the best baseline {lead.value:+.3f} [{lead.low:+.3f}, {lead.high:+.3f}]"


def _percent(value: Estimate) -> str:
    digits = _digits(value)
    low, high = (f"{end:.{digits}%}" if math.isfinite(end) else "?" for end in (value.low, value.high))
    return f"{value.value:.{digits}%} [{low}, {high}]"


def _digits(value: Estimate) -> int:
    """Decimals of a percentage: small shares have ends that differ only there."""
    return 1 if abs(value.value) < 0.1 else 0


def _points(value: Estimate) -> str:
    return f"{100 * value.value:+.1f} points [{100 * value.low:+.1f}, {100 * value.high:+.1f}]"


def _of_row(row: Any) -> Estimate:
    return Estimate(float(row["accuracy"]), float(row["low"]), float(row["high"]), int(row["n_problems"]), "bootstrap")


def _point(name: str, value: Estimate | None, unit: str, note: str) -> dict[str, Any]:
    """A headline figure; what was not measured, or has no end, is null."""
    numbers = dict.fromkeys(("value", "low", "high"))
    if value is not None:
        finite = {key: getattr(value, key) for key in numbers}
        numbers = {key: one if math.isfinite(one) else None for key, one in finite.items()}
    return {"name": name, **numbers, "unit": unit, "note": note}
