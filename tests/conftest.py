"""Fixtures that several rooms share: folders of tiny models, built once a session."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch

from tests.families import tiny

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def llama_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama: 3 layers, width 32, 64 tokens."""
    return tiny("llama", path=tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="session")
def llama_pair_dirs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A random Llama and a twin whose layer 1 and final norm differ, with the same tokenizer."""
    base = tiny("llama", path=tmp_path_factory.mktemp("pair") / "base")
    return base, tiny("llama", path=base.parent / "rl", perturb=0.15)
