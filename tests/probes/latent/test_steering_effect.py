"""Steering effects on a tiny pair: what is chosen, what it is set beside, and a null that stays silent."""

import math
from pathlib import Path

import pytest
import torch

from hooks.direction import Direction
from hooks.generate import generate
from hooks.pair import Pair
from hooks.sites import Site
from hooks.steer import steering
from probes import tasks
from probes.latent.steering import damage, decision_positions, random_like, steering_effect
from probes.tasks import Problem


@pytest.fixture(scope="module")
def pair(llama_pair_dirs: tuple[Path, Path]) -> Pair:
    base, rl = llama_pair_dirs
    return Pair.load(str(base), str(rl))


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    return [Problem(id=f"p{i}", prompt=f"{i}+{i}=", answer=str(2 * i), kind="math") for i in range(10)]


def vector(pair: Pair, seed: int = 0) -> Direction:
    drawn = torch.randn(pair.base.d_model, generator=torch.Generator().manual_seed(seed))
    return Direction(drawn, Site("resid_post", 1), label="computation (start)", typical_norm=5.0)


def test_random_vectors_have_the_length_and_the_place_and_their_own_stream(pair: Pair) -> None:
    one = vector(pair)
    first, again, second = (random_like(one, seed=0, number=number) for number in (0, 0, 1))
    assert first.norm == pytest.approx(one.norm, rel=1e-5)
    assert first.site == one.site
    torch.testing.assert_close(first.vector, again.vector)
    assert abs(first.cosine(second)) < 0.6


def test_positions_are_the_last_prompt_token_and_the_ends_of_steps(pair: Pair) -> None:
    places = decision_positions(pair)
    text = pair.base.encode(["1+1=2;3.4"])[0]
    n_prompt = len(pair.base.encode(["1+1="])[0])
    chosen = places.select(text, n_prompt, tokenizer=pair.base.tokenizer)
    marked = {pair.base.decode([token]) for token, is_chosen in zip(text[n_prompt:], chosen[n_prompt:]) if is_chosen}
    assert marked == {";", "."}
    assert chosen[n_prompt - 1]
    assert not chosen[: n_prompt - 1].any()


def test_damage_is_the_kl_of_the_plain_formula_and_grows_with_the_dose(pair: Pair, problems: list[Problem]) -> None:
    texts = generate(pair.base, problems[:3], max_new_tokens=8)
    one = vector(pair)
    found = [damage(pair, texts, steering(one, alpha, positions="generated")) for alpha in (0.0, 0.5, 2.0)]
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert found[0] < found[1] < found[2]
    total, count = 0.0, 0
    for ids, n_prompt in texts.sequences():
        batch = torch.tensor([ids])
        plain = pair.base.net(batch).logits[0].softmax(-1)
        with steering(one, 2.0, positions="generated").on(pair.base, n_prompt=n_prompt):
            moved = pair.base.net(batch).logits[0].softmax(-1)
        for t in range(n_prompt - 1, len(ids) - 1):
            total += float((plain[t] * (plain[t] / moved[t]).log()).sum())
            count += 1
    assert found[2] == pytest.approx(total / count, rel=1e-3)


def test_without_an_effect_nothing_beats_random_vectors(pair: Pair, problems: list[Problem]) -> None:
    texts = {m.role: tasks.grade(generate(m, problems, max_new_tokens=6), problems) for m in (pair.base, pair.rl)}
    effect = steering_effect(
        pair, problems, [vector(pair, seed) for seed in range(2)], base=texts["base"], rl=texts["rl"],
        alphas=(0.5, 1.0), n_random=4, n_boot=200, settings={"max_new_tokens": 6},
    )  # fmt: skip
    assert len(effect.calibration) == 4
    assert set(effect.frame["arm"]) == {"unsteered", "rl", "steered", "random"}
    assert (effect.frame["arm"] == "random").sum() == 4
    assert effect.p > 0.05
    assert effect.over_random is not None
    assert effect.over_random.low <= 0
    assert effect.recovery is not None
    assert math.isnan(effect.recovery.value)


def test_placebos_stand_beside_the_chosen_vector_and_changes_are_paired(pair: Pair, problems: list[Problem]) -> None:
    texts = {m.role: tasks.grade(generate(m, problems, max_new_tokens=6), problems) for m in (pair.base, pair.rl)}
    other = Direction(vector(pair, 3).vector, Site("resid_post", 1), label="verification", typical_norm=5.0)
    candidates = [vector(pair, 0), other]
    effect = steering_effect(
        pair, problems, candidates, base=texts["base"], rl=texts["rl"], alphas=(1.0,), n_random=3, n_boot=200,
        shuffled=lambda one, number: random_like(one, seed=9, number=number), n_shuffled=2, annotator="english",
        settings={"max_new_tokens": 6},
    )  # fmt: skip
    frame = effect.frame
    assert list(frame["arm"]) == ["unsteered", "rl", "steered"] + ["random"] * 3 + ["shuffled"] * 2 + ["min_cosine"]
    assert set(frame.loc[frame["arm"] == "shuffled", "label"]) == {"shuffled labels"}
    assert effect.chosen is not None
    wanted = {"computation (start)": "verification", "verification": "computation (start)"}[effect.chosen.label]
    assert frame["label"].iloc[-1] == wanted
    held = [problem for problem in problems if problem.id in effect.held]
    assert len(held) == len(problems) // 2
    dose = effect.chosen.typical_norm / effect.chosen.norm
    for at, number in ((3, 0), (5, 2)):
        one = random_like(effect.chosen, seed=0, number=number)
        plan = steering(one, dose, positions=decision_positions(pair))
        alone = tasks.grade(generate(pair.base, held, steering=plan, max_new_tokens=6), held)
        row = frame.iloc[at]
        assert row["accuracy"] == pytest.approx(float(alone.frame["correct"].astype(float).mean()))
        assert row["change"] == pytest.approx(row["accuracy"] - frame["accuracy"].iloc[0])
        own = texts["base"].subset(effect.held)
        assert row["kl_damage"] == pytest.approx(damage(pair, own, plan), rel=1e-3)
        assert row["kl_damage_low"] <= row["kl_damage"] <= row["kl_damage_high"]
    assert 0 < frame["p_share"].iloc[2] <= 1
    assert frame["p"].iloc[3:].isna().all()


def test_a_batch_of_doses_equals_single_runs(pair: Pair, problems: list[Problem]) -> None:
    one, few = vector(pair), problems[:3]
    together = generate(pair.base, few * 2, steering=steering(one, [0.5] * 3 + [3.0] * 3), max_new_tokens=6)
    for at, alpha in enumerate((0.5, 3.0)):
        alone = generate(pair.base, few, steering=steering(one, alpha), max_new_tokens=6)
        assert list(together.frame["text"][3 * at : 3 * at + 3]) == list(alone.frame["text"])


def test_nothing_to_try_is_said_and_too_few_problems_are_refused(pair: Pair, problems: list[Problem]) -> None:
    texts = {m.role: tasks.grade(generate(m, problems, max_new_tokens=4), problems) for m in (pair.base, pair.rl)}
    nothing = steering_effect(pair, problems, [], base=texts["base"], rl=texts["rl"])
    assert nothing.chosen is None
    assert "no direction to try" in str(nothing)
    with pytest.raises(ValueError, match="at least 4 problems"):
        steering_effect(pair, problems[:3], [], base=texts["base"], rl=texts["rl"])
