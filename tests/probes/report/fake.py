"""A study folder as a real run would leave it, made up from nothing; hostile text included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.probes.report.rich import MORE_TABLES, enrich

HOSTILE = "<script>window.pwned = 1</script>"
TABLES = (
    *("accuracy", "routing", "routed_tokens", "routed_places", "probes", "steering", "strategies", "shift", "weights"),
    *("passk", *MORE_TABLES),
)
RECORDS = ("headline", "pair", "routing", "token_view", "shift", "weights", "passk", "claims")
STRATEGIES = ("restating", "planning", "computation", "verification", "backtracking", "concluding")


def build(root: Path, *, identified: bool = True, tokens: int = 120, texts: int = 6, lean: bool = False) -> Path:
    """Write a whole study.

    ``identified=False`` is a sham pair whose two models are equally good; ``lean`` writes the least columns.
    """
    rng = np.random.default_rng(7)
    for part in ("results", "figures", "rollouts"):
        (root / part).mkdir(parents=True, exist_ok=True)
    _records(root, identified)
    _write(root, "accuracy", _accuracy(identified))
    _write(root, "routing", _routing(identified))
    words = [
        " let",
        " wait",
        " so",
        " check",
        "\n",
        " ⟨step⟩",
        " 7",
        " =",
        " is",
        " then",
        " code",
        " hm",
        " 3",
        HOSTILE,
    ]
    counts = np.sort(rng.integers(3, 400, len(words)))[::-1]
    _write(root, "routed_tokens", pd.DataFrame({"token": words, "count": counts, "share": counts / counts.sum()}))
    bins = np.linspace(0.025, 0.975, 20)
    share = np.exp(-6 * bins) + 0.08 + 0.1 * (bins > 0.85)
    _write(root, "routed_places", pd.DataFrame({"relative_position": bins, "share": share / share.sum()}))
    _json(root / "results/token_view.json", [_text(rng, i, tokens) for i in range(texts)])
    _write(root, "probes", _probes(rng))
    _write(root, "steering", _steering(identified))
    _write(root, "strategies", _strategies(rng))
    rows = [
        ("unshifted (rank 1)", 0.93, 0.92, 0.94),
        ("marginal (rank 2–3)", 0.05, 0.045, 0.056),
        ("shifted", 0.02, 0.016, 0.024),
    ]
    _write(root, "shift", pd.DataFrame(rows, columns=["what", "value", "low", "high"]))
    _json(root / "results/shift.json", {"js_above_0.1": 0.041, "quantiles": {"p50": 0.0002, "p95": 0.08, "p99": 0.31}})
    _write(root, "weights", _weights(rng))
    _json(
        root / "results/weights.json",
        {"entries": 482_304, "unchanged_bf16": 0.412, "unchanged_1e5": 0.447, "tensors": 39},
    )
    _write(root, "passk", _passk(identified))
    _json(
        root / "results/passk.json",
        {"crossing": 7.4, "solvable": {"both": 171, "base_only": 21, "rl_only": 3, "neither": 5}},
    )
    _json(root / "results/claims.json", _claims(identified))
    if not lean:
        enrich(root)
    pd.DataFrame({"problem": ["a"]}).to_parquet(root / "rollouts" / "base_greedy.parquet")
    return root


def _records(root: Path, identified: bool) -> None:
    name = "organism:latent" if identified else "organism:sham"
    _json(
        root / "study.json",
        {
            "name": name,
            "base": f"{name}:base",
            "rl": f"{name}:rl",
            "created": "2026-11-23T08:14:05+00:00",
            "command": f"whenlens study {name} --out runs/{name.split(':')[1]}",
            "config": {"n_problems": 200, "samples": 128, "temperature": 1.0, "seed": 0, "alphas": [0.25, 0.5, 1.0]},
            "versions": {"whenlens": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0", "transformer-lens": "4.3.0"},
            "seconds": {"pair": 1.2, "rollouts": 64.1, "probes": 22.8, "routing": 41.0},
        },
    )
    sentence = (
        "Letting the tuned model write 4 % of the tokens gives back 97 % of its gain over the base, and random tokens "
        "at the same rate give back 12 %: most of what RL added here is when, not how."
        if identified
        else "RL with a random reward changed nothing that these problems can tell: there is no gain to explain."
    )
    gap_points = (48.5, 43.0, 54.0) if identified else (0.4, -1.6, 2.5)
    rows = [
        ("Accuracy gap, tuned minus base", *gap_points, "percent", "greedy, 200 problems"),
        ("Gain recovered at 4 % routed", 97.2, 91.4, 103.0, "percent", "JS > 0.1"),
        ("Recovered at random places", 12.1, 7.7, 16.9, "percent", "same rate"),
        ("Best next-strategy probe", 0.712, 0.691, 0.733, "auroc", "ceiling 0.708"),
        ("Recovered by steering alone", None, None, None, "percent", "needs directions"),
        ("Weights changed", 0.588, None, None, "share", "bf16, two fixed files"),
    ]
    points = [dict(zip(("name", "value", "low", "high", "unit", "note"), row, strict=True)) for row in rows]
    _json(root / "results/headline.json", {"sentence": sentence, "identified": identified, "points": points})
    differences = [{"what": "generation config: temperature", "base": "1.0", "rl": "0.7"}]
    text = "base  Llama, 4 layers, d 96\nRL    Llama, 4 layers, d 96"
    _json(root / "results/pair.json", {"text": text, "differences": differences, "shared_fraction": 0.031})
    gap = {"value": 0.485, "low": 0.43, "high": 0.54} if identified else {"value": 0.004, "low": -0.016, "high": 0.025}
    _json(root / "results/routing.json", {"share_for_50": 0.019, "share_for_90": 0.036, "auc": 0.93, "gap": gap})


def _accuracy(identified: bool) -> pd.DataFrame:
    rl = 0.98 if identified else 0.497
    rows = [
        ("base", "greedy", 0.495, 31.0),
        ("base", "sampled", 0.36, 34.2),
        ("rl", "greedy", rl, 41.7),
        ("rl", "sampled", rl - 0.03, 42.3),
    ]
    frame = pd.DataFrame(rows, columns=["model", "decoding", "accuracy", "length"])
    frame["low"], frame["high"] = frame["accuracy"] - 0.035, (frame["accuracy"] + 0.035).clip(upper=1)
    frame["entropy"] = [0.41, 0.44, 0.08, 0.09]
    return frame.assign(n_problems=200, n_samples=[1, 128, 1, 128])


def _routing(identified: bool) -> pd.DataFrame:
    rows = []
    for threshold, routed, recovery in (
        (0.4, 0.011, 0.31),
        (0.2, 0.022, 0.58),
        (0.1, 0.041, 0.972),
        (0.05, 0.063, 0.985),
        (0.02, 0.09, 1.01),
    ):
        rows.append(("forward", "js", threshold, "base", False, routed, recovery))
    for threshold, routed, recovery in ((1.2, 0.02, 0.29), (0.8, 0.05, 0.61), (0.5, 0.1, 0.83)):
        rows.append(("forward", "base entropy", threshold, "base", False, routed, recovery))
    for routed, recovery in ((0.011, 0.03), (0.041, 0.12), (0.09, 0.2), (0.3, 0.38)):
        rows.append(("random places", "random", None, "base", True, routed, recovery))
    rows.append(("first places", "first 1", 1, "base", True, 0.034, 0.55))
    rows.append(("steered base token", "js", 0.1, "base", False, 0.041, 0.44))
    rows.append(("RL's choice in base top 3", "js", 0.1, "base", False, 0.041, 0.93))
    for threshold, routed, recovery in ((0.4, 0.012, 0.8), (0.2, 0.025, 0.45), (0.1, 0.045, 0.06)):
        rows.append(("backward", "js", threshold, "rl", False, routed, recovery))
    frame = pd.DataFrame(rows, columns=["arm", "gate", "threshold", "primary", "control", "routed", "recovery"])
    gap = 0.485 if identified else 0.004
    frame["accuracy"] = 0.495 + gap * frame["recovery"]
    for name, half in (("accuracy", 0.033), ("recovery", 0.06), ("routed", 0.003)):
        frame[f"{name}_low"], frame[f"{name}_high"] = frame[name] - half, frame[name] + half
    frame["effective"] = frame["routed"] * 0.63
    if not identified:
        frame[["recovery", "recovery_low", "recovery_high"]] = np.nan
    return frame.assign(n=200)


def _text(rng: np.random.Generator, index: int, tokens: int) -> dict[str, Any]:
    vocabulary = [
        "so ",
        "we ",
        "take ",
        "7 ",
        "plus ",
        "3 ",
        "is ",
        "10 ",
        ". ",
        "now ",
        "10 ",
        "times ",
        "4 ",
        "is ",
        "40 ",
        "\n",
    ]
    rows: list[dict[str, Any]] = []
    for place in range(tokens):
        is_open = bool(rng.random() < (0.5 if place < 2 else 0.05))
        rows.append(
            {
                "text": vocabulary[place % len(vocabulary)],
                "author": ("steered" if index == 2 else "rl") if is_open else "base",
                "js": round(float(rng.beta(3, 5) * 0.69 if is_open else rng.beta(0.3, 12) * 0.3), 5),
                "open": is_open,
                "changed": is_open and bool(rng.random() < 0.6),
                "other": "answer " if is_open else None,
            }
        )
    if index == 1:
        rows[5]["text"] = HOSTILE
        rows[6]["other"] = '"><img src=x onerror=alert(1)>'
    correct = [True, False, None][index % 3]
    problem = HOSTILE if index == 1 else f"chain-{index:03d}"
    return {"problem": problem, "prompt": "start 7 ; plus 3 ; times 4 ; minus 9 ?", "correct": correct, "tokens": rows}


def _probes(rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for place, peak in (("start", 0.71), ("inner", 0.83)):
        for strategy in STRATEGIES:
            for layer in range(4):
                score = 0.5 + (peak - 0.5) * min(1.0, 0.55 + 0.17 * layer) + rng.normal(0, 0.02)
                rows.append({"label": strategy, "place": place, "layer": layer, "auroc": score, "reported": layer == 3})
    frame = pd.DataFrame(rows).assign(site=lambda f: "resid_post." + f["layer"].astype(str))
    frame["low"], frame["high"] = frame["auroc"] - 0.021, frame["auroc"] + 0.021
    frame = frame.assign(shuffled=0.502, selectivity=frame["auroc"] - 0.51, position=0.55, length=0.513, bag=0.61)
    frame["ceiling"] = np.where(frame["place"] == "start", 0.708, np.nan)
    frame["rl_auroc"], frame["rl_minus_base"] = frame["auroc"] + 0.004, 0.004
    frame["rl_minus_base_low"], frame["rl_minus_base_high"] = -0.012, 0.02
    return frame.assign(q=0.0008, n=3200, positives=640)


def _steering(identified: bool) -> pd.DataFrame:
    rows: list[dict[str, Any]] = [
        {"arm": "unsteered", "label": None, "alpha": 0.0, "accuracy": 0.495},
        {"arm": "rl", "label": None, "alpha": 0.0, "accuracy": 0.98 if identified else 0.497},
    ]
    for alpha in (0.25, 0.5, 1.0, 2.0):
        lift = 0.16 * alpha * np.exp(1 - alpha) if identified else 0.002
        for label, part, p in (("computation", 1.0, 0.004), ("verification", 0.5, 0.03)):
            found = {"accuracy": 0.495 + part * lift, "recovery": part * lift / 0.485, "p": p}
            rows.append({"arm": "steered", "label": label, "alpha": alpha, **found})
            rows[-1] |= {"strategy_share": 0.2 + lift, "kl_damage": 0.1 * alpha}
        found = {"accuracy": 0.495 - 0.02 * alpha, "recovery": -0.04 * alpha}
        rows.append({"arm": "random", "label": "random", "alpha": alpha, **found})
    frame = pd.DataFrame(rows).assign(layer=1, relative=True, positions="last_prompt")
    frame["low"], frame["high"] = frame["accuracy"] - 0.03, frame["accuracy"] + 0.03
    frame["recovery_low"], frame["recovery_high"] = frame["recovery"] - 0.07, frame["recovery"] + 0.07
    return frame


def _strategies(rng: np.random.Generator) -> pd.DataFrame:
    rows = [(m, s, float(rng.gamma(2, 0.6)), float(rng.beta(2, 3))) for m in ("base", "rl") for s in STRATEGIES]
    return pd.DataFrame(rows, columns=["model", "strategy", "per_text", "share"])


def _weights(rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for layer in range(4):
        for module in ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"):
            rows.append((f"model.layers.{layer}.{module}.weight", layer, module, 9216, 0.3 + 0.3 * rng.random()))
    frame = pd.DataFrame(rows, columns=["tensor", "layer", "module", "numel", "unchanged_bf16"])
    frame["unchanged_1e5"], frame["unchanged_relative"] = (
        frame["unchanged_bf16"] + 0.03,
        frame["unchanged_bf16"] + 0.001,
    )
    frame = frame.assign(
        one_ulp=0.21, norm=0.34, numerical_rank=96.0, stable_rank=4.2, entropy_rank=51.3, null_rank=96.0
    )
    embedding = {
        "tensor": "model.embed_tokens.weight",
        "layer": np.nan,
        "module": "embed",
        "numel": 12_288,
        "unchanged_bf16": 0.71,
    }
    return pd.concat([frame, pd.DataFrame([embedding])], ignore_index=True)


def _passk(identified: bool) -> pd.DataFrame:
    rows = []
    for k in (1, 2, 4, 8, 16, 32, 64, 128):
        base = 1 - 0.64 * k**-0.55
        rl = 1 - 0.05 * k**-0.08 - 0.02 if identified else base + 0.003
        rows += [("base", k, base, base - 0.03, base + 0.02), ("rl", k, rl, rl - 0.02, min(1.0, rl + 0.02))]
    return pd.DataFrame(rows, columns=["model", "k", "value", "low", "high"])


def _claims(identified: bool) -> list[dict[str, Any]]:
    return [
        {
            "claim": "only_when",
            "statement": "RL teaches when to reason, not how.",
            "measure": "Recovery of the gain at 15 % routed tokens or less",
            "verdict": "supported" if identified else "not identified",
            "figure": 0.972 if identified else 0.931,
            "low": 0.914,
            "high": 1.03,
            "published": [
                _published("Base models know how to reason", "2510.07364", "share of the gap", "49–107 %"),
                _published("Sparse but critical", "2603.22446", "AIME24, 7.8 % of tokens", "8 → 44 %"),
            ],
            "caveats": ["A routed token carries what to say as well as when."],
            "rule": "supported when the lower end is above 0.8 and random places stay below 0.4",
        },
        {
            "claim": "sparse_updates",
            "statement": "RL changes 5 to 30 % of the weights.",
            "measure": "Share of entries whose bf16 value changed",
            "verdict": "contradicted",
            "figure": 0.588,
            "low": None,
            "high": None,
            "published": [_published("RL finetunes small subnetworks", "2505.11711", "changed", "5–30 %")],
            "caveats": "A fact of bf16 storage as much as of training.",
            "rule": "supported between 5 and 30 %",
        },
        {
            "claim": "pass_at_k",
            "statement": "At large k the base model catches up.",
            "measure": "k at which the curves cross",
            "verdict": "mixed",
            "figure": 7.4,
            "low": 5.1,
            "high": 11.8,
            "published": [],
        },
        {
            "claim": "two_phases",
            "statement": "Execution first, planning later.",
            "measure": "Breakpoint of execution entropy",
            "verdict": "not measured",
            "figure": None,
            "published": [_published(f"Paper {HOSTILE}", "javascript:alert(1)", "", "")],
            "needs": "at least 3 checkpoints",
        },
    ]


def _published(paper: str, arxiv: str, metric: str, value: str) -> dict[str, str]:
    return {"paper": paper, "arxiv": arxiv, "metric": metric, "value": value, "status": "read"}


def _write(root: Path, name: str, frame: pd.DataFrame) -> None:
    frame.to_parquet(root / "results" / f"{name}.parquet", index=False)


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
