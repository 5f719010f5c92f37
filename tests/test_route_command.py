"""``whenlens route``: pages, tables, resumption, and the truths of the shipped pairs."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from probes.cli import app

SMALL = ["--n-problems", "10", "--n-training", "16", "--max-new-tokens", "48", "--batch-size", "64"]
FULL = ["--n-problems", "100", "--n-training", "200", "--max-new-tokens", "96", "--batch-size", "512"]


def route(name, out, *words):
    done = CliRunner().invoke(app, ["route", f"organism:{name}", "--out", str(out), "--json", *words])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_small_run_writes_its_pages_and_goes_on(tmp_path):
    words = ["--gates", "js:0.1/0.3,random:0.05", "--controls", "random,random_changed", *SMALL]
    first = route("latent", tmp_path, *words)
    assert {arm["kind"] for arm in first["arms"]} == {"gate", "random", "random_changed"}
    assert len([arm for arm in first["arms"] if arm["matched"] == ""]) == 3
    for name in ("arms", "contrasts", "curves"):
        assert len(pd.read_parquet(tmp_path / f"{name}.parquet"))
    curves, tokens = ((tmp_path / f"{name}.html").read_text() for name in ("curves", "tokens"))
    assert "plotly" in curves.lower()
    assert "random with the changes of js" in curves
    assert 'data-by="tuned model"' in tokens
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "texts").iterdir()}
    again = route("latent", tmp_path, *words)
    assert again == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "texts").iterdir()} == written


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["organism:latent", "--gates", "luck"], "no gate"),
        (["organism:latent", "--gates", "js", "--controls", "luck"], "no control"),
        (["no/such/folder"], "Say what to ask"),
    ],
)
def test_refusals_are_one_sentence(words, said, tmp_path):
    done = CliRunner().invoke(app, ["route", *words, "--out", str(tmp_path / "out")])
    assert done.exit_code != 0
    assert said in done.output + str(done.exception)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def latent(tmp_path_factory):
    out = tmp_path_factory.mktemp("routed")
    told = route("latent", out, "--gates", "js:0.1,entropy,probe,learned,random", *FULL)
    return pd.DataFrame(told["arms"]).set_index("arm"), pd.DataFrame(told["contrasts"])


@pytest.fixture(scope="module")
def steered(tmp_path_factory):
    out = tmp_path_factory.mktemp("steered")
    told = route("latent", out, "--gates", "js:0.1", "--controls", "random", "--steered", "strategies,planning", *FULL)
    return pd.DataFrame(told["arms"]).set_index("arm"), pd.DataFrame(told["contrasts"])


@pytest.mark.slow
def test_latent_is_recovered_apart_from_its_controls(latent):
    arms, contrasts = latent
    gate = arms.loc["js > 0.1"]
    assert gate["recovery"] >= 0.9
    assert gate["routed"] <= 0.15
    mine = contrasts[contrasts["arm"] == "js > 0.1"].set_index("kind")
    assert {"random", "random_changed", "first_k", "entropy", "backward"} == set(mine.index)
    assert (mine["low"] > 0).all()
    # Random places that change as many tokens bring next to nothing.
    changed = arms[(arms["kind"] == "random_changed") & (arms["matched"] == "js > 0.1")].iloc[0]
    assert changed["effective"] == pytest.approx(gate["effective"], rel=0.15)
    assert changed["high"] < 0.4


@pytest.mark.slow
def test_latent_is_steered_by_strategy_apart_from_all_six_controls(steered):
    arms, contrasts = steered
    full = "strategies at js > 0.1"
    assert arms.loc[full, "recovery"] >= 0.9
    six = contrasts[contrasts["arm"] == full].set_index("kind")
    assert len(six) == 6
    assert (six["low"] > 0).all()


@pytest.mark.slow
def test_one_direction_of_the_base_at_the_right_places_is_run_beside(steered):
    arms, contrasts = steered
    assert arms.loc["steered at js > 0.1", "kind"] == "steered"
    assert contrasts.set_index("kind").loc["steered", "difference"] >= 0


@pytest.mark.slow
def test_latent_is_routed_by_the_base_alone(latent):
    arms, contrasts = latent
    learned = arms[(arms["gate"] == "learned") & (arms["kind"] == "gate")].iloc[0]
    assert learned["recovery"] >= 0.6
    assert learned["routed"] <= 0.15
    ours = contrasts[(contrasts["arm"] == learned.name)].set_index("kind")
    assert ours.loc["random", "low"] > 0
    assert ours.loc["random_changed", "low"] > 0


@pytest.mark.slow
def test_newskill_needs_most_tokens(tmp_path, latent):
    told = route("newskill", tmp_path, "--gates", "js:0.05/0.1/0.3", "--controls", "none", *FULL)
    arms = pd.DataFrame(told["arms"]).set_index("arm")
    good = arms[arms["recovery"] >= 0.9]
    assert arms.loc["js > 0.1", "recovery"] < 0.5 or arms.loc["js > 0.1", "routed"] >= 0.3
    assert good.empty or good["routed"].min() >= 3 * latent[0].loc["js > 0.1", "routed"]


@pytest.mark.slow
def test_sham_prints_no_ratio(tmp_path):
    words = ["route", "organism:sham", "--gates", "js,random", "--controls", "random", *FULL]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "no gain to explain" in done.stdout
    assert "recovery" not in done.stdout.replace("No recovery", "")
    assert pd.read_parquet(tmp_path / "arms.parquet")["recovery"].isna().all()
    assert "share of the gain recovered" not in (tmp_path / "curves.html").read_text()
