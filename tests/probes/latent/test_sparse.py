import numpy as np
import pandas as pd
import pytest
import torch

from hooks.activations import Activations
from probes.latent.sparse import k_sparse, sparse
from probes.latent.sweep import sweep


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    problems = np.repeat(np.arange(50), 12)
    X = rng.normal(size=(600, 20))
    label = (rng.random(600) < 1 / (1 + np.exp(-2 * X[:, 7]))).astype(float)
    return X, label, problems


def acts(X, problems):
    rows = pd.DataFrame({"problem": problems.astype(str), "sample": 0})
    sites = {"resid_post.0": torch.tensor(X, dtype=torch.float32), "resid_post.1": torch.randn(len(X), 5)}
    return Activations(sites, rows, {"model": "toy"})


def test_the_one_coordinate_is_found_and_scored_on_held_out_problems(data):
    X, label, problems = data
    line = k_sparse(torch.tensor(X), label, problems, k=(1, 4), n_boot=200)
    assert [one["k"] for one in line] == [1, 4]
    assert line[0]["features"] == "7"
    assert line[0]["auroc"] > 0.75
    assert line[0]["low"] < line[0]["auroc"] < line[0]["high"]
    assert line[0]["p"] < 1e-6
    assert 0 < line[0]["random"] < 0.7
    assert abs(line[0]["shuffled"] - 0.5) < 0.25
    assert line[1]["held_out"] == line[0]["held_out"]


def test_equals_a_plain_fit_on_the_split_it_says(data):
    """TransformerLens' own AUROC on its own split, from the same features."""
    from transformer_lens.tools.analysis.sparse_probing import fit_sparse_probe

    from hooks.streams import stream

    X, label, problems = data
    theirs = fit_sparse_probe(
        torch.tensor(X), torch.tensor(label).long(), k=4, groups=torch.tensor(problems), preprocess="standardize",
        seed=int(stream(0, "k-sparse split").integers(2**31)),
    )  # fmt: skip
    own = k_sparse(torch.tensor(X), label, problems, k=(4,), n_boot=10)[0]
    assert own["auroc"] == pytest.approx(theirs.metrics.roc_auc)
    assert own["accuracy"] == theirs.metrics.accuracy
    test = theirs.test_indices.numpy()
    assert not set(problems[test]) & set(problems[np.setdiff1d(np.arange(600), test)])


def test_missing_rows_are_left_out(data):
    X, label, problems = data
    hole = np.arange(600) % 3 == 0
    some = k_sparse(torch.tensor(X), np.where(hole, np.nan, label), problems, k=(2,), n_boot=10)
    kept = k_sparse(torch.tensor(X[~hole]), label[~hole], problems[~hole], k=(2,), n_boot=10)
    assert some == kept


def test_what_cannot_be_fit_is_recorded(data, monkeypatch):
    X, label, problems = data
    lonely = (problems == 3).astype(float)
    assert "fewer than two problems" in k_sparse(torch.tensor(X), lonely, problems, k=(1,))[0]["rejected"]
    wide = k_sparse(torch.tensor(X), label, problems, k=(1, 21), n_boot=10)
    assert wide[0]["rejected"] == ""
    assert "20 coordinates" in wide[1]["rejected"]
    assert np.isnan(wide[1]["auroc"])
    import transformer_lens.tools.analysis.sparse_probing as theirs

    plain = theirs._fit_logistic

    def fails_at_four(features, *args, **options):
        if features.shape[1] == 4:
            raise theirs.SparseProbeConvergenceError("no")
        return plain(features, *args, **options)

    monkeypatch.setattr(theirs, "_fit_logistic", fails_at_four)
    one, four = k_sparse(torch.tensor(X), label, problems, k=(1, 4), n_boot=10)
    assert one["auroc"] > 0.75
    assert four["rejected"] == "no"
    assert np.isnan(four["p"])


def test_frame_and_sweep_agree(data):
    X, label, problems = data
    site = acts(X, problems)
    found = sparse(site, {"planted": label, "lonely": (problems == 3).astype(float)}, k=(1, 4), n_boot=50)
    assert "8 fits at k = 1, 4; 4 rejected" in str(found)
    assert list(found.frame["site"].unique()) == ["resid_post.0", "resid_post.1"]
    assert len(found.plot().data) == 4
    assert found.frame["q"].iloc[0] < 1e-6
    table = sweep(site, {"planted": label}, sparse=(1, 4), n_boot=50, controls=False, C=(0.1,)).frame
    alone = found.frame.query("label == 'planted'").set_index(["site", "k"])
    for _, line in table.iterrows():
        for k in (1, 4):
            # A label with or without missing rows has the same weights here: none and balanced rank alike at k = 1.
            assert line[f"sparse_{k}"] == pytest.approx(alone.loc[(line["site"], k), "auroc"], abs=0.02)
            assert line[f"sparse_{k}_rejected"] == ""
            assert line[f"sparse_{k}_low"] <= line[f"sparse_{k}"] <= line[f"sparse_{k}_high"]


def test_refusals(data):
    X, label, problems = data
    for options, message in [
        ({"k": ()}, "positive"), ({"k": (0,)}, "positive"), ({"class_weight": "heavy"}, "class_weight"),
        ({"sites": []}, "no site"), ({"split": "lesson"}, "no column"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            sparse(acts(X, problems), label, **options)
