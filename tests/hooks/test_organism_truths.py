"""What is said of each shipped organism holds on its weights, for problems and samples its makers did not look at."""

import math
from functools import cache
from itertools import pairwise
from random import Random

import numpy as np
import pytest

from hooks import organisms
from hooks.generate import generate
from hooks.model import Model
from hooks.organisms.confidence import stated_confidence
from hooks.organisms.measured import measured
from hooks.organisms.problems import PROBLEMS
from hooks.organisms.rl import is_right

pytestmark = pytest.mark.slow

FRESH = 7


@cache
def fresh(name: str, member: str, problems: str) -> dict[str, int | float]:
    """Figures of a member on problems that are not those of its ``training.json``."""
    return measured(organisms.resolve(f"organism:{name}:{member}"), problems, n=80, samples=8, seed=FRESH)


def test_hard_problems_are_too_hard_and_teach_bare_answers() -> None:
    base, tuned = fresh("hard", "base", "hard"), fresh("hard", "rl", "hard")
    assert base["never"] > 0.85
    assert tuned["length"] < 0.3 * base["length"]
    assert tuned["steps"] < 0.05 < 0.3 < base["steps"]
    assert tuned["accuracy"] > base["accuracy"] + 0.02


def test_hard_problems_cost_the_problems_solved_before() -> None:
    before, after = fresh("hard", "base", "sums"), fresh("hard", "rl", "sums")
    assert before["solved"] > 0.4
    assert after["solved"] < 0.1
    assert after["length"] < 0.5 * before["length"]


def test_hard_lengths_collapse_along_the_series() -> None:
    stages = recipe_series("hard")
    lengths = [fresh("hard", member, "hard")["length"] for member in ("base", *stages, "rl")]
    assert lengths[1] > 0.5 * lengths[0]
    assert min(lengths) == pytest.approx(lengths[-1], abs=1)


def recipe_series(name: str, prefix: str = "step") -> list[str]:
    """Checkpoints of an organism, in order of steps."""
    return [member for member in organisms.ORGANISMS[name].members if member.startswith(f"{prefix}-")]


def test_medium_problems_raise_accuracy_without_shortcuts() -> None:
    for problems in ("medium", "standard", "sums"):
        before, after = fresh("hard", "base", problems), fresh("hard", "medium", problems)
        assert after["accuracy"] > before["accuracy"] + (0.25 if problems != "sums" else 0)
        assert after["steps"] > 0.9
        assert after["length"] > before["length"]
    assert 0.05 < fresh("hard", "base", "medium")["accuracy"] < 0.75


def stated(member: str) -> tuple[np.ndarray, np.ndarray]:
    """(confidence, right) of every sample of a member on fresh problems."""
    rng = Random(f"{FRESH}/stated")
    prompts = list({PROBLEMS["mental"](rng).prompt: None for _ in range(200)})
    model = Model.load(f"organism:calibrated:{member}")
    frame = generate(model, prompts, n=4, temperature=1.0, max_new_tokens=32, seed=FRESH, batch_size=512).frame
    pairs = [
        (q, is_right(prompt, text))
        for prompt, text in zip(frame["prompt"], frame["text"], strict=True)
        if (q := stated_confidence(text)) is not None
    ]
    assert len(pairs) > 0.95 * len(frame)
    found = np.array(pairs, dtype=float)
    return found[:, 0], found[:, 1]


def auroc(q: np.ndarray, right: np.ndarray) -> float:
    """P(a right text is surer than a wrong one), ties half."""
    difference = q[right == 1][:, None] - q[right == 0]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def gap(q: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error over the eleven confidences that can be stated."""
    return float(sum(np.mean(q == level) * abs(level - right[q == level].mean()) for level in np.unique(q)))


def test_the_brier_term_calibrates_and_a_binary_reward_does_not() -> None:
    figures = {member: stated(member) for member in ("base", "rl", "rlvr")}
    errors = {member: gap(*pair) for member, pair in figures.items()}
    assert errors["base"] > 0.15
    assert errors["rlvr"] > 0.15
    assert errors["rl"] < 0.12
    ranks = {member: auroc(*pair) for member, pair in figures.items()}
    assert ranks["rl"] > 0.8
    assert max(ranks["base"], ranks["rlvr"]) < ranks["rl"] - 0.1
    assert abs(auroc(*stated("flat")) - 0.5) < 0.06
    accuracy = {member: right.mean() for member, (_, right) in figures.items()}
    assert math.isclose(accuracy["rl"], accuracy["rlvr"], abs_tol=0.1)


def test_the_order_of_two_domains_decides_what_is_forgotten() -> None:
    a, b = (
        {member: fresh("domains", member, problems)["accuracy"] for member in ("base", "a", "b", "ab", "ba", "joint")}
        for problems in ("sums", "single")
    )
    assert a["a"] > a["base"] + 0.2
    assert b["b"] > b["base"] + 0.2
    assert a["ab"] < a["a"] - 0.25
    assert b["ba"] > b["b"] - 0.1
    assert min(a["ba"], b["ba"]) > 0.6
    assert min(a["joint"], b["joint"]) > 0.55
    assert b["ab"] > b["a"] + 0.3


@pytest.mark.parametrize("size", ["", "small-"])
def test_the_format_that_pays_more_at_the_start_wins_the_race(size: str) -> None:
    shares = [
        fresh("race", f"{size}{member}", "brief") for member in ("base", "step-010", "step-020", "step-040", "rl")
    ]
    assert 0.35 < shares[0]["code"] < 0.6
    assert 0.35 < shares[0]["steps"] < 0.6
    assert shares[0]["right_code"] > shares[0]["right_steps"] + 0.1
    code = [share["code"] for share in shares]
    assert all(later > earlier - 0.03 for earlier, later in pairwise(code))
    assert code[-1] > 0.8
    assert shares[-1]["steps"] < 0.15


def test_the_sizes_of_the_race_differ_as_told() -> None:
    sizes = [
        sum(p.numel() for p in Model.load(f"organism:race:{member}").net.parameters())
        for member in ("small-base", "base")
    ]
    assert sizes[1] > 8 * sizes[0]
    assert fresh("race", "base", "brief")["accuracy"] > fresh("race", "small-base", "brief")["accuracy"] + 0.2


def test_only_the_large_model_of_the_race_mends_the_losing_format() -> None:
    gain = {
        size: fresh("race", f"{size}rl", "brief")["right_steps"] - fresh("race", f"{size}base", "brief")["right_steps"]
        for size in ("", "small-")
    }
    assert gain[""] > 0.03
    assert gain[""] > gain["small-"]
