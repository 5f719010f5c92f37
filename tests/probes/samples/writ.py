"""Rollouts from texts, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hooks.rollouts import Rollouts


def texts(samples: Mapping[str, Sequence[tuple[str, bool | None]]], model: str = "m") -> Rollouts:
    """Rollouts of texts and their verdicts by problem; a token a character."""
    return Rollouts.of(
        {
            "problem": problem, "sample": number, "model": model, "prompt": problem, "prompt_ids": [1],
            "ids": [ord(letter) for letter in text], "text": text, "logp": [0.0] * len(text), "stop": "eos",
            "author": [model] * len(text), "correct": right, "answer": None,
        }
        for problem, row in samples.items()
        for number, (text, right) in enumerate(row)
    )  # fmt: skip
