"""What does a second author cost?  ``python -m tests.bench.mixing`` times mixed decoding against the primary alone.

Time a token of two equal models, eight texts at a time, greedy, with every text of one length (an end-of-sequence token
is a token like any other here), against :func:`hooks.generate.generate` and Hugging Face's ``generate``; against both
models in full at every step; and the peak of memory against two models with their caches.  The ratio is that of whole
runs, prompts (which two models must read) included; beside it stand the ratio without the prompts, and that of eight
texts alone, whose end is the end of the slowest.

On a CPU one number limits all others and is reported with them: what a read of k tokens a row costs in decoding steps.
Where arithmetic and not memory is the limit, a token read by the second model costs its share of arithmetic whatever is
drafted.  ``floor`` is the least that the formula of :mod:`hooks.pace` allows at that cost and the measured rates.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from hooks import gate as gates
from hooks.divergence import js, log_probs
from hooks.gate import Gate
from hooks.generate import generate
from hooks.mix import mix
from hooks.model import Model
from hooks.pace import LONGEST, cost, cost_of_waiting
from hooks.padding import pad_left
from hooks.pair import Pair
from tests.bench.results import entry, machine, medians, record
from tests.families import tiny

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LLAMA = {
    "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
    "intermediate_size": 1536, "max_position_embeddings": 2048,
}  # fmt: skip
BATCH = 8
GOALS = {"js": {0.04: 1.35, 0.10: 1.6}, "entropy": {0.04: 1.15, 0.10: 1.15}}


@dataclass(frozen=True)
class Case:
    """A pair, its prompts and how much is written."""

    name: str
    tokens: int
    runs: int
    d_vocab: int = 49152
    perturb: float = 0.002
    waves: int = 4
    """Texts for each of the eight seats."""

    @cached_property
    def pair(self) -> Pair:
        """The models, with no end-of-sequence token."""
        if self.name == "organism":
            pair = Pair.load("organism:latent", device=DEVICE)
        elif self.name == "smollm2":
            pair = Pair.load("organism:smollm2", device=DEVICE)
        else:
            shape = {**LLAMA, "d_vocab": self.d_vocab}
            folders = [tiny("llama", **shape, perturb=size) for size in (0.0, self.perturb)]
            pair = Pair.of(*(Model.load(folder, device=DEVICE) for folder in folders), share=False)
        for model in (pair.base, pair.rl):
            model.__dict__["eos_ids"] = ()
        return pair

    @cached_property
    def prompts(self) -> list[Any]:
        """Some problems for each seat."""
        n = BATCH * self.waves
        if self.name == "organism":
            from probes import tasks

            return list(tasks.load("organism:latent", n=n))
        if self.name == "smollm2":
            from probes import tasks

            # Through the template once, here, so that every arm reads the same tokens.
            show: Any = self.pair.base.tokenizer.apply_chat_template
            asked = [[{"role": "user", "content": one.prompt}] for one in tasks.load("organism:smollm2", n=n)]
            texts = [show(turns, tokenize=False, add_generation_prompt=True) for turns in asked]
            return [SimpleNamespace(id=str(at), prompt=text) for at, text in enumerate(texts)]
        texts = [f"{at} answer {7 * at + 11} + {at * at} then wait {3 * at} = " * 2 for at in range(n)]
        return [SimpleNamespace(id=str(at), prompt=text) for at, text in enumerate(texts)]

    def mixed(self, gate: Gate, *, draft: int | str = "auto", waves: int | None = None) -> Any:
        """Write with both."""
        asked = self.prompts[: BATCH * (waves or self.waves)]
        settings: Any = {"max_new_tokens": self.tokens, "batch_size": BATCH, "template": "none"}
        return mix(self.pair, asked, gate=gate, draft=draft, **settings)

    def alone(self, *, tokens: int | None = None, waves: int | None = None) -> Any:
        """Write with the primary."""
        asked = self.prompts[: BATCH * (waves or self.waves)]
        settings: Any = {"max_new_tokens": tokens or self.tokens, "batch_size": BATCH, "template": "none"}
        return generate(self.pair.base, asked, **settings)

    def foreign(self) -> None:
        """Write with Hugging Face, batch by batch."""
        for start in range(0, len(self.prompts), BATCH):
            self._foreign(self.prompts[start : start + BATCH])

    @torch.no_grad()
    def _foreign(self, asked: list[Any]) -> Any:
        model = self.pair.base
        batch = pad_left(model.encode([one.prompt for one in asked], template="none"), pad_id=0, device=model.device)
        settings = deepcopy(model.net.generation_config)
        # An id that no model writes: None would be filled in again from the model's own settings.
        settings.eos_token_id, settings.pad_token_id = model.d_vocab, 0
        settings.do_sample, settings.max_new_tokens = False, self.tokens
        return model.net.generate(
            batch.input_ids, attention_mask=batch.attention_mask, generation_config=settings
        )  # fmt: skip

    @torch.no_grad()
    def uncached(self, gate: Gate) -> list[list[int]]:
        """Both models in full at every step, the slow and obvious way."""
        pair, rows = self.pair, self.pair.base.encode([one.prompt for one in self.prompts], template="none")
        lengths = [len(row) for row in rows]
        for _ in range(self.tokens):
            batch = pad_left(rows, pad_id=0, device=pair.base.device)
            p, o = (
                model.net(
                    batch.input_ids, attention_mask=batch.attention_mask, position_ids=batch.position_ids,
                    use_cache=False, logits_to_keep=1,
                ).logits[:, -1]
                for model in (pair.base, pair.rl)
            )  # fmt: skip
            opened = js(log_probs(p), log_probs(o)) > gate.threshold
            token = torch.where(opened, o.argmax(-1), p.argmax(-1))
            rows = [[*row, new] for row, new in zip(rows, token.tolist(), strict=True)]
        return [row[length:] for row, length in zip(rows, lengths, strict=True)]


FULL = {
    "organism": Case("organism", 128, 3),
    "llama": Case("llama", 40, 2, waves=1),
    "reference": Case("organism", 256, 3, waves=1),
    "smollm2": Case("smollm2", 40, 2, waves=1),
}
TINY = {
    "organism": Case("organism", 16, 1, waves=2),
    "llama": Case("llama", 4, 1, d_vocab=512, waves=1),
    "reference": Case("organism", 16, 1, waves=1),
    "smollm2": Case("smollm2", 4, 1, waves=1),
}


def flat(lists: Any) -> np.ndarray:
    """All entries of a column of lists."""
    return np.concatenate([np.asarray(one, dtype=float) for one in lists])


def routed(case: Case, kind: str, rate: float, *, looks: int = 3) -> Gate:
    """The gate that opens at ``rate`` of the tokens of the text it shapes, found in a few looks."""
    gate: Gate = {"js": gates.js, "entropy": gates.entropy}[kind](1e9)
    best, off = gate, 1.0
    for _ in range(looks):
        frame = case.mixed(gate).frame
        share = float(flat(frame["gate_open"]).mean())
        if abs(share - rate) < off:
            best, off = gate, abs(share - rate)
        if off < 0.1 * rate:
            break
        gate = replace(gate, threshold=float(np.quantile(flat(frame["gate_score"]), 1 - rate)))
    return best


def accepted(frame: Any) -> dict[str, float]:
    """How often the gate was open, tokens were replaced, and how many tokens stood between two replacements."""
    changed = float(flat(frame["changed"]).mean())
    return {
        "open": round(float(flat(frame["gate_open"]).mean()), 4),
        "replaced": round(changed, 4),
        "tokens_a_replacement": round(1 / changed, 1) if changed else float("inf"),
    }


@contextmanager
def counting(pair: Pair) -> Iterator[dict[str, int]]:
    """Count forwards and tokens of both models."""
    counts = dict.fromkeys(("base", "rl", "base tokens", "rl tokens"), 0)

    def note(name: str) -> Callable[..., None]:
        def count(_: Any, __: Any, kwargs: Any) -> None:
            counts[name] += 1
            counts[f"{name} tokens"] += kwargs["input_ids"].numel()

        return count

    backbones = {name: getattr(pair, name).net.base_model for name in ("base", "rl")}
    handles = [net.register_forward_pre_hook(note(name), with_kwargs=True) for name, net in backbones.items()]
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def read_costs(case: Case, lengths: tuple[int, ...] = (1, 4, 8, 16)) -> dict[str, float]:
    """Steps that the other's read of k tokens in each of eight rows costs, logits included."""
    model = case.pair.rl
    context = torch.randint(4, case.pair.d_vocab, (BATCH, 64), device=DEVICE)

    def read(k: int) -> Callable[[], object]:
        held = model.new_cache()
        model.backbone(context, past_key_values=held, use_cache=True)
        ids = context[:, :k]
        return lambda: (model.unembed(model.backbone(ids, past_key_values=held, use_cache=True)), held.crop(-k))

    times = medians({str(k): read(k) for k in lengths}, runs=5)
    return {k: round(own["median"] / times["1"]["median"], 2) for k, own in times.items()}


def floor(kind: str, found: dict[str, float], costs: dict[str, float]) -> float:
    """Steps a token that no length of draft and no patience goes below, prompts and slowest rows left out."""
    lengths, steps = np.array([float(k) for k in costs]), np.array(list(costs.values()))
    slope, level = np.polyfit(lengths, steps, 1)
    if kind == "js":
        return float(min(cost(k, found["replaced"], level + slope * k) for k in range(1, LONGEST + 1)))
    vain = found["replaced"] / found["open"]
    return float(slope + min(cost_of_waiting(m, BATCH, found["open"], vain, level) for m in range(1, BATCH + 1)))


def bench_rates(case: Case, kind: str, drafts: tuple[int | str, ...]) -> dict[str, Any]:
    """Mixed decoding under one kind of gate at 4 and 10 per cent."""
    found = {rate: routed(case, kind, rate) for rate in GOALS[kind]}
    arms: dict[str, Callable[[], object]] = {
        "generate": case.alone, "prompts": lambda: case.alone(tokens=1),
    }  # fmt: skip
    if case.waves > 1:
        arms |= {"hf.generate": case.foreign, "eight": lambda: case.alone(waves=1)}
    for rate, gate in found.items():
        if case.waves > 1:
            arms[f"{rate} eight"] = lambda gate=gate: case.mixed(gate, waves=1)
        for draft in drafts:
            arms[f"{rate} {draft}"] = lambda gate=gate, draft=draft: case.mixed(gate, draft=draft)
    times = medians(arms, runs=case.runs)
    took = {name: own["median"] for name, own in times.items()}
    costs, out = read_costs(case), {}
    for rate, gate in found.items():
        with counting(case.pair) as counts:
            rates = accepted(case.mixed(gate).frame)
        against = {str(d): round(took[f"{rate} {d}"] / took["generate"], 3) for d in drafts}
        ratio, goal = against["auto"], GOALS[kind][rate]
        bare = (took[f"{rate} auto"] - 2 * took["prompts"]) / (took["generate"] - took["prompts"])
        title = f"time a token, {kind} gate at {rate:.0%} / primary alone, {case.name}"
        out[title] = entry(
            f"<= {goal}", ratio, reached=ratio <= goal, **rates, drafts=against, forwards=dict(counts),
            without_prompts=round(bare, 3), floor=round(floor(kind, rates, costs), 3), steps_of_a_read=costs,
            seconds={name: times[name] for name in ("generate", "prompts", f"{rate} auto")},
            tokens=case.tokens, texts=BATCH * case.waves, batch=BATCH, threshold=gate.threshold,
        )  # fmt: skip
        if case.waves > 1:
            out[title] |= {
                "eight_texts": round(took[f"{rate} eight"] / took["eight"], 3),
                "against_hf": round(took[f"{rate} auto"] / took["hf.generate"], 3),
            }
    return out


def bench_reference(case: Case) -> dict[str, Any]:
    """Against running both models in full at every step."""
    gate = routed(case, "js", 0.04)
    arms = {"mix": lambda: case.mixed(gate), "uncached": lambda: case.uncached(gate)}
    times = medians(arms, runs=case.runs)
    ratio = times["uncached"]["median"] / times["mix"]["median"]
    equal = case.mixed(gate).frame["ids"].tolist() == case.uncached(gate)
    return {
        f"uncached reference / mixed decoding, {case.tokens} tokens, organism": entry(
            ">= 5", ratio, reached=ratio >= 5, seconds=times, same_tokens=equal, batch=BATCH
        )
    }


def bench_memory(case: Case) -> dict[str, Any]:
    """The peak of a fresh process against two models, two caches and what stood there before."""
    command = [sys.executable, "-m", "tests.bench.mixing", "--measure", str(case.d_vocab)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    ratio = found["peak_mb"] / (found["before_mb"] + found["caches_mb"])
    title = "peak memory of mixed decoding / two loaded models + two caches"
    return {title: entry("<= 1.15", ratio, reached=ratio <= 1.15, **found)}


def measured(d_vocab: int, *, prompt: int = 400, tokens: int = 24) -> dict[str, float]:
    """Peak of one mixed run whose caches weigh a good part of the models."""
    from tests.bench.memory import measure

    case = replace(TINY["llama"], d_vocab=d_vocab)
    case.pair  # noqa: B018  (loads)
    texts = ["".join(str((at * place) % 10) for place in range(prompt)) for at in range(BATCH)]
    prompts = [SimpleNamespace(id=str(at), prompt=text) for at, text in enumerate(texts)]
    config = case.pair.base.net.config
    width = config.num_key_value_heads * config.hidden_size // config.num_attention_heads
    one = BATCH * (prompt + tokens) * config.num_hidden_layers * 2 * width * 4 / (1 << 20)
    found = measure(lambda: mix(case.pair, prompts, gate=gates.js(0.0), draft="auto", max_new_tokens=tokens))
    return {**found, "caches_mb": round(2 * one, 1)}


PARTS: dict[str, Callable[[dict[str, Case]], dict[str, Any]]] = {
    "organism-js": lambda cases: bench_rates(cases["organism"], "js", ("auto", 5)),
    "organism-entropy": lambda cases: bench_rates(cases["organism"], "entropy", ("auto", 1)),
    "llama-js": lambda cases: bench_rates(cases["llama"], "js", ("auto",)),
    "llama-entropy": lambda cases: bench_rates(cases["llama"], "entropy", ("auto",)),
    "reference": lambda cases: bench_reference(cases["reference"]),
    "smollm2-js": lambda cases: bench_rates(cases["smollm2"], "js", ("auto",)),
    "smollm2-entropy": lambda cases: bench_rates(cases["smollm2"], "entropy", ("auto",)),
    "memory": lambda cases: bench_memory(cases["llama"]),
}


def main(words: list[str] | None = None) -> None:
    """Run the parts asked for and write what came out; the real model's only when they are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="a size that means nothing; writes no results")
    parser.add_argument("--only", choices=PARTS, action="append", help="run this part (may be repeated)")
    parser.add_argument("--measure", type=int, metavar="VOCAB", help="print the memory of one run and stop")
    parser.add_argument("--dry", action="store_true", help="print what came out and write nothing")
    options = parser.parse_args(words)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if options.measure:
        print(json.dumps(measured(options.measure)))
        return
    print(machine())
    for name in options.only or [part for part in PARTS if not part.startswith("smollm2")]:
        found = PARTS[name](TINY if options.tiny else FULL)
        for title, own in found.items():
            print(f"{'ok  ' if own['reached'] else 'MISS'} {own['ratio']:<8} {own['goal']:<18} {title}", flush=True)
            if options.dry:
                print(own)
        if not (options.tiny or options.dry):
            record("mixing", found)


if __name__ == "__main__":
    main()
