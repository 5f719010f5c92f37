"""Token tables in a few numbers: shift classes, how often the models agree, where they part, perplexity.

All take the table of :func:`hooks.score.score` (a row a token, base and RL on the same text) and give a DataFrame.
With ``by="problem"`` there is one row a problem, for intervals over problems; a number that is undefined is NaN.

    unshifted  rank of the token under the base = 1     marginal  2 or 3     shifted  above 3     (URIAL, 2312.01552)
    near zero  share of positions with JS <= eps                                                  (2603.22446)
    Jaccard    of the two sets of positions with the top 20 % of entropy                          (2506.01939)
    perplexity PPL_m(Y | x) = exp(- mean over tokens of ln p_m)                                   (2504.13837)

The shift classes are meant for a greedy text of the RL model, whose tokens are its own first choices; on sampled text
they mix the shift with the sampling.  None of these says that a difference changed an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from hooks.score import TokenTable

Column = Float[np.ndarray, " token"]


def shift_classes(table: TokenTable | pd.DataFrame, *, by: str | None = None) -> pd.DataFrame:
    """Shares of unshifted, marginal and shifted tokens, by the rank of each token under the base.

    Raises:
        ValueError: for a column that is not there.

    On sampled text a low rank under both models is sampling, not shift; score greedy text for the published measure.
    """

    def shares(part: pd.DataFrame) -> dict[str, float]:
        rank = part["rank_base"].to_numpy()
        classes = {"unshifted": rank == 1, "marginal": (rank > 1) & (rank <= 3), "shifted": rank > 3}
        return {name: _share(inside) for name, inside in classes.items()}

    return _over(table, ["rank_base"], shares, by)


def near_zero_share(
    table: TokenTable | pd.DataFrame, eps: float | Sequence[float] = (1e-3, 1e-2, 1e-1), *, by: str | None = None
) -> pd.DataFrame:
    """Share of positions whose JS is at most each of ``eps`` (nats; JS is at most ln 2).

    Raises:
        ValueError: for a column that is not there.

    A small JS at a place does not mean that nothing hangs on it: one token in a hundred can decide a text.
    """
    levels = [float(level) for level in ([eps] if isinstance(eps, (int, float)) else eps)]

    def shares(part: pd.DataFrame) -> dict[str, float]:
        js = part["js"].to_numpy()
        # A position without a JS is neither near nor far.
        return {f"js<={level:g}": _share((js <= level)[~np.isnan(js)]) for level in levels}

    return _over(table, ["js"], shares, by)


def by_relative_position(
    table: TokenTable | pd.DataFrame, *, columns: Sequence[str] = ("js",), bins: int = 20, by: str | None = None
) -> pd.DataFrame:
    """Means of columns along the text: a row a bin of (index + 1/2) / length, from 0 to 1.

    Returns:
        ``start`` and ``stop`` of each bin, ``n`` tokens in it, and the mean of each column (NaN where it is empty).

    Raises:
        ValueError: for a column that is not there or fewer than one bin.

    Texts shorter than ``bins`` leave bins out, so a bin's texts are not the same as its neighbour's.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    frame = _frame(table, ["problem", "sample", "index", *columns])
    length = frame.groupby(_text_keys(frame), observed=True, sort=False)["index"].transform("max") + 1
    place = ((frame["index"] + 0.5) / length * bins).astype(int).clip(upper=bins - 1).rename("bin")
    groups = [place] if by is None else [frame[by], place]
    found = frame.groupby(groups, observed=True)[list(columns)].mean()
    found.insert(0, "n", frame.groupby(groups, observed=True).size())
    if by is None:
        found = found.reindex(pd.RangeIndex(bins, name="bin"))
        found["n"] = found["n"].fillna(0).astype(int)
    found = found.reset_index()
    found.insert(0, "start", found["bin"] / bins)
    found.insert(1, "stop", (found["bin"] + 1) / bins)
    return found.drop(columns="bin")


def top_entropy_overlap(
    table: TokenTable | pd.DataFrame, *, share: float = 0.2, js_above: float = 0.1, by: str | None = None
) -> pd.DataFrame:
    """Do both models hesitate at the same places? Jaccard of their top-entropy positions.

    Sets are taken over the whole table (the published threshold is over a batch), and with ``by`` then counted within
    each group; ties at the border are in.

    Returns:
        ``jaccard``; ``js_inside``, the share of positions with JS above ``js_above`` that lie in the base's top set;
        ``threshold_base`` and ``threshold_rl`` in nats.

    Raises:
        ValueError: for a column that is not there or a share outside (0, 1).

    Two independent sets of share s have a Jaccard of s / (2 - s), not 0.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is a part of all positions, in (0, 1), not {share}")
    frame = _frame(table, ["entropy_base", "entropy_rl", "js"])
    base, level_base = _top(frame["entropy_base"].to_numpy(dtype=np.float64), share)
    rl, level_rl = _top(frame["entropy_rl"].to_numpy(dtype=np.float64), share)
    marked = frame.assign(_base=base, _rl=rl, _far=frame["js"].to_numpy() > js_above)

    def overlap(part: pd.DataFrame) -> dict[str, float]:
        one, other, far = (part[name].to_numpy(dtype=bool) for name in ("_base", "_rl", "_far"))
        return {
            "jaccard": _ratio(float((one & other).sum()), float((one | other).sum())),
            "js_inside": _ratio(float((far & one).sum()), float(far.sum())),
            "threshold_base": level_base,
            "threshold_rl": level_rl,
        }

    return _over(marked, [], overlap, by)


def entropy_change_by_decile(
    table: TokenTable | pd.DataFrame, *, bins: int = 10, by: str | None = None
) -> pd.DataFrame:
    """Mean of H_rl - H_base and of its size in bins of the base's entropy, from low to high, with as many tokens each.

    Returns:
        ``decile`` (1 is lowest), ``low`` and ``high`` of base entropy, ``n``, ``change`` and ``size``, all in nats.

    Raises:
        ValueError: for a column that is not there or fewer than one bin.

    Selecting on the base's entropy pulls both ends towards the middle whatever RL did; compare with a second base
    sample or a sham pair.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    frame = _frame(table, ["entropy_base", "entropy_rl"])
    base = frame["entropy_base"].to_numpy(dtype=np.float64)
    order = np.argsort(base, kind="stable")
    decile = np.empty(len(base), dtype=np.int64)
    decile[order] = np.arange(len(base)) * bins // max(1, len(base)) + 1
    change = frame["entropy_rl"].to_numpy(dtype=np.float64) - base
    marked = frame.assign(decile=decile, base=base, change=change, size=np.abs(change))
    groups = ["decile"] if by is None else [by, "decile"]
    found = marked.groupby(groups, observed=True).agg(
        low=("base", "min"), high=("base", "max"), n=("base", "size"), change=("change", "mean"), size=("size", "mean")
    )
    return found.reset_index()


def sequence_log_probs(table: TokenTable | pd.DataFrame) -> pd.DataFrame:
    """A row a text: its tokens, summed log-probabilities and perplexities under both models.

    Raises:
        ValueError: for a column that is not there.
    """
    frame = _frame(table, ["problem", "sample", "logp_base", "logp_rl"])
    groups = frame.groupby(_text_keys(frame), observed=True, sort=False)
    found = groups.agg(tokens=("logp_base", "size")).astype("int64")
    for name in ("base", "rl"):
        # In double precision: a long text's sum loses digits in single.
        total = frame[f"logp_{name}"].astype("float64").groupby([frame[key] for key in _text_keys(frame)], sort=False)
        found[f"logp_{name}"] = total.sum()
        found[f"ppl_{name}"] = np.exp(-found[f"logp_{name}"] / found["tokens"])
    return found.reset_index()


def perplexity_table(tables: TokenTable | pd.DataFrame | Sequence[TokenTable | pd.DataFrame]) -> pd.DataFrame:
    """Each author's text under each model: the comparison of arXiv 2504.13837.

    Args:
        tables: token tables of texts by one or several authors (column ``model``), each scored by the same pair.

    Returns:
        a row an author and a reader (``base`` or ``rl``): texts, tokens, ``ppl`` over all tokens, and mean, median and
        quartiles of the texts' perplexities.

    Raises:
        ValueError: for a column that is not there, or no table.

    A low perplexity of RL text under the base says that the base could write it, not that it would.
    """
    several = [tables] if isinstance(tables, (TokenTable, pd.DataFrame)) else list(tables)
    if not several:
        raise ValueError("there is nothing to read: give at least one token table")
    texts = pd.concat([sequence_log_probs(_frame(table, ["model"])) for table in several], ignore_index=True)
    rows = []
    for author, part in texts.groupby("model", sort=False):
        for reader in ("base", "rl"):
            each = part[f"ppl_{reader}"]
            rows.append(
                {
                    "author": author,
                    "reader": reader,
                    "texts": len(part),
                    "tokens": int(part["tokens"].sum()),
                    "ppl": float(np.exp(-part[f"logp_{reader}"].sum() / part["tokens"].sum())),
                    "mean": each.mean(),
                    "median": each.median(),
                    "q25": each.quantile(0.25),
                    "q75": each.quantile(0.75),
                }
            )
    columns = ["author", "reader", "texts", "tokens", "ppl", "mean", "median", "q25", "q75"]
    return pd.DataFrame(rows, columns=columns)


def _frame(table: TokenTable | pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    frame = table.frame if isinstance(table, TokenTable) else table
    missing = [name for name in columns if name not in frame]
    if missing:
        raise ValueError(f"the token table has no {', '.join(missing)}; hooks.score makes one that has")
    return frame


def _text_keys(frame: pd.DataFrame) -> list[str]:
    """What tells texts apart: several authors may have written on one problem."""
    return [name for name in ("problem", "sample", "model") if name in frame]


def _over(table: TokenTable | pd.DataFrame, columns: Sequence[str], measure: Any, by: str | None) -> pd.DataFrame:
    """One row of ``measure`` for the whole table, or one a group."""
    frame = _frame(table, [*columns, *([by] if by else [])])
    if by is None:
        return pd.DataFrame([{"n": len(frame), **measure(frame)}])
    rows = [{by: name, "n": len(part), **measure(part)} for name, part in frame.groupby(by, sort=False, observed=True)]
    return pd.DataFrame(rows)


def _top(entropy: Column, share: float) -> tuple[Bool[np.ndarray, " token"], float]:
    if not len(entropy):
        return np.zeros(0, dtype=bool), float("nan")
    threshold = float(np.quantile(entropy, 1 - share, method="higher"))
    return entropy >= threshold, threshold


def _share(inside: Bool[np.ndarray, " token"]) -> float:
    return float(inside.mean()) if len(inside) else float("nan")


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
