"""Ahead: a label written early is read early, one written in the last token only at k = 0."""

import numpy as np
import pandas as pd
import pytest

from hooks.activations import Activations
from hooks.rollouts import Rollouts
from probes.latent.ahead import Ahead, ahead, places_before
from probes.stats import stream
from tests.probes.latent.planted import acts, texts

LENGTH, PROMPT = 10, 4


def corpus(since: int, *, n: int = 240, d: int = 8, seed: int = 0) -> tuple[Activations, pd.DataFrame, np.ndarray]:
    """Texts of ten tokens that end in a decision; the label is in the activations of the last ``since`` tokens."""
    rng = stream(seed, "ahead")
    label = rng.integers(0, 2, n)
    decisions = pd.DataFrame(
        {"problem": [f"p{i // 4}" for i in range(n)], "sample": [i % 4 for i in range(n)], "position": LENGTH - 1}
    )
    rows = decisions.loc[decisions.index.repeat(LENGTH), ["problem", "sample"]].reset_index(drop=True)
    rows["pos"] = np.tile(np.arange(LENGTH), n)
    rows["index"] = rows["pos"] - PROMPT
    code = 3 * np.outer(np.repeat(label, LENGTH) * (rows["pos"] >= LENGTH - since), np.eye(d)[0])
    return acts(rng.standard_normal((len(rows), d)) + code, rows), decisions, label


def plain(decisions: pd.DataFrame, ids: list[list[int]] | None = None) -> Rollouts:
    own = ids or [[7] * (LENGTH - PROMPT)] * len(decisions)
    return texts(decisions, prompt=[1, 2, 3, 4], ids=own)


def curve(found: Ahead) -> pd.DataFrame:
    return found.frame.set_index("k")


def test_a_label_in_the_last_token_falls_to_chance_one_token_ahead() -> None:
    rows, decisions, label = corpus(1)
    found = curve(ahead(rows, decisions, label, tokens=plain(decisions), site="resid_post.0", ks=range(5), n_boot=200))
    assert found.loc[0, "auroc"] > 0.9
    assert (found.loc[1:, "q"] > 0.05).all()
    assert (found.loc[1:, "auroc"] < 0.62).all()
    # The rows are all there, so the probe at the decision is the same at every distance.
    assert found["now"].nunique() == 1


def test_a_label_written_early_is_read_as_far_ahead() -> None:
    rows, decisions, label = corpus(3)
    found = curve(ahead(rows, decisions, label, tokens=plain(decisions), site="resid_post.0", ks=range(5), n_boot=200))
    assert (found.loc[:2, "over_baseline_low"] > 0.2).all()
    assert (found.loc[3:, "low"] < 0.5).all()


def test_rows_count_only_where_their_tokens_exist() -> None:
    rows, decisions, label = corpus(10)
    settings = {"tokens": plain(decisions), "site": "resid_post.0", "ks": (0, 5, 6, 9, 10), "n_boot": 100}
    inside = curve(ahead(rows, decisions, label, **settings))  # type: ignore[arg-type]
    # Position 9 - 5 is the first generated token; the prompt's four tokens stand before it.
    assert inside["rows"].tolist() == [240, 240, 0, 0, 0]
    assert np.isnan(inside.loc[6, "auroc"])
    anywhere = curve(ahead(rows, decisions, label, within="text", **settings))  # type: ignore[arg-type]
    assert anywhere["rows"].tolist() == [240, 240, 240, 240, 0]
    assert anywhere.loc[9, "auroc"] > 0.9


def test_the_baseline_reads_what_stands_in_the_text_at_the_same_distance() -> None:
    rows, decisions, label = corpus(1)
    # The third token from the end gives the label away.
    ids = [[7, 7, 7, 8 + int(one), 7, 7] for one in label]
    found = curve(
        ahead(rows, decisions, label, tokens=plain(decisions, ids), site="resid_post.0", ks=range(5), n_boot=100)
    )
    assert (found.loc[:2, "baseline"] == 1).all()
    assert (found.loc[3:, "baseline"] == 0.5).all()
    assert (found.loc[:2, "over_baseline"] <= 0).all()


def test_the_slow_reference_agrees() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    from probes.latent.splits import grouped_folds

    rows, decisions, label = corpus(3)
    found = curve(ahead(rows, decisions, label, tokens=plain(decisions), site="resid_post.0", ks=(2,), n_boot=100))
    X = rows["resid_post.0"].numpy()[(rows.rows["pos"] == LENGTH - 3).to_numpy()]
    parts = grouped_folds(decisions["problem"], folds=5, seed=0)
    areas, pairs = [], []
    for part in range(5):
        train, test = parts != part, parts == part
        mean, spread = X[train].mean(0), X[train].std(0)
        fitted = LogisticRegression(C=0.1, tol=1e-8, max_iter=5000).fit((X[train] - mean) / spread, label[train])
        areas.append(roc_auc_score(label[test], fitted.decision_function((X[test] - mean) / spread)))
        pairs.append(label[test].sum() * (1 - label[test]).sum())
    assert found.loc[2, "auroc"] == pytest.approx(np.average(areas, weights=pairs), abs=3e-3)


def test_two_hundred_labels_that_mean_nothing_raise_few_alarms() -> None:
    rows, decisions, _ = corpus(0)
    rng = stream(4, "null labels")
    labels = {f"null{at:03d}": rng.integers(0, 2, len(decisions)) for at in range(200)}
    found = ahead(rows, decisions, labels, tokens=plain(decisions), site="resid_post.0", ks=(0, 2), n_boot=20).frame
    # One in twenty, and the spread of 200 draws.
    assert found.groupby("k")["p"].apply(lambda p: (p < 0.05).sum()).max() <= 16
    assert (found["q"] < 0.05).sum() <= 1
    assert found["auroc"].mean() == pytest.approx(0.5, abs=0.01)


def test_places_before_are_those_of_the_capture() -> None:
    _, decisions, _ = corpus(1, n=8)
    rollouts = plain(decisions)
    chosen = places_before(rollouts, decisions, reach=3)
    ids, n_prompt = rollouts.sequences()[0]
    assert np.flatnonzero(chosen.select(ids, n_prompt, row=0)).tolist() == [6, 7, 8, 9]


def test_what_was_not_captured_is_named() -> None:
    rows, decisions, label = corpus(1, n=40)
    with pytest.raises(ValueError, match="were not captured"):
        ahead(rows, decisions.assign(position=50), label, tokens=plain(decisions), site="resid_post.0")
