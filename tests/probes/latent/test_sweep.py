import numpy as np
import pandas as pd
import pytest
import torch

from hooks.activations import Activations
from probes.latent.splits import LeakError
from probes.latent.sweep import sweep

SMALL = {"C": (1e-2, 1.0), "n_boot": 200}


def acts(rows, problems, **columns):
    """Activations at ``resid_post.0``, ``resid_post.1``, ... with their table."""
    n = len(problems)
    frame = pd.DataFrame({"problem": problems, "sample": 0, "pos": np.arange(n) % 7 + 9, "index": np.arange(n) % 7})
    tensors = {f"resid_post.{at}": torch.tensor(one, dtype=torch.float32) for at, one in enumerate(rows)}
    return Activations(tensors, frame.assign(**columns), {"model": "toy"})


@pytest.fixture(scope="module")
def planted():
    """A direction that is weak at the first site and strong at the second, and a label nobody can read."""
    rng = np.random.default_rng(0)
    n, d = 1200, 10
    problems = np.repeat(np.arange(60), 20).astype(str)
    signal = rng.normal(size=n)
    rows = [rng.normal(size=(n, d)) for _ in range(3)]
    rows[0][:, 0] += 0.3 * signal
    rows[1] += np.outer(signal, np.eye(d)[1] * 2)
    labels = {
        "readable": rng.random(n) < 1 / (1 + np.exp(-1.5 * signal)),
        "nothing": rng.random(n) < 0.3,
        "inner": np.where(np.arange(n) % 2 == 0, (signal > 0).astype(float), np.nan),
    }
    tokens = rng.integers(0, 12, size=n)
    found = sweep(acts(rows, problems, id=tokens), labels, ceiling={"readable": signal}, **SMALL)
    return found, rows, labels, problems, signal


def test_planted_direction_is_read_where_it_is(planted):
    found, *_ = planted
    table = found.frame.set_index(["label", "site"])
    strong, weak = table.loc[("readable", "resid_post.1")], table.loc[("readable", "resid_post.2")]
    assert strong["auroc"] > 0.75
    assert strong["q"] < 1e-6
    assert 0.5 > weak["q"] > 0.01 or weak["low"] < 0.5
    assert abs(strong["shuffled"] - 0.5) < 0.06
    assert abs(strong["control"] - 0.5) < 0.08
    assert strong["selectivity"] == pytest.approx(strong["auroc"] - strong["control"])
    assert strong["over_baseline_low"] > 0.15
    assert -0.02 < strong["below_ceiling"] < 0.06
    assert strong["below_ceiling_low"] <= strong["below_ceiling"] <= strong["below_ceiling_high"]
    assert np.isnan(table.loc[("nothing", "resid_post.1"), "ceiling"])
    assert (table.loc["nothing"]["q"] > 0.05).all()
    assert (table.loc["inner"]["rows"] == 600).all()


def test_selection_is_nested(planted):
    found, *_ = planted
    chosen = found.selected.set_index("label")
    assert chosen.loc["readable", "sites"] == "resid_post.1 x5"
    best = found.frame.query("label == 'readable' and site == 'resid_post.1'").iloc[0]
    assert chosen.loc["readable", "auroc"] == pytest.approx(best["auroc"])
    assert chosen.loc["nothing", "p"] > 0.01


def test_prints_draws_and_knows_how_it_was_made(planted):
    found, *_ = planted
    assert "3 sites x 3 labels, 1200 rows" in str(found)
    assert found.plot().data[0].z.shape == (3, 3)
    assert found.manifest["activations"]["model"] == "toy"
    assert found.scores.shape == (3, 3, 1200)
    assert np.isnan(found.scores[:, 2, 1::2]).all()
    assert (found.frame["C"] > 0).all()


def test_reported_site_of_pure_noise_is_not_the_luckiest():
    """The largest of many null AUROCs is above one half; the nested choice must not be."""
    rng = np.random.default_rng(1)
    n, problems = 300, np.repeat(np.arange(30), 10).astype(str)
    best, nested = [], []
    for _ in range(10):
        rows = [rng.normal(size=(n, 6)) for _ in range(8)]
        found = sweep(acts(rows, problems), rng.random(n) < 0.5, controls=False, C=(0.1,), n_boot=10)
        best.append(found.frame["auroc"].max())
        nested.append(found.selected["auroc"].iloc[0])
    assert np.mean(best) > 0.54
    assert abs(np.mean(nested) - 0.5) < 0.03


def test_a_probe_that_memorises_tokens_has_no_selectivity():
    rng = np.random.default_rng(3)
    n, problems = 1500, np.repeat(np.arange(50), 30).astype(str)
    tokens = rng.integers(0, 20, size=n)
    rows = np.eye(20)[tokens] + 0.01 * rng.normal(size=(n, 20))
    label = (tokens < 6) ^ (rng.random(n) < 0.1)
    found = sweep(acts([rows], problems, id=tokens), label, **SMALL).frame.iloc[0]
    assert found["auroc"] > 0.85
    assert found["selectivity"] < 0.05
    assert found["over_baseline_p"] > 0.05


def test_twin_and_duplicated_rows():
    rng = np.random.default_rng(4)
    problems = np.repeat(np.arange(40), 12).astype(str)
    prompts = rng.normal(size=(40, 5))
    rows = np.repeat(prompts, 12, axis=0)
    label = rng.random(480) < 1 / (1 + np.exp(-2 * rows[:, 0]))
    found = sweep(acts([rows], problems), label, twin=acts([rng.normal(size=(480, 5))], problems), **SMALL).frame.iloc[
        0
    ]
    assert found["auroc"] > 0.7
    assert abs(found["twin"] - 0.5) < 0.1


def test_same_numbers_whatever_stands_beside(planted):
    found, rows, labels, problems, _ = planted
    tokens = np.random.default_rng(9).integers(0, 12, size=len(problems))
    alone = sweep(
        acts(rows, problems, id=tokens), {"readable": labels["readable"]}, sites=["resid_post.1"], **SMALL
    ).frame.iloc[0]
    there = found.frame.query("label == 'readable' and site == 'resid_post.1'").iloc[0]
    assert alone["auroc"] == pytest.approx(there["auroc"], abs=1e-4)
    assert alone["shuffled"] == pytest.approx(there["shuffled"], abs=1e-4)


def test_progress_and_given_folds():
    rng = np.random.default_rng(5)
    problems = np.repeat(np.arange(20), 5).astype(str)
    rows, seen = [rng.normal(size=(100, 3))] * 2, []
    folds = np.repeat(np.arange(20) % 4, 5)
    found = sweep(
        acts(rows, problems), rng.random(100) < 0.5, folds=folds, progress=lambda *at: seen.append(at), **SMALL
    )
    np.testing.assert_array_equal(found.folds, folds)
    assert seen[-1] == (3, 3)


def test_refusals():
    rng = np.random.default_rng(6)
    problems = np.repeat(np.arange(20), 5).astype(str)
    site = acts([rng.normal(size=(100, 3))], problems)
    label = rng.random(100) < 0.5
    with pytest.raises(LeakError, match="rows in fold"):
        sweep(site, label, folds=np.arange(100) % 5)
    with pytest.raises(ValueError, match="no column 'lesson'"):
        sweep(site, label, split="lesson")
    with pytest.raises(ValueError, match="99 values for 100 rows"):
        sweep(site, label[:99])
    with pytest.raises(ValueError, match="no site"):
        sweep(site, label, sites=[])
    with pytest.raises(ValueError, match="tokens were given for 3 rows"):
        sweep(site, label, tokens=[[1], [2], [3]])


def test_a_label_without_positives_is_not_measured():
    rng = np.random.default_rng(7)
    problems = np.repeat(np.arange(20), 5).astype(str)
    found = sweep(acts([rng.normal(size=(100, 3))], problems), {"never": np.zeros(100)}, **SMALL)
    assert np.isnan(found.frame["auroc"].iloc[0])
    assert np.isnan(found.frame["q"].iloc[0])
    assert "not measured" in str(found)
