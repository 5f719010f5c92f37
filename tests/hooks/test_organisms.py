"""The shipped pairs: whole, small, loaded like any other model, and rebuilt by their recipes."""

import json
from pathlib import Path

import pytest

from hooks import organisms
from hooks.model import Model
from hooks.organisms import recipes
from hooks.organisms.chains import Chain
from hooks.organisms.rl import is_right, reward_function
from hooks.pair import Pair

MEMBERS = [
    (organism.name, member)
    for organism in organisms.ORGANISMS.values()
    for member in organism.members
    if not organism.fetched
]


def test_every_recipe_is_shipped() -> None:
    for name, stages in recipes.RECIPES.items():
        shipped = set(organisms.ORGANISMS[name].members)
        assert {stage.member for stage in stages} <= shipped
        series = {f"{stage.series}-{step:03d}" for stage in stages for step in stage.save_at}
        assert series <= shipped
    assert len(recipes.SERIES) >= 9


def test_all_weights_together_stay_small() -> None:
    sizes = {path: path.stat().st_size for path in organisms.WEIGHTS.rglob("*") if path.is_file()}
    adapters = sum(size for path, size in sizes.items() if organisms.WEIGHTS / "smollm2" in path.parents)
    assert adapters < 26e6
    assert sum(sizes.values()) - adapters < 21e6


@pytest.mark.parametrize(("name", "member"), MEMBERS)
def test_members_are_plain_hugging_face_folders(name: str, member: str) -> None:
    folder = organisms.resolve(f"organism:{name}:{member}")
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert not [path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pkl")]
    model = Model.load(f"organism:{name}:{member}")
    assert 1e4 < sum(p.numel() for p in model.net.parameters()) < 1e6
    text = "47+5*3-2:steps 47+5=52;check 47+5=52 ok;answer 34."
    assert model.decode(model.encode([text])[0]) == text
    record = organisms.ORGANISMS[name].manifest(member)
    assert {"seed", "method", "versions"} <= set(record)


def test_the_pair_is_loaded_by_name() -> None:
    pair = Pair.load("organism:latent")
    assert pair.base.role == "base"
    assert pair.same_shape


def test_rl_names_the_tuned_model_of_a_pair_wherever_it_lies() -> None:
    assert organisms.resolve("organism:domains:rl") == organisms.WEIGHTS / "domains" / "ab"
    assert organisms.resolve_pair("organism:domains")[1] == organisms.resolve("organism:domains:rl")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("organism:nosuch:base", "ships latent"),
        ("organism:latent:nosuch", "has no member"),
        ("organism:latent", "pair"),
    ],
)
def test_unknown_names_say_what_there_is(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        organisms.resolve(name)


def test_the_reward_pays_for_the_right_answer_only() -> None:
    prompt = "47+5*3-2:"
    right = f"steps 47+5=52;answer {Chain.parse(prompt).answer}."
    assert is_right(prompt, right)
    for wrong in ("answer 1.", "answer 54", "", right + "5", right[:-1]):
        assert not is_right(prompt, wrong)
    assert reward_function("answer", 0)(prompts=[prompt] * 2, completions=[right, "answer 1."]) == [1.0, 0.0]


def test_the_random_reward_looks_at_nothing() -> None:
    prompt, n = "47+5*3-2:", 4000
    reward = reward_function("random", 0)
    right = reward(prompts=[prompt] * n, completions=["answer 54."] * n)
    wrong = reward(prompts=[prompt] * n, completions=["answer 1."] * n)
    assert abs(sum(right) / n - 0.5) < 0.04
    assert abs(sum(right) - sum(wrong)) / n < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("name", list(recipes.RECIPES))
def test_a_shrunken_organism_is_rebuilt_from_nothing(name: str, tmp_path: Path) -> None:
    seen: list[str] = []
    recipes.build(name, tmp_path, shrink=200, progress=lambda member, *_: seen.append(member))
    width: dict[str | None, int] = {}
    for stage in recipes.RECIPES[name]:
        width[f"{name}/{stage.member}"] = stage.width if stage.start is None else width.get(stage.start, 96)
        folder = tmp_path / name / stage.member
        assert (folder / "model.safetensors").is_file()
        record = json.loads((folder / "training.json").read_text())
        assert record["shrink"] == 200
        assert f"{name}/{stage.member}" in seen
        assert Model.load(str(folder)).d_model == width[f"{name}/{stage.member}"]
        assert set(stage.measure) == set(record.get("measured", {}))
    assert not list(tmp_path.rglob("*.partial*"))


def test_an_unknown_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no organism 'nosuch'"):
        recipes.build("nosuch", tmp_path)
