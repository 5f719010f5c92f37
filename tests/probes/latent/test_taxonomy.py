"""Categories without labels: planted ones are found and named by their sentences, structureless data stays unstable."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from hooks.activations import Activations
from hooks.capture import capture
from hooks.generate import generate
from hooks.model import Model
from hooks.rollouts import Rollouts
from hooks.sites import Positions
from hooks.steer import steering
from hooks.streams import stream
from probes import latent, tasks
from probes.latent.agreement import agreement, agreement_p
from probes.latent.category_quality import gaussian_twin, held_out_r2, orthogonality
from probes.latent.clusters import fit_clusterings, unit_rows
from probes.latent.sentences import Sentences, sentence_positions, sentence_vectors
from probes.latent.spans import Spans
from probes.latent.taxonomy import Taxonomy, taxonomy

A_TEXT = 6


def planted(k: int, n: int = 480, d: int = 24, size: float = 6.0, seed: int = 0) -> tuple[Sentences, np.ndarray]:
    """Sentences of ``k`` kinds (none: one Gaussian cloud), all far from the origin, six to a text."""
    rng = stream(seed, "planted sentences", k)
    centres = np.linalg.qr(rng.standard_normal((d, max(k, 1))))[0].T * (size if k else 0.0)
    kind = rng.integers(0, max(k, 1), n)
    rows = rng.standard_normal((n, d)) + 3 + centres[kind]
    place = np.arange(n) % A_TEXT
    frame = pd.DataFrame(
        {
            "problem": [f"p{at // A_TEXT:03d}" for at in range(n)], "sample": 0, "model": "m",
            "strategy": [f"kind {one}" for one in kind], "start": place * 5, "stop": place * 5 + 5,
            "text": [f"sentence {at} of kind {one} " for at, one in enumerate(kind)],
        }
    )  # fmt: skip
    return Sentences(frame, rows.astype(np.float32), "resid_post.1"), kind


@pytest.fixture(scope="module")
def found() -> Taxonomy:
    return taxonomy(planted(5)[0], n=(3, 5, 9), method="kmeans", seeds=4, n_boot=200)


def test_planted_categories_are_recovered_and_their_number_is_the_most_stable(found: Taxonomy) -> None:
    table = found.frame.set_index("n")
    assert found.choice() == ("kmeans", 5)
    assert table.loc[5, "agreement"] > 0.95
    assert table.loc[5, "stability"] > 0.95
    assert table.loc[5, "stability"] > table.loc[5, "stability_gaussian"] + 0.3
    assert table["stability"].idxmax() == table["silhouette"].idxmax() == 5
    assert table.loc[5, "agreement_p"] < 0.01
    for name in ("stability", "r2", "silhouette", "orthogonality", "agreement"):
        assert (table[f"{name}_low"] <= table[name] + 1e-9).all()
        assert (table[f"{name}_high"] >= table[name] - 1e-9).all()
    assert "most stable is kmeans with 5 categories" in str(found)
    assert len(found.plot().data) == 6


def test_the_autoencoder_recovers_them_too() -> None:
    sentences, kind = planted(5)
    result = taxonomy(sentences, n=(5, 12), method="sae", seeds=3, n_boot=100, controls=False)
    method, n = result.choice()
    best = result.frame[result.frame["n"] == n].iloc[0]
    assert method == "sae"
    assert best["agreement"] > 0.9
    assert agreement([f"kind {one}" for one in kind], result.categories().frame["strategy"]).value > 0.9
    assert best["stability"] > 0.7
    assert result.frame["stability_gaussian"].isna().all()


@pytest.mark.parametrize("method", ["kmeans", "sae"])
def test_structureless_sentences_give_unstable_categories(method: str) -> None:
    null = taxonomy(planted(0)[0], n=(5, 9), method=method, seeds=3, n_boot=50)  # type: ignore[arg-type]
    assert (null.frame["stability"] < 0.4).all()
    assert (null.frame["stability"] < null.frame["stability_gaussian"] + 0.15).all()
    # All sentences have one and the same rule, so there is nothing to agree with.
    assert null.frame["agreement"].isna().all()


def test_examples_name_a_category_by_its_nearest_sentences(found: Taxonomy) -> None:
    shown = found.examples(5, k=3)
    assert list(shown.groupby("category").size()) == [3] * 5
    assert shown.groupby("category")["rule"].nunique().eq(1).all()
    assert shown["rule"].nunique() == 5
    assert shown.groupby("category")["share"].first().is_monotonic_decreasing
    assert shown.groupby("category")["share"].first().sum() == pytest.approx(1)
    first = shown[shown["category"] == 1]
    assert first["cosine"].is_monotonic_decreasing
    assert not first["text"].iloc[0].endswith(" ")
    # The plain definition: the member of the category whose centred, scaled vector lies closest to their mean.
    spans = found.categories(5).frame
    own = (spans["strategy"] == "category 1").to_numpy()
    rows = found.sentences.vectors - found.sentences.vectors.mean(axis=0)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    near = rows[own] @ rows[own].mean(axis=0)
    assert spans["text"][own].iloc[int(near.argmax())].strip() == first["text"].iloc[0]


def test_categories_can_be_named_and_carried_to_other_sentences(found: Taxonomy) -> None:
    rule = found.examples(5, k=1).set_index("category")["rule"]
    named = found.categories(5, names=dict(rule))
    assert isinstance(named, Spans)
    assert (named.frame["strategy"] == found.sentences.frame["strategy"]).mean() > 0.95
    rng = stream(9, "other sentences")
    moved = found.sentences.vectors + 0.1 * rng.standard_normal(found.sentences.vectors.shape).astype(np.float32)
    other = Sentences(found.sentences.frame.assign(model="other"), moved, "resid_post.1")
    assert (found.assign(other, 5).frame["strategy"] == found.categories(5).frame["strategy"]).mean() > 0.97
    with pytest.raises(ValueError, match=r"resid_post\.2"):
        found.assign(Sentences(other.frame, other.vectors, "resid_post.2"))
    with pytest.raises(ValueError, match="there are kmeans 3, kmeans 5, kmeans 9"):
        found.categories(7)


def test_held_out_r2_is_the_plain_formula_on_problems_not_seen() -> None:
    sentences, _ = planted(4, n=60)
    problems, vectors = sentences.frame["problem"], sentences.vectors
    from probes.latent.splits import grouped_folds

    parts = grouped_folds(problems, folds=2, seed=0)
    error, total = {}, {}
    for fold in (0, 1):
        fit = fit_clusterings(vectors[parts != fold], 4, method="kmeans", seeds=[0])[0]
        seen = unit_rows(vectors[parts != fold] - vectors[parts != fold].mean(axis=0))
        for at in np.flatnonzero(parts == fold):
            x = vectors[at] - vectors[parts != fold].mean(axis=0)
            x = x / np.sqrt((x**2).sum())
            nearest = min(((x - centre) ** 2).sum() for centre in np.asarray(fit.model))
            error.setdefault(problems[at], []).append(nearest)
            total.setdefault(problems[at], []).append(((x - seen.mean(axis=0)) ** 2).sum())
    slow = 1 - np.mean([np.mean(v) for v in error.values()]) / np.mean([np.mean(v) for v in total.values()])
    fast = held_out_r2(vectors, problems, 4, method="kmeans", folds=2, n_boot=50)
    assert fast.value == pytest.approx(slow, rel=1e-4)
    lone = held_out_r2(vectors, ["one"] * 60, 4, method="kmeans")
    assert np.isnan(lone.value)


def test_orthogonality_and_the_gaussian_twin() -> None:
    sentences, kind = planted(3)
    rows = unit_rows(sentences.vectors - sentences.vectors.mean(axis=0))
    centres = [rows[kind == one].mean(axis=0) for one in range(3)]
    cosine = lambda a, b: abs(a @ b) / np.sqrt((a @ a) * (b @ b))  # noqa: E731
    slow = np.mean([1 - cosine(centres[a], centres[b]) for a, b in ((0, 1), (0, 2), (1, 2))])
    assert orthogonality(rows, kind, 3, sentences.frame["problem"], n_boot=20).value == pytest.approx(slow, rel=1e-4)
    empty = orthogonality(rows, kind, 4, sentences.frame["problem"], n_boot=20)
    assert empty.value == pytest.approx(slow, rel=1e-4), "a category without members is left out"
    twin = gaussian_twin(np.repeat(sentences.vectors, 20, axis=0))
    np.testing.assert_allclose(np.cov(twin.T), np.cov(sentences.vectors.T, ddof=0), atol=0.25)
    np.testing.assert_allclose(twin.mean(axis=0), sentences.vectors.mean(axis=0), atol=0.2)


def test_what_cannot_be_sorted_is_refused() -> None:
    sentences, _ = planted(3, n=12)
    with pytest.raises(ValueError, match="12 sentences cannot be put into 13"):
        taxonomy(sentences, n=13)
    with pytest.raises(ValueError, match="needs the texts and a layer"):
        taxonomy(object())
    with pytest.raises(ValueError, match="not finite"):
        Sentences(sentences.frame, np.full_like(sentences.vectors, np.nan), "resid_post.1")
    with pytest.raises(ValueError, match="give one a sentence"):
        Sentences(sentences.frame, sentences.vectors[1:], "resid_post.1")


@pytest.fixture(scope="module")
def base() -> Model:
    return Model.load("organism:latent:base", dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def texts() -> Rollouts:
    rl = Model.load("organism:latent:rl", dtype="float32", device="cpu")
    return generate(rl, tasks.load("organism:latent", n=40), temperature=1.0, max_new_tokens=80, seed=0)


def test_a_sentence_is_the_mean_over_its_tokens_and_the_place_before(base: Model, texts: Rollouts) -> None:
    few = Rollouts(texts.frame.iloc[[3, 1, 2]])
    sentences = sentence_vectors(base, few, layer=2)
    pd.testing.assert_frame_equal(sentences.frame, sentences.spans.frame)
    whole = capture(base, few, sites="resid_post.2", positions="all")
    for at, row in sentences.frame.iterrows():
        own = few.frame[few.frame["problem"] == row["problem"]].iloc[0]
        inside = (whole.rows["problem"] == row["problem"]) & whole.rows["index"].between(
            row["start"] - 1, row["stop"] - 1
        )
        slow = whole["resid_post.2"][torch.from_numpy(inside.to_numpy().copy())].mean(dim=0)
        np.testing.assert_allclose(sentences.vectors[at], slow.numpy(), atol=1e-4)
        assert base.decode(own["ids"][row["start"] : row["stop"]]) == row["text"]
        assert inside.sum() == row["stop"] - row["start"] + 1


def test_activations_captured_before_give_the_same_and_others_are_refused(base: Model, texts: Rollouts) -> None:
    few = Rollouts(texts.frame.iloc[:4])
    direct = sentence_vectors(base, few, layer=1)
    acts = capture(base, few, sites="resid_post.1", positions=sentence_positions(direct.spans, few), reduce="mean")
    np.testing.assert_array_equal(sentence_vectors(acts, few, layer=1).vectors, direct.vectors)
    with pytest.raises(ValueError, match="are not the"):
        sentence_vectors(acts.where(np.arange(len(acts.rows)) > 0), few, layer=1)
    with pytest.raises(ValueError, match="have no spans"):
        sentence_vectors(Activations(acts.tensors, acts.rows[["problem"]], {}), few, layer=1)
    with pytest.raises(ValueError, match="not among the texts"):
        sentence_vectors(base, Rollouts(few.frame.iloc[:2]), layer=1, spans=direct.spans)
    with pytest.raises(ValueError, match="no sentence"):
        sentence_vectors(base, few, layer=1, splitter=lambda text: [])


def test_english_sentences_of_any_model_are_found(llama_dir) -> None:  # type: ignore[no-untyped-def]
    model = Model.load(llama_dir, dtype="float32", device="cpu")
    text = "so we have two and. then it is not so? wait a bit more. ok"
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    row = {"problem": "p", "sample": 0, "model": "m", "prompt": "q", "prompt_ids": [1, 5], "ids": ids, "text": text,
           "logp": [0.0] * len(ids), "stop": "eos", "author": ["m"] * len(ids)}  # fmt: skip
    sentences = sentence_vectors(model, Rollouts.of([row]), layer=1, splitter="english")
    assert "".join(sentences.frame["text"]) == text
    assert len(sentences.frame) == 3


def test_on_the_organism_categories_agree_with_the_strategies_and_serve_as_labels(base: Model, texts: Rollouts) -> None:
    result = latent.taxonomy(base, texts, layer=2, n=3, method="kmeans", seeds=3, n_boot=100)
    row = result.frame.iloc[0]
    assert row["agreement"] > 0.6
    assert row["agreement_low"] > 0.4
    assert row["agreement_p"] < 0.01
    sae = latent.taxonomy(result.sentences, n=5, seeds=2, n_boot=50, controls=False)
    assert agreement_p(sae.categories().frame["strategy"], result.sentences.frame["strategy"],
                       result.sentences.frame["problem"]) < 0.01  # fmt: skip
    # From here on a category is a strategy like any other.
    spans = result.categories()
    chosen = latent.decisions(spans, texts)
    assert set(chosen["strategy"]) == {"category 1", "category 2", "category 3"}
    masks = [[False] * len(ids) for ids, _ in texts.sequences()]
    place = {name: at for at, name in enumerate(texts.frame["problem"])}
    for problem, position in zip(chosen["problem"], chosen["position"], strict=True):
        masks[place[problem]][position] = True
    acts = capture(base, texts, sites="resid_post.2", positions=Positions.mask(masks))
    order = acts.rows.merge(chosen, left_on=["problem", "sample", "pos"], right_on=["problem", "sample", "position"])
    label = (order["strategy"] == "category 2").to_numpy()
    assert len(order) == len(acts.rows)
    one = latent.direction(acts, label, site="resid_post.2", label="category 2", model=base, texts=texts)
    assert one.scores["held_out_auroc"] > 0.9
    swept = latent.sweep(acts, {"category 2": label}, folds=3, controls=False, n_boot=100)
    assert swept.frame["auroc"].iloc[0] > 0.9
    with steering(one, 1.0).on(base):
        pass


def test_its_categories_are_labels_like_any_other(found: Taxonomy) -> None:
    named = found.categories(5, names={1: "the commonest"}).frame
    rows = found.sentences.frame.assign(pos=named["start"])
    acts = Activations({found.sentences.site: torch.from_numpy(found.sentences.vectors)}, rows, {})
    swept = latent.sweep(acts, named["strategy"], n_boot=50, C=(0.1,))
    assert swept.labels == ("category 2", "category 3", "category 4", "category 5", "the commonest")
    assert (swept.frame["positive"].sort_values(ascending=False) == named["strategy"].value_counts().to_numpy()).all()
    assert (swept.frame["auroc"] > 0.95).all()
    assert (swept.frame["q"] < 1e-6).all()
    assert (swept.frame["shuffled"] - 0.5).abs().max() < 0.15


def test_the_room_opens_its_functions_even_after_their_modules_were_imported() -> None:
    import probes.latent.sweep
    import probes.latent.taxonomy
    import probes.latent.transfer

    assert all(callable(getattr(latent, name)) for name in ("sweep", "transfer", "taxonomy", "direction", "annotate"))
    assert {"steering_effect", "logistic_path", "LinearProbe", "Sweep", "decisions", "optimised"} <= set(dir(latent))
    assert latent.sweep is probes.latent.sweep
    with pytest.raises(AttributeError, match="has no attribute 'swept'"):
        latent.swept  # noqa: B018
