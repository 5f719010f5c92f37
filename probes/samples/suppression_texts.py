r"""One row a sampled text: its log-probability under both models, and how its tokens moved.

For a text :math:`y` with tokens :math:`y_t` the log-ratio is
:math:`d(y) = \sum_t \delta_t = \sum_t \log \pi_{RL}(y_t) - \log \pi_{base}(y_t)`. Beside its sum stand what the tokens
that RL made likelier gained and what those that it made less likely lost, so that a text whose sum is near zero can be
told from one where nothing moved.

Log-probabilities are those of :func:`hooks.score.score` at the temperature it was given. It does not show which token
mattered.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from hooks.rollouts import Rollouts
from hooks.score import TokenTable

COLUMNS = ("problem", "sample", "correct", "tokens", "logp_base", "logp_rl", "rise", "drop")
"""Columns of a table of texts: ``rise`` and ``drop`` are sums over the tokens that went up and down, both positive."""


def scored_texts(rollouts: Rollouts, tokens: TokenTable | pd.DataFrame) -> pd.DataFrame:
    """Texts that are graded and scored, a row each, see :data:`COLUMNS`.

    Args:
        rollouts: graded samples of one model.
        tokens: the token table of the same samples (or of some of them) under both models.

    Raises:
        ValueError: a missing column, a scored text that is not among the rollouts, or none that is graded and scored.

    It does not show anything about texts that were left out because nobody graded or scored them.
    """
    frame = tokens.frame if isinstance(tokens, TokenTable) else tokens
    missing = [name for name in ("problem", "sample", "logp_base", "logp_rl") if name not in frame.columns]
    if missing:
        raise ValueError(f"The token table has no column {missing[0]!r}; make it with hooks.score.")
    shift = (frame["logp_rl"] - frame["logp_base"]).to_numpy(dtype=float)
    parts = pd.DataFrame(
        {
            "problem": frame["problem"].astype(str), "sample": frame["sample"].astype("int64"),
            "tokens": 1, "logp_base": frame["logp_base"].astype(float), "logp_rl": frame["logp_rl"].astype(float),
            "rise": np.maximum(shift, 0.0), "drop": np.maximum(-shift, 0.0),
        }
    )  # fmt: skip
    sums = parts.groupby(["problem", "sample"], sort=True, as_index=False).sum()
    graded = rollouts.frame[["problem", "sample", "correct"]]
    joined = sums.merge(graded, on=["problem", "sample"], how="left", indicator=True)
    foreign = joined[joined["_merge"] != "both"]
    if len(foreign):
        row = foreign.iloc[0]
        raise ValueError(
            f"Sample {row['sample']} of problem {row['problem']!r} was scored but is not among the samples."
        )
    known = joined[joined["correct"].notna()]
    if known.empty:
        raise ValueError("None of the scored samples is graded; run probes.tasks.grade on them first.")
    return known.assign(correct=known["correct"].astype(float))[list(COLUMNS)].reset_index(drop=True)


def checked(texts: pd.DataFrame, whose: str) -> pd.DataFrame:
    """The table, its columns and numbers checked.

    Raises:
        ValueError: a missing column, no row, or a log-probability that is no number.
    """
    missing = [name for name in COLUMNS if name not in texts.columns]
    if missing:
        raise ValueError(f"The table of {whose} texts has no column {missing[0]!r}; make it with scored_texts.")
    if texts.empty:
        raise ValueError(f"There are no {whose} texts; score and grade some samples first.")
    wrong = texts[texts[["logp_base", "logp_rl"]].isna().any(axis=1)]
    if len(wrong):
        row = wrong.iloc[0]
        raise ValueError(
            f"Sample {row['sample']} of problem {row['problem']!r} has no log-probability under one model."
        )
    return texts
