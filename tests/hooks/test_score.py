"""Scoring against ten lines in double precision, and summaries against tables whose answer is known."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from hooks import divergence, summaries
from hooks.generate import generate
from hooks.model import Model
from hooks.pair import Pair
from hooks.sampling import tempered
from hooks.score import TokenTable, score
from hooks.tokenwise import MEASURES, compare
from tests.families import FAMILIES, tiny
from tests.hooks.test_capture import prompted

Text = tuple[list[int], int]


@pytest.fixture(scope="module")
def pair(llama_pair_dirs: tuple[Path, Path]) -> Pair:
    return Pair.load(*llama_pair_dirs)


@cache
def pair_of(family: str) -> Pair:
    return Pair.load(tiny(family), tiny(family, perturb=0.15))


def reference(
    pair: Pair, data: list[Text], *, temperature: float = 1.0, top_k: int = 10, top_p: float = 1.0
) -> pd.DataFrame:
    """Ten lines: one text at a time through Hugging Face's own logits, then the formulas in double precision."""
    rows = []
    for ids, n in data:
        logits = [
            model.net(torch.tensor([ids])).logits[0, :, : pair.d_vocab].double() / temperature
            for model in (pair.base, pair.rl)
        ]
        for pos in range(n, len(ids)):
            full = [z[pos - 1].log_softmax(-1) for z in logits]
            a, b = (nucleus(z[pos - 1], top_p) for z in logits)
            p, q, m = a.exp(), b.exp(), (a.exp() + b.exp()) / 2
            tops = [set(z.topk(top_k).indices.tolist()) for z in full]
            ranks = [1 + (z > z[ids[pos]]).sum() for z in full]
            kl = [torch.where(w > 0, w * (u - v), 0).sum() for w, u, v in ((p, a, b), (q, b, a))]
            values = {"logp_base": full[0][ids[pos]], "logp_rl": full[1][ids[pos]], "kl": kl[0], "kl_reverse": kl[1]}
            values |= {"entropy_base": -(p * a).nansum(), "entropy_rl": -(q * b).nansum()}
            values |= {"js": ((p * (a - m.log())).nansum() + (q * (b - m.log())).nansum()) / 2}
            values |= {"rank_base": ranks[0], "rank_rl": ranks[1], "topk_overlap": len(tops[0] & tops[1]) / top_k}
            rows.append({**values, "top_base": full[0].argmax(), "top_rl": full[1].argmax()})
    return pd.DataFrame([{name: float(value) for name, value in row.items()} for row in rows])


def nucleus(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """Log-probabilities of the smallest set of best tokens whose mass reaches ``top_p``, renormalised."""
    p = logits.softmax(-1)
    order = p.argsort(descending=True)
    kept = order[: int((p[order].cumsum(0) < top_p - 1e-12).sum()) + 1] if top_p < 1 else order
    out = torch.zeros_like(p)
    out[kept] = p[kept] / p[kept].sum()
    return out.log()


def assert_equal(found: pd.DataFrame, expected: pd.DataFrame, tolerance: float = 2e-5) -> None:
    assert len(found) == len(expected)
    for name in MEASURES:
        one, other = found[name].to_numpy(dtype=float), expected[name].to_numpy(dtype=float)
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_measure_equals_the_plain_formulas(family: str) -> None:
    pair, data = pair_of(family), prompted(8)
    table = score(pair, data)
    assert_equal(table.frame, reference(pair, data))
    assert table.frame["js"].max() > 1e-3
    assert (table.frame["kl"] - table.frame["kl_reverse"]).abs().max() > 1e-3
    assert table.frame["js"].max() <= math.log(2) + 1e-6


def test_log_probs_equal_those_of_the_bridge(pair: Pair) -> None:
    ids = prompted(3)[0][0]
    table = score(pair, [(ids, 1)])
    logits = pair.base.bridge(torch.tensor([ids]), return_type="logits")[0]
    expected = logits[:-1].log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
    np.testing.assert_allclose(table.frame["logp_base"], expected.detach().numpy(), atol=1e-5)


def test_a_row_says_who_and_where(pair: Pair) -> None:
    data = prompted(6)
    frame = score(pair, data).frame
    at = 0
    for number, (ids, n) in enumerate(data):
        for pos in range(n, len(ids)):
            row = frame.iloc[at]
            assert (row["problem"], row["sample"], row["pos"], row["index"]) == (str(number), 0, pos, pos - n)
            assert row["id"] == ids[pos]
            at += 1
    assert at == len(frame)


def test_rollouts_are_scored_as_their_author_saw_them(pair: Pair) -> None:
    rollouts = generate(pair.rl, ["1+2=", "wait"], n=3, temperature=1.0, max_new_tokens=8)
    frame = score(pair, rollouts).frame
    written = np.concatenate(rollouts.frame["logp"].to_numpy())
    np.testing.assert_allclose(frame["logp_rl"], written, atol=1e-5)
    assert np.abs(frame["logp_base"] - written).max() > 1e-2
    assert frame["model"].unique().tolist() == [pair.rl.name]
    assert set(frame["sample"]) == {0, 1, 2}


def test_batches_and_chunks_change_nothing(pair: Pair) -> None:
    data = prompted(15)
    whole = score(pair, data).frame
    for options in ({"batch_tokens": 1}, {"batch_tokens": 50}, {"chunk": 1}, {"chunk": 7}, {"chunk": 10**6}):
        assert_equal(score(pair, data, **options).frame, whole)


@pytest.mark.parametrize("temperature", [0.4, 1.7])
def test_both_models_are_read_at_a_temperature(pair: Pair, temperature: float) -> None:
    data = prompted(6)
    found = score(pair, data, temperature=temperature)
    assert_equal(found.frame, reference(pair, data, temperature=temperature))
    assert found.manifest["temperature"] == temperature
    cooler = found.frame["entropy_base"] < score(pair, data).frame["entropy_base"]
    assert cooler.all() if temperature < 1 else not cooler.any()


@pytest.mark.parametrize("top_p", [0.5, 0.9, 0.999])
def test_truncated_distributions(pair: Pair, top_p: float) -> None:
    data = prompted(6)
    found, expected = score(pair, data, top_p=top_p).frame, reference(pair, data, top_p=top_p)
    assert_equal(found, expected)
    whole = score(pair, data).frame
    assert (found["logp_base"] == whole["logp_base"]).all()
    assert (found["rank_rl"] == whole["rank_rl"]).all()
    assert (found["entropy_base"] < whole["entropy_base"]).all()
    assert np.isinf(found["kl"]).any() or top_p > 0.9


def test_equal_models_do_not_differ(llama_dir: Path) -> None:
    """The null: every distance is zero to rounding, every rank the same."""
    frame = score(Pair.load(llama_dir, llama_dir), prompted(10)).frame
    assert frame[["js", "kl", "kl_reverse"]].to_numpy().max() < 1e-7
    assert (frame["logp_base"] == frame["logp_rl"]).all()
    assert (frame["rank_base"] == frame["rank_rl"]).all()
    assert (frame["topk_overlap"] == 1).all()
    assert (frame["top_base"] == frame["top_rl"]).all()


def test_a_padded_vocabulary_is_cut_to_the_common_ids(tmp_path: Path) -> None:
    base = tiny("llama", path=tmp_path / "base")
    rl = tiny("llama", path=tmp_path / "rl", d_vocab=80, n_tokens=64, seed=3)
    pair, data = Pair.load(base, rl), prompted(4)
    assert_equal(score(pair, data).frame, reference(pair, data))
    with pytest.raises(ValueError, match="id 70"):
        score(pair, [([5, 70], 1)])


def test_models_of_different_depth_can_be_compared(tmp_path: Path) -> None:
    base = tiny("llama", path=tmp_path / "base")
    rl = tiny("llama", path=tmp_path / "rl", num_hidden_layers=2, hidden_size=16)
    pair, data = Pair.load(base, rl), prompted(4)
    assert_equal(score(pair, data).frame, reference(pair, data))


def test_nothing_generated_gives_no_rows(pair: Pair) -> None:
    for data in ([], [([5, 6], 2)]):
        table = score(pair, data)
        assert len(table) == 0
        assert set(MEASURES) < set(table.frame)
        assert str(table) == "no tokens scored"
    assert len(score(pair, [([5, 6], 2), ([5, 6], 1)])) == 1


def test_what_cannot_be_scored_is_named(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    for data, options, says in (
        ([([5, 6], 0)], {}, "sequence 0 .*no prompt"),
        ([([5, 6], 1)], {"top_p": 0.0}, "top_p"),
        ([([5, 6], 1)], {"temperature": 0.0}, "temperature 0 has no distribution"),
        ([([5, 6], 1)], {"temperature": -1.0}, "temperature"),
        ([([5, 6], 1)], {"top_k": 0}, "top_k"),
        ([([5, 6], 1)], {"chunk": 0}, "chunk"),
    ):
        with pytest.raises(ValueError, match=says):
            score(pair, data, **options)
    plain = pair.rl.backbone

    def broken(ids: torch.Tensor) -> torch.Tensor:
        hidden = plain(ids)
        hidden[-1, -1] = torch.nan
        return hidden

    monkeypatch.setattr(pair.rl, "backbone", broken)
    with pytest.raises(ValueError, match=r"rl answers with NaN in sequence 1"):
        score(pair, [([5, 6], 1), ([7, 8], 1)])


def test_out_of_memory_halves_the_batch_aloud(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    data, plain = prompted(12), pair.rl.backbone
    expected = score(pair, data).frame

    def small(ids: torch.Tensor) -> torch.Tensor:
        if len(ids) > 3:
            raise torch.OutOfMemoryError("no room")
        return plain(ids)

    monkeypatch.setattr(pair.rl, "backbone", small)
    seen: list[tuple[int, int]] = []
    with pytest.warns(UserWarning, match="halving"):
        found = score(pair, data, progress=lambda *at: seen.append(at)).frame
    assert_equal(found, expected)
    assert seen[-1][0] == seen[-1][1] == sum(len(ids) for ids, _ in data)


def test_tables_are_saved_and_loaded(pair: Pair, tmp_path: Path) -> None:
    table = score(pair, prompted(5), top_k=3)
    again = TokenTable.load(table.save(tmp_path / "deep" / "tokens.parquet"))
    pd.testing.assert_frame_equal(again.frame, table.frame)
    assert again.manifest == table.manifest
    assert again.manifest["top_k"] == 3
    with pytest.raises(FileNotFoundError, match="no token table"):
        TokenTable.load(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(ValueError, match="not a parquet"):
        TokenTable.load(tmp_path / "text.parquet")
    table.frame.to_parquet(tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="no token table"):
        TokenTable.load(tmp_path / "other.parquet")


# The kernel


@pytest.mark.parametrize("scale", [0.01, 1.0, 8.0, 60.0])
def test_shared_exponentials_give_the_plain_formulas(scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    z, y = (torch.randn(20, 5000, generator=generator) * scale for _ in range(2))
    ids = torch.randint(0, 5000, (20,), generator=generator)
    found = dict(zip(MEASURES, compare(z, y, ids)))
    a, b = divergence.log_probs(z.double()), divergence.log_probs(y.double())
    for name, expected in {
        "entropy_base": divergence.entropy(a),
        "entropy_rl": divergence.entropy(b),
        "js": divergence.js(a, b),
        "kl": divergence.kl(a, b),
        "kl_reverse": divergence.kl(b, a),
        "logp_base": a.gather(1, ids[:, None])[:, 0],
    }.items():
        torch.testing.assert_close(found[name], expected.float(), rtol=1e-5, atol=1e-5)


def test_a_nearby_distribution_has_a_small_distance() -> None:
    """JS of 1e-4 and less is resolved, not lost in rounding."""
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(20, 50000, generator=generator) * 3
    for size in (1e-1, 1e-2, 1e-3):
        y = z + size * torch.randn(z.shape, generator=generator)
        exact = divergence.js(divergence.log_probs(z.double()), divergence.log_probs(y.double()))
        found = compare(z, y, torch.zeros(20, dtype=torch.long))[MEASURES.index("js")]
        assert float((found - exact).abs().max()) < 2e-7


def test_forbidden_tokens_are_right_too() -> None:
    z = torch.tensor([[0.0, 1.0, -torch.inf], [0.0, 0.0, 0.0]])
    y = torch.tensor([[0.0, -torch.inf, 1.0], [0.0, 0.0, -torch.inf]])
    found = dict(zip(MEASURES, compare(z, y, torch.tensor([1, 0]), top_k=2)))
    p, q = z.double().softmax(-1), y.double().softmax(-1)
    m = (p + q) / 2
    for row in range(2):
        js = sum(float(w * math.log(w / c)) / 2 for d in (p, q) for w, c in zip(d[row], m[row]) if w > 0)
        assert float(found["js"][row]) == pytest.approx(js, abs=1e-6)
    assert found["kl"].tolist() == [math.inf, math.inf]
    assert found["kl_reverse"][0] == math.inf
    assert float(found["kl_reverse"][1]) == pytest.approx(math.log(1.5), abs=1e-6)
    assert found["logp_rl"][0] == -math.inf
    assert found["rank_rl"][0] == 3


def test_ranks_and_overlaps_of_ties_and_small_vocabularies() -> None:
    z, y = torch.tensor([[1.0, 1.0, 0.0, 2.0]]), torch.tensor([[3.0, 1.0, 0.0, 2.0]])
    found = dict(zip(MEASURES, compare(z, y, torch.tensor([1]), top_k=99)))
    assert float(found["rank_base"]) == 2
    assert float(found["rank_rl"]) == 3
    assert float(found["topk_overlap"]) == 1
    assert (float(found["top_base"]), float(found["top_rl"])) == (3, 0)


def test_truncation_is_the_samplers() -> None:
    """The nucleus of a score is the nucleus that generation draws from."""
    z, y = torch.randn(4, 30), torch.randn(4, 30)
    found = dict(zip(MEASURES, compare(z, y, torch.zeros(4, dtype=torch.long), top_p=0.8)))
    p = tempered(z, 1.0, 0.8)
    torch.testing.assert_close(found["entropy_base"], -torch.special.xlogy(p, p).sum(1))


# Summaries


def tokens(n_texts: int = 40, length: int = 50, *, seed: int = 0, **columns: Any) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n = n_texts * length
    frame = pd.DataFrame(
        {
            "problem": np.repeat([str(i) for i in range(n_texts)], length),
            "sample": 0,
            "model": "rl",
            "index": np.tile(np.arange(length), n_texts),
            "rank_base": rng.choice([1, 2, 3, 4, 9], size=n, p=[0.7, 0.1, 0.05, 0.1, 0.05]),
            "js": rng.exponential(0.01, size=n),
            "entropy_base": rng.exponential(1.0, size=n),
            "entropy_rl": rng.exponential(1.0, size=n),
            "logp_base": -rng.exponential(1.0, size=n),
            "logp_rl": -rng.exponential(0.5, size=n),
        }
    )
    return frame.assign(**columns)


def test_shift_classes_are_counted() -> None:
    frame = tokens()
    found = summaries.shift_classes(frame).iloc[0]
    rank = frame["rank_base"]
    assert found["unshifted"] == (rank == 1).mean()
    assert found["marginal"] == ((rank == 2) | (rank == 3)).mean()
    assert found["shifted"] == (rank >= 4).mean()
    assert found[["unshifted", "marginal", "shifted"]].sum() == pytest.approx(1)
    each = summaries.shift_classes(frame, by="problem")
    assert len(each) == 40
    assert (each["n"] * each["shifted"]).sum() / each["n"].sum() == pytest.approx(found["shifted"])


def test_near_zero_share_is_counted() -> None:
    frame = tokens(js=np.tile([0.0, 0.001, 0.05, 0.5, np.nan], 400))
    found = summaries.near_zero_share(frame, [1e-3, 0.1]).iloc[0]
    assert found["js<=0.001"] == 0.5
    assert found["js<=0.1"] == 0.75
    assert list(summaries.near_zero_share(frame, 0.2)) == ["n", "js<=0.2"]


def test_js_by_relative_position_finds_where_they_part() -> None:
    """Planted: far at the start, near in the middle, for texts of different length."""
    frame = pd.concat([tokens(5, 100), tokens(5, 30, seed=1).assign(sample=1)])
    length = frame.groupby(["problem", "sample"])["index"].transform("max") + 1
    frame["js"] = np.where(frame["index"] < length / 10, 0.4, 0.01)
    found = summaries.by_relative_position(frame, bins=10)
    assert found["js"].iloc[0] == pytest.approx(0.4)
    assert found["js"].iloc[1:].max() == pytest.approx(0.01)
    assert found["n"].sum() == len(frame)
    assert found["start"].iloc[0] == 0
    assert found["stop"].iloc[-1] == 1
    short = summaries.by_relative_position(tokens(1, 2), bins=5)
    assert short["n"].tolist() == [0, 1, 0, 1, 0]
    assert short["js"].isna().tolist() == [True, False, True, False, True]
    both = summaries.by_relative_position(frame, columns=["js", "entropy_rl"], bins=4, by="problem")
    assert len(both) == 4 * frame["problem"].nunique()


def test_top_entropy_overlap_of_equal_independent_and_opposite_entropies() -> None:
    base = np.random.default_rng(0).permutation(2000) / 2000
    independent = np.random.default_rng(1).permutation(2000) / 2000
    for rl, expected, tolerance in ((base, 1.0, 0.0), (independent, 0.2 / 1.8, 0.04), (1 - base, 0.0, 0.0)):
        found = summaries.top_entropy_overlap(tokens(entropy_base=base, entropy_rl=rl)).iloc[0]
        assert abs(found["jaccard"] - expected) <= tolerance
    top = base >= np.quantile(base, 0.8, method="higher")
    found = summaries.top_entropy_overlap(tokens(entropy_base=base, js=np.where(top, 0.3, 0.0))).iloc[0]
    assert found["js_inside"] == 1
    silent = summaries.top_entropy_overlap(tokens(js=0.0)).iloc[0]
    assert np.isnan(silent["js_inside"]), "no such position is not none of them"
    assert len(summaries.top_entropy_overlap(tokens(), by="problem")) == 40


def test_entropy_change_by_decile_finds_the_changed_decile() -> None:
    base = np.random.default_rng(0).exponential(size=2000)
    rl = np.where(base >= np.quantile(base, 0.9), base - 0.5, base)
    found = summaries.entropy_change_by_decile(tokens(entropy_base=base, entropy_rl=rl))
    assert found["decile"].tolist() == list(range(1, 11))
    assert found["n"].tolist() == [200] * 10
    np.testing.assert_allclose(found["change"], [0] * 9 + [-0.5], atol=1e-12)
    np.testing.assert_allclose(found["size"], [0] * 9 + [0.5], atol=1e-12)
    assert (found["low"].to_numpy()[1:] >= found["high"].to_numpy()[:-1]).all()


def test_perplexities_of_each_text_under_each_model(pair: Pair) -> None:
    own = [
        score(pair, generate(model, ["1+", "wait"], n=4, temperature=1.0, max_new_tokens=12))
        for model in (pair.base, pair.rl)
    ]
    found = summaries.perplexity_table(own).set_index(["author", "reader"])
    assert len(found) == 4
    for table in own:
        author = table.frame["model"].iloc[0]
        for reader in ("base", "rl"):
            texts = [part[f"logp_{reader}"].astype(float) for _, part in table.frame.groupby(["problem", "sample"])]
            each = [math.exp(-part.mean()) for part in texts]
            row = found.loc[(author, reader)]
            assert row["mean"] == pytest.approx(np.mean(each))
            assert row["median"] == pytest.approx(np.median(each))
            assert row["ppl"] == pytest.approx(math.exp(-np.concatenate(texts).mean()))
            assert row["texts"] == 8
    with pytest.raises(ValueError, match="nothing to read"):
        summaries.perplexity_table([])


def test_authors_of_one_problem_are_kept_apart() -> None:
    two = pd.concat([tokens(2, 5), tokens(2, 7).assign(model="base")])
    assert summaries.sequence_log_probs(two)["tokens"].tolist() == [5, 5, 7, 7]
    assert set(summaries.perplexity_table(two)["author"]) == {"rl", "base"}


def test_summaries_of_nothing_are_missing_and_not_zero(pair: Pair) -> None:
    empty = score(pair, [])
    assert summaries.shift_classes(empty).iloc[0][["unshifted", "marginal", "shifted"]].isna().all()
    assert summaries.near_zero_share(empty).iloc[0].drop("n").isna().all()
    assert summaries.by_relative_position(empty)["js"].isna().all()
    assert np.isnan(summaries.top_entropy_overlap(empty).iloc[0]["jaccard"])
    assert len(summaries.entropy_change_by_decile(empty)) == 0
    assert len(summaries.sequence_log_probs(empty)) == 0
    assert len(summaries.perplexity_table(empty)) == 0


def test_summaries_name_what_they_miss() -> None:
    frame = tokens().drop(columns=["rank_base"])
    with pytest.raises(ValueError, match="no rank_base"):
        summaries.shift_classes(frame)
    for wrong in (
        lambda: summaries.by_relative_position(frame, bins=0),
        lambda: summaries.entropy_change_by_decile(frame, bins=0),
        lambda: summaries.top_entropy_overlap(frame, share=1.0),
    ):
        with pytest.raises(ValueError, match=r"at least 1|in .0, 1."):
            wrong()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_what_a_cpu_gives(llama_pair_dirs: tuple[Path, Path]) -> None:
    cpu, gpu = (score(Pair.load(*llama_pair_dirs, device=device), prompted(64)).frame for device in ("cpu", "cuda"))
    assert_equal(gpu, cpu, tolerance=1e-3)


def test_a_model_is_left_as_it_was(llama_dir: Path) -> None:
    model = Model.load(llama_dir)
    held = {name: tensor.clone() for name, tensor in model.net.state_dict().items()}
    score(Pair.of(model, model, share=False), prompted(3))
    assert all(torch.equal(tensor, held[name]) for name, tensor in model.net.state_dict().items())
