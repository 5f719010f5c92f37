"""Which of the places where the models part decide the answer? Each is tried: the base's token there, RL elsewhere.

Along the RL model's greedy text, at each place where the base's most probable token differs, the text is written once
more with the base's token at that place alone; the RL model goes on by itself from there. A place is critical where the
outcome (right or wrong) changes. After the labels of R2R (arXiv 2505.21600), with the verifier in place of a judge.

What it does not show: places that decide only together. One swap at a time is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hooks.gate import places
from hooks.mix import mix
from hooks.pair import Pair
from hooks.rollouts import Rollouts
from hooks.score import score
from hooks.streams import stream
from probes.tasks import Problem, grade


def critical_places(
    pair: Pair,
    problems: Sequence[Problem],
    rl: Rollouts,
    *,
    most: int = 8,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
    **decoding: Any,
) -> pd.DataFrame:
    """Try the base's token at places where the models part, and see whether the outcome changes.

    Args:
        pair: whose models write.
        problems: those of ``rl``.
        rl: graded greedy texts of the RL model, one a problem.
        most: places tried of one text, drawn at random.
        seed: of the draw.
        progress: called with (rounds done, rounds in all).
        decoding: further options of :func:`hooks.mix.mix`, such as ``max_new_tokens`` and ``batch_size``, as they were
            for ``rl``.

    Returns:
        a row a place: ``problem``, ``index`` (0 for the first generated token), ``base_id``, ``rl_id``, ``critical``.

    Raises:
        ValueError: ungraded texts, or more than one text of a problem.
    """
    if rl.frame["problem"].duplicated().any():
        raise ValueError("critical places are looked for along one greedy text a problem; give one sample each")
    if rl.frame["correct"].isna().any():
        raise ValueError("the RL model's texts are not graded; run probes.tasks.grade on them first")
    scored = score(pair, rl).frame
    # A place where RL's own choice was not its most probable token is no place of a greedy text.
    apart = scored[(scored["top_base"] != scored["top_rl"]) & (scored["top_rl"] == scored["id"])]
    apart = apart.iloc[stream(seed, "places tried").permutation(len(apart))]
    tried = apart.groupby("problem", observed=True, sort=False).head(most).sort_values(["problem", "index"])
    tried = tried.assign(round=tried.groupby("problem", observed=True).cumcount())
    right = dict(zip(rl.frame["problem"].astype(str), rl.frame["correct"].astype(bool), strict=True))
    asked = {problem.id: problem for problem in problems}
    critical = np.zeros(len(tried), dtype=bool)
    rounds = int(tried["round"].max()) + 1 if len(tried) else 0
    for number in range(rounds):
        now = tried[tried["round"] == number]
        some = [asked[str(problem)] for problem in now["problem"]]
        at = {(str(name), 0): [int(place)] for name, place in zip(now["problem"], now["index"], strict=True)}
        texts = grade(mix(pair, some, gate=places(at), primary="rl", draft=8, seed=seed, **decoding), some)
        outcome = dict(zip(texts.frame["problem"].astype(str), texts.frame["correct"].astype(bool), strict=True))
        changed = [outcome[str(problem)] != right[str(problem)] for problem in now["problem"]]
        critical[(tried["round"] == number).to_numpy()] = changed
        if progress is not None:
            progress(number + 1, rounds)
    return pd.DataFrame(
        {
            "problem": tried["problem"].astype(str), "index": tried["index"].astype(int),
            "base_id": tried["top_base"].astype(int), "rl_id": tried["top_rl"].astype(int),
            "critical": critical,
        }
    ).reset_index(drop=True)  # fmt: skip
