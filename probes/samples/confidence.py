r"""How sure does a text say it is?  A confidence a sample: stated in the text, read off its tokens, or by a probe.

*Stated*: what stands in the last ``<confidence>`` tag, a number from 0 to 1. *Answer tokens*: the probability that the
model gave to the answer it wrote, after its own reasoning,

.. math:: q = \prod_{t \in answer} \pi(y_t | y_{<t}),

which a model has whether or not it was ever asked. *Probe*: any score from 0 to 1 that somebody else computed.

A text without a confidence has none: it is missing, and counts neither as sure nor as unsure. The evaluation of arXiv
2507.16806 counts it as 0 (``missing="zero"``), and reads a number above 1 as percent (``percent=True``); on its
published outputs that decides everything, because its model trained on a binary reward writes "100." and never "1.0".

What it does not show: that a model means what it says. A probability of answer tokens is high wherever the reasoning
already fixed the answer, right or wrong.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Num

from hooks.rollouts import Rollouts
from probes.stats import Column, as_floats

Missing = Literal["none", "zero"]
"""What a sample without a confidence counts as: nothing, or 0 as in the paper's evaluation."""
Join = Literal["product", "mean", "least"]
"""From the probabilities of the answer's tokens to one number: of the whole answer, their mean, or the smallest."""
COLUMNS = ("problem", "sample", "confidence", "correct")

_TAG = re.compile(r"<confidence>(.*?)</confidence>", re.DOTALL)
_NUMBER = re.compile(r"\d+(?:\.\d*)?|\.\d+")


@dataclass(frozen=True, eq=False)
class Confidences:
    """A confidence and a judgement for each sample of one model."""

    frame: pd.DataFrame
    """``problem``, ``sample``, ``confidence`` from 0 to 1 (NaN: none), ``correct`` 0 or 1 (NaN: not graded)."""
    source: str
    """Where the confidences come from."""

    def __post_init__(self) -> None:
        absent = [name for name in COLUMNS if name not in self.frame.columns]
        if absent:
            raise ValueError(f"Confidences need the column {absent[0]!r}; they have {', '.join(self.frame.columns)}.")
        outside = self.frame[(self.frame["confidence"] < 0) | (self.frame["confidence"] > 1)]
        if len(outside):
            row = outside.iloc[0]
            raise ValueError(
                f"Sample {row['sample']} of problem {row['problem']!r} has the confidence {row['confidence']:g}; a "
                "confidence lies between 0 and 1."
            )

    @property
    def stated(self) -> float:
        """Share of the graded samples that have a confidence; NaN without any graded sample."""
        graded = self.frame[self.frame["correct"].notna()]
        return float(graded["confidence"].notna().mean()) if len(graded) else math.nan

    @classmethod
    def of(
        cls, confidence: Column, correct: Column, problems: Column | None = None, *, source: str = "given"
    ) -> Confidences:
        """From plain columns; each row is a problem of its own where no problems are named."""
        q, c = as_floats(confidence), as_floats(correct)
        if len(q) != len(c):
            raise ValueError(f"{len(q)} confidences for {len(c)} judgements; give one confidence a sample.")
        names = pd.Series([f"row {at}" for at in range(len(q))] if problems is None else list(problems), dtype=object)
        if len(names) != len(q):
            raise ValueError(f"{len(names)} problems for {len(q)} confidences; name the problem of every sample.")
        frame = pd.DataFrame({"problem": names.astype(str), "confidence": q, "correct": c})
        frame["sample"] = frame.groupby("problem").cumcount()
        return cls(frame[list(COLUMNS)], source)


def stated_confidence(text: str, *, percent: bool = False) -> float | None:
    """The confidence that a text states in its last ``<confidence>`` tag; None where it states none from 0 to 1.

    Args:
        text: what a model wrote.
        percent: read as the published evaluation does: the first number in the tag, and one above 1 as percent.

    It does not show whether the model can tell.
    """
    tags = _TAG.findall(text)
    if not tags:
        return None
    if not percent:
        try:
            value = float(tags[-1].strip())
        except ValueError:
            return None
    else:
        found = _NUMBER.search(tags[-1])
        if found is None:
            return None
        value = float(found[0])
        value = value / 100 if value > 1 else value
    return value if 0 <= value <= 1 else None


def verbalised(
    rollouts: Rollouts,
    *,
    missing: Missing = "none",
    percent: bool = False,
    parse: Callable[[str], float | None] | None = None,
) -> Confidences:
    """The confidences that texts state.

    Args:
        rollouts: graded samples.
        missing: what a text without a confidence counts as.
        percent: see :func:`stated_confidence`.
        parse: another reader of a text, such as :func:`hooks.organisms.confidence.stated_confidence`.

    It does not show how sure a model is that was not asked.
    """
    read = parse or (lambda text: stated_confidence(text, percent=percent))
    found = [read(text) for text in rollouts.frame["text"]]
    nothing = 0.0 if missing == "zero" else math.nan
    values = np.array([nothing if one is None else one for one in found], dtype=float)
    return _of_rollouts(rollouts, values, "stated" + (", missing as 0" if missing == "zero" else ""))


def answer_probability(
    rollouts: Rollouts, spans: Sequence[tuple[int, int] | None], *, join: Join = "product"
) -> Confidences:
    """The probability that each text's author gave to the answer it wrote.

    Args:
        rollouts: graded samples with log-probabilities.
        spans: tokens ``[first, last)`` of each sample's answer, counted from the first generated one; None where there
            is no answer. See :func:`probes.samples.confidence_spans.answer_spans`.
        join: how the tokens' probabilities become one number.

    Raises:
        ValueError: not one span a sample, or a span outside its text.

    It does not show how sure the model was before it reasoned.
    """
    if len(spans) != len(rollouts):
        raise ValueError(f"{len(spans)} answer spans for {len(rollouts)} samples; give one a sample, or None.")
    joined: Mapping[str, Callable[[np.ndarray], float]] = {
        "product": lambda logp: float(np.exp(logp.sum())),
        "mean": lambda logp: float(np.exp(logp).mean()),
        "least": lambda logp: float(np.exp(logp.min())),
    }
    values = np.full(len(rollouts), math.nan)
    for at, (span, logp) in enumerate(zip(spans, rollouts.frame["logp"], strict=True)):
        if span is None:
            continue
        first, last = span
        if not 0 <= first < last <= len(logp):
            row = rollouts.frame.iloc[at]
            raise ValueError(
                f"The answer of sample {row['sample']} of problem {row['problem']!r} spans tokens {first} to {last} "
                f"of a text with {len(logp)}."
            )
        # Rounding may leave a sure token a hair above probability one.
        values[at] = min(1.0, joined[join](np.asarray(logp[first:last], dtype=float)))
    return _of_rollouts(rollouts, values, f"answer tokens ({join})")


def probe_confidence(rollouts: Rollouts, scores: Num[np.ndarray, "sample"] | Sequence[float]) -> Confidences:
    """A probe's probability that each sample is right, in the order of the rollouts; NaN where it has none.

    It does not show that the model itself uses what the probe reads.
    """
    values = np.asarray(scores, dtype=float)
    if len(values) != len(rollouts):
        raise ValueError(f"{len(values)} scores for {len(rollouts)} samples; give one score a sample.")
    return _of_rollouts(rollouts, values, "probe")


def rlcr_reward(correct: Column, confidence: Column) -> Float[np.ndarray, "sample"]:
    """The reward of RLCR (arXiv 2507.16806), ``c - (q - c)^2``: from -1 (wrong and sure) to 1 (right and sure).

    Its expectation is highest at ``q = P(c = 1)``, and then at the answer with the highest such probability. NaN where
    either is missing; there the published code gives a text without a confidence the reward of a wrong format.
    """
    c, q = as_floats(correct), as_floats(confidence)
    if len(c) != len(q):
        raise ValueError(f"{len(q)} confidences for {len(c)} judgements; give one confidence a sample.")
    return np.asarray(c - (q - c) ** 2)


def _of_rollouts(rollouts: Rollouts, values: np.ndarray, source: str) -> Confidences:
    frame = rollouts.frame[["problem", "sample"]].assign(
        confidence=values, correct=as_floats(rollouts.frame["correct"])
    )
    return Confidences(frame[list(COLUMNS)].reset_index(drop=True), source)
