"""Made-up runs: samples of words whose phrases, entropies and lengths follow a plan that is known."""

from __future__ import annotations

import numpy as np
import pandas as pd

from hooks.rollouts import Rollouts
from probes.training import Checkpoint

PHRASES = (
    "let us try another way", "we can use that fact", "first consider two cases", "but wait that means",
    "going back to start", "the key idea is",
)  # fmt: skip
FILLERS = [f"{a}{b}{c}" for a in "bdfgklm" for b in "aeiou" for c in ("nt", "rk", "ss", "lp", "zz")]
VOCABULARY = [*FILLERS, *sorted({word for phrase in PHRASES for word in phrase.split()})]
IDS = {word: index for index, word in enumerate(VOCABULARY)}
STEPS = (0, 5, 10, 15, 20, 30, 40, 55, 75, 95, 120)


def offsets(ids: list[int]) -> tuple[str, np.ndarray, np.ndarray]:
    """A token is a word and the blank behind it."""
    pieces = [VOCABULARY[token] + " " for token in ids]
    stops = np.cumsum([len(piece) for piece in pieces])
    return "".join(pieces), np.r_[0, stops[:-1]].astype(np.int64), stops.astype(np.int64)


def spread(share: float) -> np.ndarray:
    """Chances of the phrases: ``share`` of the way from nearly always the first to all alike."""
    even = np.full(len(PHRASES), 1 / len(PHRASES))
    narrow = np.r_[0.9, np.full(len(PHRASES) - 1, 0.1 / (len(PHRASES) - 1))]
    return (1 - share) * narrow + share * even


def run(
    *,
    bend: float | None = 40,
    rises: bool = True,
    problems: int = 24,
    samples: int = 4,
    steps: tuple[int, ...] = STEPS,
    noise: float = 0.02,
    seed: int = 0,
) -> list[Checkpoint]:
    """Checkpoints with planted courses.

    Execution entropy falls from 1.0 to 0.4 until ``bend`` and then stays (flat without one); phrases spread from then
    on if ``rises``; a sample holds two phrases among fillers.
    """
    rng = np.random.default_rng(seed)
    hard = rng.normal(0, 0.05, problems)
    out = []
    for step in steps:
        execution = 0.7 if bend is None else 1.0 - 0.6 * min(step, bend) / bend
        late = 0.0 if bend is None or not rises else max(0.0, (step - bend) / (120 - bend))
        wobble = rng.normal(0, noise)
        rows, tokens = [], []
        for problem in range(problems):
            for sample in range(samples):
                parts = []
                for phrase in rng.choice(len(PHRASES), size=2, p=spread(late)):
                    parts += list(rng.choice(FILLERS, size=5)) + PHRASES[phrase].split()
                words = [*parts, *rng.choice(FILLERS, size=4)]
                plan = np.isin(words, FILLERS, invert=True)
                level = np.where(plan, 1.5, execution + wobble + hard[problem])
                entropy = np.clip(level + rng.normal(0, 0.1, len(words)), 0, None)
                ids = [IDS[word] for word in words]
                rows.append(
                    {
                        "problem": f"p{problem:02d}", "sample": sample, "model": f"step {step}", "prompt": "?",
                        "prompt_ids": [0], "ids": ids, "text": " ".join(words), "logp": list(-entropy),
                        "stop": "eos", "author": ["rl"] * len(ids), "correct": bool(rng.random() < 0.8), "answer": "x",
                    }
                )  # fmt: skip
                tokens.append(
                    pd.DataFrame({"problem": f"p{problem:02d}", "sample": sample, "index": range(len(ids)),
                                  "logp": -entropy, "entropy": entropy})
                )  # fmt: skip
        out.append(Checkpoint(f"step {step}", float(step), Rollouts.of(rows), pd.concat(tokens, ignore_index=True)))
    return out
