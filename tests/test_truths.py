"""The main job finds what is true of each shipped pair, and nothing else.

``WHENLENS_TRUTHS=FOLDER`` keeps the studies there and goes on with those it holds.
"""

import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
SIZES = {"latent": ["--samples", "128"], "newskill": ["--samples", "32"], "sham": ["--samples", "8"]}


class Tables:
    """Results of one study."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __getitem__(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.root / "results" / f"{name}.parquet")

    def json(self, name: str) -> dict[str, Any]:
        return dict(json.loads((self.root / "results" / f"{name}.json").read_text()))

    def said(self, heading: str) -> str:
        """What the page says in words under a heading, up to its rule."""
        page = re.sub(r"<(script|style).*?</\1>", "", (self.root / "report.html").read_text(), flags=re.DOTALL)
        words = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())
        found = words[words.index(heading) + len(heading) :]
        return found[: found.index("Rule:")]


def run(name: str, out: Path) -> Tables:
    """The command itself, on half of the default problems."""
    words = [sys.executable, "-m", "probes.cli", "study", f"organism:{name}", "--out", str(out), "--n-problems", "100"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([*words, *SIZES[name]], cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert str(out / "report.html") in done.stdout.replace("\n", "")
    return Tables(out)


def place(name: str, factory: pytest.TempPathFactory) -> Path:
    kept = os.environ.get("WHENLENS_TRUTHS")
    return Path(kept or factory.mktemp("truths")) / name


@pytest.fixture(scope="session")
def latent(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return run("latent", place("latent", tmp_path_factory))


@pytest.fixture(scope="session")
def newskill(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return run("newskill", place("newskill", tmp_path_factory))


@pytest.fixture(scope="session")
def sham(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return run("sham", place("sham", tmp_path_factory))


def shown(tables: Tables) -> pd.Series:
    arms = tables["routing"]
    return arms[arms["arm"] == "js > 0.1"].iloc[0]


def test_latent_is_recovered_with_few_tokens_and_not_at_random_places(latent: Tables) -> None:
    row, arms = shown(latent), latent["routing"]
    assert row["recovery"] >= 0.9
    assert row["routed"] <= 0.15
    random = arms[arms["kind"] == "random"].iloc[0]
    assert random["recovery_high"] < 0.4
    assert latent.json("routing")["share_for_90"]["value"] <= 0.15
    # The first token alone does not do it: later decisions carry part of the gain.
    assert arms[arms["kind"] == "first_k"]["recovery_high"].iloc[0] < 0.8


def test_latent_is_steered_by_the_base_alone(latent: Tables) -> None:
    arms = latent["steering"]
    steered, random = arms[arms["arm"] == "steered"].iloc[0], arms[arms["arm"] == "random"]
    assert len(random) >= 20
    assert steered["p"] <= 0.05
    assert steered["recovery_low"] > random["recovery"].mean()
    over = json.loads((latent.root / "evidence" / "steering.json").read_text())["steering_over_random"]
    assert over["low"] > 0


def test_latent_strategies_are_read_up_to_the_ceiling(latent: Tables) -> None:
    labels = latent["probes_selected"].set_index("label")
    # A decision that the last token settles as far as anything does leaves a probe nothing to win.
    best = labels[[name for name in labels if name.startswith("baseline_")]].max(axis=1)
    open_to_win = labels[labels["ceiling"] - best > 0.03]
    assert {"planning (start)", "computation (inner)"} <= set(open_to_win.index)
    assert (open_to_win["over_baseline_low"] > 0).all()
    assert (labels["below_ceiling"] < 0.03).all()
    assert (labels["q"] < 0.05).all()


def test_latent_base_solves_as_much_as_rl_at_the_largest_k(latent: Tables) -> None:
    table = latent["passk"]
    last = table[table["k"] == table["k"].max()].set_index("model")["value"]
    assert last["base"] >= last["rl"]
    first = table[table["k"] == 1].set_index("model")["value"]
    assert first["rl"] > first["base"] + 0.5


BEFORE = "Was it there before RL?"


def test_latent_was_there_before_rl(latent: Tables) -> None:
    said = latent.said(BEFORE)
    assert re.search(r"“\w+”( and “\w+”)* (was|were) there before RL", said), said
    assert "is told before its first token by the base's own activations" in said
    assert "vectors from it alone beat random ones" in said
    models = latent["before_models"]
    # Read from the base, beyond the last tokens and beyond a model that was never trained, and no better by RL.
    there = models[models["reported"] & (models["text"] == "base text") & (models["over_baseline_low"] > 0)]
    there = there[there["over_twin_low"] > 0]
    assert "computation (inner)" in set(there["label"])
    assert (models["rl_minus_base_q"] > 0.05).all()
    # One model's probe reads the other as it is.
    moved = latent["before_transfer"]
    raw = moved[(moved["space"] == "raw") & (moved["trained"] == "base") & moved["reported"]]
    assert raw["minus_own"].mean() > -0.05


def test_latent_steering_helps_beyond_random_vectors(latent: Tables) -> None:
    arms = latent["steering"].set_index("arm")
    steered, random = arms.loc["steered"], arms.loc["random"]
    assert steered["p"] <= 0.05
    assert steered["accuracy"] > random["accuracy"].max()
    assert steered["change_low"] > 0
    # Nor do vectors of the same recipe whose labels mean nothing.
    assert steered["accuracy"] > arms.loc["shuffled", "accuracy"].max()


def test_sham_models_are_read_alike(sham: Tables) -> None:
    models = sham["before_models"]
    assert {"base text", "RL text"} == set(models["text"])
    assert (models["rl_minus_base_q"] > 0.05).all()
    said = sham.said(BEFORE)
    assert "RL made no strategy more common" in said
    assert "0 differ (q < 0.05)" in said
    assert "there before RL" not in said


def test_newskill_readable_is_not_there_beforehand(newskill: Tables) -> None:
    said = newskill.said(BEFORE)
    assert "Readable is not there beforehand" in said
    assert "the base does not begin it by itself" in said
    assert "the last tokens or an untrained model tell as much" in said
    assert "no vector from the base alone does better than random ones" in said
    assert "there before RL" not in said
    assert newskill.json("steering")["p"] > 0.05
    # What is read of the new strategies in the RL text is read as well from the text or from an untrained model.
    models = newskill["before_models"]
    own = models[(models["text"] == "RL text") & models["label"].str.contains("computation|verification")]
    assert len(own)
    assert ((own["over_baseline_low"] <= 0) | (own["over_twin_low"] <= 0)).all()


@pytest.mark.parametrize("name", list(SIZES))
def test_directions_of_a_study_state_whose_they_are(name: str, request: pytest.FixtureRequest) -> None:
    from hooks.direction import Direction

    tables: Tables = request.getfixturevalue(name)
    found = [Direction.load(path) for path in (tables.root / "directions").glob("*.safetensors")]
    assert found
    assert {one.origin for one in found} == {"base activations, base text"}


def test_newskill_needs_most_tokens(latent: Tables, newskill: Tables) -> None:
    needed, few = (tables.json("routing")["share_for_90"] for tables in (newskill, latent))
    assert needed is None or needed["value"] >= 3 * few["value"]
    if needed is None:
        assert shown(newskill)["routed"] >= 3 * few["value"]


def test_newskill_base_stays_below_at_every_k(newskill: Tables) -> None:
    table = newskill["passk"]
    apart = table[(table["model"] == "rl - base") & (table["k"] <= 32)]
    assert len(apart) >= 6
    assert (apart["band_low"] > 0).all()


def test_newskill_is_not_steered_by_the_base_alone(newskill: Tables) -> None:
    arms = newskill["steering"]
    assert arms[arms["arm"] == "steered"]["p"].iloc[0] > 0.05
    over = json.loads((newskill.root / "evidence" / "steering.json").read_text())["steering_over_random"]
    assert over["low"] <= 0


def test_newskill_base_never_writes_a_step() -> None:
    from hooks.generate import generate
    from hooks.model import Model
    from probes import tasks

    problems = tasks.load("organism:newskill", n=200, seed=1)
    texts = generate(
        Model.load("organism:newskill:base"), problems, n=50, temperature=1.0, max_new_tokens=32, batch_size=1000
    )
    assert len(texts) == 10_000
    # A stray word slips out twice in ten thousand samples; a worked step, operands and result, never does.
    assert not texts.frame["text"].str.contains(r"\d[-+*]\d=\d").any()


def test_sham_has_no_gain_to_explain(sham: Tables) -> None:
    headline = sham.json("headline")
    assert headline["identified"] is False
    assert "no gain to explain" in headline["sentence"]
    gap = sham.json("routing")["gap"]
    assert gap["low"] <= 0 <= gap["high"]
    assert sham["routing"]["recovery"].isna().all()
    page = (sham.root / "report.html").read_text()
    assert "of that gain" not in page


@pytest.mark.parametrize("name", list(SIZES))
def test_the_page_is_whole_and_quiet(name: str, request: pytest.FixtureRequest) -> None:
    tables: Tables = request.getfixturevalue(name)
    page = (tables.root / "report.html").read_text()
    assert tables.json("headline")["sentence"].split(".")[0] in page.replace("&#39;", "'")
    assert "http://" not in page.split("<script")[0]
    claims = json.loads((tables.root / "results" / "claims.json").read_text())
    assert len(claims) == 12
    verdicts = {"supported", "contradicted", "mixed", "not identified", "not measured"}
    assert {claim["verdict"] for claim in claims} <= verdicts
