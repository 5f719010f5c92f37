"""From a name to weights: resolve a folder, a hub id, an organism or ``BASE+ADAPTER``, and load what it holds.

Only safetensors are read and no code that ships with a checkpoint is run.  Errors are one sentence that names what is
wrong and what to do.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hooks.foreign import PreTrainedModel, Tokenizer

ADAPTER_FILE = "adapter_config.json"
CONFIG = "configuration (config.json)"
WEIGHTS = "safetensors weights (other formats are not read)"
STORED = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
"""Floating dtypes by their name in a safetensors header."""


@dataclass(frozen=True)
class Source:
    """Where a model comes from."""

    name: str
    """As the caller wrote it."""
    path: str
    """A local folder or a hub id."""
    revision: str | None = None
    adapter: str | None = None
    """A local folder or hub id of a LoRA adapter to merge."""

    @property
    def local(self) -> bool:
        """Whether the weights lie in a folder."""
        return Path(self.path).is_dir()


def find_source(name: str | Path, *, revision: str | None = None, adapter_base: str | None = None) -> Source:
    """Say what a name stands for, without loading anything.

    Args:
        name: a folder, a hub id, ``organism:NAME:MEMBER``, a folder of a LoRA adapter, or ``BASE+ADAPTER``.
        revision: of a hub id.
        adapter_base: the model an adapter is merged into; what the adapter's own file names when None.

    Raises:
        FileNotFoundError: for a path that does not exist.
        ValueError: for an unknown organism, an adapter that names no base, or one whose base is an adapter too.
    """
    text = str(name)
    if "+" in text and not Path(text).expanduser().exists():
        base, adapter = _at_plus(text)
        return _with_adapter(find_source(base, revision=revision), text, _existing(adapter))
    if text.startswith("organism:"):
        from hooks.organisms import resolve

        member = resolve(text)
        if not (member / ADAPTER_FILE).is_file():
            return Source(text, str(member))
        return Source(text, str(resolve(text.rpartition(":")[0] + ":base")), adapter=str(member))
    path = _existing(text)
    described = Path(path) / ADAPTER_FILE
    if not described.is_file():
        return Source(text, path, revision)
    base = adapter_base or json.loads(described.read_text()).get("base_model_name_or_path")
    if not base:
        raise ValueError(f"the adapter {text} names no base model; write BASE+{text}")
    return _with_adapter(find_source(base, revision=revision), text, path)


def _at_plus(text: str) -> tuple[str, str]:
    """Base and adapter of ``BASE+ADAPTER``; a folder whose own name has a plus stays whole."""
    for place in (at for at, sign in enumerate(text) if sign == "+"):
        if Path(text[:place]).expanduser().is_dir():
            return text[:place], text[place + 1 :]
    base, _, adapter = text.partition("+")
    return base, adapter


def _with_adapter(base: Source, name: str, adapter: str) -> Source:
    if base.adapter is not None:
        raise ValueError(
            f"{base.name}, the base of {name}, is itself an adapter; save it merged (peft: merge_and_unload) and name "
            "that folder"
        )
    return replace(base, name=name, adapter=adapter)


def _existing(text: str) -> str:
    if not text.strip():
        raise FileNotFoundError("no model was named; name a folder, a hub id (OWNER/NAME) or an organism")
    path = Path(text).expanduser()
    if path.is_dir():
        return str(path)
    # A hub id is OWNER/NAME or NAME; anything else was meant as a path.
    if path.exists():
        raise FileNotFoundError(f"{text} is a file; name the folder that holds config.json and the weights")
    if text.startswith((".", "/", "~", "\\")) or text.count("/") > 1:
        raise FileNotFoundError(
            f"there is no folder {text!r}; name a folder, a hub id (OWNER/NAME) or organism:NAME:MEMBER"
        )
    return text


@contextmanager
def without_bars() -> Iterator[None]:
    """Silence the bars that transformers draws whether or not anybody watches."""
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            logging.enable_progress_bar()


def load_config(source: Source) -> Any:
    """Read the configuration and check that it is a causal language model that transformers knows.

    Raises:
        FileNotFoundError: when there is no configuration, or the hub cannot be reached.
        ValueError: for an architecture that is unknown or no causal language model.
    """
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    if source.local and not (Path(source.path) / "config.json").is_file():
        raise FileNotFoundError(_missing(source, CONFIG))
    try:
        config = AutoConfig.from_pretrained(source.path, revision=source.revision, trust_remote_code=False)
    except OSError as error:
        raise FileNotFoundError(_missing(source, CONFIG)) from error
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{source.name} has an architecture that the installed transformers does not know, or that ships its own "
            f"code, which is not run here: {_sentence(error)}"
        ) from error
    if getattr(config, "quantization_config", None) is not None:
        raise ValueError(f"{source.name} is quantized; name its unquantized weights")
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ValueError(f"{source.name} is a {config.model_type!r} model, not a decoder-only language model")
    return config


def _missing(source: Source, what: str) -> str:
    if source.local:
        return f"the folder {source.path} holds no {what}"
    revision = f" at revision {source.revision!r}" if source.revision else ""
    return (
        f"{source.path!r} is no folder, and no {what} of that name{revision} could be had from the Hugging Face hub: "
        "check the name, the access rights and the network (HF_HUB_OFFLINE), or name a local folder"
    )


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def stored_dtype(source: Source) -> torch.dtype:
    """Read from the weights' headers which floating dtype most tensors are stored in; config.json may say otherwise.

    Raises:
        FileNotFoundError: when there are no safetensors.
        ValueError: for quantized weights.
    """
    from safetensors import safe_open
    from transformers.utils import cached_file

    def fetch(name: str) -> str | None:
        return cached_file(source.path, name, revision=source.revision, _raise_exceptions_for_missing_entries=False)

    try:
        file = fetch("model.safetensors")
        if file is None and (index := fetch("model.safetensors.index.json")) is not None:
            shards = json.loads(Path(index).read_text())["weight_map"].values()
            file = fetch(min(shards))
    except OSError as error:
        raise FileNotFoundError(_missing(source, WEIGHTS)) from error
    if file is None:
        raise FileNotFoundError(_missing(source, WEIGHTS))
    with safe_open(file, framework="pt") as opened:
        counts = Counter(opened.get_slice(name).get_dtype() for name in opened.keys())  # noqa: SIM118
    known = [dtype for dtype, _ in counts.most_common() if dtype in STORED]
    if not known or counts.most_common(1)[0][0] not in STORED:
        raise ValueError(f"{source.name} is quantized ({counts.most_common(1)[0][0]}); name its unquantized weights")
    return STORED[known[0]]


def load_net(source: Source, config: Any, *, dtype: torch.dtype) -> PreTrainedModel:
    """Load the weights on the CPU, with the adapter merged if there is one; evaluation mode, no gradients.

    Raises:
        FileNotFoundError: when there are no safetensors.
        ValueError: when the weights do not fit the configuration.
    """
    from transformers import AutoModelForCausalLM

    loader: Any = AutoModelForCausalLM
    # Capped attention scores (Gemma 2) are ignored by the fused kernel.
    capped = getattr(config, "attn_logit_softcapping", None)
    with without_bars():
        try:
            net, report = loader.from_pretrained(
                source.path,
                revision=source.revision,
                config=config,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                attn_implementation="eager" if capped else None,
                output_loading_info=True,
            )
        except OSError as error:
            raise FileNotFoundError(_missing(source, WEIGHTS)) from error
        except RuntimeError as error:
            raise ValueError(f"the weights of {source.name} do not fit its config.json: {_sentence(error)}") from error
        # transformers fills a missing tensor with random numbers and only warns.
        if report["missing_keys"]:
            raise ValueError(f"the weights of {source.name} lack {', '.join(sorted(report['missing_keys'])[:5])}")
        if source.adapter is not None:
            net = _merge(net, source)
    net.eval()
    net.requires_grad_(False)
    loaded: PreTrainedModel = net
    return loaded


def _merge(net: Any, source: Source) -> Any:
    from peft import PeftModel
    from transformers.utils import cached_file

    file = cached_file(str(source.adapter), "adapter_model.safetensors", _raise_exceptions_for_missing_entries=False)
    if file is None:
        raise FileNotFoundError(
            f"the adapter {source.adapter} holds no adapter_model.safetensors; save it as safetensors"
        )
    try:
        # peft draws an adapter's numbers before it reads them; a caller's own draws must not depend on what was loaded.
        with warnings.catch_warnings(), torch.random.fork_rng(range(torch.cuda.device_count())):
            # peft asks transformers for a name that is about to go; nobody here can change that.
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
            warnings.filterwarnings("ignore", message=".*Found missing adapter keys", category=UserWarning)
            wrapped: Any = PeftModel.from_pretrained(net, str(source.adapter))
            # What did not fit is only told by the second call; without it a foreign adapter leaves the base as it was.
            told = wrapped.load_adapter(str(source.adapter), "default")
            if astray := [*told.missing_keys, *told.unexpected_keys]:
                raise ValueError(f"{len(astray)} of their tensors have no counterpart, {astray[0]} for one")
            return wrapped.merge_and_unload()
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ValueError(
            f"the adapter {source.adapter} cannot be merged into {source.path}: {_sentence(error)}"
        ) from error


def load_tokenizer(source: Source) -> Tokenizer:
    """Load the tokenizer as it was saved.

    A folder whose tokenizer was saved as a plain fast tokenizer is read as one: transformers would put the family's
    own (Qwen 2) in its place, with other pre-tokenisation rules.  An adapter's own tokenizer goes before its base's.

    Raises:
        FileNotFoundError: when there is none.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    path, revision = source.path, source.revision
    if source.adapter is not None and (Path(source.adapter) / "tokenizer_config.json").is_file():
        path, revision = source.adapter, None
    try:
        saved = get_tokenizer_config(path, revision=revision).get("tokenizer_class")
        plain = saved in ("PreTrainedTokenizerFast", "TokenizersBackend")
        kind: Any = PreTrainedTokenizerFast if plain else AutoTokenizer
        tokenizer: Tokenizer = kind.from_pretrained(path, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise FileNotFoundError(_missing(source, "tokenizer") + "; save one beside the weights") from error
    tokenizer.padding_side = "left"
    return tokenizer
