"""Weights: counts against plain formulas, planted updates recovered, rounding reported as rounding, clear refusals."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from probes.weights import Checkpoint, compare, shuffled, spectrum
from probes.weights.counts import _ordered, count
from probes.weights.files import canonical, place
from probes.weights.rounding import reading, rounding_norm, with_random_signs


def network(seed: int = 0, *, d: int = 48, layers: int = 2, vocab: int = 64) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    out = {
        "model.embed_tokens.weight": torch.randn(vocab, d, generator=draw) * 0.02,
        "model.norm.weight": torch.ones(d),
    }
    for layer in range(layers):
        for module in ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj"):
            rows = 2 * d if module == "mlp.up_proj" else d
            out[f"model.layers.{layer}.{module}.weight"] = torch.randn(rows, d, generator=draw) * 0.02
        out[f"model.layers.{layer}.input_layernorm.weight"] = torch.ones(d)
    return out


def save(folder: Path, tensors: dict[str, torch.Tensor], *, dtype=torch.bfloat16, config=None, shards: int = 1) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.to(dtype).contiguous() for name, value in tensors.items()}
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    if shards == 1:
        save_file(tensors, folder / "model.safetensors")
        return folder
    index = {}
    for shard in range(shards):
        part = {name: tensors[name] for number, name in enumerate(tensors) if number % shards == shard}
        save_file(part, folder / f"model-{shard}.safetensors")
        index |= dict.fromkeys(part, f"model-{shard}.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return folder


def reference(one: torch.Tensor, other: torch.Tensor, tolerance: float = 1e-5, eta: float = 1e-3) -> dict[str, float]:
    """The definitions entry by entry, in plain Python."""
    same = within = relative = ulp = 0
    for a, b in zip(one.flatten(), other.flatten()):
        x, y = a.bfloat16(), b.bfloat16()
        if one.dtype != other.dtype:
            a, b = x, y
        same += float(x) == float(y)
        within += abs(float(y) - float(x)) <= tolerance
        relative += abs(float(b) - float(a)) <= eta * max(abs(float(a)), abs(float(b)))
        up, down = (torch.nextafter(x, torch.tensor(s * math.inf, dtype=torch.bfloat16)) for s in (1, -1))
        ulp += float(x) != float(y) and float(y) in (float(up), float(down))
    n = one.numel()
    return {"exact": same / n, "tolerance": within / n, "relative": relative / n, "one_ulp": ulp / n}


@pytest.mark.parametrize("dtypes", [(torch.bfloat16,) * 2, (torch.float32,) * 2, (torch.float32, torch.bfloat16)])
def test_counts_equal_the_plain_definitions(dtypes):
    draw = torch.Generator().manual_seed(3)
    one = (torch.randn(12, 10, generator=draw) * 0.02).to(dtypes[0])
    other = (one.float() * (1 + 0.004 * torch.randn(12, 10, generator=draw))).to(dtypes[1])
    one[0, 0], other[0, 0] = 0.0, -0.0
    other[1] = one[1].to(dtypes[1])
    counts = count(one, other)
    expected = reference(one, other)
    for name, value in expected.items():
        assert getattr(counts, name) / counts.size == pytest.approx(value), name
    assert counts.one_ulp > 0
    assert 0 < counts.exact < counts.size


def test_all_bfloat16_values_are_numbered_in_order():
    values = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    values = values[torch.isfinite(values)]
    values = values[values.double().sort().indices]
    steps, gaps = _ordered(values).int().diff(), values.double().diff()
    assert torch.equal(steps, (gaps > 0).int())
    assert int((steps == 0).sum()) == 1


def test_spectrum_equals_a_full_decomposition():
    draw = torch.Generator().manual_seed(0)
    for shape in ((40, 24), (24, 40), (30, 30)):
        delta = torch.randn(*shape, generator=draw) * 1e-4
        s = torch.linalg.svdvals(delta.double())
        p = s / s.sum()
        got = spectrum(delta)
        assert got.rank == int(torch.linalg.matrix_rank(delta))
        assert got.stable_rank == pytest.approx(float((s**2).sum() / s[0] ** 2), rel=1e-5)
        assert got.entropy_rank == pytest.approx(float(torch.exp(-(p * p.log()).sum())), rel=1e-4)
        assert got.energy_top == pytest.approx(float(s[0] ** 2 / (s**2).sum()), rel=1e-5)


def test_spectrum_of_a_planted_rank():
    draw = torch.Generator().manual_seed(1)
    delta = torch.randn(60, 3, generator=draw) @ torch.randn(3, 50, generator=draw)
    got = spectrum(delta)
    assert got.rank == 3
    assert got.stable_rank <= 3.0 + 1e-6
    assert got.entropy_rank <= 3.01
    assert spectrum(shuffled(delta)).rank_share == 1.0
    zero = spectrum(torch.zeros(5, 4))
    assert zero.rank == 0
    assert math.isnan(zero.rank_share)
    assert math.isnan(zero.stable_rank)
    with pytest.raises(ValueError, match="not finite"):
        spectrum(torch.full((3, 3), math.nan))


def test_shuffling_keeps_the_entries_and_depends_on_seed_and_name_only():
    delta = torch.arange(20.0).reshape(4, 5)
    assert torch.equal(shuffled(delta, label="a").flatten().sort().values, delta.flatten())
    assert torch.equal(shuffled(delta, label="a"), shuffled(delta, label="a"))
    assert not torch.equal(shuffled(delta, label="a"), shuffled(delta, label="b"))


def test_planted_low_rank_update_is_seen_after_rounding(tmp_path):
    base = network()
    rl = dict(base)
    draw = torch.Generator().manual_seed(9)
    for name in base:
        if "layers" in name and base[name].dim() == 2:
            rows, columns = base[name].shape
            rl[name] = base[name] + 0.02 * torch.randn(rows, 1, generator=draw) @ torch.randn(
                1, columns, generator=draw
            )
    delta = compare(save(tmp_path / "base", base), save(tmp_path / "rl", rl))
    matrices = delta.frame.dropna(subset=["stable_rank"]).query("norm > 0")
    assert (matrices["stable_rank"] < 1.2).all()
    assert (matrices["stable_rank_null"] > 5).all()
    # Rounding alone fills the numerical rank: the trap that the null is there for.
    assert (matrices["rank_share"] > 0.95).all()
    assert (matrices["energy_top"] > 0.8).all()
    assert (matrices["energy_top_null"] < 0.3).all()
    assert set(matrices["reading"]) == {"moved"}


def test_sparse_noise_is_full_rank_and_so_is_its_null(tmp_path):
    base = network(d=64)
    draw = torch.Generator().manual_seed(2)
    rl = {
        name: torch.where(torch.rand(value.shape, generator=draw) < 0.15, value * 1.25 + 1e-4, value)
        for name, value in base.items()
    }
    delta = compare(save(tmp_path / "base", base), save(tmp_path / "rl", rl))
    assert delta.totals["unchanged_exact"] == pytest.approx(0.85, abs=0.01)
    assert delta.totals["rank_share"] == pytest.approx(delta.totals["rank_share_null"], abs=0.01)
    assert delta.totals["stable_rank"] == pytest.approx(delta.totals["stable_rank_null"], rel=0.25)


def test_pure_rounding_is_reported_as_rounding(tmp_path):
    base = network()
    delta = compare(
        save(tmp_path / "base", base, dtype=torch.float32), save(tmp_path / "rl", base, dtype=torch.bfloat16)
    )
    assert delta.totals["unchanged_exact"] == 1.0
    assert delta.totals["one_ulp"] == 0.0
    assert delta.totals["unchanged_stored"] < 0.2
    assert delta.totals["norm"] == 0.0
    assert delta.totals["unchanged_relative"] == 1.0
    assert set(delta.frame["reading"]) == {"same", "stored otherwise"}
    assert "Only rounding" in str(delta)
    assert len(delta.notes["other type"]) == len(base)
    assert "BF16" in delta.notes["other type"][0]


def rounded_at_random(values: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """Up or down to a neighbour in bfloat16 by chance, so that the mean is the value."""
    down = (values.view(torch.int32) & -65536).view(torch.float32)
    up = ((values.view(torch.int32) & -65536) + 65536).view(torch.float32)
    return torch.where(torch.rand(values.shape, generator=draw) < (values - down) / (up - down), up, down)


def test_two_roundings_of_the_same_values_read_as_rounding_and_a_hidden_direction_does_not(tmp_path):
    draw = torch.Generator().manual_seed(4)
    true = {name: value * 1.003 for name, value in network(d=96).items()}
    # Rows of very different size: rounding errors follow them, and that is no direction.
    for value in true.values():
        value.mul_(torch.logspace(0, 1, len(value))[:, None] if value.dim() == 2 else 1.0)
    twice = [{name: rounded_at_random(value, draw) for name, value in true.items()} for _ in range(2)]
    noise = compare(save(tmp_path / "a", twice[0]), save(tmp_path / "b", twice[1]))
    changed = noise.frame[noise.frame["unchanged_exact"] < 1]
    assert (changed["one_ulp"] + changed["unchanged_exact"]).min() == pytest.approx(1.0)
    assert set(changed.dropna(subset=["stable_rank"])["reading"]) == {"like rounding"}
    assert "cannot be told from rounding" in noise.reading
    # A direction far below one step: rounding at random keeps it in the mean.
    pushed = {}
    for name, value in twice[0].items():
        signs = [torch.where(torch.rand(size, generator=draw) < 0.5, -1.0, 1.0) for size in value.shape]
        push = 0.3 * ulp(value) * (torch.outer(*signs) if value.dim() == 2 else torch.zeros_like(value))
        pushed[name] = rounded_at_random(value + push, draw)
    moved = compare(tmp_path / "a", save(tmp_path / "c", pushed))
    assert (moved.frame["one_ulp"] + moved.frame["unchanged_exact"]).min() > 0.99
    matrices = moved.frame.dropna(subset=["stable_rank"])
    assert (matrices["reading"] == "moved").all()
    unasked = compare(tmp_path / "a", tmp_path / "b", ranks=False)
    assert unasked.frame["reading"].isin(["like rounding", "moved"]).sum() == 0
    assert "was not measured" in unasked.reading


def test_the_norm_of_rounding_is_that_of_two_roundings():
    draw = torch.Generator().manual_seed(5)
    true = torch.randn(200_000, generator=draw)
    # The nearest value of eight bits, after a shift by part of a step that nobody knows.
    one, other = (true + (torch.rand(true.shape, generator=draw) - 0.5) * ulp(true) for _ in range(2))
    assert rounding_norm(count(true.bfloat16(), true.bfloat16())) == pytest.approx(
        float((other - one).norm()), rel=0.02
    )
    twin = with_random_signs(one.reshape(400, 500), label="x")
    assert torch.equal(twin.abs(), one.reshape(400, 500).abs())
    assert abs(float((twin * one.reshape(400, 500)).sign().mean())) < 0.01
    assert reading(count(one[:10], one[:10]), None) == "same"


def ulp(values: torch.Tensor) -> torch.Tensor:
    return 2.0 ** (values.abs().log2().floor() - 7)


@pytest.mark.parametrize(("one", "other", "step"), [(0x0001, 0x8000, 1), (0x8001, 0x0001, 0), (0x8000, 0x0000, 0)])
def test_steps_across_zero_are_counted_in_the_order_of_values(one, other, step):
    pair = [torch.tensor([bits - 65536 if bits > 32767 else bits] * 3, dtype=torch.int16) for bits in (one, other)]
    counts = count(*(bits.view(torch.bfloat16) for bits in pair))
    assert counts.one_ulp == 3 * step
    assert counts.exact == (3 if (one, other) == (0x8000, 0x0000) else 0)


def test_changes_are_counted_by_size_where_the_files_are_wide(tmp_path):
    base = network()
    draw = torch.Generator().manual_seed(1)
    moved = {
        name: value + 3e-6 * torch.randn(value.shape, generator=draw) * (torch.rand(value.shape, generator=draw) < 0.5)
        for name, value in base.items()
    }
    folders = [save(tmp_path / side, it, dtype=torch.float32) for side, it in (("a", base), ("b", moved))]
    wide = compare(*folders, ranks=False)
    plain = [abs(d) for name in base for d in (moved[name] - base[name]).flatten().tolist()]
    for row in wide.sizes.itertuples():
        expected = [d for d in plain if d == 0] if row.high == 0 else [d for d in plain if row.low <= d < row.high]
        assert row.entries == len(expected), row
    assert wide.sizes["share"].sum() == pytest.approx(1.0)
    # What the tolerance and bfloat16 call unchanged is not: nearly half of the entries moved.
    assert wide.totals["unchanged_tolerance"] > 0.8 > 0.6 > wide.sizes["share"].iloc[0] > 0.4
    assert len(wide.plot_sizes().data[0].x) == len(wide.sizes) - 1
    assert compare(save(tmp_path / "c", base), save(tmp_path / "d", moved), ranks=False).sizes.empty
    still = compare(folders[0], folders[0], ranks=False).sizes
    assert still["share"].tolist() == [1.0]


def test_experts_that_were_not_routed_to_are_named(tmp_path):
    base = network(d=16)
    for expert in range(3):
        base[f"model.layers.0.mlp.experts.{expert}.up_proj.weight"] = torch.full((8, 16), 0.5 + expert)
    rl = dict(base)
    rl["model.layers.0.mlp.experts.1.up_proj.weight"] = torch.full((8, 16), 1.75)
    found = compare(save(tmp_path / "base", base), save(tmp_path / "rl", rl), ranks=False)
    named = found.notes["experts without a change, not routed perhaps"]
    assert [name.split(".")[5] for name in named] == ["0", "2"]
    assert (
        "experts without a change, not routed perhaps"
        not in compare(tmp_path / "base", tmp_path / "base", ranks=False).notes
    )


def test_identical_checkpoints_are_silent(tmp_path):
    base = network()
    delta = compare(save(tmp_path / "base", base), save(tmp_path / "rl", base))
    assert delta.totals["unchanged_exact"] == 1.0
    assert delta.totals["norm"] == 0.0
    assert math.isnan(delta.totals["rank_share"])
    assert math.isnan(delta.totals["stable_rank"])
    assert delta.changed == 0.0


def test_a_matrix_that_did_not_move_is_not_in_the_mean_rank(tmp_path):
    base, rl = network(), network(1)
    rl["model.embed_tokens.weight"] = base["model.embed_tokens.weight"]
    delta = compare(save(tmp_path / "base", base), save(tmp_path / "rl", rl))
    ranks = delta.frame.set_index("tensor")["rank_share"]
    assert math.isnan(ranks["model.embed_tokens.weight"])
    moved = delta.frame[(delta.frame["norm"] > 0) & (delta.frame["short_side"] > 0)]
    assert delta.totals["rank_share"] == pytest.approx(moved["rank_share"].mean())
    assert delta.totals["rank_share"] > 0.95


def test_totals_are_weighted_by_size(tmp_path):
    base, rl = network(), network()
    rl["model.norm.weight"] = base["model.norm.weight"] * 2
    delta = compare(save(tmp_path / "base", base), save(tmp_path / "rl", rl), ranks=False)
    size = sum(value.numel() for value in base.values())
    assert delta.changed == pytest.approx(48 / size)
    assert delta.by("kind").set_index("kind").loc["norm", "unchanged_exact"] == pytest.approx(2 / 3)
    layers = delta.by("layer")
    assert layers["size"].sum() == size
    assert len(layers) == 3
    assert math.isnan(delta.totals["rank_share"])


def test_chunks_shards_and_wrapper_names_do_not_matter(tmp_path, monkeypatch):
    base, rl = network(), network(1)
    plain = compare(save(tmp_path / "base", base), save(tmp_path / "rl", rl))
    wrapped = {f"_orig_mod.{name}": value for name, value in rl.items()}
    bare = {name.removeprefix("model."): value for name, value in base.items()}
    monkeypatch.setattr(sys.modules["probes.weights.compare"], "CHUNK", 100)
    other = compare(save(tmp_path / "base2", bare, shards=3), save(tmp_path / "rl2", wrapped, shards=2))
    assert len(other.notes["renamed"]) == len(base)
    for name, value in plain.totals.items():
        if not name.endswith("_null"):  # shuffled by name, and the names differ
            assert other.totals[name] == pytest.approx(value, rel=1e-6), name


def test_a_tied_head_counts_once(tmp_path):
    base = network()
    tied = base | {"lm_head.weight": base["model.embed_tokens.weight"].clone()}
    for number, config in enumerate(({"tie_word_embeddings": True}, {})):
        first = save(tmp_path / f"base{number}", tied, config=config)
        delta = compare(first, save(tmp_path / f"rl{number}", base, config=config), ranks=False)
        assert delta.totals["size"] == sum(value.numel() for value in base.values())
        assert delta.notes["tied, counted once"] == ("lm_head.weight",)
    untied = save(tmp_path / "untied", tied, config={"tie_word_embeddings": False})
    assert compare(untied, untied, ranks=False).totals["size"] > delta.totals["size"]


def test_other_vocabulary_shapes_and_missing_tensors_are_named(tmp_path):
    base, rl = network(vocab=64), network(vocab=64)
    rl["model.embed_tokens.weight"] = torch.cat([base["model.embed_tokens.weight"], torch.ones(8, 48)])
    rl["model.layers.0.mlp.up_proj.weight"] = torch.zeros(50, 48)
    del rl["model.layers.1.mlp.up_proj.weight"]
    delta = compare(save(tmp_path / "base", base), save(tmp_path / "rl", rl))
    assert "72 rows" in delta.notes["rows cut to the common ones"][0]
    assert delta.notes["only in base"] == ("model.layers.1.mlp.up_proj.weight",)
    assert "layers.0.mlp.up_proj" in delta.notes["other shape"][0]
    assert delta.changed == 0.0
    assert "only in base" in str(delta)


def test_refusals_name_the_item_and_the_remedy(tmp_path):
    good = save(tmp_path / "good", network())
    with pytest.raises(FileNotFoundError, match="no_such"):
        compare(good, tmp_path / "no_such")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="pytorch_model"):
        compare(good, empty)
    quantised = tmp_path / "int8"
    quantised.mkdir()
    save_file({"model.norm.weight": torch.ones(4, dtype=torch.int8)}, quantised / "model.safetensors")
    with pytest.raises(ValueError, match="quantised"):
        compare(good, quantised)
    with pytest.raises(ValueError, match="needs a base and an RL"):
        compare(good)
    broken = network()
    broken["model.norm.weight"] = torch.full((48,), math.nan)
    with pytest.raises(ValueError, match="norm"):
        compare(good, save(tmp_path / "nan", broken))
    stranger = save(tmp_path / "stranger", {"a.weight": torch.ones(3, 3)})
    with pytest.raises(ValueError, match="no parameter"):
        compare(good, stranger)
    (good / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}}))
    with pytest.raises(FileNotFoundError, match="gone"):
        compare(good, good)


def test_names_and_places():
    assert canonical("_orig_mod.module.model.layers.3.mlp.up_proj.weight") == "layers.3.mlp.up_proj.weight"
    assert canonical("transformer.h.0.attn.c_attn.weight") == "h.0.attn.c_attn.weight"
    assert place("layers.3.self_attn.q_proj.weight") == (3, "self_attn.q_proj", "attention")
    assert place("h.0.ln_1.weight") == (0, "ln_1", "norm")
    assert place("h.0.mlp.c_fc.bias") == (0, "mlp.c_fc.bias", "mlp")
    assert place("embed_tokens.weight") == (None, "embed_tokens", "embedding")
    assert place("lm_head.weight") == (None, "lm_head", "head")


def test_reading_by_rows_and_result_shows(tmp_path):
    base = network()
    folder = save(tmp_path / "base", base)
    with Checkpoint.open(folder) as checkpoint:
        rows = checkpoint.rows("embed_tokens.weight", 2, 5)
    assert torch.equal(rows, base["model.embed_tokens.weight"][2:5].bfloat16())
    seen = []
    delta = compare(folder, save(tmp_path / "rl", network(1)), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(base), len(base))
    assert "one run" in str(delta)
    assert len(delta.plot().data) == 3
    assert "nan" not in compare(folder, tmp_path / "rl", null=False).headline()
    assert delta.manifest["tolerance"] == 1e-5


def test_a_pair_is_read_from_where_its_models_lie(llama_pair_dirs):
    from hooks.pair import Pair

    base, rl = llama_pair_dirs
    delta = compare(Pair.load(base, rl), ranks=False)
    assert delta.totals == compare(base, rl, ranks=False).totals
    assert 0 < delta.changed <= 1
