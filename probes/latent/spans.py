"""Labelled stretches of what a model wrote, in token coordinates, and the places where a new one was begun."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from hooks.rollouts import Rollouts
from probes.results import Result
from probes.stats import bootstrap_problems

STRATEGIES = (
    "restating",
    "planning",
    "deduction",
    "computation",
    "verification",
    "backtracking",
    "uncertainty",
    "concluding",
)
"""The taxonomy: what a stretch of a reasoning text does (after Venhoff et al. 2025, arXiv 2506.18167, 2510.07364)."""
OTHER = "other"
"""A stretch that no rule knows: a place where a strategy could have begun and none did."""
KEY = ["problem", "sample", "model"]
COLUMNS = [*KEY, "strategy", "start", "stop", "text"]


@dataclass(frozen=True, repr=False, eq=False)
class Spans(Result):
    """Labelled spans, a row each: ``problem, sample, model, strategy, start, stop, text``.

    ``[start, stop)`` counts the tokens of the completion: 0 is the first generated one.  Spans of a text never overlap.

    Raises:
        ValueError: for a missing column, an empty or negative span, or two spans that overlap.
    """

    frame: pd.DataFrame
    """The table, sorted by text and start."""

    def __post_init__(self) -> None:
        missing = [name for name in COLUMNS if name not in self.frame.columns]
        if missing:
            raise ValueError(f"spans lack the column{'s' * (len(missing) > 1)} {', '.join(missing)}")
        frame = self.frame.astype({"problem": str, "model": str, "sample": int, "start": int, "stop": int})
        frame = frame.sort_values([*KEY, "start"], kind="stable").reset_index(drop=True)
        wrong = frame[(frame["start"] < 0) | (frame["stop"] <= frame["start"])]
        if len(wrong):
            raise ValueError(f"{_name(wrong.iloc[0])} has the span {_place(wrong.iloc[0])}, which holds no token")
        before = frame[KEY].eq(frame[KEY].shift()).all(axis=1) & (frame["start"] < frame["stop"].shift())
        if before.any():
            row = frame[before].iloc[0]
            raise ValueError(f"{_name(row)} has overlapping spans at {_place(row)}; a token has one strategy")
        object.__setattr__(self, "frame", frame)

    def headline(self) -> str:
        """How many spans in how many texts."""
        texts = len(self.frame.drop_duplicates(KEY))
        return f"{len(self.frame)} spans of {self.frame['strategy'].nunique()} strategies in {texts} texts"

    def frequencies(
        self, rollouts: Rollouts | None = None, *, n_boot: int = 2000, level: float = 0.95, seed: int = 0
    ) -> pd.DataFrame:
        """How common each strategy is, a row a model and strategy.

        Columns: ``spans`` (count), ``per_text`` (spans a text), ``span_share`` and ``token_share`` (of the model's
        labelled spans and tokens), ``text_share`` with ``low`` and ``high`` (texts that use it at least once, with a
        bootstrap interval over problems).

        Args:
            rollouts: the texts that were labelled, so that texts without any span count; None counts only texts that
                have one.
            n_boot: draws of the interval.
            level: of the interval.
            seed: of the draws.

        Does not show which uses help.
        """
        source = self.frame if rollouts is None else rollouts.frame
        texts = source[KEY].drop_duplicates()
        tokens = self.frame["stop"] - self.frame["start"]
        rows = []
        for (model, strategy), found in self.frame.groupby(["model", "strategy"], sort=True):
            own = texts[texts["model"] == model]
            using = own.merge(found[KEY].drop_duplicates().assign(uses=1.0), on=KEY, how="left")["uses"].fillna(0.0)
            share = bootstrap_problems(using, own["problem"], n_boot=n_boot, level=level, seed=seed)
            of_model = self.frame["model"] == model
            rows.append(
                {
                    "model": model,
                    "strategy": strategy,
                    "spans": len(found),
                    "per_text": len(found) / len(own),
                    "span_share": len(found) / int(of_model.sum()),
                    "token_share": tokens[found.index].sum() / tokens[of_model].sum(),
                    "text_share": share.value,
                    "low": share.low,
                    "high": share.high,
                }
            )
        names = ["model", "strategy", "spans", "per_text", "span_share", "token_share", "text_share", "low", "high"]
        return pd.DataFrame(rows, columns=names)

    def plot(self) -> go.Figure:
        """Share of texts that use each strategy, a bar a model, with intervals."""
        table = self.frequencies()
        figure = go.Figure()
        for model, rows in table.groupby("model", sort=True):
            up, down = rows["high"] - rows["text_share"], rows["text_share"] - rows["low"]
            error = {"type": "data", "array": up, "arrayminus": down}
            figure.add_bar(name=str(model), x=rows["strategy"], y=rows["text_share"], error_y=error)
        return figure.update_layout(yaxis_title="share of texts", barmode="group")


def decisions(spans: Spans, rollouts: Rollouts) -> pd.DataFrame:
    """The places where a strategy was chosen: a row a span.

    Columns: ``problem, sample, model``, ``position`` (absolute index, prompt included, of the token *before* the span's
    first: the last one a model has read when it chooses), ``index`` (the span's first token, counted from the first
    generated one), ``strategy``, and ``place`` (``start`` for the first decision of a text, else ``inner``).

    Raises:
        ValueError: if a span's text is not among the rollouts, or reaches beyond it.

    Does not show that the choice was made there; it may have been settled earlier.
    """
    lengths = pd.DataFrame(
        {
            **{name: rollouts.frame[name] for name in KEY},
            "n_prompt": rollouts.frame["prompt_ids"].map(len),
            "n_new": rollouts.frame["ids"].map(len),
        }
    )
    frame = spans.frame.merge(lengths.drop_duplicates(KEY), on=KEY, how="left")
    if frame["n_prompt"].isna().any():
        raise ValueError(f"{_name(frame[frame['n_prompt'].isna()].iloc[0])} has spans but is not among the rollouts")
    beyond = frame[frame["stop"] > frame["n_new"]]
    if len(beyond):
        row = beyond.iloc[0]
        raise ValueError(f"{_name(row)} has the span {_place(row)} but only {int(row['n_new'])} tokens")
    frame["index"] = frame["start"]
    frame["position"] = (frame["n_prompt"] - 1 + frame["start"]).astype("int64")
    frame["place"] = frame["start"].eq(0).map({True: "start", False: "inner"})
    return frame[[*KEY, "position", "index", "strategy", "place"]]


def _name(row: pd.Series) -> str:
    return f"sample {row['sample']} of problem {row['problem']!r} by {row['model']}"


def _place(row: pd.Series) -> str:
    return f"[{row['start']}, {row['stop']})"
