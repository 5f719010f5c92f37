"""Steering: the same at every position however the text is read, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from hooks.capture import capture
from hooks.direction import Direction
from hooks.generate import generate
from hooks.model import Model
from hooks.pair import Pair
from hooks.positions import Positions
from hooks.score import score
from hooks.sites import Site
from hooks.steer import Steering, above, act, steering
from hooks.steered import is_steered
from hooks.texts import Texts
from tests.families import tiny

PROMPTS = ["1+2=", "wait, what is 7*8?", "a", "then 3-2;"]
NEW = 8
RULES = {
    "all": Positions.all(),
    "prompt": Positions.prompt(),
    "last_prompt": Positions.last_prompt(),
    "generated": Positions.generated(),
    "completion": Positions.completion(),
    "after ids": Positions.after(token_ids=tuple(range(4, 64, 3))),
    "after regex": Positions.after(regex="[a-m0-4]"),
    "every": Positions.every(3),
    "window": Positions.window(-2, 4),
    "first": Positions.first(2),
    "mask": Positions.mask([[False, True] * 20, [True] * 30, [False] * 1 + [True] * 9, [True]]),
    "spans": Positions.spans([[(0, 3), (5, 6)], [(1, 8)], [(0, 1)], [(2, 3), (3, 9)]]),
    "and or not": (Positions.generated() & ~Positions.every(2)) | Positions.after(token_ids=(5, 6, 7)),
}


@pytest.fixture(scope="module")
def model(llama_dir: Path) -> Model:
    return Model.load(llama_dir, device="cpu")


def direction(seed: int = 0, site: str = "resid_post.1", size: float = 4.0, **papers: Any) -> Direction:
    vector = torch.randn(32, generator=torch.Generator().manual_seed(seed))
    return Direction(size * vector / vector.norm(), Site.parse(site), label=f"random {seed}", **papers)


def reference(model: Model, steered: Steering, prompt: str, *, row: int = 0, new: int = NEW) -> list[int]:
    """No cache, no padding, one direction: the rule says where, one line adds it."""
    (part,) = steered.parts
    ids = list(model.encode([prompt])[0])
    n_prompt = len(ids)
    alpha = part.alpha[row] if isinstance(part.alpha, tuple) else part.alpha
    for _ in range(new):
        chosen = steered.positions.select(ids, n_prompt, tokenizer=model.tokenizer, row=row)

        def add(_: Site, hidden: Tensor, chosen: np.ndarray = chosen) -> Tensor:
            return hidden + alpha * torch.tensor(chosen)[None, :, None] * part.direction.vector

        with torch.no_grad(), model.watch([part.direction.site], add):
            ids.append(int(model.net(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        if ids[-1] in model.eos_ids:
            break
    return ids[n_prompt:]


def batch(model: Model, prompts: Sequence[str]) -> dict[str, Tensor]:
    tool: Any = model.tokenizer
    read = tool(list(prompts), return_tensors="pt", padding=True)
    return {"input_ids": read.input_ids, "attention_mask": read.attention_mask}


def theirs(model: Model, prompts: Sequence[str], **options: Any) -> list[list[int]]:
    """New tokens of Hugging Face's own loop over a left-padded batch, cut after the end."""
    inputs = batch(model, prompts)
    out = model.net.generate(**inputs, do_sample=False, max_new_tokens=NEW, **options)
    new = [[int(token) for token in row] for row in out[:, inputs["input_ids"].shape[1] :]]
    ends = [next((at + 1 for at, token in enumerate(row) if token in model.eos_ids), len(row)) for row in new]
    return [row[:end] for row, end in zip(new, ends, strict=True)]


def ids_of(model: Model, prompts: Sequence[str], **options: Any) -> list[list[int]]:
    return list(generate(model, prompts, max_new_tokens=NEW, **options).frame["ids"])


@pytest.mark.parametrize("rule", list(RULES))
def test_cached_uncached_solo_and_anybodys_loop_agree(model: Model, rule: str) -> None:
    s = steering(direction(), 1.5, positions=RULES[rule])
    expected = [reference(model, s, prompt, row=row) for row, prompt in enumerate(PROMPTS)]
    assert ids_of(model, PROMPTS, steering=s) == expected
    if not s.rows_differ:
        assert ids_of(model, PROMPTS[::-1], steering=s, batch_size=2) == expected[::-1]
        assert ids_of(model, PROMPTS[1:2], steering=s) == expected[1:2]
    with s.on(model):
        assert theirs(model, PROMPTS) == expected
        assert theirs(model, PROMPTS, use_cache=False) == expected
    # The differential guard: what was tested does something.
    assert expected != ids_of(model, PROMPTS)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "gemma2", "qwen3", "olmo2"])
@pytest.mark.parametrize("site", ["resid_pre.1", "mlp_out.0", "resid_post.2"])
def test_families_and_sites_agree(family: str, site: str) -> None:
    model = Model.load(tiny(family), device="cpu")
    s = steering(direction(site=site), 2.0, positions="generated")
    expected = [reference(model, s, prompt) for prompt in PROMPTS]
    assert ids_of(model, PROMPTS, steering=s) == expected
    with s.on(model):
        assert theirs(model, PROMPTS) == expected
    assert expected != ids_of(model, PROMPTS)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    rule=st.sampled_from([name for name in RULES if name not in ("mask", "spans")]),
    seed=st.integers(0, 99),
    site=st.sampled_from(["resid_pre.0", "resid_mid.1", "attn_out.2", "mlp_out.1", "resid_post.2"]),
)
def test_any_prompts_any_rule(model: Model, lengths: list[int], rule: str, seed: int, site: str) -> None:
    random = np.random.default_rng(seed)
    prompts = ["".join(random.choice(list("abc123+-= "), length)) + str(at) for at, length in enumerate(lengths)]
    s = steering(direction(seed, site), 2.0, positions=RULES[rule])
    expected = [reference(model, s, prompt) for prompt in prompts]
    assert ids_of(model, prompts, steering=s, batch_size=3) == expected
    with s.on(model):
        assert theirs(model, prompts) == expected


def test_the_first_new_token_is_steered_from_the_last_prompt_position(model: Model) -> None:
    inputs = batch(model, PROMPTS)
    clean = model.net(**inputs).logits[:, -1]
    for rule, moves in (("generated", True), ("last_prompt", True), ("completion", False)):
        with steering(direction(), 2.0, positions=rule).on(model):
            logits = model.net(**inputs).logits[:, -1]
        assert torch.equal(logits, clean) != moves


def test_a_clean_run_after_a_steered_one_is_bit_equal(model: Model) -> None:
    inputs = batch(model, PROMPTS)
    before, hooks = model.net(**inputs).logits, hooks_of(model)
    generate(model, PROMPTS, max_new_tokens=3, steering=steering(direction(), 5.0))
    with steering(direction(), 5.0).on(model):
        model.net.generate(**inputs, max_new_tokens=3)
        assert hooks_of(model) > hooks
    assert torch.equal(model.net(**inputs).logits, before)
    assert hooks_of(model) == hooks


def hooks_of(model: Model) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.net.modules())


def test_an_exception_leaves_no_hook(model: Model) -> None:
    before = hooks_of(model)
    with pytest.raises(KeyError, match="mine"), steering(direction(), 1.0).on(model):
        raise KeyError("mine")

    def fail(_: Tensor) -> Tensor:
        raise ArithmeticError("inside")

    with pytest.raises(ArithmeticError, match="inside"):
        generate(model, PROMPTS, steering=steering(direction(), 1.0, when=fail))
    assert hooks_of(model) == before


def test_two_models_at_once_and_nested_contexts(model: Model, llama_pair_dirs: tuple[Path, Path]) -> None:
    other = Model.load(llama_pair_dirs[1], device="cpu")
    one, two = steering(direction(0), 2.0), steering(direction(1, "resid_post.0"), 3.0)
    alone = ids_of(model, PROMPTS, steering=one), ids_of(other, PROMPTS, steering=two)
    with one.on(model), two.on(other):
        assert (theirs(model, PROMPTS), theirs(other, PROMPTS)) == alone
    assert alone[0] != alone[1]
    both = steering([direction(0), direction(1, "resid_post.0")], [2.0, 3.0])
    expected, outer = ids_of(model, PROMPTS, steering=both), ids_of(model, PROMPTS, steering=two)
    with one.on(model), two.on(model):
        assert theirs(model, PROMPTS) == expected
    with two.on(model):
        with one.on(model):
            assert theirs(model, PROMPTS) == expected
        assert theirs(model, PROMPTS) == outer


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_dose_a_row_equals_one_run_a_dose(model: Model, temperature: float) -> None:
    doses = (-3.0, 0.0, 1.0, 4.0)
    options: dict[str, Any] = {"max_new_tokens": NEW, "temperature": temperature, "n": 2}
    swept = generate(model, [PROMPTS[1]] * 4, steering=steering(direction(), doses), **options).frame
    assert list(swept["alpha"]) == [dose for dose in doses for _ in range(2)]
    for dose in doses:
        single = generate(model, [PROMPTS[1]], steering=steering(direction(), dose), **options).frame
        assert list(swept["ids"][swept["alpha"] == dose]) == list(single["ids"])
    assert list(swept["ids"][2:4]) == list(generate(model, [PROMPTS[1]], **options).frame["ids"])
    assert len({tuple(ids) for ids in swept["ids"]}) > 2


def test_different_vectors_in_different_rows(model: Model) -> None:
    first, second = direction(0), direction(1, "resid_post.0")
    s = steering([first, second], [(2.0, 0.0), (0.0, 3.0)])
    out = generate(model, PROMPTS[:2], steering=s, max_new_tokens=NEW).frame
    assert out["ids"][0] == ids_of(model, PROMPTS[:1], steering=steering(first, 2.0))[0]
    assert out["ids"][1] == ids_of(model, PROMPTS[1:2], steering=steering(second, 3.0))[0]
    assert list(out["alpha_0"]) == [2.0, 0.0]
    with s.on(model):
        assert theirs(model, PROMPTS[:2]) == list(out["ids"])
        with pytest.raises(ValueError, match="alphas for 2 rows"):
            theirs(model, PROMPTS[:3])


@pytest.mark.parametrize("rule", ["generated", "after regex"])
def test_a_sampled_steered_text_depends_on_nothing_else(model: Model, rule: str) -> None:
    s = steering(direction(), 1.0, positions=RULES[rule])
    options: dict[str, Any] = {"n": 4, "temperature": 1.0, "max_new_tokens": 20}
    whole = generate(model, PROMPTS, steering=s, **options).frame
    again = generate(model, PROMPTS[::-1], steering=s, batch_size=3, **options).frame
    key = ["problem", "sample"]
    assert whole.set_index(key)["ids"].to_dict() == again.set_index(key)["ids"].to_dict()
    assert set(whole["author"].map(lambda who: who[0])) == {"steered"}


class TestOperators:
    hidden = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(1))
    vector = torch.randn(8, generator=torch.Generator().manual_seed(2))
    unit = vector / vector.norm()
    everywhere = torch.ones(2, 3, dtype=torch.bool)

    def test_they_do_what_they_say(self) -> None:
        close = torch.testing.assert_close
        close(act("add", self.hidden, self.vector, 2.0, self.everywhere), self.hidden + 2 * self.vector)
        ablated = act("ablate", self.hidden, self.vector, 1.0, self.everywhere)
        close(ablated @ self.unit, torch.zeros(2, 3), atol=1e-6, rtol=0)
        across = torch.linalg.qr(torch.cat([self.unit[:, None], torch.eye(8)[:, :7]], dim=1)).Q[:, 1:]
        close(ablated @ across, self.hidden @ across, atol=1e-5, rtol=0)
        fixed = act("project", self.hidden, self.vector, -1.5, self.everywhere)
        close(fixed @ self.unit, torch.full((2, 3), -1.5))
        close(fixed @ across, self.hidden @ across, atol=1e-5, rtol=0)
        turned = act("rotate", self.hidden, self.vector, 2.0, self.everywhere)
        close(turned.norm(dim=-1), self.hidden.norm(dim=-1))
        cosine = torch.nn.functional.cosine_similarity
        close(cosine(turned, self.hidden + 2 * self.vector, dim=-1), torch.ones(2, 3))

    @pytest.mark.parametrize("operator", ["add", "ablate", "project", "rotate"])
    def test_other_places_keep_every_bit(self, operator: str) -> None:
        chosen = torch.tensor([[True, False, True], [False, False, True]])
        out = act(operator, self.hidden, self.vector, 3.0, chosen)
        assert torch.equal(out[~chosen], self.hidden[~chosen])
        assert bool((out[chosen] != self.hidden[chosen]).any(dim=-1).all())
        half = act(operator, self.hidden.bfloat16(), self.vector, 3.0, chosen)
        assert half.dtype == torch.bfloat16
        torch.testing.assert_close(half.float(), out, atol=0.1, rtol=0.02)

    @pytest.mark.parametrize("operator", ["add", "ablate", "project", "rotate"])
    def test_a_dose_a_place(self, operator: str) -> None:
        dose = torch.tensor([[1.0], [-2.0]])
        out = act(operator, self.hidden, self.vector, dose, self.everywhere)
        for row in range(2):
            alone = act(operator, self.hidden[[row]], self.vector, float(dose[row]), self.everywhere[[row]])
            torch.testing.assert_close(out[[row]], alone)

    @pytest.mark.parametrize("operator", ["ablate", "project", "rotate"])
    def test_they_work_in_a_model(self, model: Model, operator: str) -> None:
        s = steering(direction(), 1.0, positions="all", operator=operator)
        seen: list[Tensor] = []
        with s.on(model), model.watch(["resid_post.1"], lambda _, hidden: seen.append(hidden.clone())):
            model.net(**batch(model, PROMPTS[:1]))
        with model.watch(["resid_post.1"], lambda _, hidden: seen.append(hidden.clone())):
            model.net(**batch(model, PROMPTS[:1]))
        vector = s.parts[0].direction.vector
        expected = act(operator, seen[1], vector, 1.0, torch.ones(seen[1].shape[:2], dtype=torch.bool))
        torch.testing.assert_close(seen[0], expected)


@pytest.mark.parametrize("rule", ["generated", "after regex", "and or not"])
def test_bookkeeping_grows_with_the_text(model: Model, monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    s = steering(direction(), 1.0, positions=RULES[rule], schedule=[1.0, 0.5, 2.0])
    roomy = ids_of(model, PROMPTS, steering=s)
    monkeypatch.setattr("hooks.texts.STEP", 1)
    assert ids_of(model, PROMPTS, steering=s) == roomy
    with s.on(model):
        assert theirs(model, PROMPTS) == roomy


def test_a_relative_dose_counts_typical_norms(model: Model) -> None:
    d = direction(size=0.3, typical_norm=5.0)
    with steering(d, 0.4, relative=True).on(model):
        relative = model.net(**batch(model, PROMPTS)).logits
    with steering(d, 0.4 * 5.0 / 0.3).on(model):
        torch.testing.assert_close(relative, model.net(**batch(model, PROMPTS)).logits)
    with pytest.raises(ValueError, match="typical_norm was measured"):
        steering(direction(), 0.4, relative=True)


def test_a_schedule_over_generated_tokens(model: Model) -> None:
    factors = (1.0, 0.0, 0.0, 2.0, 0.0)
    listed = ids_of(model, PROMPTS, steering=steering(direction(), 1.5, schedule=factors))
    called = ids_of(
        model, PROMPTS, steering=steering(direction(), 1.5, schedule=lambda index: {0: 1.0, 3: 2.0}.get(index, 0.0))
    )
    assert listed == called
    for row, prompt in enumerate(PROMPTS):
        spans = Positions.spans([[(-1, 0)]]) | Positions.spans([[(2, 3)]])
        doubled = [steering(direction(), 1.5 * factor, positions=spans & Positions.first(count))
                   for factor, count in ((1.0, 1), (2.0, 4))]  # fmt: skip
        both = Positions.spans([[(2, 3)]])
        with doubled[0].on(model), steering(direction(), 3.0, positions=both).on(model):
            assert theirs(model, [prompt])[0] == listed[row]
    with pytest.raises(ValueError, match="not finite"):
        ids_of(model, PROMPTS, steering=steering(direction(), schedule=[float("nan")]))


def test_a_condition_on_the_activation(model: Model) -> None:
    d = direction()
    unit = d.unit().vector
    s = steering(d, 3.0, positions="all", when=above(d, 0.0))
    inputs = batch(model, PROMPTS[:1])
    seen: list[Tensor] = []
    with model.watch(["resid_post.1"], lambda _, hidden: seen.append(hidden.clone())):
        model.net(**inputs)
        with s.on(model):
            pass
    with s.on(model), model.watch(["resid_post.1"], lambda _, hidden: seen.append(hidden.clone())):
        model.net(**inputs)
    on = seen[0] @ unit > 0
    assert bool(on.any())
    assert not bool(on.all())
    torch.testing.assert_close(seen[1], seen[0] + 3.0 * on[..., None] * d.vector)
    cosine = above(d, 0.1, measure="cosine")(seen[0])
    expected = torch.nn.functional.cosine_similarity(seen[0], d.vector.expand_as(seen[0]), dim=-1) > 0.1
    assert torch.equal(cosine, expected)


def slow(model: Model, s: Steering, prompt: str, *, row: int = 0) -> list[int]:
    """Any operator, schedule and gate, one token after another, the whole text read anew for each."""
    ids = list(model.encode([prompt])[0])
    n_prompt = len(ids)
    for _ in range(NEW):
        at = torch.arange(len(ids))
        chosen = torch.tensor(s.positions.select(ids, n_prompt, tokenizer=model.tokenizer, row=row))[None]
        factors = torch.ones(len(ids))
        if s.schedule is not None:
            step = (at - (n_prompt - 1)).clamp(min=0).tolist()
            call = s.schedule if callable(s.schedule) else lambda i: s.schedule[min(i, len(s.schedule) - 1)]
            factors = torch.tensor([float(call(i)) for i in step])

        def change(site: Site, hidden: Tensor, chosen: Tensor = chosen, factors: Tensor = factors) -> Tensor:
            for part in s.parts:
                if part.direction.site == site:
                    dose = part.alpha[row] if isinstance(part.alpha, tuple) else part.alpha
                    here = chosen if s.when is None else chosen & s.when(hidden)
                    hidden = act(part.operator, hidden, part.direction.vector, dose * factors[None], here)
            return hidden

        sites = list(dict.fromkeys(part.direction.site for part in s.parts))
        with torch.no_grad(), model.watch(sites, change):
            ids.append(int(model.net(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        if ids[-1] in model.eos_ids:
            break
    return ids[n_prompt:]


def unlike(hidden: Tensor) -> Tensor:
    """A gate of one's own: open in about half of the places."""
    return hidden.float()[..., :16].sum(-1) > 0


ANYTHING: dict[str, dict[str, Any]] = {
    "ablate": {"operator": "ablate", "alpha": 1.0, "positions": "all"},
    "project": {"operator": "project", "alpha": -6.0},
    "rotate": {"operator": "rotate", "alpha": 1.5, "positions": "completion"},
    "gate on a projection": {"alpha": 2.0, "when": above(direction(3), 0.0)},
    "gate on a cosine": {"alpha": 2.0, "when": above(direction(3), 0.02, measure="cosine"), "positions": "all"},
    "gate of one's own": {"alpha": 2.0, "when": unlike},
    "gated rotation, scheduled": {"operator": "rotate", "alpha": 2.0, "when": unlike, "schedule": [1.0, 0.0, 1.0]},
    "scheduled": {"alpha": 1.5, "schedule": lambda step: 1.0 / (1 + step)},
}


@pytest.mark.parametrize("name", list(ANYTHING))
def test_operators_gates_and_schedules_agree_with_the_slow_loop(model: Model, name: str) -> None:
    s = steering(direction(), **ANYTHING[name])
    expected = [slow(model, s, prompt) for prompt in PROMPTS]
    assert ids_of(model, PROMPTS, steering=s) == expected
    assert ids_of(model, PROMPTS[::-1], steering=s, batch_size=2) == expected[::-1]
    assert [ids_of(model, [prompt], steering=s)[0] for prompt in PROMPTS] == expected
    with s.on(model):
        assert theirs(model, PROMPTS) == expected
        assert theirs(model, PROMPTS, use_cache=False) == expected
    assert expected != ids_of(model, PROMPTS)
    if s.when is not None:
        always = steering(direction(), **{**ANYTHING[name], "when": None})
        assert expected != ids_of(model, PROMPTS, steering=always)


@pytest.mark.parametrize("operators", ["add", ("add", "rotate", "add", "ablate")])
@pytest.mark.parametrize("gate", [None, unlike])
def test_many_vectors_and_doses_a_row_agree_with_the_slow_loop(model: Model, operators: Any, gate: Any) -> None:
    many = [direction(seed, site) for seed, site in enumerate(["resid_post.1"] * 3 + ["mlp_out.2"])]
    doses = [[2.0, 0.0, 0.0, 1.0], [0.0, -3.0, 0.0, 1.0], [0.5, 0.0, 2.0, 0.0], [0.0, 1.0, 1.0, 0.0]]
    s = steering(many, doses, operator=operators, when=gate)
    expected = [slow(model, s, prompt, row=row) for row, prompt in enumerate(PROMPTS)]
    assert ids_of(model, PROMPTS, steering=s) == expected
    with s.on(model):
        assert theirs(model, PROMPTS) == expected
    assert expected != ids_of(model, PROMPTS)


@pytest.mark.parametrize("dose", [1.5, (1.5, -2.0, 0.0, 3.0)])
def test_what_needs_no_looking_up_is_what_looking_up_finds(
    model: Model, monkeypatch: pytest.MonkeyPatch, dose: Any
) -> None:
    s = steering(direction(), dose)
    quick = generate(model, PROMPTS, steering=s, max_new_tokens=20, n=1)
    asked: list[int] = []
    real = Texts.chosen

    def counted(*inputs: Any) -> Tensor:
        asked.append(1)
        return real(*inputs)

    monkeypatch.setattr(Texts, "chosen", counted)
    generate(model, PROMPTS, steering=s, max_new_tokens=20)
    assert len(asked) == 1
    monkeypatch.setattr("hooks.texts.STEADY", ())
    looked_up = generate(model, PROMPTS, steering=s, max_new_tokens=20)
    assert len(asked) > 10
    assert list(looked_up.frame["ids"]) == list(quick.frame["ids"])
    assert list(looked_up.frame["logp"]) == list(quick.frame["logp"])


class TestReadersInside:
    """Whole texts, sorted by length and padded on the right, under steering."""

    @pytest.mark.parametrize("rule", list(RULES))
    def test_a_captured_row_is_that_of_the_text_alone(self, model: Model, rule: str) -> None:
        doses = [2.0, -1.0, 3.0, 0.5]
        s = steering(direction(), doses, positions=RULES[rule])
        texts = generate(model, PROMPTS, steering=s, max_new_tokens=NEW)
        with s.on(model):
            found = capture(model, texts, sites="resid_post.2", positions="all")
        clean = capture(model, texts, sites="resid_post.2", positions="all")
        alone = []
        for row, (ids, n_prompt) in enumerate(texts.sequences()):
            seen: list[Tensor] = []
            chosen = s.positions.select(ids, n_prompt, tokenizer=model.tokenizer, row=row)

            def add(_: Site, hidden: Tensor, row: int = row, chosen: np.ndarray = chosen) -> Tensor:
                return hidden + doses[row] * torch.tensor(chosen)[:, None] * s.parts[0].direction.vector

            def keep(_: Site, hidden: Tensor, seen: list[Tensor] = seen) -> None:
                seen.append(hidden[0].clone())

            with torch.no_grad(), model.watch(["resid_post.1"], add), model.watch(["resid_post.2"], keep):
                model.net(torch.tensor([ids]), use_cache=False)
            alone.append(seen[0])
        torch.testing.assert_close(found["resid_post.2"], torch.cat(alone), atol=2e-5, rtol=1e-4)
        assert not torch.equal(found["resid_post.2"], clean["resid_post.2"])

    def test_positions_count_from_what_the_reader_or_the_caller_says(self, model: Model) -> None:
        texts = generate(model, PROMPTS, max_new_tokens=NEW)
        ids = [own for own, _ in texts.sequences()]
        s = steering(direction(), 2.0, positions="completion")
        with s.on(model):
            told = capture(model, texts, sites="resid_post.1")["resid_post.1"]
            # Bare ids are all prompt, so nothing of them is completion.
            bare = capture(model, ids, sites="resid_post.1")["resid_post.1"]
        clean = capture(model, ids, sites="resid_post.1")["resid_post.1"]
        assert torch.equal(bare, clean)
        with s.on(model, n_prompt=[n for _, n in texts.sequences()]):
            said = capture(model, ids, sites="resid_post.1")["resid_post.1"]
        torch.testing.assert_close(said, told)
        assert not torch.equal(said, clean)

    def test_steered_rows_do_not_enter_a_store(self, model: Model, tmp_path: Path) -> None:
        with steering(direction(), 2.0).on(model), pytest.raises(ValueError, match="do not go into a store"):
            capture(model, PROMPTS, sites="resid_post.1", store=tmp_path / "acts")

    def test_sites_that_steering_does_not_reach_are_refused(self, model: Model) -> None:
        with steering(direction(), 2.0).on(model):
            assert is_steered(model)
            with pytest.raises(ValueError, match="does not reach"):
                capture(model, PROMPTS, sites="z.1")
        assert not is_steered(model)
        assert "z.1" in capture(model, PROMPTS, sites="z.1")

    def test_scores_under_steering_are_those_it_was_written_with(
        self, model: Model, llama_pair_dirs: tuple[Path, Path]
    ) -> None:
        pair = Pair.load(*map(str, llama_pair_dirs))
        s = steering(direction(), [2.0, -1.0, 3.0, 0.5])
        texts = generate(pair.base, PROMPTS, steering=s, max_new_tokens=NEW)
        with s.on(pair.base):
            table = score(pair, texts)
        written = np.concatenate([np.array(logp) for logp in texts.frame["logp"]])
        np.testing.assert_allclose(table.frame["logp_base"], written, atol=2e-4)
        assert not np.allclose(score(pair, texts).frame["logp_base"], written, atol=1e-2)


def test_texts_read_in_one_go_are_steered_as_they_were_written(model: Model) -> None:
    for rule in ("generated", "completion", "after regex", "first"):
        s = steering(direction(), 1.5, positions=RULES[rule])
        out = generate(model, PROMPTS, steering=s, max_new_tokens=NEW)
        for (ids, n_prompt), logp in zip(out.sequences(), out.frame["logp"], strict=True):
            with s.on(model, n_prompt=n_prompt):
                logits = model.net(torch.tensor([ids])).logits[0, n_prompt - 1 : -1].float()
            read = logits.log_softmax(-1).gather(-1, torch.tensor(ids[n_prompt:])[:, None])[:, 0]
            np.testing.assert_allclose(read, logp, atol=2e-4)


def test_a_hand_written_loop_with_a_cache_the_model_made(model: Model) -> None:
    s = steering(direction(), 1.5)
    expected = ids_of(model, PROMPTS[1:2], steering=s)[0]
    ids, new = torch.tensor(model.encode(PROMPTS[1:2])), []
    with s.on(model), torch.no_grad():
        out = model.net(ids, use_cache=True)
        while len(new) < len(expected):
            new.append(int(out.logits[0, -1].argmax()))
            out = model.net(torch.tensor([new[-1:]]), past_key_values=out.past_key_values, use_cache=True)
    assert new == expected


def test_a_cache_of_fixed_size(model: Model) -> None:
    s = steering(direction(), 1.5)
    expected = ids_of(model, PROMPTS, steering=s)
    with s.on(model):
        assert theirs(model, PROMPTS, cache_implementation="static") == expected


def test_several_samples_by_anybodys_loop(model: Model) -> None:
    s = steering(direction(), 1.5)
    with s.on(model):
        out = theirs(model, PROMPTS, num_beams=3, num_return_sequences=1)
    with s.on(model):
        assert out == theirs(model, PROMPTS, num_beams=3, num_return_sequences=1, use_cache=False)


class TestParity:
    """The additions of other packages, from their published formulas."""

    def test_steering_vectors(self, model: Model) -> None:
        # steering-vectors adds multiplier * vector to a layer's output from min_token_index on.
        d = direction()
        inputs = batch(model, PROMPTS[:1])
        with steering(d, 1.7, positions="all").on(model):
            ours = model.net(**inputs).logits
        handle = model.blocks[1].register_forward_hook(lambda *a: forward(a[2], lambda h: h + 1.7 * d.vector))
        formula = model.net(**inputs).logits
        handle.remove()
        torch.testing.assert_close(ours, formula)

    def test_repeng(self, model: Model) -> None:
        # repeng adds coeff * direction to a layer's output wherever the position id is not that of padding.
        d = direction()
        inputs = batch(model, PROMPTS)
        keep = inputs["attention_mask"][..., None]
        with steering(d, -0.8, positions="all").on(model):
            ours = model.net(**inputs).logits
        handle = model.blocks[1].register_forward_hook(lambda *a: forward(a[2], lambda h: h + -0.8 * d.vector * keep))
        formula = model.net(**inputs).logits
        handle.remove()
        torch.testing.assert_close(ours[:, -1], formula[:, -1])

    def test_the_package_steering_vectors(self, model: Model) -> None:
        package = pytest.importorskip("steering_vectors")
        d, inputs = direction(), batch(model, PROMPTS[:1])
        with steering(d, 1.7, positions="all").on(model):
            ours = model.net(**inputs).logits
        there = package.SteeringVector(layer_activations={1: d.vector}, layer_type="decoder_block")
        with there.apply(model.net, multiplier=1.7):
            torch.testing.assert_close(model.net(**inputs).logits, ours)

    def test_the_package_repeng(self, llama_dir: Path) -> None:
        package = pytest.importorskip("repeng")
        # It rewrites the model it is given, so it gets one of its own.
        model = Model.load(llama_dir, device="cpu")
        d, inputs = direction(), batch(model, PROMPTS[:1])
        with steering(d, -0.8, positions="all").on(model):
            ours = model.net(**inputs).logits
        wrapped = package.ControlModel(model.net, [1])
        wrapped.set_control(package.ControlVector(model_type="llama", directions={1: d.vector.numpy()}), -0.8)
        torch.testing.assert_close(wrapped(**inputs).logits, ours)


def forward(output: Any, change: Callable[[Tensor], Tensor]) -> Any:
    return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)


class TestRefusals:
    def test_a_direction_that_does_not_fit(self, model: Model) -> None:
        wrong = Direction(torch.ones(7), Site("resid_post", 1))
        with pytest.raises(ValueError, match="width 7"), steering(wrong).on(model):
            pass
        with pytest.raises(ValueError, match="layers 0 to 2"), steering(direction(site="resid_post.9")).on(model):
            pass
        other = direction(weights_hash="elsewhere", model="another")
        with pytest.raises(ValueError, match="transfer=True"), steering(other).on(model):
            pass
        with steering(other, transfer=True).on(model):
            pass
        with steering(direction(weights_hash=model.weights_hash)).on(model):
            pass

    def test_a_padded_batch_without_its_mask(self, model: Model) -> None:
        with pytest.raises(ValueError, match="attention_mask"), steering(direction()).on(model):
            model.net(batch(model, PROMPTS)["input_ids"])

    def test_a_cache_filled_elsewhere(self, model: Model) -> None:
        ids = torch.tensor(model.encode(PROMPTS[:1]))
        cache = model.net(ids, use_cache=True).past_key_values
        with pytest.raises(ValueError, match="outside this steering"), steering(direction()).on(model):
            model.net(ids[:, :1], past_key_values=cache)
        after = steering(direction(), positions=RULES["after regex"])
        with pytest.raises(ValueError, match="earlier token ids"), after.on(model, n_prompt=ids.shape[1]):
            model.net(ids[:, :1], past_key_values=cache)

    def test_counts_and_names(self, model: Model) -> None:
        with pytest.raises(ValueError, match="no operator 'mul'"):
            steering(direction(), operator="mul")
        with pytest.raises(ValueError, match="at least one direction"):
            steering([])
        with pytest.raises(ValueError, match="2 directions were given with 3"):
            steering([direction(), direction()], [1.0, 2.0, 3.0])
        with pytest.raises(ValueError, match="finite"):
            steering(direction(), float("nan"))
        with pytest.raises(ValueError, match="names no positions"):
            steering(direction(), positions="somewhere")
        with pytest.raises(ValueError, match="3 alphas"):
            generate(model, PROMPTS, steering=steering(direction(), (1.0, 2.0, 3.0)))
        with pytest.raises(ValueError, match="different numbers of rows"):
            steering([direction(), direction()], [(1.0, 2.0), (1.0,)])
        with pytest.raises(ValueError, match="n_prompt has 1"), steering(direction()).on(model, n_prompt=[2]):
            model.net(**batch(model, PROMPTS))


def test_a_steering_says_what_it_does() -> None:
    s = steering(direction(typical_norm=2.0), 0.5, relative=True, positions="first:3", schedule=[1.0])
    assert str(s) == "add 0.5 typical norms of 'random 0' at resid_post.1 on first:3 positions, scheduled"
