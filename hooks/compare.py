"""How two checkpoints differ before a single token is run: shape, vocabulary, special tokens, template, settings.

Some differences forbid a comparison (one id, two tokens), most only have to be known (another chat template asks the
two models different questions).  Nothing here reads weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hooks.foreign import Tokenizer
from hooks.model import Model
from hooks.prompts import writes_bos

SAMPLES = (
    "Let x = 12, so 3*x + 4 = 40.",
    "Wait, that is wrong: 7 - 9 = -2.\n\nHence the answer is $\\frac{1}{2}$.",
    "  two  spaces,\ttab, naïve café 你好 🙂",
)
"""Texts that both tokenizers are asked to cut."""

BOOKKEEPING = frozenset(
    {
        "_name_or_path", "architectures", "transformers_version", "torch_dtype", "dtype", "use_cache", "vocab_size",
        "_attn_implementation", "attn_implementation", "model_type", "bos_token_id", "eos_token_id", "pad_token_id",
        "_from_model_config", "auto_map", "quantization_config", "id2label", "label2id", "_commit_hash",
        "hidden_size", "n_embd", "num_hidden_layers", "n_layer",
    }
)  # fmt: skip
"""Settings that are about files, or are compared under another name."""

SPECIALS = ("bos", "eos", "pad", "unk")


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same in base and RL."""

    item: str
    base: str
    rl: str
    meaning: str
    """What it means for a comparison."""


def check_vocabularies(base: Tokenizer, rl: Tokenizer) -> None:
    """Refuse two tokenizers that give one id to two tokens, or two ids to one token.

    Raises:
        ValueError: naming up to five such tokens and the remedy.
    """
    left, right = _pieces(base), _pieces(rl)
    clashes = [
        f"id {index} is {left[index]!r} in base and {right[index]!r} in rl"
        for index in sorted(left.keys() & right.keys())
        if left[index] != right[index]
    ]
    ids = {piece: index for index, piece in right.items()}
    clashes += [
        f"{piece!r} is id {index} in base and id {ids[piece]} in rl"
        for index, piece in sorted(left.items())
        if piece in ids and ids[piece] != index and index not in right
    ]
    if clashes:
        raise ValueError(
            f"base and rl have different vocabularies, so an id of one means nothing to the other: "
            f"{'; '.join(clashes[:5])}{f' and {len(clashes) - 5} more' if len(clashes) > 5 else ''}. "
            "Compare checkpoints that descend from the same base"
        )


def _pieces(tokenizer: Tokenizer) -> dict[int, str]:
    tool: Any = tokenizer
    return {int(index): piece for piece, index in tool.get_vocab().items()}


def find_differences(base: Model, rl: Model) -> list[Difference]:
    """List every difference between two models whose vocabularies can be compared."""
    return [
        *_architecture(base, rl),
        *_vocabulary(base, rl),
        *_special_tokens(base, rl),
        *_prompting(base, rl),
        *_settings(
            "generation", _generation(base), _generation(rl), "only matters where a model's own settings are used"
        ),
    ]


def _architecture(base: Model, rl: Model) -> Iterator[Difference]:
    shape = "weights and activations cannot be compared entry by entry; mixing and scoring can"
    kinds = type(base.net).__name__, type(rl.net).__name__
    if kinds[0] != kinds[1]:
        yield Difference("architecture", kinds[0], kinds[1], shape)
    for item in ("n_layers", "d_model"):
        left, right = getattr(base, item), getattr(rl, item)
        if left != right:
            yield Difference(item, str(left), str(right), shape)
    if base.stored_dtype != rl.stored_dtype:
        left, right = (str(model.stored_dtype).removeprefix("torch.") for model in (base, rl))
        yield Difference("stored dtype", left, right, f"both run in {str(base.dtype).removeprefix('torch.')}")
    if kinds[0] == kinds[1]:
        yield from _settings(
            "config", base.net.config.to_dict(), rl.net.config.to_dict(), "the networks compute differently"
        )


def _generation(model: Model) -> dict[str, Any]:
    settings = model.net.generation_config
    return {} if settings is None else settings.to_diff_dict()


def _settings(where: str, base: dict[str, Any], rl: dict[str, Any], meaning: str) -> Iterator[Difference]:
    for key in sorted((base.keys() | rl.keys()) - BOOKKEEPING):
        left, right = base.get(key), rl.get(key)
        if left != right:
            yield Difference(f"{where}.{key}", _shown(left), _shown(right), meaning)


def _vocabulary(base: Model, rl: Model) -> Iterator[Difference]:
    if base.d_vocab != rl.d_vocab:
        meaning = f"logits of both are cut to the common {min(base.d_vocab, rl.d_vocab)} ids"
        yield Difference("rows of the vocabulary", str(base.d_vocab), str(rl.d_vocab), meaning)
    left, right = _pieces(base.tokenizer), _pieces(rl.tokenizer)
    only = [_tokens(left, left.keys() - right.keys()), _tokens(right, right.keys() - left.keys())]
    if any(only):
        yield Difference("tokens of one side", only[0] or "-", only[1] or "-", "the other side was not trained on them")


def _tokens(pieces: dict[int, str], ids: set[int]) -> str:
    shown = [f"{index} {pieces[index]!r}" for index in sorted(ids)]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")


def _special_tokens(base: Model, rl: Model) -> Iterator[Difference]:
    for kind in SPECIALS:
        left, right = (getattr(model.tokenizer, f"{kind}_token", None) for model in (base, rl))
        if left != right:
            yield Difference(f"{kind} token", str(left), str(right), "pads are never read" if kind == "pad" else "")
    if base.eos_ids != rl.eos_ids:
        yield Difference(
            "tokens that end a text", str(base.eos_ids), str(rl.eos_ids), "the two stop at different tokens"
        )


def _prompting(base: Model, rl: Model) -> Iterator[Difference]:
    templates = base.tokenizer.chat_template, rl.tokenizer.chat_template
    if templates[0] != templates[1]:
        meaning = "each would be prompted its own way; give both one template"
        yield Difference("chat template", _shown(templates[0]), _shown(templates[1]), meaning)
    habits = writes_bos(base.tokenizer), writes_bos(rl.tokenizer)
    if habits[0] != habits[1]:
        meaning = "prompts differ by one token"
        yield Difference("begins a text with bos", str(habits[0]), str(habits[1]), meaning)
    yield from _cutting(base.tokenizer, rl.tokenizer)


def _cutting(base: Tokenizer, rl: Tokenizer) -> Iterator[Difference]:
    tools: list[Any] = [base, rl]
    rules = [_rules(tool) for tool in tools]
    for part in rules[0]:
        if rules[0][part] != rules[1].get(part):
            meaning = "some texts may become different ids"
            yield Difference(f"tokenizer's {part}", _shown(rules[0][part]), _shown(rules[1].get(part)), meaning)
    for text in SAMPLES:
        cuts = [tool(text, add_special_tokens=False).input_ids for tool in tools]
        if cuts[0] != cuts[1]:
            meaning = "the same text becomes different ids; pass ids, not text, from one to the other"
            yield Difference(f"ids of {text[:24]!r}", _shown(cuts[0]), _shown(cuts[1]), meaning)


def _rules(tool: Any) -> dict[str, Any]:
    backend = getattr(tool, "backend_tokenizer", None)
    if backend is None:
        return {}
    saved = json.loads(backend.to_str())
    return {
        "normalizer": saved.get("normalizer"),
        "pre_tokenizer": saved.get("pre_tokenizer"),
        "merges": saved["model"].get("merges"),
    }


def _shown(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:45]}… ({len(text)} characters)"
