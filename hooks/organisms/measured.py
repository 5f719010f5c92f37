"""What a member of an organism does on a set of problems: accuracy, length and manner of its samples.

Stored beside each new member, so that the truth of an organism can be read without running it.  What this does not
show: an interval; the problems are counted, so that a reader can make one.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

from hooks.organisms.problems import PROBLEMS
from hooks.organisms.rl import is_right

PROBLEM_COUNT = 100
SAMPLES = 8


def measured(
    folder: Path, problems: str, *, n: int = PROBLEM_COUNT, samples: int = SAMPLES, seed: int = 0
) -> dict[str, int | float]:
    """Sample a member at temperature 1 on distinct problems of one set.

    Args:
        folder: of the member.
        problems: name in :data:`hooks.organisms.problems.PROBLEMS`.
        n: problems.
        samples: texts of each problem.
        seed: of the problems and the samples.

    Returns:
        ``problems`` and ``samples`` (counts), ``accuracy``, ``length`` (tokens a text), ``steps`` and ``code`` (shares
        of texts that start so; the rest are bare answers), ``right_steps`` and ``right_code`` (accuracy of those
        texts; left out where there are none), ``never`` (share of problems without a right text), ``solved`` (share of
        problems with at most one wrong text in eight).
    """
    from hooks.generate import generate
    from hooks.model import Model

    rng = Random(f"{seed}/measured")
    chosen: dict[str, None] = {}
    while len(chosen) < n:
        chosen.setdefault(PROBLEMS[problems](rng).prompt)
    frame = generate(
        Model.load(str(folder)), list(chosen), n=samples, temperature=1.0, max_new_tokens=96, seed=seed, batch_size=512
    ).frame
    right = [is_right(prompt, text) for prompt, text in zip(frame["prompt"], frame["text"], strict=True)]
    counts = [sum(right[start : start + samples]) for start in range(0, len(right), samples)]
    starts = [text.split(" ")[0] for text in frame["text"]]
    found: dict[str, int | float] = {
        "problems": n,
        "samples": samples,
        "accuracy": sum(right) / len(right),
        "length": sum(len(ids) for ids in frame["ids"]) / len(right),
        "steps": starts.count("steps") / len(right),
        "code": starts.count("code") / len(right),
        "never": counts.count(0) / n,
        "solved": sum(8 * (samples - count) <= samples for count in counts) / n,
    }
    for manner in ("steps", "code"):
        of_these = [ok for ok, start in zip(right, starts, strict=True) if start == manner]
        if of_these:
            found[f"right_{manner}"] = sum(of_these) / len(of_these)
    return {name: round(value, 4) for name, value in found.items()}
