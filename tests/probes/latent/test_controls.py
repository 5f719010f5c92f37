import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score, brier_score_loss

from hooks.rollouts import Rollouts
from probes.latent.controls import control_label, last_tokens, position_features, shuffled, suffixes, token_features
from probes.latent.labels import label_table, score_table
from probes.latent.quality import calibration_error, quality


def test_shuffling_keeps_counts_and_missing_rows():
    label = np.r_[np.ones(20), np.zeros(60), np.full(20, np.nan)]
    mixed = shuffled(label, seed=0, name="a")
    assert np.nansum(mixed) == 20
    np.testing.assert_array_equal(np.isnan(mixed), np.isnan(label))
    assert (mixed[:80] != label[:80]).any()
    np.testing.assert_array_equal(mixed, shuffled(label, seed=0, name="a"))
    assert (mixed != shuffled(label, seed=0, name="b"))[:80].any()


def test_control_task_depends_on_the_type_alone():
    rng = np.random.default_rng(0)
    types, label = rng.integers(0, 30, size=2000), (rng.random(2000) < 0.2).astype(float)
    control = control_label(label, [types % 5, types], seed=0, name="a")
    for kind in range(30):
        assert len(np.unique(control[types == kind])) == 1
    assert abs(control.mean() - 0.2) < 0.05
    assert np.isnan(control_label(label, [types % 3], seed=0, name="a")).all()
    everything = control_label(np.ones(2000), [types], seed=0, name="a")
    assert 0 < everything.mean() < 1
    assert np.isnan(control_label(label, [], seed=0, name="a")).all()


def test_suffixes_grow():
    one, two = suffixes([[1, 2], [3, 2], [2]], longest=2)
    assert list(one) == ["2", "2", "2"]
    assert list(two) == ["1 2", "3 2", "2"]
    assert list(suffixes([4, 5])[0]) == ["4", "5"]


def test_position_and_length_features():
    rows = pd.DataFrame({"problem": ["a", "b"], "sample": [0, 0], "pos": [10, 14], "index": [2, 3]})
    features = position_features(rows)
    assert features["position"].shape == (2, 4)
    np.testing.assert_array_equal(features["length"][:, 0], [8, 11])
    assert position_features(rows[["problem"]]) == {}


def test_token_features_count_and_mark_the_last():
    features = token_features([[5, 5, 7], [7], [9, 5]])
    np.testing.assert_array_equal(features, [[2, 1, 0, 0, 1], [0, 1, 0, 0, 1], [1, 0, 1, 1, 0]])
    np.testing.assert_array_equal(token_features([5, 7]), token_features([[5], [7]]))
    assert token_features([[], []]).shape == (2, 0)


def test_last_tokens_end_at_the_row():
    texts = Rollouts.of(
        [
            {
                "problem": "p", "sample": 0, "model": "m", "prompt": "x", "prompt_ids": [1, 2], "ids": [3, 4],
                "text": "y", "logp": [0.0, 0.0], "stop": "eos", "author": ["base", "base"],
            }
        ]
    )  # fmt: skip
    rows = pd.DataFrame({"problem": ["p", "p"], "sample": [0, 0], "pos": [1, 3]})
    assert last_tokens(texts, rows, k=3) == [[1, 2], [2, 3, 4]]
    with pytest.raises(ValueError, match="no sample 1"):
        last_tokens(texts, rows.assign(sample=1))


def test_labels_from_names_truth_values_and_tables():
    names, values = label_table(pd.Series(["a", "b", None, "a"]), 4)
    assert names == ("a", "b")
    np.testing.assert_array_equal(values, [[1, 0, np.nan, 1], [0, 1, np.nan, 0]])
    assert label_table(np.array([True, False]), 2)[0] == ("label",)
    names, values = label_table({"x": [1, None], "y": pd.Series([True, False])}, 2)
    np.testing.assert_array_equal(values, [[1, np.nan], [1, 0]])
    for wrong, message in [({"x": [1]}, "1 values for 2"), ({"x": [2, 0]}, "other than 0, 1"), ({}, "no label")]:
        with pytest.raises(ValueError, match=message):
            label_table(wrong, 2)
    with pytest.raises(ValueError, match="fit no label"):
        score_table({"z": [0.0, 1.0]}, ("x",), 2)
    with pytest.raises(ValueError, match="mapping"):
        score_table([0.0, 1.0], ("x", "y"), 2)
    assert list(score_table([0.0, 1.0], ("x",), 2)) == ["x"]


def test_quality_equals_scikit_learn():
    rng = np.random.default_rng(0)
    y = (rng.random(500) < 0.3).astype(float)
    z = np.round(rng.normal(size=500) + 2 * y - 1.5, 1)
    found = quality(np.r_[z, np.nan], np.r_[y, 1.0], np.full(501, -0.5))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y, z > -0.5))
    assert found["average_precision"] == pytest.approx(average_precision_score(y, z))
    assert found["brier"] == pytest.approx(brier_score_loss(y, 1 / (1 + np.exp(-z))))
    assert np.isnan(list(quality(z, np.ones(500), z).values())).all()


def test_calibration_error_of_a_calibrated_and_of_a_boasting_reader():
    rng = np.random.default_rng(0)
    chance = rng.random(20_000)
    labels = rng.random(20_000) < chance
    assert calibration_error(chance, labels) < 0.02
    assert calibration_error(np.where(chance > 0.5, 0.99, 0.01), labels) > 0.2
