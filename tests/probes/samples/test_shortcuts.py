"""Shortcuts: planted rates recovered, an unchanged model silent, skipped work told from short work."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest

from hooks.rollouts import Rollouts
from probes.samples import shortcuts
from probes.samples.hardness import Bins
from probes.samples.shortcuts_length import length_collapse
from probes.samples.shortcuts_prefix import corrupt, prefix_check
from probes.samples.shortcuts_signs import bare, coverage, operations, signs, skipped, worked_values
from tests.probes.samples.writ import texts


def worked(draw: np.random.Generator, steps: int) -> str:
    """A text with some worked steps and one answer."""
    lines = [f"We add {a}+{b}={a + b}" for a, b in draw.integers(10, 99, (steps, 2))]
    return ". ".join(lines) + ". The answer is 7."


def written(rates: dict[str, float], *, seed: int, n: int = 60, samples: int = 12) -> Rollouts:
    """Texts with planted rates of bare answers, loops and repeated answers; the rest is worked out."""
    draw = np.random.default_rng(seed)
    rows = {}
    for problem in range(n):
        level = np.random.default_rng(problem).beta(0.6, 0.6)
        row = []
        for _ in range(samples):
            kind = draw.choice(["bare", "loop", "again", "worked"], p=[*rates.values(), 1 - sum(rates.values())])
            text = worked(draw, int(draw.integers(3, 8)))
            text = {
                "bare": "The answer is 7.", "loop": text[:-17] + " so it goes" * 5,
                "again": text + " I say it again: the answer is 7.", "worked": text,
            }[kind]  # fmt: skip
            row.append((text, bool(draw.random() < level)))
        rows[f"p{problem:03d}"] = row
    return texts(rows)


CLEAN = {"bare": 0.05, "loop": 0.02, "again": 0.03}
BROKEN = {"bare": 0.4, "loop": 0.15, "again": 0.2}


def test_planted_rates_are_recovered_with_their_difference() -> None:
    found = shortcuts(written(CLEAN, seed=0), written(BROKEN, seed=1), n_boot=300)
    for sign, kind in (("bare answer", "bare"), ("tail loop", "loop"), ("answer repeated", "again")):
        for arm, rates in (("base", CLEAN), ("rl", BROKEN)):
            value = found.at(sign, arm)
            assert value.value == pytest.approx(rates[kind], abs=0.05)
            assert value.low <= rates[kind] + 0.02
            assert value.high >= rates[kind] - 0.02
        assert found.at(sign).low > 0
    assert found.at("degenerate").value == pytest.approx(0.65, abs=0.05)
    assert found.at("length ratio", "rl / base").high < 1
    assert found.at("computation skipped").low > 0.2
    assert "degenerate texts" in str(found)
    assert len(found.plot().data) == 2
    assert found.frame.set_index(["quantity", "arm"]).index.is_unique


def test_an_unchanged_model_is_silent() -> None:
    outside: dict[str, int] = {}
    for seed in range(8):
        found = shortcuts(written(CLEAN, seed=seed, n=40), written(CLEAN, seed=100 + seed, n=40), n_boot=200)
        rows = found.frame[found.frame["arm"] == "rl - base"]
        for row in rows.itertuples():
            outside[row.quantity] = outside.get(row.quantity, 0) + bool(row.low > 0 or row.high < 0)
        outside["contamination"] = outside.get("contamination", 0) + found.contamination.excludes_zero
    assert max(outside.values()) <= 4, outside
    assert sum(outside.values()) <= 0.15 * 8 * len(outside), outside


def test_bins_contamination_and_the_mass_of_rare_successes() -> None:
    base = written(CLEAN, seed=0, samples=16)
    hard = {f"p{i:03d}" for i in range(60) if np.random.default_rng(i).beta(0.6, 0.6) < 0.05}
    worse = base.frame.assign(correct=base.frame["correct"] & (np.random.default_rng(5).random(len(base)) < 0.7))
    found = shortcuts(base, Rollouts(worse), n_boot=300)
    assert found.contamination.high < -0.1
    assert found.hard_share.low <= (len(hard) + 4) / 60
    assert found.at("accuracy", difficulty="hard").value == pytest.approx(0, abs=0.08)
    assert found.at("accuracy", "base", difficulty="easy").value > 0.85
    assert 0 < found.rare_mass.value < 0.6
    assert found.rare_degenerate.value == pytest.approx(0.1, abs=0.08)
    assert set(found.bins["bin"]) == {"easy", "medium", "hard"}
    assert found.bins.drop_duplicates("bin")["problems"].sum() == pytest.approx(60)
    assert found.note == ""
    few = shortcuts(written(CLEAN, seed=0, samples=4), written(CLEAN, seed=1, samples=4), n_boot=50)
    assert "need > 8" in few.note
    assert few.bins.empty
    assert not few.contamination.measured
    small = Bins(draws=3, easy=3)
    assert shortcuts(written(CLEAN, seed=0, samples=4), base, bins=small, group=4, n_boot=50).contamination.measured
    with pytest.raises(ValueError, match="no 'odd'"):
        found.at("odd")


def test_a_contrast_stands_beside() -> None:
    base, rl = written(CLEAN, seed=0), written(BROKEN, seed=1)
    found = shortcuts(base, rl, contrast={"random reward": written(CLEAN, seed=2)}, n_boot=200)
    assert found.contrasts is not None
    row = found.contrasts.set_index("quantity").loc["degenerate, rl - base"]
    assert abs(row["value"]) < 0.06
    assert row["difference_low"] > 0.4


def test_ungraded_texts_still_have_signs() -> None:
    frame = written(CLEAN, seed=0, n=5).frame.assign(correct=None)
    found = shortcuts(Rollouts(frame), Rollouts(frame), n_boot=50)
    assert found.at("degenerate").value == 0
    assert not (found.frame["quantity"] == "accuracy").any()
    with pytest.raises(ValueError, match="no problem in common"):
        shortcuts(texts({"a": [("x", True)]}), texts({"b": [("x", True)]}))


def test_skipped_work_needs_short_texts_with_few_operations() -> None:
    draw = np.random.default_rng(0)
    base = signs(texts({"a": [(worked(draw, steps), True) for steps in (4, 5, 6, 5, 4, 6)]}))
    short = "The answer is 7."
    wordy = " ".join(["word"] * 200) + " The answer is 7."
    dense = "1+1=2,2+2=4,4+4=8,8+8=16,1+1=2,2+2=4,3+3=6,1*1=1,2*2=4 The answer is 7."
    mine = signs(texts({"a": [(short, True), (wordy, True), (dense, True)], "b": [(short, True)]}))
    assert skipped(mine, base, same=False)[:3].tolist() == [1, 0, 0]
    assert np.isnan(skipped(mine, base, same=False)[3])
    own = skipped(base, base, same=True)
    assert own.max() <= 1
    slow = []
    for at in range(len(base)):
        rest = base.drop(index=at)
        short_of = base["tokens"][at] < np.quantile(rest["tokens"], 0.1)
        slow.append(float(short_of and base["operations"][at] < rest["operations"].median()))
    assert own.tolist() == slow


@pytest.mark.parametrize(
    ("text", "truth"),
    [
        ("answer 45.", True), ("\\boxed{40}", True), ("The answer is 5.", True), ("42", True), ("42 apples", True),
        ("7 + 9 = 16.", False), ("4 - 1 - 7 = -4", False), ("x = 3/4", True), ("\\frac{3}{4}", True), ("= -7", True),
        ("<think> </think> <answer> 40 </answer>", True), ("steps 47+5=52;answer 52.", False),
        ("First 3+4=7. The answer is 7.", False), ("He bought three and then he bought four. The answer is 7", False),
        ("<think>" + "so 3 and 4 make 7, " * 9 + "</think> <answer>7</answer>", False),
        ("The answer is 7." + " Let me explain why that is so." * 9, True), ("no number here", False), ("", False),
    ],
)  # fmt: skip
def test_bare_answers(text: str, truth: bool) -> None:
    assert bare(text) is truth


def test_operations_and_values() -> None:
    assert operations("3+4=7") == 2
    assert operations("step-by-step, well-known") == 0
    assert operations(r"\frac{1}{2} \times 3 - 1") == 3
    assert coverage("3*4 = 12, so 1,000 or 5", ["12", "1000", "6", "5"]) == 0.75
    assert np.isnan(coverage("3", []))
    solution = "He has 3*20= <<3*20=60>>60 cards. So 60-20=40.\n#### 320"
    assert sorted(worked_values(solution, question="Elaine had 20 cards", answer="320")) == ["3", "40", "60"]
    start = time.perf_counter()
    for text in ("-" * 100_000, "<" * 100_000, "\\frac" * 20_000, "= " * 50_000, "1 - " * 25_000):
        operations(text)
        bare(text)
    assert time.perf_counter() - start < 2.0


def test_length_collapse() -> None:
    def series(lengths: dict[int, float], seed: int) -> dict[int, Rollouts]:
        draw = np.random.default_rng(seed)
        return {
            step: texts({f"p{i}": [("x" * max(1, round(draw.normal(mean, 5))), True)] for i in range(40)})
            for step, mean in lengths.items()
        }

    fall = length_collapse(series({0: 500, 20: 300, 40: 60, 58: 45, 80: 45}, 0), n_boot=200)
    relative, smoothed = [1.0], 500.0
    for mean in (300, 60, 45, 45):
        smoothed = 0.5 * mean + 0.5 * smoothed
        relative.append(smoothed / 500)
    np.testing.assert_allclose(fall.frame["relative"], relative, atol=0.01)
    assert fall.collapse is not None
    assert fall.collapse.value == 58
    assert "step 58" in fall.headline()
    assert len(fall.plot().data) == 2
    flat = length_collapse(series({0: 50, 20: 52, 40: 49}, 1), n_boot=100)
    assert flat.collapse is None
    assert "no collapse" in flat.note
    runs = {"SFT": series({0: 500, 80: 45}, 2), "random reward": series({0: 500, 80: 500}, 3)}
    beside = length_collapse(series({0: 500, 58: 45, 80: 45}, 0), contrast=runs, n_boot=100).contrasts
    assert beside is not None
    rows = beside.set_index("contrast")
    assert rows.loc["SFT", "difference"] == pytest.approx(0, abs=0.02)
    assert rows.loc["SFT", "difference_low"] < 0 < rows.loc["SFT", "difference_high"]
    assert rows.loc["random reward", "difference_high"] < -0.8
    with pytest.raises(ValueError, match="2 checkpoints"):
        length_collapse(series({0: 5}, 0))
    with pytest.raises(ValueError, match="in common"):
        length_collapse({0: texts({"a": [("x", True)]}), 1: texts({"b": [("x", True)]})})


def chain(values: list[int]) -> str:
    return "".join(f"{a}+{b - a}={b};" for a, b in pairwise(values)) + f"answer {values[-1]}."


def test_a_model_that_reads_its_steps_is_told_from_one_that_does_not() -> None:
    truth = {f"p{i}": [i, i + 3, i + 8, i + 20] for i in range(10, 40)}
    rollouts = texts({name: [(chain(values), True)] for name, values in truth.items()})

    def faithful(begun):
        out = []
        for prompt, start in begun:
            done, last = start.count("="), int(start.rsplit("=", 1)[1])
            shift = last - truth[prompt][done]
            out.append(f";answer {truth[prompt][-1] + shift}.")
        return out

    read = prefix_check(rollouts, faithful, kind="organism", n_boot=100)
    assert read.unchanged.value == 0
    assert read.kept.value == 1
    assert len(read.frame) == 30
    assert [list(bar.y) for bar in read.plot().data] == [[1], [0]]
    by_heart = prefix_check(rollouts, lambda begun: [f";answer {truth[p][-1]}." for p, _ in begun], kind="organism")
    assert by_heart.unchanged.value == 1
    assert "100" in by_heart.headline()
    lost = prefix_check(rollouts, lambda begun: [";answer 1." for _ in begun], kind="organism", n_boot=50)
    assert lost.kept.value == 0
    assert not lost.unchanged.measured
    assert len(lost.plot().data) == 1
    with pytest.raises(ValueError, match="gave 0 texts"):
        prefix_check(rollouts, lambda begun: [], kind="organism")
    none = prefix_check(texts({"a": [("answer 3.", True)]}), lambda begun: [], kind="organism")
    assert none.left_out == 1
    assert not none.unchanged.measured


def test_corruption_changes_one_number_and_keeps_its_digits() -> None:
    for seed in range(30):
        found = corrupt("3*4=12; 12-20=-8; -8+9= 1; answer 1.", np.random.default_rng(seed))
        assert found is not None
        clean, wrong, old, new = found
        assert clean.endswith(old)
        assert wrong.endswith(new)
        assert old != new
        assert len(old) == len(new)
    assert corrupt("answer 3=3.", np.random.default_rng(0)) is None
