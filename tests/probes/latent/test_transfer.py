"""Transfer: a probe reads the other model where the code is shared, after a rotation where the space was turned."""

import numpy as np
import pandas as pd
import pytest

from probes.latent.sweep import sweep
from probes.latent.transfer import Transfer, transfer
from tests.probes.latent.planted import acts, planted, rotation, texts


def way(found: Transfer, trained: str, read: str, space: str) -> pd.Series:
    frame = found.frame
    return frame[(frame["trained"] == trained) & (frame["read"] == read) & (frame["space"] == space)].iloc[0]


def test_a_shared_code_is_read_both_ways_without_loss() -> None:
    base, _, label, frame = planted()
    found = transfer(acts(base, frame), acts(base, frame), label, n_boot=200)
    for trained, read in (("base", "rl"), ("rl", "base")):
        raw = way(found, trained, read, "raw")
        assert raw["minus_home"] == raw["minus_own"] == 0
        assert raw["auroc"] > 0.8
        # A rotation fitted on equal spaces is none.
        assert way(found, trained, read, "turned")["auroc"] == pytest.approx(raw["auroc"], abs=1e-3)
    both = found.models.iloc[0]
    assert both["rl_minus_base"] == 0
    assert both["rl_minus_base_p"] == 1
    assert found.alignment["turned"].iloc[0] == pytest.approx(0, abs=1e-6)
    assert found.alignment["raw_misfit"].iloc[0] == 0


def test_a_turned_space_is_restored_by_procrustes_and_by_nothing_else() -> None:
    base, _, label, frame = planted()
    found = transfer(acts(base, frame), acts(base @ rotation(), frame), label, n_boot=200)
    for trained, read in (("base", "rl"), ("rl", "base")):
        raw, turned = way(found, trained, read, "raw"), way(found, trained, read, "turned")
        assert raw["minus_own_high"] < -0.05
        assert turned["minus_own"] == pytest.approx(0, abs=0.01)
    fit = found.alignment.iloc[0]
    assert fit["raw_misfit"] > 0.5
    assert fit["turned_misfit"] < 1e-6
    assert fit["scale"] == pytest.approx(1)


def test_a_code_that_moved_to_another_axis_is_lost_in_either_space() -> None:
    base, rl, label, frame = planted(angle=np.pi / 2)
    found = transfer(acts(base, frame), acts(rl, frame), label, n_boot=200)
    # The rotation keeps the common noise where it is, and so cannot follow the code alone.
    assert way(found, "base", "rl", "raw")["minus_own_high"] < -0.1
    assert way(found, "base", "rl", "turned")["minus_own_high"] < -0.1
    assert abs(found.models["rl_minus_base"].iloc[0]) < 0.05


def test_the_slow_reference_agrees() -> None:
    from scipy.linalg import orthogonal_procrustes
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    from probes.latent.splits import grouped_folds

    base, rl, label, frame = planted(400, angle=0.4, shared=0.8)
    base, rl = base.astype(np.float32), rl.astype(np.float32) @ rotation().astype(np.float32)
    parts = grouped_folds(frame["problem"], folds=3, seed=0)
    areas: dict[str, list[float]] = {"raw": [], "turned": []}
    pairs = []
    for part in range(3):
        train, test = parts != part, parts == part
        mean, spread = base[train].mean(0), base[train].std(0)
        fitted = LogisticRegression(C=0.1, tol=1e-8, max_iter=5000).fit((base[train] - mean) / spread, label[train])
        means = base[train].mean(0), rl[train].mean(0)
        turn = orthogonal_procrustes(rl[train] - means[1], base[train] - means[0])[0]
        for space, rows in (("raw", rl[test]), ("turned", (rl[test] - means[1]) @ turn + means[0])):
            areas[space].append(roc_auc_score(label[test], fitted.decision_function((rows - mean) / spread)))
        pairs.append(label[test].sum() * (1 - label[test]).sum())
    found = transfer(acts(base, frame), acts(rl, frame), label, C=0.1, folds=3, n_boot=100)
    for space, values in areas.items():
        assert way(found, "base", "rl", space)["auroc"] == pytest.approx(np.average(values, weights=pairs), abs=3e-3)


def test_a_probe_has_one_auroc_here_and_in_the_sweep() -> None:
    base, rl, label, frame = planted(200, angle=0.6, strength=0.5)
    twin = acts(planted(200, strength=0.3, seed=1)[0], frame)
    swept = sweep(acts(base, frame), label, twin=twin, n_boot=50).frame.iloc[0]
    found = transfer(acts(base, frame), acts(rl, frame), label, twin=twin, n_boot=50)
    assert found.models["base_auroc"].iloc[0] == pytest.approx(swept["auroc"], abs=1e-12)
    assert found.models["twin"].iloc[0] == pytest.approx(swept["twin"], abs=1e-12)
    # The difference is that of the two numbers beside it.
    moved = way(found, "base", "rl", "raw")
    assert moved["minus_home"] == pytest.approx(moved["auroc"] - swept["auroc"], abs=1e-12)
    fixed = transfer(acts(base, frame), acts(rl, frame), label, C=0.1, n_boot=50)
    assert fixed.models["base_auroc"].iloc[0] != pytest.approx(swept["auroc"], abs=1e-6)


def test_the_base_probe_stands_beside_tokens_and_a_twin() -> None:
    base, _, label, frame = planted()
    tokens = texts(frame, prompt=[1, 2, 3], ids=[[4, 5, 6 + int(one)] for one in label])
    twin = acts(planted(strength=0.0, seed=1)[0], frame)
    found = transfer(acts(base, frame), acts(base, frame), label, tokens=tokens, twin=twin, n_boot=200).models.iloc[0]
    # Position 5 is the third generated token, which gives the label away.
    assert found["baseline"] == 1
    assert found["over_baseline_high"] < 0
    assert found["over_twin_low"] > 0.2


def test_missing_labels_leave_rows_out_and_one_class_is_nan() -> None:
    base, _, label, frame = planted(200)
    some = pd.DataFrame({"known": np.where(np.arange(200) < 100, label, np.nan), "always": np.ones(200)})
    found = transfer(acts(base, frame), acts(base, frame), some, n_boot=100).models.set_index("label")
    assert found.loc["known", "rows"] == 100
    assert np.isnan(found.loc["always", "base_auroc"])
    assert np.isnan(found.loc["always", "rl_minus_base"])


def test_different_rows_are_refused() -> None:
    base, _, label, frame = planted(40)
    with pytest.raises(ValueError, match="different rows"):
        transfer(acts(base, frame), acts(base[:20], frame[:20]), label)
    with pytest.raises(ValueError, match="different rows"):
        transfer(acts(base, frame), acts(base, frame.assign(pos=6)), label)
