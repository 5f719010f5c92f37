"""Stated confidences as they are written, answer tokens by hand, the reward's optimum, published outputs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hooks.rollouts import Rollouts
from probes.latent.offsets import Decoder
from probes.samples import (
    Confidences,
    answer_probability,
    answer_spans,
    calibration,
    probe_confidence,
    rlcr_reward,
    stated_confidence,
    verbalised,
)
from probes.samples.confidence_spans import locate
from tests.families import tokenizer

DATA = Path(__file__).parents[4] / "shared" / "data" / "rlcr_math500.parquet"
needs_data = pytest.mark.skipif(not DATA.is_file(), reason=f"the published outputs are not at {DATA}")


@pytest.mark.parametrize(
    ("text", "strict", "percent"),
    [
        ("<confidence>0.7</confidence>", 0.7, 0.7),
        ("<confidence> 1 </confidence>", 1.0, 1.0),
        ("<confidence>0.2</confidence> no: <confidence>\n.9\n</confidence>", 0.9, 0.9),
        ("<confidence>100.</confidence>", None, 1.0),
        ("<confidence>95%</confidence>", None, 0.95),
        ("<confidence>0.4</confidence><confidence>high</confidence>", None, None),
        ("<confidence>-0.5</confidence>", None, 0.5),
        ("<confidence>nan</confidence>", None, None),
        ("<confidence>250</confidence>", None, None),
        ("<confidence>0.5", None, None),
        ("I am sure.", None, None),
    ],
)
def test_the_last_tag_counts(text: str, strict: float | None, percent: float | None) -> None:
    assert stated_confidence(text) == strict
    assert stated_confidence(text, percent=True) == percent


def samples(texts: list[str], **more: list[Any]) -> Rollouts:
    words = tokenizer()
    rows = []
    for at, text in enumerate(texts):
        ids = words(text, add_special_tokens=False)["input_ids"]
        row = {
            "problem": f"p{at}", "sample": 0, "model": "m", "prompt": "?", "prompt_ids": [1], "ids": ids, "text": text,
            "logp": [math.log(0.5)] * len(ids), "stop": "eos", "author": ["base"] * len(ids), "correct": at % 2 == 0,
            "answer": None,
        }  # fmt: skip
        rows.append(row | {name: values[at] for name, values in more.items()})
    return Rollouts.of(rows)


def test_a_text_without_a_confidence_has_none_or_the_papers_zero() -> None:
    rollouts = samples(["<confidence>0.8</confidence>", "none"])
    assert verbalised(rollouts).frame["confidence"].tolist() == [0.8, pytest.approx(math.nan, nan_ok=True)]
    zero = verbalised(rollouts, missing="zero")
    assert zero.frame["confidence"].tolist() == [0.8, 0.0]
    assert "missing as 0" in zero.source
    assert verbalised(rollouts).stated == 0.5
    own = verbalised(rollouts, parse=lambda text: 0.3 if text == "none" else None)
    assert own.frame["confidence"].tolist()[1] == 0.3


def test_answers_are_found_behind_their_mark() -> None:
    assert locate("3 + 4 = 7. answer 7. then 7", "7") == (18, 19)
    assert locate("so 12 <answer> 2 </answer>", "2") == (15, 16)
    assert locate(r"2 and \boxed{2}", "2") == (13, 14)
    assert locate("it is 42, or 4", "4") == (13, 14)
    assert locate("nothing", "4") is None
    # A mark that the answer does not follow is passed over.
    assert locate("7. the answer is seven", "7") == (0, 1)


def test_answer_probability_is_the_product_over_the_answers_tokens() -> None:
    rollouts = samples(["answer 42.", "wait", "answer 7."], answer=["42", None, "9"])
    spans = answer_spans(rollouts, Decoder(tokenizer()))
    # One token a character but for whole words: "answer", " ", "4", "2", ".".
    assert spans == [(2, 4), None, None]
    for join, expected in (("product", 0.25), ("mean", 0.5), ("least", 0.5)):
        found = answer_probability(rollouts, spans, join=join).frame["confidence"].tolist()
        assert found[0] == pytest.approx(expected)
        assert math.isnan(found[1])
    with pytest.raises(ValueError, match="2 answer spans for 3"):
        answer_probability(rollouts, spans[:2])
    with pytest.raises(ValueError, match="problem 'p0' spans tokens 2 to 9"):
        answer_probability(rollouts, [(2, 9), None, None])


def test_a_probes_scores_are_taken_in_order() -> None:
    rollouts = samples(["wait", "then"])
    assert probe_confidence(rollouts, np.array([0.2, 0.9])).frame["confidence"].tolist() == [0.2, 0.9]
    with pytest.raises(ValueError, match="3 scores for 2"):
        probe_confidence(rollouts, [0.1, 0.2, 0.3])


def test_the_reward_is_highest_at_the_true_probability() -> None:
    assert rlcr_reward([1, 0, 1, 0], [1.0, 1.0, 0.0, 0.0]).tolist() == [1.0, -1.0, 0.0, 0.0]
    assert math.isnan(rlcr_reward([1], [None])[0])
    grid = np.linspace(0, 1, 101)
    for p in (0.0, 0.3, 0.7, 1.0):
        expected = p * rlcr_reward(np.ones(101), grid) + (1 - p) * rlcr_reward(np.zeros(101), grid)
        assert grid[expected.argmax()] == pytest.approx(p)
    # The answer that is right more often pays more at its own best confidence.
    best = [p * 1 - p * (1 - p) ** 2 - (1 - p) * p**2 for p in (0.3, 0.6)]
    assert best[1] > best[0]


def published(name: str) -> tuple[Rollouts, np.ndarray, np.ndarray]:
    """The texts of one published model, with the judgements and confidences that came with them."""
    table = pd.read_parquet(DATA)
    correct, stated = (np.array([row[0] for row in table[f"{name}-{what}"]], dtype=float)
                       for what in ("evals", "confidence_levels"))  # fmt: skip
    rows = (
        {
            "problem": str(problem), "sample": 0, "model": name, "prompt": "?", "prompt_ids": [], "ids": [],
            "text": text, "logp": [], "stop": None, "author": [], "correct": bool(right), "answer": None,
        }
        for problem, text, right in zip(table["unique_id"], table[f"{name}-output_0"], correct)
    )  # fmt: skip
    return Rollouts.of(rows), correct, stated


@needs_data
@pytest.mark.parametrize(("name", "accuracy", "error"), [("RLVR", 0.386, 0.611), ("RLCR", 0.454, 0.188)])
def test_published_outputs_give_the_published_rows(name: str, accuracy: float, error: float) -> None:
    rollouts, correct, stated = published(name)
    ours = verbalised(rollouts, percent=True)
    # Our reader, told to read as theirs, finds their confidences in the texts themselves.
    assert ours.frame["confidence"].to_numpy() == pytest.approx(stated)
    found = calibration({"rl": ours}, n_boot=100)
    assert round(found.figure("rl", "accuracy").value, 3) == accuracy
    assert round(found.figure("rl", "ece").value, 3) == error
    assert (found.constant == {"rl": 1.0}) == (name == "RLVR")
    given = calibration({"rl": Confidences.of(stated, correct)}, n_boot=10)
    assert given.figure("rl", "ece").value == pytest.approx(found.figure("rl", "ece").value)


@needs_data
def test_without_the_reading_as_percent_the_published_model_states_no_confidence() -> None:
    rollouts, _, _ = published("RLVR")
    assert verbalised(rollouts).stated == 0
    zero = calibration({"rl": verbalised(rollouts, missing="zero")}, n_boot=10)
    assert zero.figure("rl", "ece").value == pytest.approx(0.386)


@needs_data
def test_the_published_contrast_of_the_two_models_is_paired() -> None:
    arms = {name: verbalised(published(name)[0], percent=True) for name in ("Base", "RLVR", "RLCR")}
    found = calibration({"base": arms["Base"], "rl": arms["RLVR"]}, contrast={"RLCR": arms["RLCR"]}, n_boot=500)
    assert found.figure("rl - base", "ece").low > 0
    rows = found.contrasts.set_index("quantity")
    assert rows.loc["ece", "difference"] == pytest.approx(0.611 - 0.188, abs=0.001)
    assert rows.loc["ece", "difference_low"] > 0.3
    assert rows.loc["accuracy", "difference_high"] < 0


@needs_data
def test_our_own_grader_stands_beside_and_moves_the_figures() -> None:
    """That evaluation fails right answers in another form, so by our grader both are righter and less overconfident."""
    from probes.tasks import Problem, grade

    table = pd.read_parquet(DATA).head(100)
    problems = [Problem(str(row.unique_id), row.problem, row.answer) for row in table.itertuples()]
    figures = {}
    for name in ("RLVR", "RLCR"):
        rollouts = published(name)[0].subset(problem.id for problem in problems)
        graded = grade(rollouts, problems)
        for who, one in (("theirs", rollouts), ("ours", graded)):
            figures[name, who] = calibration({"rl": verbalised(one, percent=True)}, n_boot=10)
    for name in ("RLVR", "RLCR"):
        ours, theirs = figures[name, "ours"], figures[name, "theirs"]
        assert ours.figure("rl", "accuracy").value > theirs.figure("rl", "accuracy").value
    gap = [figures["RLVR", who].figure("rl", "ece").value for who in ("ours", "theirs")]
    assert gap[0] < gap[1]
    assert figures["RLCR", "ours"].figure("rl", "ece").value < gap[0]
