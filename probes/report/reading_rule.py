"""What may be said of "it was there before RL", by a rule that was written down before looking.

A strategy that RL made more common (:data:`RISE`) is taken in turn:

* *there*: the base begins it in its own texts (at least :data:`RARE` of them), a probe on the base's activations tells
  it before its first token, better than the last tokens and the place do and better than an untrained model's
  activations;
* *only read*: the base hardly ever begins it, but its activations tell it in the tuned model's text;
* *not told*: anything else.

Steering counts as usable where vectors from the base alone beat random ones (p at most :data:`LEVEL`).  A strategy that
is there and usable was there before RL as far as these tests go; one that is only read is no evidence of it.
What the rule does not show: how much of the gain the strategy explains; routing and steering measure that.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from probes.report.folder import StudyReader
from probes.report.wording import MINUS, number

RISE = 0.05
"""Rise in the share of texts that makes a strategy one that RL brought forward."""
RARE = 0.01
"""Share of the base's texts below which it hardly ever begins a strategy."""
LEVEL = 0.05
"""Level of every test in the rule."""

RULE = (
    f"Rule: a strategy counts as brought forward when its share of texts rose by {100 * RISE:.0f} points; as there "
    f"when the base begins it in at least {100 * RARE:.0f} % of its texts and the probe's lead over last tokens and "
    "over an untrained model excludes zero; as usable when vectors from the base alone beat random ones "
    f"(p ≤ {LEVEL:g})."
)


@dataclass(frozen=True)
class Strategy:
    """A strategy that RL made more common, and what was read of it."""

    name: str
    base: float
    """Share of the base's texts that use it."""
    rl: float
    """Share of the tuned model's texts."""
    own: pd.Series | None
    """The base's best lead among its labels on the base's own text; None where there was too little to fit."""
    foreign: pd.Series | None
    """The same on the tuned model's text."""

    @property
    def there(self) -> bool:
        """Whether the base begins it and its activations tell it beyond the controls."""
        return self.base >= RARE and _beyond(self.own)

    @property
    def only_read(self) -> bool:
        """Whether it is read in the tuned model's text alone."""
        return self.base < RARE and self.foreign is not None and _read(self.foreign)


def verdict(reader: StudyReader) -> str | None:
    """The sentence of this pair; None where strategies were not counted or nothing was read."""
    found = reading(reader)
    return None if found is None else " ".join([*found[0], found[1]])


def reading(reader: StudyReader) -> tuple[list[str], str] | None:
    """What was read of each strategy that RL brought forward, and what follows of all of them together."""
    models = reader.frame("before_models", needs=("label", "text", "base_auroc", "base_auroc_low", "reported"))
    counted = reader.frame("strategies", needs=("model", "strategy", "share"))
    if models is None or counted is None:
        return None
    risen = brought_forward(counted, models)
    none = f"RL made no strategy more common by {100 * RISE:.0f} points of texts."
    together = _together(risen, reader) if risen else none
    return [_said(one) for one in risen], f"{together} {_differences(models)}".strip()


def brought_forward(counted: pd.DataFrame, models: pd.DataFrame) -> list[Strategy]:
    """The strategies whose share of texts rose, largest rise first."""
    shares = counted.pivot_table(index="strategy", columns="model", values="share").reindex(columns=["base", "rl"])
    shares = shares.fillna(0.0)
    rise = (shares["rl"] - shares["base"]).sort_values(ascending=False, kind="stable")
    quoted = models[models["reported"].astype("boolean").fillna(False)]
    return [
        Strategy(
            str(name), float(shares.loc[name, "base"]), float(shares.loc[name, "rl"]),
            _best(quoted, str(name), "base text"), _best(quoted, str(name), "RL text"),
        )
        for name in rise.index[rise >= RISE]
    ]  # fmt: skip


def _best(models: pd.DataFrame, strategy: str, text: str) -> pd.Series | None:
    """The label of a strategy with the largest lead over the last tokens; None without any."""
    labels = models["label"].astype(str).str.replace(r" \(\w+\)$", "", regex=True)
    found = models[(labels == strategy) & (models["text"] == text)].dropna(subset=["base_auroc"])
    if found.empty:
        return None
    lead = found["over_baseline"].fillna(-1.0) if "over_baseline" in found else pd.Series(0.0, index=found.index)
    return found.iloc[int(lead.to_numpy().argmax())]


def _read(row: pd.Series) -> bool:
    low = number(row["base_auroc_low"])
    return low is not None and low > 0.5


def _beyond(row: pd.Series | None, controls: tuple[str, ...] = ("baseline", "twin")) -> bool:
    """Whether the probe's lead over each control that was measured excludes zero, and at least one was."""
    if row is None or not _read(row):
        return False
    lows = [number(row.get(f"over_{name}_low")) for name in controls]
    known = [low for low in lows if low is not None]
    return bool(known) and all(low > 0 for low in known)


def _said(one: Strategy) -> str:
    share = f"“{one.name}” (in {_percent(one.base)} of the base's texts, {_percent(one.rl)} of the tuned model's)"
    if one.there and one.own is not None:
        return f"{share} is told before its first token by the base's own activations: {_figures(one.own)}."
    if one.only_read and one.foreign is not None:
        return (
            f"{share} is read from the base's activations on the tuned model's text ({_figures(one.foreign)}); but "
            f"{_alike(one.foreign)}that text already holds the strategy, and the base does not begin it by itself."
        )
    if one.base >= RARE and _beyond(one.own, controls=("baseline",)) and one.own is not None:
        return (
            f"{share} is told before its first token ({_figures(one.own)}), but about as well from an untrained model: "
            "what is told may be the text alone."
        )
    if one.base < RARE:
        return f"{share} is hardly ever begun by the base, so nothing of it can be read in the base's own text."
    return f"{share} is not told beyond what the last tokens, the place or an untrained model tell."


def _alike(row: pd.Series) -> str:
    return "" if _beyond(row) else "the last tokens or an untrained model tell as much, "


def _figures(row: pd.Series) -> str:
    words = f"AUROC {row['base_auroc']:.2f}"
    for name, control in (("baseline", "the last tokens and the place"), ("twin", "an untrained model")):
        lead, low, high = (number(row.get(f"over_{name}{end}")) for end in ("", "_low", "_high"))
        if lead is not None and low is not None and high is not None:
            words += f", {_signed(lead)} [{_signed(low)}, {_signed(high)}] against {control}"
    return words


def _signed(value: float) -> str:
    """Two decimals and a sign; a rounded zero has none."""
    text = f"{value:+.2f}"
    return text[1:] if float(text) == 0 else text.replace("-", MINUS)


def _together(risen: list[Strategy], reader: StudyReader) -> str:
    usable = number(reader.record("steering").get("p"))
    there = [one for one in risen if one.there]
    read = [one for one in risen if one.only_read]
    if usable is None:
        return "Whether the base can use it was not measured, and readable alone is not a strategy that was there."
    if there and usable <= LEVEL:
        names = " and ".join(f"“{one.name}”" for one in there)
        return (
            f"The base can also be steered: vectors from it alone beat random ones (p = {usable:.3f}). As far as these "
            f"tests go, {names} was there before RL."
        )
    if usable > LEVEL and (read or there):
        # A strategy that the base begins by itself is in its texts, whatever a vector does.
        had = "what the base begins by itself can be called up" if there else "the base had the strategy"
        return (
            f"Readable is not there beforehand: no vector from the base alone does better than random ones "
            f"(p = {usable:.3f}), so nothing shows that {had}."
        )
    if read:
        return "Readable is not there beforehand: what steers the base are other strategies, those it begins itself."
    return " ".join(_unannounced(one) for one in risen)


def _unannounced(one: Strategy) -> str:
    """What the base does in its texts, and that its activations do not tell it: the first is no news of the second."""
    if one.base < RARE:
        return f"The base hardly ever begins “{one.name}” by itself, and nothing here announces it."
    return (
        f"The base itself uses “{one.name}” in {_percent(one.base)} of its texts (the tuned model in "
        f"{_percent(one.rl)}); but its activations do not announce it beyond the controls."
    )


def _differences(models: pd.DataFrame) -> str:
    known = models.dropna(subset=["rl_minus_base_q"]) if "rl_minus_base_q" in models else models.iloc[:0]
    if known.empty:
        return ""
    found = int((known["rl_minus_base_q"] < LEVEL).sum())
    return (
        f"Between the two models' own probes no difference was detected in {len(known) - found} of {len(known)} "
        f"comparisons, and {found} differ (q < {LEVEL:g}); undetected is not equal."
    )


def _percent(share: float) -> str:
    # A handful of stray words is not zero.
    if 0 < share < 0.001:
        return "under 0.1 %"
    return f"{100 * share:.1f} %" if 0 < share < RARE else f"{100 * share:.0f} %"
