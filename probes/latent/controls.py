"""What a probe must beat: labels that mean nothing, and readers that saw no activation.

*Shuffled labels* keep the share of positives and nothing else; whatever a probe reads there is optimism of the method.
A *control task* (Hewitt and Liang 2019, arXiv 1909.03368) gives every token type a label of its own, at random: a probe
that does it well can memorise tokens, and the label's score over the control's, its *selectivity*, says how much of the
reading is more than that.  A type is here the last few tokens, as many of them as give the task enough types.
*Baselines* are the same probe on the position, on the length, and on the last tokens.
What they do not show: that nothing simpler than these reads the label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from hooks.rollouts import Rollouts
from hooks.streams import stream

VOCABULARY = 512
"""Token ids, the most frequent ones, that the bag of tokens tells apart."""
TYPES = 30
"""Types that a control task should have; with a handful a linear probe names every one of them."""


def shuffled(label: Float[np.ndarray, "row"], *, seed: int, name: str) -> Float[np.ndarray, "row"]:
    """The label's values in another order over the rows it applies to."""
    out, known = label.copy(), np.flatnonzero(~np.isnan(label))
    out[known] = label[stream(seed, "shuffled labels", name).permutation(known)]
    return out


def control_label(
    label: Float[np.ndarray, "row"], types: Sequence[Shaped[np.ndarray, "row"]], *, seed: int, name: str
) -> Float[np.ndarray, "row"]:
    """A label that depends on the row's type alone, at random, with about the label's share of positives.

    ``types`` are ways to sort rows into types, from coarse to fine; taken is the first with :data:`TYPES` of them among
    the label's rows, or else the finest.  NaN throughout where that has fewer than four: nothing can be memorised.
    """
    out, known = np.full(len(label), np.nan), np.flatnonzero(~np.isnan(label))
    for sorting in types:
        kinds, codes, counts = np.unique(sorting[known].astype(str), return_inverse=True, return_counts=True)
        if len(kinds) >= TYPES:
            break
    if not types or len(kinds) < 4:
        return out
    order = stream(seed, "control task", name).permutation(len(kinds))
    filled = np.cumsum(counts[order])
    # Types are called positive in random order until the share is reached; each side keeps at least one.
    last = int(np.clip(np.argmin(np.abs(filled - label[known].sum())), 0, len(kinds) - 2))
    positive = np.zeros(len(kinds))
    positive[order[: last + 1]] = 1.0
    out[known] = positive[codes]
    return out


def suffixes(tokens: Sequence[Sequence[int]] | Sequence[int], *, longest: int = 6) -> list[Shaped[np.ndarray, "row"]]:
    """Rows sorted by their last token, by their last two, and so on: types for a control task, from coarse to fine."""
    lists = [[int(one)] if isinstance(one, (int, np.integer)) else [int(t) for t in one] for one in tokens]
    reach = min(longest, max((len(one) for one in lists), default=0))
    return [np.array([" ".join(map(str, one[-length:])) for one in lists]) for length in range(1, reach + 1)]


def position_features(rows: pd.DataFrame) -> dict[str, Float[np.ndarray, "row feature"]]:
    """What the table of rows tells about place and length: ``position`` (from both ends of the prompt), ``length``."""
    out = {}
    index = rows["index"].to_numpy(float) if "index" in rows else None
    place = rows["pos"].to_numpy(float) if "pos" in rows else None
    if index is not None or place is not None:
        known = [column for column in (index, place) if column is not None]
        steps = known + [np.log1p(np.abs(column)) for column in known]
        out["position"] = np.stack(steps, axis=1)
    if index is not None and place is not None:
        prompt = place - index
        out["length"] = np.stack([prompt, np.log1p(np.abs(prompt)), prompt**2], axis=1)
    return out


def token_features(tokens: Sequence[Sequence[int]] | Sequence[int]) -> Float[np.ndarray, "row feature"]:
    """How often each id stands among a row's last tokens, and which one is the very last.

    Args:
        tokens: for each row its last token ids, the latest last; or the latest alone.
    """
    lists = [[int(one)] if isinstance(one, (int, np.integer)) else [int(t) for t in one] for one in tokens]
    counted = Counter(token for one in lists for token in one)
    # Ties are broken by id, so that the features do not depend on the order of rows.
    kept = sorted(counted, key=lambda token: (-counted[token], token))[:VOCABULARY]
    place = {token: at for at, token in enumerate(kept)}
    out = np.zeros((len(lists), 2 * len(kept)))
    for row, one in enumerate(lists):
        for token in one:
            if token in place:
                out[row, place[token]] += 1
        if one and one[-1] in place:
            out[row, len(kept) + place[one[-1]]] = 1
    return out[:, out.any(axis=0)]


def last_tokens(rollouts: Rollouts, rows: pd.DataFrame, *, k: int = 8) -> list[list[int]]:
    """For each row the ids up to and including its position, at most ``k`` of them.

    Raises:
        ValueError: when a row belongs to no sample.
    """
    texts: dict[tuple[str, int], list[int]] = {}
    frame = rollouts.frame
    for problem, sample, prompt, ids in zip(frame["problem"], frame["sample"], frame["prompt_ids"], frame["ids"]):
        texts[(str(problem), int(sample))] = [*prompt, *ids]
    out = []
    for problem, sample, pos in zip(rows["problem"], rows["sample"], rows["pos"]):
        text = texts.get((str(problem), int(sample)))
        if text is None:
            raise ValueError(f"there is no sample {sample} of problem {problem!r} among the rollouts")
        out.append(text[max(0, int(pos) + 1 - k) : int(pos) + 1])
    return out
