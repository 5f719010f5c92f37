"""Capture against TransformerLens' run_with_cache, for every family, padding, batch, position rule and reduction."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from hooks.capture import capture
from hooks.generate import generate
from hooks.model import Model
from hooks.packing import by_length, halving, pad_right
from hooks.pair import Pair
from hooks.positions import Positions
from hooks.recording import recording
from hooks.rows import grouped_folds, join_labels, select_rows
from hooks.sequences import Sequences
from hooks.sites import KINDS
from hooks.tap import Tap
from tests.families import FAMILIES, tiny


@cache
def model_of(family: str) -> Model:
    return Model.load(tiny(family))


@pytest.fixture(scope="module")
def model(llama_dir: Path) -> Model:
    return Model.load(llama_dir)


@pytest.fixture(scope="module")
def pair(llama_pair_dirs: tuple[Path, Path]) -> Pair:
    return Pair.load(*llama_pair_dirs)


def texts(n: int, *, seed: int = 0, longest: int = 23) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(4, 64, size=rng.integers(1, longest + 1)).tolist() for _ in range(n)]


def prompted(n: int, *, seed: int = 0) -> list[tuple[list[int], int]]:
    rng = np.random.default_rng(seed)
    return [(ids, int(rng.integers(1, len(ids) + 1))) for ids in texts(n, seed=seed)]


def padded(ids: list[list[int]], side: str, pad: int = 0) -> dict[str, torch.Tensor]:
    width = max(map(len, ids))
    rows, mask = [], []
    for own in ids:
        pads, ones = [pad] * (width - len(own)), [1] * len(own)
        rows.append(pads + own if side == "left" else own + pads)
        mask.append([0] * len(pads) + ones if side == "left" else ones + [0] * len(pads))
    return {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(mask)}


def reference(model: Model, ids: list[list[int]], kinds: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Ten lines: every sequence alone through run_with_cache, rows joined."""
    found: dict[str, list[torch.Tensor]] = {}
    for own in ids:
        _, cached = model.bridge.run_with_cache(torch.tensor([own]))
        for layer in range(model.n_layers):
            for kind in kinds:
                tensor = cached[f"blocks.{layer}.hook_{kind}"][0]
                found.setdefault(f"{kind}.{layer}", []).append(tensor.reshape(len(own), -1))
    return {name: torch.cat(parts) for name, parts in found.items()}


def kinds_of(family: str) -> tuple[str, ...]:
    # Attention and MLP of these run side by side: there is no stream between them.
    return tuple(kind for kind in KINDS if kind != "resid_mid" or family != "gpt_neox")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_site_equals_run_with_cache_for_any_padding_and_batch(family: str) -> None:
    model, kinds = model_of(family), kinds_of(family)
    for n in (1, 32):
        ids = texts(n, seed=n)
        expected = reference(model, ids, kinds)
        data: dict[str, Any] = {"none": ids, "left": padded(ids, "left"), "right": padded(ids, "right")}
        for padding, given in data.items():
            found = capture(model, given, sites=[f"{kind}.*" for kind in kinds])
            assert set(found) == set(expected)
            for name, tensor in expected.items():
                torch.testing.assert_close(
                    found[name], tensor, rtol=1e-5, atol=1e-5, msg=lambda m, name=name, p=padding: f"{name} {p}: {m}"
                )


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])
def test_sites_inside_attention_come_from_the_bridge(family: str) -> None:
    model, ids = model_of(family), texts(5)
    found = capture(model, ids, sites=["z.*", "q.1", "k.1", "v.1", "pattern.2", "resid_post.1"], batch_tokens=64)
    longest = max(map(len, ids))
    row = 0
    for own in ids:
        _, cached = model.bridge.run_with_cache(torch.tensor([own]))
        part = slice(row, row + len(own))
        for kind, layer in (("z", 0), ("z", 2), ("q", 1), ("k", 1), ("v", 1)):
            expected = cached[f"blocks.{layer}.attn.hook_{kind}"][0].reshape(len(own), -1)
            torch.testing.assert_close(found[f"{kind}.{layer}"][part], expected, rtol=1e-5, atol=1e-5)
        pattern = torch.zeros(len(own), 4, longest)
        pattern[:, :, : len(own)] = cached["blocks.2.attn.hook_pattern"][0].transpose(0, 1)
        torch.testing.assert_close(found["pattern.2"][part], pattern.reshape(len(own), -1), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(
            found["resid_post.1"][part], cached["blocks.1.hook_resid_post"][0], rtol=1e-5, atol=1e-5
        )
        row += len(own)


RULES = [
    Positions.all(),
    Positions.prompt(),
    Positions.last_prompt(),
    Positions.generated(),
    Positions.completion(),
    Positions.after(token_ids=[5, 9, 12]),
    Positions.after(regex="[0-9a]"),
    Positions.every(3),
    Positions.window(-2, 3),
    Positions.first(4),
    ~Positions.prompt() | Positions.last_prompt(),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_positions_choose_rows_and_nothing_else(model: Model, rule: Positions) -> None:
    data = prompted(12)
    whole, some = capture(model, data), capture(model, data, positions=rule, batch_tokens=40)
    chosen = np.concatenate([rule.select(ids, n, tokenizer=model.tokenizer, row=i) for i, (ids, n) in enumerate(data)])
    assert 0 < chosen.sum() <= len(chosen)
    assert rule == Positions.all() or chosen.sum() < len(chosen)
    for name in whole:
        torch.testing.assert_close(some[name], whole[name][torch.from_numpy(chosen)], rtol=1e-5, atol=1e-5)
    expected = whole.rows[chosen].reset_index(drop=True)
    pd.testing.assert_frame_equal(some.rows, expected)
    first = some.rows.iloc[0]
    ids, n_prompt = data[first["sequence"]]
    assert first["id"] == ids[first["pos"]]
    assert first["index"] == first["pos"] - n_prompt


def test_mask_and_spans_follow_their_row(model: Model) -> None:
    data = prompted(6)
    rng = np.random.default_rng(1)
    mask = [rng.random(len(ids)) < 0.5 for ids, _ in data]
    found = capture(model, data, positions=Positions.mask([own.tolist() for own in mask]))
    whole = capture(model, data)
    torch.testing.assert_close(found["resid_post.2"], whole["resid_post.2"][np.concatenate(mask)], rtol=1e-5, atol=1e-5)


def test_spans_are_reduced_one_by_one_even_where_they_touch(model: Model) -> None:
    data = [(list(range(5, 20)), 4), (list(range(20, 26)), 2)]
    # Touching, overlapping, beginning before the completion, reaching beyond the end, and outside altogether.
    spans = [[(0, 3), (3, 5), (2, 7), (-1, 1), (9, 99), (40, 50)], [(1, 2)]]
    whole = capture(model, data)["resid_post.1"]
    starts = [0, 15]
    for reduce in ("mean", "last"):
        found = capture(model, data, positions=Positions.spans(spans), reduce=reduce, sites="resid_post.1")
        expected, kept = [], []
        for row, (ids, n) in enumerate(data):
            for number, (start, stop) in enumerate(spans[row]):
                low, high = max(0, n + start), min(len(ids), n + stop)
                if low < high:
                    part = whole[starts[row] + low : starts[row] + high]
                    expected.append(part.mean(0) if reduce == "mean" else part[-1])
                    kept.append((row, number, high - low if reduce == "mean" else 1, high - 1))
        torch.testing.assert_close(found["resid_post.1"], torch.stack(expected), rtol=1e-5, atol=1e-5)
        assert list(zip(*(found.rows[name] for name in ("sequence", "span", "n", "pos")))) == kept


def test_other_rules_are_reduced_to_one_row_a_sequence(model: Model) -> None:
    data = prompted(9)
    whole = capture(model, data)
    mean = capture(model, data, positions="generated", reduce="mean", batch_tokens=50)
    last = capture(model, data, positions="generated", reduce="last")
    assert len(mean.rows) == len(last.rows) == 9
    for row, (_, n) in enumerate(data):
        inside = ((whole.rows["sequence"] == row) & (whole.rows["pos"] >= n - 1)).to_numpy()
        torch.testing.assert_close(
            mean["resid_post.0"][row], whole["resid_post.0"][np.flatnonzero(inside)].mean(0), rtol=1e-5, atol=1e-5
        )
        torch.testing.assert_close(
            last["resid_post.0"][row], whole["resid_post.0"][np.flatnonzero(inside)][-1], rtol=1e-5, atol=1e-5
        )
    assert (mean["resid_post.0"] - last["resid_post.0"]).abs().max() > 1e-3


def test_a_reduction_without_positions_gives_no_row(model: Model) -> None:
    data = [([5, 6, 7], 3), ([8, 9], 1)]
    found = capture(model, data, positions="completion", reduce="mean")
    assert found.rows["sequence"].tolist() == [1]


@pytest.mark.parametrize(
    ("site", "last"),
    [("resid_post.1", 1), ("resid_pre.2", 1), ("attn_out.1", 0), ("resid_mid.0", -1), ("resid_post.-1", 2)],
)
def test_the_forward_ends_with_the_last_wanted_layer(model: Model, site: str, last: int) -> None:
    assert model.residual_error < 1e-5, "this measures itself with a whole forward, once"
    ran: list[str] = []
    parts = {f"mlp {i}": block.mlp for i, block in enumerate(model.blocks)}
    parts |= {"norm": model.net.base_model.norm, "head": model.net.get_output_embeddings()}
    handles = [part.register_forward_hook(lambda *_, name=name: ran.append(name)) for name, part in parts.items()]
    try:
        capture(model, [[5, 6, 7], [8, 9]], sites=[site, "resid_pre.0"])
    finally:
        for handle in handles:
            handle.remove()
    assert ran == [f"mlp {layer}" for layer in range(last + 1)]


def test_batches_change_nothing(model: Model) -> None:
    data = prompted(20, seed=3)
    whole = capture(model, data, sites="*.*")
    for size in (1, 7, 64, 100000):
        other = capture(model, data, sites="*.*", batch_tokens=size)
        for name in whole:
            torch.testing.assert_close(other[name], whole[name], rtol=1e-5, atol=1e-5)


def test_a_site_is_the_same_alone_and_among_others(model: Model) -> None:
    data = texts(5)
    every = capture(model, data, sites="*.*")
    for name in ("resid_pre.0", "attn_out.1", "resid_mid.2"):
        assert torch.equal(capture(model, data, sites=name)[name], every[name])


def test_dtype_is_kept_or_cast(tmp_path: Path) -> None:
    tiny("llama", path=tmp_path, dtype=torch.bfloat16)
    half = Model.load(tmp_path, dtype="bfloat16")
    ids = texts(6)
    kept, cast = capture(half, ids), capture(half, ids, dtype="float32")
    assert kept["resid_post.0"].dtype == torch.bfloat16
    assert cast["resid_post.0"].dtype == torch.float32
    assert torch.equal(kept["resid_post.2"].float(), cast["resid_post.2"])
    # In half precision fused and eager attention differ by rounding; capture adds at most one unit in the last place
    # (2^-8 of bfloat16) to that difference, which is taken of one text at a time.
    expected = reference(half, ids, ("resid_post",))
    solo = {name: torch.cat([capture(half, [own])[name] for own in ids]).float() for name in kept}
    for name, tensor in expected.items():
        size = tensor.float().norm()
        fused = (solo[name] - tensor.float()).norm() / size
        error = (kept[name].float() - tensor.float()).norm() / size
        assert error < fused + 2**-8, name
        assert error < 0.03
    mean = capture(half, ids, reduce="mean")
    exact = torch.stack([part.float().mean(0) for part in kept["resid_post.1"].split([len(own) for own in ids])])
    assert mean["resid_post.1"].dtype == torch.bfloat16
    assert (mean["resid_post.1"].float() - exact).norm() / exact.norm() < 2**-7


def test_a_pair_gives_the_same_rows_twice(pair: Pair) -> None:
    data = prompted(7)
    both = capture(pair, data, positions="generated")
    assert list(both) == ["base", "rl"]
    pd.testing.assert_frame_equal(both["base"].rows, both["rl"].rows)
    for name, model in (("base", pair.base), ("rl", pair.rl)):
        alone = capture(model, data, positions="generated")
        assert all(torch.equal(alone[site], both[name][site]) for site in alone)
    assert (both["base"]["resid_post.2"] - both["rl"]["resid_post.2"]).abs().max() > 0.1
    assert torch.equal(both["base"]["resid_post.0"], both["rl"]["resid_post.0"])


def test_rollouts_texts_and_ids_mean_the_same(model: Model) -> None:
    rollouts = generate(model, ["1+2", "wait 7"], n=2, temperature=1.0, max_new_tokens=6)
    acts = capture(model, rollouts, positions="generated")
    again = capture(model, rollouts.sequences(), positions="generated")
    assert torch.equal(acts["resid_post.1"], again["resid_post.1"])
    assert set(acts.rows["problem"]) == set(rollouts.frame["problem"])
    assert (
        acts.rows["sample"].tolist() == sorted(acts.rows["sample"].tolist(), key=int)
        or len(set(acts.rows["sample"])) == 2
    )
    text = capture(model, ["1+2"])
    ids = capture(model, model.encode(["1+2"], template="none"))
    assert torch.equal(text["resid_post.1"], ids["resid_post.1"])


def test_progress_counts_every_token_once(model: Model, pair: Pair, tmp_path: Path) -> None:
    data = prompted(15)
    total = sum(len(ids) for ids, _ in data)
    for net, factor in ((model, 1), (pair, 2)):
        for store in (None, tmp_path / f"store{factor}"):
            seen: list[tuple[int, int]] = []
            note = partial(lambda into, *at: into.append(at), seen)
            capture(net, data, positions="completion", batch_tokens=30, store=store, progress=note)
            assert [done for done, _ in seen] == sorted(done for done, _ in seen)
            assert seen[-1] == (factor * total, factor * total)


def test_no_data_gives_no_rows(model: Model) -> None:
    found = capture(model, [])
    assert found["resid_post.0"].shape == (0, 32)
    assert len(found.rows) == 0
    assert list(found.rows) == ["sequence", "problem", "sample", "pos", "index", "id"]


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        ([[5, 6], []], ValueError, "sequence 1"),
        ([[5, 64]], ValueError, "id 64"),
        ([[5, -1]], ValueError, "id -1"),
        (torch.tensor([[0, 5]]), ValueError, "attention_mask"),
        ({"input_ids": torch.tensor([[0, 5]])}, ValueError, "attention_mask"),
        ({"input_ids": torch.tensor([[0, 5]]), "attention_mask": torch.tensor([[1]])}, ValueError, "one .batch, pos."),
        ("a text", TypeError, "list of texts"),
        (7, TypeError, "int"),
        ([[5, 6], "text"], TypeError, "mixed"),
        ([([5, 6], 3)], ValueError, "prompt of 3"),
    ],
)
def test_unusable_data_is_named(model: Model, data: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        capture(model, data)


def test_unusable_options_are_named(model: Model) -> None:
    for options, says in (
        ({"sites": "resid_post.9"}, "layers 0 to 2"),
        ({"positions": "sometimes"}, "no positions"),
        ({"dtype": "int8"}, "activations are stored as"),
        ({"dtype": "float99"}, "no dtype"),
        ({"batch_tokens": -1}, "batch_tokens"),
        ({"shard": (1, 2)}, "give store="),
        ({"positions": Positions.spans([]), "reduce": "mean"}, "none for row 0"),
    ):
        with pytest.raises(ValueError, match=says):
            capture(model, [[5, 6]], **options)
    with pytest.raises(ValueError, match="run in parallel"):
        capture(model_of("gpt_neox"), [[5, 6]], sites="resid_mid.0")


def hooks_on(model: Model) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.net.modules())


def test_the_model_is_left_as_it_was(model: Model) -> None:
    before = hooks_on(model)
    held = {name: tensor.clone() for name, tensor in model.net.state_dict().items()}

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        capture(model, [[5, 6]], progress=stop)
    assert hooks_on(model) == before
    capture(model, [[5, 6]], sites="*.*")
    assert hooks_on(model) == before
    assert all(torch.equal(tensor, held[name]) for name, tensor in model.net.state_dict().items())


def test_forwards_between_batches_are_nobodys_business(model: Model) -> None:
    from hooks.sites import Site

    with Tap(model, [Site("resid_post", 0)], longest=3) as tap:
        logits = model.net(torch.tensor([[5, 6, 7]])).logits
        seen: list[torch.Tensor] = []
        tap.read(torch.tensor([[5, 6, 7]]), lambda _, tensor: seen.append(tensor))
    assert logits.shape == (1, 3, 64)
    assert len(seen) == 1


def test_out_of_memory_halves_the_batch_aloud(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    data, plain = prompted(16), model.backbone
    expected = capture(model, data)
    sizes = []

    def small(ids: torch.Tensor) -> torch.Tensor:
        sizes.append(len(ids))
        if len(ids) > 3:
            raise torch.OutOfMemoryError("no room")
        return plain(ids)

    monkeypatch.setattr(model, "backbone", small)
    with pytest.warns(UserWarning, match="halving"):
        found = capture(model, data, batch_tokens=400)
    assert max(sizes) > 3
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-5)
    with pytest.raises(torch.OutOfMemoryError):
        halving(lambda batch: small(torch.zeros(9)), np.array([0]))


def test_batches_hold_every_sequence_once_within_their_limit() -> None:
    rng = np.random.default_rng(0)
    for limit in (1, 10, 64, 1000):
        lengths = rng.integers(1, 40, size=200)
        batches = by_length(lengths, limit)
        assert sorted(np.concatenate(batches).tolist()) == list(range(200))
        for batch in batches:
            assert len(batch) == 1 or len(batch) * lengths[batch].max() <= limit
            assert batch.tolist() == sorted(batch.tolist())
        waste = sum(len(b) * lengths[b].max() for b in batches) / lengths.sum()
        assert limit < 1000 or waste < 1.3
    assert by_length([], 10) == []
    assert pad_right([np.array([5]), np.array([6, 7])], 0).tolist() == [[5, 0], [6, 7]]


def test_activations_can_be_cut_joined_and_split(model: Model) -> None:
    acts = capture(model, prompted(10))
    assert acts.sites[0] in acts
    assert "resid_post.7" not in acts
    with pytest.raises(KeyError, match=r"resid_post\.0"):
        acts["resid_post.7"]
    some = acts.where(acts.rows["pos"] == 0)
    assert len(some.rows) == 10
    assert torch.equal(some["resid_post.1"][3], acts["resid_post.1"][int(np.flatnonzero(acts.rows["pos"] == 0)[3])])
    with pytest.raises(ValueError, match="mask over"):
        acts.where([True])
    assert str(acts).startswith(f"{len(acts.rows)} rows")
    labels = pd.DataFrame({"problem": ["2", "4"], "sample": [0, 0], "pos": [0, 0], "label": ["a", "b"]})
    joined = acts.join(labels)
    assert len(joined) == len(acts.rows)
    assert joined["label"].notna().sum() == 2
    assert joined.loc[joined["label"] == "b", "problem"].tolist() == ["4"]
    for train, test in acts.split(n=5):
        assert not set(acts.rows["problem"].iloc[train]) & set(acts.rows["problem"].iloc[test])


def test_labels_that_cannot_be_joined_are_refused() -> None:
    rows = pd.DataFrame({"problem": ["a", "a", "b"], "sample": [0, 0, 0], "pos": [0, 1, 0], "id": [5, 6, 7]})
    with pytest.raises(ValueError, match="columns to join by"):
        join_labels(rows, pd.DataFrame({"label": [1]}))
    with pytest.raises(ValueError, match="repeat their keys"):
        join_labels(rows, pd.DataFrame({"problem": ["a", "a"], "label": [1, 2]}))
    with pytest.raises(ValueError, match="'id'"):
        join_labels(rows, pd.DataFrame({"problem": ["a"], "id": [2]}))
    # Problems are names: a table that was read with numbers for names joins all the same.
    numbered = rows.assign(problem=["1", "1", "2"])
    assert join_labels(numbered, pd.DataFrame({"problem": [1], "label": ["x"]}))["label"].notna().sum() == 2


def test_folds_are_even_and_belong_to_the_seed() -> None:
    rows = pd.DataFrame({"problem": np.repeat([f"p{i}" for i in range(23)], 3)})
    folds = grouped_folds(rows, n=5)
    assert sorted(np.concatenate([test for _, test in folds]).tolist()) == list(range(69))
    assert {len(test) for _, test in folds} <= {12, 15}
    shuffled = rows.sample(frac=1, random_state=0).reset_index(drop=True)
    names = [set(rows["problem"].iloc[test]) for _, test in folds]
    assert names == [set(shuffled["problem"].iloc[test]) for _, test in grouped_folds(shuffled, n=5)]
    assert names != [set(rows["problem"].iloc[test]) for _, test in grouped_folds(rows, n=5, seed=1)]
    for options in ({"n": 24}, {"n": 1}, {"by": "colour"}):
        with pytest.raises(ValueError, match=r"cannot be split|no column"):
            grouped_folds(rows, **options)


def test_one_changed_token_is_another_request(model: Model) -> None:
    one, other = Sequences.of([[5, 6], [7]], model), Sequences.of([[5], [6, 7]], model)
    assert one.token_hash != other.token_hash
    assert one.token_hash == Sequences.of([[5, 6], [7]], model).token_hash
    everywhere, last = (select_rows(one, rule) for rule in (Positions.all(), Positions.last_prompt()))
    assert everywhere.row_hash != last.row_hash


# While a text is written


def assert_tape_equals_replay(model: Model, tape: Any, data: Any, positions: str = "all") -> None:
    found = tape.activations(data, positions=positions)
    replay = capture(model, data, positions=positions)
    ends = replay.rows.groupby("sequence")["pos"].transform("max")
    lengths = Sequences.of(data, model).lengths[replay.rows["sequence"]]
    kept = replay.where((replay.rows["pos"] < lengths - 1).to_numpy())
    assert (ends == lengths - 1).all()
    pd.testing.assert_frame_equal(found.rows, kept.rows)
    for site in found:
        # Other matrix shapes, other kernels: a little more rounding than between two batches.
        torch.testing.assert_close(found[site], kept[site], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma"])
def test_recording_our_generation_equals_a_replay(family: str) -> None:
    model = model_of(family)
    prompts = ["1+2=", "wait, then 6*8", "a", "answer 123456"]
    with recording(model, "resid_post.*") as tape:
        rollouts = generate(model, prompts, n=3, temperature=1.3, max_new_tokens=24, batch_size=5, stop="7")
    assert hooks_on(model) == 0
    assert rollouts.frame["ids"].map(len).nunique() > 1, "rows that end early are what this test is about"
    assert_tape_equals_replay(model, tape, rollouts)
    assert_tape_equals_replay(model, tape, rollouts, "generated")


@pytest.mark.parametrize("options", [{"do_sample": False}, {"do_sample": False, "num_beams": 3}, {"use_cache": False}])
def test_recording_hugging_faces_generation_equals_a_replay(model: Model, options: dict[str, Any]) -> None:
    ids = [[1, 20, 21], [1, 30, 31, 32, 33, 34]]
    with recording(model, "resid_mid.*") as tape:
        out = model.net.generate(**padded(ids, "left"), max_new_tokens=9, **options)
    finished = []
    for prompt, row in zip(ids, out.tolist()):
        new = row[6:]
        end = next((at + 1 for at, token in enumerate(new) if token in model.eos_ids), len(new))
        finished.append((prompt + new[:end], len(prompt)))
    found, replay = tape.activations(finished), capture(model, finished, sites="resid_mid.*")
    for row, (own, _) in enumerate(finished):
        here, there = (acts.rows["sequence"].to_numpy() == row for acts in (found, replay))
        torch.testing.assert_close(
            found["resid_mid.1"][here], replay["resid_mid.1"][there][: len(own) - 1], rtol=1e-5, atol=1e-5
        )


def test_a_text_that_did_not_pass_is_named(model: Model) -> None:
    with recording(model, "resid_post.0") as tape:
        model.net(torch.tensor([[5, 6, 7]]))
    assert tape.activations([[5, 6, 7]])["resid_post.0"].shape == (2, 32)
    with pytest.raises(ValueError, match=r"sequence 0.*did not pass"):
        tape.activations([[5, 7, 6]])
    with pytest.raises(ValueError, match="cannot be recorded"), recording(model, "z.0"):
        pass


def test_a_cache_from_outside_is_refused(model: Model) -> None:
    from transformers import DynamicCache

    held = DynamicCache()
    model.backbone(torch.tensor([[5, 6]]), past_key_values=held, use_cache=True)
    with recording(model, "resid_post.0"), pytest.raises(ValueError, match="begun outside"):
        model.backbone(torch.tensor([[7]]), past_key_values=held, use_cache=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("options", [{}, {"reduce": "mean"}, {"positions": "last_prompt"}])
def test_a_gpu_gives_what_a_cpu_gives(llama_dir: Path, options: dict[str, Any]) -> None:
    data = prompted(64)
    cpu, gpu = (
        capture(Model.load(llama_dir, device=device), data, sites="*.*", **options) for device in ("cpu", "cuda")
    )
    for name in cpu:
        torch.testing.assert_close(gpu[name], cpu[name], rtol=1e-3, atol=1e-4)


def test_the_slow_way_and_the_fast_way_are_not_the_same_code(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the parity tests: a wrong row would be seen."""
    take: Callable[..., torch.Tensor] = torch.Tensor.index_select

    def shifted(self: torch.Tensor, dim: int, index: torch.Tensor) -> torch.Tensor:
        return take(self, dim, index.roll(1))

    expected = reference(model, [[5, 6, 7], [8, 9]], ("resid_post",))
    monkeypatch.setattr(torch.Tensor, "index_select", shifted)
    found = capture(model, [[5, 6, 7], [8, 9]])
    assert (found["resid_post.0"] - expected["resid_post.0"]).abs().max() > 1e-2
