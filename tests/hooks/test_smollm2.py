"""The real language model: its adapters ship, fit the fetched base, and do what their records say."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from hooks import organisms
from hooks.checkpoint import find_source
from hooks.generate import generate
from hooks.model import Model
from hooks.organisms import adapters, fetched
from hooks.organisms.arithmetic import is_right, split_of
from probes import tasks
from probes.stats.bootstrap import bootstrap_problems

SMOLLM2 = organisms.ORGANISMS["smollm2"]
ADAPTERS = [member for member in SMOLLM2.members if member != "base"]


@pytest.mark.parametrize("member", ADAPTERS)
def test_adapters_ship_small_and_say_how_they_were_made(member: str) -> None:
    folder = organisms.WEIGHTS / "smollm2" / member
    assert sum(path.stat().st_size for path in folder.iterdir()) < 6e6
    assert not [path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pkl")]
    record = SMOLLM2.manifest(member)
    assert record["base_sha256"] == fetched.SHA256
    recipe = adapters.RECIPES[record["member"]]
    asked = {**asdict(recipe), "save_at": list(recipe.save_at)}
    assert {name: record[name] for name in asked} == asked
    assert len(record.get("reward_curve") or record["loss"]) == record["step"]
    held = load_file(folder / "adapter_model.safetensors")
    assert any(float(tensor.abs().max()) > 0 for name, tensor in held.items() if "lora_B" in name)


def test_the_series_lies_on_the_curve_of_its_run() -> None:
    curve = SMOLLM2.manifest("rl")["reward_curve"]
    for member in ADAPTERS:
        if member.startswith("step-"):
            own = SMOLLM2.manifest(member)["reward_curve"]
            assert own == curve[: len(own)]


def test_every_recipe_has_its_adapter() -> None:
    series = {f"step-{step:03d}" for recipe in adapters.RECIPES.values() for step in recipe.save_at}
    assert set(ADAPTERS) == set(adapters.RECIPES) | series


def test_without_its_base_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WHENLENS_CACHE", str(tmp_path))
    for name in ("organism:smollm2:base", "organism:smollm2:rl"):
        with pytest.raises(FileNotFoundError, match="whenlens organisms fetch smollm2"):
            find_source(name)
    with pytest.raises(ValueError, match="has no member 'nosuch'"):
        organisms.resolve("organism:smollm2:nosuch")


def test_its_problems_are_held_out_and_distinct() -> None:
    problems = tasks.load("organism:smollm2", n=100)
    assert len({problem.id for problem in problems}) == 100
    assert all(split_of(problem.prompt) == "held out" for problem in problems)
    assert [problem.id for problem in tasks.load("organism:smollm2", n=20)] == [p.id for p in problems[:20]]
    worked = problems[0].meta["solution"]
    assert is_right(worked, problems[0].answer)


@pytest.fixture(scope="module")
def base() -> Path:
    """The fetched base, or a reason why there is none."""
    try:
        return fetched.fetch()
    except (FileNotFoundError, ModuleNotFoundError) as error:
        pytest.skip(f"the real language model is not to be had here: {error}")


@pytest.mark.slow
def test_accuracy_before_and_after_is_what_the_records_say(base: Path) -> None:
    problems = tasks.load("organism:smollm2", n=100)
    right: dict[str, np.ndarray] = {}
    for member in ("base", *adapters.RECIPES):
        rollouts = generate(Model.load(f"organism:smollm2:{member}"), problems, max_new_tokens=32, batch_size=50)
        frame = tasks.grade(rollouts, problems).frame
        graded = frame["correct"].astype(float).to_numpy()
        plain = [is_right(text, problem.answer) for text, problem in zip(frame["text"], problems, strict=True)]
        # The house's reader and the reward's are two readers of one text.
        assert np.mean(graded == np.array(plain, dtype=float)) >= 0.95
        right[member] = graded
        if member != "base":
            record = json.loads((organisms.WEIGHTS / "smollm2" / member / "training.json").read_text())["held_out"]
            # Another processor may round one near-tie the other way.
            assert abs(float(np.mean(plain)) - record["greedy_accuracy"]) <= 0.02
    # The base has no record of its own; the README tells this share.
    assert abs(float(np.mean(right["base"])) - 0.28) <= 0.02
    gains = {name: bootstrap_problems(right[name] - right["base"], np.arange(100)) for name in adapters.RECIPES}
    assert gains["rl"].low > 0
    assert gains["rl"].value > gains["random"].value
