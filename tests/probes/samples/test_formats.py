"""Formats: classifiers on edge cases and long texts, planted shares recovered, no drift is no collapse."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from hooks.rollouts import Rollouts
from probes.samples import format_race, formats
from probes.samples.formats_of_texts import echo_format, general_format, opening, parses
from tests.probes.samples.writ import texts

GOOD = "def simple_math_problem() -> int:\n    apples = 3\n    return apples * 2\n"
OPENING = opening({"steps ": "steps", "code ": "code", "answer ": "direct"})


@pytest.mark.parametrize(
    ("text", "echo", "general"),
    [
        (GOOD, "tinygsm-code", "code"),
        ("Sure.\n" + GOOD + "That is it, isn't it?", "tinygsm-code", "code"),
        ("def broken(x:\n    return", "failed-code", "failed-code"),
        ("We define(x) as two. By definition it is def f(", "text", "prose"),
        ("<llm-code>\nprint(3*4)\n</llm-code> <llm-code-output>12</llm-code-output>", "llm-code", "code"),
        ("<llm-code>\nprint(3*\n</llm-code>", "failed-code", "failed-code"),
        ("```python\nx = 1\n```", "text", "code"),
        ("```cpp\nint x = 1;\n```", "text", "code"),
        ("```\njust quoted words\n```", "text", "prose"),
        ("1. Add 3 and 4.\n2. Double it.\n3. The answer is 14.", "text", "list"),
        ("\\[ x = 3 \\]\nso\n\\[ y = 4 \\]\nand\n\\[ z = 5 \\]", "text", "latex steps"),
        ("First $a=1$.\nThen $b=2$.\nSo $c = 3$.", "text", "latex steps"),
        ("He has 3 apples and buys 4, so 7.", "text", "prose"),
        ("  \n", "text", "empty"),
    ],
)
def test_each_text_has_its_format(text: str, echo: str, general: str) -> None:
    assert echo_format(text) == echo
    assert general_format(text) == general


def test_code_is_never_run_unless_somebody_passes_what_runs_it(tmp_path) -> None:
    trap = tmp_path / "ran"
    text = f"def f():\n    return 1\n\n<llm-code>open({str(trap)!r}, 'w').write('x')</llm-code>"
    assert echo_format(text) == "llm-code"
    assert general_format(text) == "code"
    assert not trap.exists()
    seen: list[str] = []
    assert echo_format(GOOD, runs=lambda code: bool(seen.append(code))) == "failed-code"
    assert seen == [GOOD.rstrip("\n")]


@pytest.mark.parametrize(
    "text",
    [
        " " * 100_000, "`" * 100_000, "def " * 25_000, "def f" + "(" * 100_000, "$" * 100_000, "\\" * 100_000,
        "1." * 50_000, "Step 1" * 16_000, "\n" * 100_000, "def f():\n" * 11_000, "\t-" * 50_000, "*" * 100_000,
        "<llm-code>" * 10_000, "def f():\n    return " + "-" * 19_000 + "1", "def f():\n    return a" + ".b" * 9_000,
        "def f():\n    x = " + "9" * 15_000, "```python\n" + "[" * 18_000, "```python " * 10_000,
    ],
)  # fmt: skip
def test_long_strange_texts_take_no_time(text: str) -> None:
    start = time.perf_counter()
    for classify in (echo_format, general_format, OPENING):
        assert classify(text)
    assert time.perf_counter() - start < 1.0


def test_what_parses() -> None:
    assert parses("x = '\\d'")
    assert parses("    indented = 1")
    assert not parses("")
    assert not parses("x = 1\0")
    assert not parses("x = 1\n" * 10_000)


def run(shares: dict[int, float], *, seed: int, right: tuple[float, float] = (0.8, 0.3), n: int = 80) -> dict:
    """A planted run: the share of "steps" at each step, and how often each of the two formats is right."""
    draw = np.random.default_rng(seed)
    tilt = draw.uniform(-1, 1, n)
    out: dict[int, Rollouts] = {}
    for step, share in shares.items():
        rows = {}
        for problem in range(n):
            chosen = draw.random(6) < share + tilt[problem] * share * (1 - share)
            rows[f"p{problem:03d}"] = [
                ("steps 1;" if steps else "answer 1.", bool(draw.random() < right[not steps])) for steps in chosen
            ]
        out[step] = texts(rows)
    return out


PLANTED = {0: 0.2, 10: 0.5, 20: 0.8, 40: 0.97, 80: 0.99}


def test_planted_shares_and_the_step_of_collapse_are_recovered() -> None:
    found = formats(run(PLANTED, seed=0), classifier=OPENING, n_boot=300)
    rows = found.frame[found.frame["format"] == "steps"].set_index("step")
    inside = [rows.loc[s, "share_low"] <= share <= rows.loc[s, "share_high"] for s, share in PLANTED.items()]
    assert sum(inside) >= 4
    assert found.collapse is not None
    assert found.collapse.value == 40
    assert (found.collapse.low, found.collapse.high) == (40, 40)
    assert found.winner == found.best_at_start == "steps"
    assert found.lead.low > 0.3
    assert found.rise.low > 0.7
    truth = -sum(p * math.log(p) for p in (0.2, 0.8))
    first = found.steps.iloc[0]
    assert first["entropy_low"] <= truth <= first["entropy_high"]
    assert first["dominant"] == "direct"
    assert "at step 40" in found.headline()
    assert len(found.plot().data) == 2
    assert "steps" in str(found)


def test_shares_and_accuracies_equal_a_slow_count() -> None:
    series = run(PLANTED, seed=3, n=7)
    found = formats(series, classifier=OPENING, n_boot=20).frame.set_index(["step", "format"])
    for step, rollouts in series.items():
        frame = rollouts.frame
        for name, mark in (("steps", "steps"), ("direct", "answer")):
            mine = frame[frame["text"].str.startswith(mark)]
            by_problem = [len(mine[mine["problem"] == p]) / 6 for p in sorted(set(frame["problem"]))]
            assert found.loc[(step, name), "share"] == pytest.approx(np.mean(by_problem))
            if len(mine):
                assert found.loc[(step, name), "accuracy"] == pytest.approx(mine["correct"].astype(float).mean())


def test_without_drift_there_is_no_collapse() -> None:
    collapsed, rises = 0, 0
    for seed in range(20):
        found = formats(run({0: 0.6, 10: 0.6, 20: 0.6}, seed=seed, n=40), classifier=OPENING, n_boot=200)
        collapsed += found.collapse is not None
        rises += found.rise.excludes_zero
    assert collapsed == 0
    assert rises <= 3
    assert "no collapse" in found.note


def test_a_run_that_starts_collapsed_says_so() -> None:
    found = formats(run({0: 1.0, 10: 1.0, 20: 1.0}, seed=0), classifier=OPENING, n_boot=50)
    assert found.collapse is not None
    assert found.collapse.value == 0
    assert "from the start" in found.note
    assert not found.rise.excludes_zero
    assert not found.lead.measured


def test_the_winner_need_not_be_the_best_at_the_start() -> None:
    found = formats(run(PLANTED, seed=1, right=(0.2, 0.7)), classifier=OPENING, n_boot=200)
    assert (found.winner, found.best_at_start) == ("steps", "direct")
    assert found.lead.high < 0


def test_a_contrast_stands_beside() -> None:
    flat = run(dict.fromkeys(PLANTED, 0.2), seed=5)
    found = formats(run(PLANTED, seed=0), classifier=OPENING, contrast={"random reward": flat}, n_boot=200)
    assert found.contrasts is not None
    rise = found.contrasts.set_index("quantity").loc["rise of steps"]
    assert abs(rise["value"]) < 0.05
    assert rise["difference_low"] > 0.6
    never = {step: texts({f"p{i:03d}": [("answer 1.", True)] for i in range(80)}) for step in PLANTED}
    found = formats(run(PLANTED, seed=0), classifier=OPENING, contrast={"SFT": never}, n_boot=50)
    assert found.contrasts is not None
    assert found.contrasts.loc[0, "value"] == 0


def test_sizes_race() -> None:
    falling = {step: 1 - share for step, share in PLANTED.items()}
    runs = {"150M": run(falling, seed=1, right=(0.2, 0.7)), "1B": run(PLANTED, seed=2)}
    race = format_race(runs, classifier=OPENING, n_boot=50)
    assert list(race.frame["winner"]) == ["direct", "steps"]
    assert list(race.frame["agrees"]) == [True, True]
    assert "2 of 2" in race.headline()
    assert len(race.plot().data) == 2
    last = [found.frame[found.frame["step"] == 80].set_index("format") for found in race.runs.values()]
    assert list(race.frame["winner"]) == [rows["share"].idxmax() for rows in last]
    flat = run(dict.fromkeys(PLANTED, 0.2), seed=5)
    beside = format_race(runs, classifier=OPENING, n_boot=50, contrast={"1B": {"random reward": flat}}).runs
    assert beside["150M"].contrasts is None
    assert beside["1B"].contrasts is not None
    assert beside["1B"].contrasts.set_index("quantity").loc["rise of steps", "difference_low"] > 0.6
    with pytest.raises(ValueError, match="no run of it"):
        format_race(runs, classifier=OPENING, contrast={"7B": {"SFT": flat}})
    with pytest.raises(ValueError, match=">= 2 sizes"):
        format_race({"1B": runs["1B"]}, classifier=OPENING)


def test_sizes_that_do_not_differ_have_one_winner() -> None:
    for seed in range(5):
        race = format_race({size: run(PLANTED, seed=10 * seed + size, n=30) for size in (1, 2)}, classifier=OPENING,
                           n_boot=50)  # fmt: skip
        assert race.frame["winner"].nunique() == 1
        low, high = race.frame["share_low"], race.frame["share_high"]
        assert low.max() <= high.min() + 0.05


def test_ungraded_texts_have_shares_and_no_accuracy() -> None:
    series = {
        step: texts({"a": [("steps 1;", None), ("answer 1.", None)], "b": [("steps", None)]}) for step in (0, 1, 2)
    }
    found = formats(series, classifier=OPENING, n_boot=20)
    assert found.frame["accuracy"].isna().all()
    assert found.best_at_start is None
    assert not found.lead.measured
    assert found.frame.loc[found.frame["format"] == "other", "share"].iloc[0] == 0.5


def test_a_pair_has_shares_but_no_step_of_collapse() -> None:
    found = formats(run({0: 0.2, 1: 0.99}, seed=0), classifier=OPENING, n_boot=100)
    assert found.collapse is None
    assert "needs >= 3 checkpoints" in found.note
    assert found.rise.low > 0.7


def test_refusals() -> None:
    one = texts({"a": [("x", True)]})
    with pytest.raises(ValueError, match="at least one checkpoint"):
        formats({0: one})
    with pytest.raises(ValueError, match="no problem in common"):
        formats({0: one, 1: one, 2: texts({"b": [("x", True)]})})
    with pytest.raises(ValueError, match="no classifier 'odd'"):
        formats({0: one, 1: one, 2: one}, classifier="odd")
