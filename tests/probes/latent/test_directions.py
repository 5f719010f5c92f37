"""Directions: the plain formula, a planted truth, a silent null, and papers that say where a vector came from."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from hooks.activations import Activations
from hooks.capture import capture
from hooks.control_vectors import from_gguf, from_repeng, from_steering_vectors, to_gguf
from hooks.direction import Direction
from hooks.generate import generate
from hooks.model import Model
from hooks.pair import Pair
from hooks.rollouts import Rollouts
from hooks.steer import steering
from probes.latent.directions import direction, held_out
from probes.latent.pca import paired_differences, principal_axis
from probes.stats import stream


def planted(n: int = 600, d: int = 16, size: float = 2.0, seed: int = 0) -> tuple[Activations, np.ndarray, np.ndarray]:
    rng = stream(seed, "planted")
    truth = rng.standard_normal(d)
    truth /= np.linalg.norm(truth)
    label = rng.integers(0, 2, n).astype(bool)
    rows = rng.standard_normal((n, d)) + size * np.outer(label, truth) + 5
    frame = pd.DataFrame({"problem": [f"p{i // 4}" for i in range(n)], "sample": [i % 4 for i in range(n)]})
    acts = Activations({"resid_post.1": torch.from_numpy(rows).float()}, frame, {"model": "m", "weights": "abc"})
    return acts, label, truth


def test_the_mean_direction_is_the_difference_of_means() -> None:
    acts, label, _ = planted()
    one = direction(acts, label, site="resid_post.1", label="verification")
    rows = acts["resid_post.1"].numpy()
    slow = [sum(r[j] for r in rows[label]) / label.sum() - sum(r[j] for r in rows[~label]) / (~label).sum()
            for j in range(rows.shape[1])]  # fmt: skip
    np.testing.assert_allclose(one.vector.numpy(), slow, atol=1e-4)
    assert one.typical_norm == pytest.approx(float(np.median(np.linalg.norm(rows, axis=1))), rel=1e-5)
    assert (one.model, one.weights_hash, one.label, one.kind) == ("m", "abc", "verification", "mean")


@pytest.mark.parametrize("kind", ["mean", "logistic", "lda", "pca"])
def test_a_planted_direction_is_recovered(kind: str) -> None:
    acts, label, truth = planted(n=2000)
    one = direction(acts, label, site="resid_post.1", kind=kind)  # type: ignore[arg-type]
    assert one.cosine(torch.from_numpy(truth).float()) > 0.97
    assert one.scores["held_out_auroc"] == pytest.approx(0.92, abs=0.04)


def test_labels_that_mean_nothing_score_one_half_on_held_out_problems() -> None:
    acts, _, _ = planted(size=0.0)
    rows, problems = acts["resid_post.1"].numpy(), acts.rows["problem"]
    scores = [held_out(rows, stream(s, "null").integers(0, 2, len(rows)).astype(bool), problems) for s in range(30)]
    assert abs(np.mean(scores) - 0.5) < 0.02


def test_missing_labels_leave_rows_out_and_one_class_is_refused() -> None:
    acts, label, _ = planted()
    partly = pd.Series(label.astype(float)).where(np.arange(len(label)) < 300)
    first = acts.where(np.arange(len(label)) < 300)
    one, other = direction(acts, partly, site="resid_post.1"), direction(first, label[:300], site="resid_post.1")
    torch.testing.assert_close(one.vector, other.vector)
    with pytest.raises(ValueError, match="needs both kinds"):
        direction(acts, np.ones(len(label)), site="resid_post.1", label="all")


def test_lda_looks_past_correlated_noise_and_means_do_not() -> None:
    rng = stream(1, "correlated noise")
    n, d = 3000, 8
    label = rng.integers(0, 2, n).astype(bool)
    loud = rng.standard_normal(n) * 4
    rows = rng.standard_normal((n, d))
    rows[:, 0] += loud + label
    rows[:, 1] += loud
    frame = pd.DataFrame({"problem": [f"p{i // 4}" for i in range(n)]})
    acts = Activations({"resid_post.1": torch.from_numpy(rows).float()}, frame, {})
    scores = {
        kind: direction(acts, label, site="resid_post.1", kind=kind).scores["held_out_auroc"]  # type: ignore[arg-type]
        for kind in ("mean", "logistic", "lda")
    }
    assert scores["lda"] > scores["mean"] + 0.1
    assert scores["lda"] == pytest.approx(scores["logistic"], abs=0.02)
    one, other = (direction(acts, label, site="resid_post.1", kind=kind) for kind in ("mean", "lda"))  # type: ignore[arg-type]
    assert one.norm == pytest.approx(other.norm, rel=1e-4)


def test_the_principal_axis_is_the_first_singular_vector_and_its_sign_that_of_the_label() -> None:
    differences = stream(2, "differences").standard_normal((50, 6)) + np.array([3.0, 0, 0, -1, 0, 0])
    slow = np.linalg.svd(differences)[2][0]
    slow = slow if (differences @ slow).mean() > 0 else -slow
    np.testing.assert_allclose(principal_axis(differences), slow, atol=1e-8)
    np.testing.assert_allclose(principal_axis(-differences), -slow, atol=1e-8)
    wide = differences[:4]
    np.testing.assert_allclose(np.abs(principal_axis(wide) @ np.linalg.svd(wide)[2][0]), 1, atol=1e-8)
    with pytest.raises(ValueError, match="needs pairs"):
        principal_axis(np.empty((0, 6)))


def test_pairs_stay_within_their_group_and_use_each_row_once() -> None:
    groups = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
    positive = np.array([True, False, False, True, True, True, False, True, False])
    matrix = (10.0**groups)[:, None] * np.ones((9, 1)) + np.arange(9)[:, None] / 100
    found = paired_differences(matrix, positive, groups)
    # One pair in group 0, none in group 1 (no negative row), two in group 2; a pair across groups would be large.
    assert found.shape == (3, 1)
    assert np.abs(found).max() < 1
    wanted = [(0 - one + 5 + 7 - 6 - 8) / 100 for one in (1, 2)]
    assert np.isclose(found.sum(), wanted).any()


def test_pca_looks_past_what_sets_problems_apart_and_means_do_not() -> None:
    rng = stream(3, "problems apart")
    n, d = 800, 12
    problem = np.repeat(np.arange(n // 8), 8)
    shift = np.zeros(d)
    shift[1] = 6.0
    rare = rng.random(n // 8) < 0.5
    # In problems of one kind the label is common, and these lie elsewhere for reasons of their own.
    label = rng.random(n) < np.where(rare[problem], 0.75, 0.25)
    rows = rng.standard_normal((n, d)) * 0.5 + np.outer(rare[problem], shift)
    rows[:, 0] += 2.0 * label
    frame = pd.DataFrame({"problem": [f"p{at}" for at in problem]})
    acts = Activations({"resid_post.1": torch.from_numpy(rows).float()}, frame, {})
    truth = torch.eye(d)[0]
    cosines = {kind: direction(acts, label, site="resid_post.1", kind=kind).cosine(truth) for kind in ("mean", "pca")}  # type: ignore[arg-type]
    assert cosines["pca"] > 0.95
    assert cosines["mean"] < 0.8


@pytest.mark.parametrize("kind", ["mean", "pca"])
def test_what_the_tuned_model_moved_is_found_at_the_same_rows(kind: str) -> None:
    acts, label, truth = planted(n=400, size=0.0, seed=4)
    moved = acts["resid_post.1"] + 1.5 * torch.from_numpy(np.outer(label, truth)).float()
    moved += 0.2 * torch.from_numpy(stream(5, "noise").standard_normal(tuple(moved.shape))).float()
    rl = Activations({"resid_post.1": moved}, acts.rows, {"model": "tuned", "weights": "def", "role": "rl"})
    base = Activations(acts.tensors, acts.rows, {"model": "m", "weights": "abc", "role": "base"})
    one = direction(rl, label, site="resid_post.1", kind=kind, against=base, label="x")  # type: ignore[arg-type]
    assert one.cosine(torch.from_numpy(truth).float()) > 0.97
    assert one.norm == pytest.approx(1.5, rel=0.1)
    assert one.origin == "RL minus base activations, text not stated"
    # It has seen the tuned model, so the base is steered by it only on request.
    assert one.weights_hash == "def"
    assert one.scores["rows"] == 2 * label.sum()
    assert one.scores["held_out_auroc"] > 0.75
    elsewhere = direction(rl, ~label, site="resid_post.1", kind=kind, against=base)  # type: ignore[arg-type]
    assert elsewhere.norm < 0.3


def test_pca_without_pairs_and_directions_without_rows_are_refused() -> None:
    acts, label, _ = planted(n=40)
    bare = Activations(acts.tensors, pd.DataFrame(index=range(40)), {})
    with pytest.raises(ValueError, match="give pairs or groups"):
        direction(bare, label, site="resid_post.1", kind="pca")
    with pytest.raises(ValueError, match="needs a mask"):
        direction(bare, site="resid_post.1")
    with pytest.raises(ValueError, match="read the same rows"):
        direction(acts, label, site="resid_post.1", against=acts.where(label))
    alone = pd.Series([f"p{at}" for at in range(40)])
    with pytest.raises(ValueError, match="no group has rows"):
        direction(bare, label, site="resid_post.1", kind="pca", groups=alone)


@pytest.fixture(scope="module")
def pair(llama_pair_dirs: tuple[Path, Path]) -> Pair:
    return Pair.load(*llama_pair_dirs, dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def texts(pair: Pair) -> dict[str, Rollouts]:
    prompts = [f"{at}+{at}=" for at in range(6)]
    return {
        name: generate(model, prompts, max_new_tokens=6, temperature=1.0, seed=0)
        for name, model in (("base", pair.base), ("rl", pair.rl))
    }


def test_the_origin_says_whose_activations_on_whose_text(pair: Pair, texts: dict[str, Rollouts]) -> None:
    seen = {}
    for who, model in (("base", pair.base), ("rl", pair.rl)):
        for whose, own in texts.items():
            acts = capture(model, own, sites="resid_post.1", positions="generated")
            label = (acts.rows["index"] % 2 == 0).to_numpy()
            seen[who, whose] = direction(acts, label, site="resid_post.1", model=model, texts=own)
    assert {key: one.origin for key, one in seen.items()} == {
        ("base", "base"): "base activations, base text",
        ("base", "rl"): "base activations, RL text",
        ("rl", "base"): "RL activations, base text",
        ("rl", "rl"): "RL activations, RL text",
    }
    assert seen["base", "rl"].weights_hash == pair.base.weights_hash
    both = Rollouts(pd.concat([texts["base"].frame, texts["rl"].frame]))
    acts = capture(pair.base, both, sites="resid_post.1", positions="generated")
    label = (acts.rows["index"] % 2 == 0).to_numpy()
    named = direction(acts, label, site="resid_post.1", texts=both)
    assert named.origin == "base activations, mixed text"
    assert direction(acts, label, site="resid_post.1", origin="mine").origin == "mine"


def test_one_side_of_a_store_knows_its_role_and_weights(pair: Pair, texts: dict[str, Rollouts], tmp_path: Path) -> None:
    acts = capture(pair, texts["rl"], sites="resid_post.1", positions="generated", store=tmp_path / "acts")
    label = (acts["base"].rows["index"] % 2 == 0).to_numpy()
    one = direction(acts["base"], label, site="resid_post.1", texts=texts["rl"])
    assert (one.origin, one.weights_hash) == ("base activations, RL text", pair.base.weights_hash)
    with pytest.raises(ValueError, match="of other weights"):
        direction(acts["base"], label, site="resid_post.1", model=pair.rl)


@pytest.mark.parametrize("kind", ["mean", "logistic", "lda", "pca"])
def test_every_kind_is_saved_sent_out_taken_in_and_kept_from_other_weights(
    kind: str, pair: Pair, texts: dict[str, Rollouts], tmp_path: Path
) -> None:
    acts = capture(pair.base, texts["base"], sites="resid_post.1", positions="generated")
    label = (acts.rows["index"] % 2 == 0).to_numpy()
    one = direction(acts, label, site="resid_post.1", kind=kind, model=pair.base, texts=texts["base"], label="even")  # type: ignore[arg-type]
    back = Direction.load(one.save(tmp_path / "v.safetensors"))
    assert back.header() == one.header()
    assert (back.kind, back.origin) == (kind, "base activations, base text")
    vectors = [
        back,
        *from_gguf(to_gguf(one, tmp_path / "v.gguf", model_hint="llama")),
        *from_repeng(SimpleNamespace(model_type="llama", directions={1: one.vector.numpy()})),
        *from_steering_vectors(SimpleNamespace(layer_type="decoder_block", layer_activations={1: one.vector})),
    ]
    for other in vectors:
        torch.testing.assert_close(other.vector, one.vector, rtol=0, atol=0)
        assert other.site == one.site
    with pytest.raises(ValueError, match="other weights"), steering(back, 1.0).on(pair.rl):
        pass
    with steering(back, 1.0, transfer=True).on(pair.rl), steering(back, 1.0).on(pair.base):
        pass


def test_a_model_that_was_not_asked_leaves_the_hash_open(llama_dir: Path) -> None:
    model = Model.load(llama_dir, dtype="float32", device="cpu")
    acts = capture(model, [[5, 6, 7, 8]] * 2, sites="resid_post.1")
    one = direction(acts, np.array([True, False] * 4), site="resid_post.1")
    assert one.origin == f"{model.name} activations, text not stated"
