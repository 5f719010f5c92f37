"""The rooms' own measures find what is true of the organisms made for them, with intervals apart from zero."""

from __future__ import annotations

from functools import cache

import pytest

from hooks.generate import generate
from hooks.model import Model
from hooks.organisms.confidence import stated_confidence
from hooks.rollouts import Rollouts
from probes import samples, tasks, training

pytestmark = pytest.mark.slow

SEED = 11


@cache
def texts(name: str, member: str, problems: str, n: int = 8, asked: int = 80) -> Rollouts:
    """Graded samples of a member on one problem set, at temperature 1."""
    drawn = tasks.load(f"organism:{name}:{problems}", n=asked, seed=SEED)
    model = Model.load(f"organism:{name}:{member}")
    return tasks.grade(
        generate(model, drawn, n=n, temperature=1.0, seed=SEED, max_new_tokens=96, batch_size=320), drawn
    )


def stated(member: str) -> samples.Confidences:
    return samples.verbalised(texts("calibrated", member, "mental"), parse=stated_confidence)


def test_a_brier_term_repairs_calibration_and_a_binary_reward_does_not() -> None:
    found = samples.calibration(
        {"base": stated("rlvr"), "rl": stated("rl")}, contrast={"base": stated("base")}, n_boot=500
    )
    ece = found.figure("rl - base", "ece")
    assert ece.high < -0.05
    assert found.figure("rl", "auroc").low > found.figure("base", "auroc").high
    binary = samples.calibration({"base": stated("base"), "rl": stated("rlvr")}, n_boot=500)
    assert binary.figure("rl - base", "ece").high > -0.05


def test_too_hard_problems_teach_shortcuts_and_medium_ones_do_not() -> None:
    base = texts("hard", "base", "hard")
    hard = samples.shortcuts(base, texts("hard", "rl", "hard"), n_boot=500)
    medium = samples.shortcuts(base, texts("hard", "medium", "hard"), n_boot=500)
    assert hard.at("degenerate").low > 0.2
    assert medium.at("degenerate").high < 0.02
    kept = samples.shortcuts(texts("hard", "base", "sums", 16), texts("hard", "rl", "sums", 16), n_boot=500)
    assert kept.contamination.high < -0.2


def test_length_collapses_on_the_way_to_bare_answers_and_not_without() -> None:
    members = {0: "base", 15: "step-015", 25: "step-025"}
    way = {step: texts("hard", member, "hard") for step, member in members.items()}
    found = samples.length_collapse(way | {40: texts("hard", "rl", "hard")}, alpha=1.0, n_boot=500)
    still = samples.length_collapse({0: way[0], 40: texts("hard", "medium", "hard")}, alpha=1.0, n_boot=500)
    assert found.collapse is not None
    assert found.collapse.low > 15
    assert found.frame["relative_high"].iloc[-1] < 0.3
    assert still.collapse is None


def test_the_order_of_domains_shows_in_transfer_and_forgetting() -> None:
    def on(member: str) -> dict[str, Rollouts]:
        return {"sums": texts("domains", member, "sums"), "single": texts("domains", member, "single")}

    found = training.domain_order(
        on("base"),
        {"sums": on("a"), "single": on("b")},
        [
            training.DomainRun(("sums", "single"), (on("a"), on("ab"))),
            training.DomainRun(("single", "sums"), (on("b"), on("ba"))),
        ],
        joint=on("joint"),
        n_boot=500,
    )
    assert found.greedy == ("single", "sums")
    assert found.over_others.low > 0.1


def test_the_better_paid_format_wins_in_both_sizes() -> None:
    def opening(text: str) -> str:
        return text.split()[0] if text.split() else "nothing"

    def series(prefix: str) -> dict[int, Rollouts]:
        steps = {0: "base", 10: "step-010", 20: "step-020", 40: "step-040", 70: "rl"}
        return {step: texts("race", f"{prefix}{member}", "brief") for step, member in steps.items()}

    race = samples.format_race({14_000: series("small-"), 200_000: series("")}, classifier=opening, n_boot=300)
    assert set(race.frame["winner"]) == {race.frame["winner"].iloc[0]}
    assert (race.frame["share"] > 0.75).all()


def scored(name: str, member: str) -> tuple[Rollouts, samples.Suppression]:
    """Samples of a member, and what RL did to those of the base."""
    from hooks.pair import Pair
    from hooks.score import score

    pair, drawn = Pair.load(f"organism:{name}"), tasks.load(f"organism:{name}", n=60, seed=SEED)
    own = {}
    for role, model in (("base", pair.base), ("rl", pair.rl)):
        made = generate(model, drawn, n=8, temperature=1.0, seed=SEED, max_new_tokens=96, batch_size=320)
        graded = tasks.grade(made, drawn)
        own[role] = (graded, samples.scored_texts(graded, score(pair, graded)))
    return own[member][0], samples.suppression(own["base"][1], own["rl"][1], n_boot=500)


def test_a_new_skill_is_new_mass_and_no_vote_of_the_base_finds_it() -> None:
    base, found = scored("newskill", "base")
    assert found.figure("new", "new mass, right").low > 0.9
    assert not found.figure("mass", "suppression share").measured
    rl, _ = scored("newskill", "rl")
    votes = samples.majority(base, rl, n_boot=500)
    assert votes.at(8, "base").high < 0.1
    assert votes.voting.high < -0.5


def test_a_sham_training_moves_no_text() -> None:
    _, found = scored("sham", "base")
    assert not found.figure("sequence", "suppression share").measured
    assert found.figure("new", "new mass").value < 0.05
