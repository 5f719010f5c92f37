"""Tiny random models of every family the package is tested on, with a tokenizer, saved as ordinary folders."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

FAMILIES = ("llama", "qwen2", "qwen3", "gemma", "gpt2", "gpt_neox", "olmo")
SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")
WORDS = ("wait", "answer", "then")
CHARACTERS = " 0123456789abcdefghijklmnopqrstuvwxyz+-*=;:.,?()\n"

SHAPE = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 256}
GATED = {**SHAPE, "num_key_value_heads": 2, "intermediate_size": 48}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", GATED),
    "qwen2": ("Qwen2Config", GATED),
    "qwen3": ("Qwen3Config", {**GATED, "head_dim": 8}),
    "gemma": ("GemmaConfig", {**GATED, "head_dim": 8, "num_key_value_heads": 1}),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 256}),
    "gpt_neox": ("GPTNeoXConfig", {**SHAPE, "intermediate_size": 48, "use_parallel_residual": True}),
    "olmo": ("OlmoConfig", {**GATED, "num_key_value_heads": 4}),
    # Beyond the seven: norms behind attention and MLP, which change what is added to the residual stream.
    "gemma2": ("Gemma2Config", {**GATED, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 16}),
    "olmo2": ("Olmo2Config", GATED),
}

CHAT = (
    "{% for message in messages %}{{ bos_token if loop.first else '' }}{{ message['role'] }}: "
    "{{ message['content'] }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)
"""A chat template that writes the beginning-of-sequence token itself, as Llama's do."""


def tokenizer(d_vocab: int = 64, *, bos: bool = True, chat_template: str | None = None) -> Any:
    """A tokenizer of one token a character, with three whole words, lower case; anything else is ``<unk>``."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = [*SPECIALS, *WORDS, *CHARACTERS]
    if d_vocab < len(pieces):
        raise ValueError(f"d_vocab={d_vocab} is too small: the tokenizer of the tests has {len(pieces)} pieces")
    pieces += [f"<filler{index}>" for index in range(d_vocab - len(pieces))]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("|".join((*WORDS, r"[\s\S]"))), behavior="isolated")
    inner.decoder = decoders.Fuse()
    if bos:
        inner.post_processor = processors.TemplateProcessing(
            single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", vocabulary["<bos>"])]
        )
    out = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
    out.chat_template = chat_template
    return out


def tiny(
    family: str,
    *,
    seed: int = 0,
    d_vocab: int = 64,
    path: str | Path | None = None,
    dtype: torch.dtype = torch.float32,
    perturb: float = 0.0,
    bos: bool = True,
    chat_template: str | None = None,
    n_tokens: int | None = None,
    **config: Any,
) -> Path:
    """Save a random model of ``family`` and a tokenizer in one folder and return it.

    Args:
        family: a name of :data:`CONFIGS`.
        seed: of the weights; the same seed gives the same bytes.
        d_vocab: rows of the embedding.
        path: the folder; a temporary one, removed at exit, when None.
        dtype: of the saved weights.
        perturb: standard deviation of a change of the weights of layer 1 and of the final norm (an "RL" twin that
            shares every other tensor with the model of the same seed).
        bos: whether the tokenizer writes ``<bos>`` before a text.
        chat_template: Jinja text, see :data:`CHAT`.
        n_tokens: entries of the tokenizer, ``d_vocab`` when None; less than ``d_vocab`` gives a padded vocabulary.
        **config: any field of the family's configuration.
    """
    import transformers

    name, defaults = CONFIGS[family]
    words = tokenizer(n_tokens or d_vocab, bos=bos, chat_template=chat_template)
    ids = {f"{kind}_token_id": getattr(words, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
    settings = {**defaults, "vocab_size": d_vocab, "tie_word_embeddings": False, **ids, **config}
    built = getattr(transformers, name)(**settings)
    model = transformers.AutoModelForCausalLM.from_config(built, dtype=torch.float32)
    _fill(model, seed)
    if perturb:
        _change(model, seed, perturb)
    model.generation_config = transformers.GenerationConfig(**ids)
    folder = Path(path) if path is not None else _temporary()
    model.to(dtype).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def _fill(model: torch.nn.Module, seed: int) -> None:
    """Weights large enough that logits differ clearly and every bias and norm matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            noise = torch.randn(tensor.shape, generator=generator)
            matrix = tensor.dim() > 1
            # Gemma's norms multiply by one plus their weight, the others by the weight itself.
            norm = not matrix and name.endswith("weight")
            centre = 1.0 if norm and not type(model).__name__.startswith("Gemma") else 0.0
            scale = (1.0 if "emb" in name or "wte" in name else 1.5 * tensor.shape[-1] ** -0.5) if matrix else 0.1
            tensor.copy_(centre + scale * noise)


def _change(model: torch.nn.Module, seed: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed + 1_000_003)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if ".1." in name or "final" in name or name.endswith(("model.norm.weight", "ln_f.weight")):
                tensor.add_(size * torch.randn(tensor.shape, generator=generator))


def _temporary() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="whenlens-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
