"""Names of transformers' classes for annotations, without importing transformers.

A type checker sees the real classes; at run time they stand for what every such object certainly is, so that the
run-time checks of the tests hold and importing the package stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel as PreTrainedModel
    from transformers import PreTrainedTokenizerFast as Tokenizer
else:
    from torch.nn import Module as PreTrainedModel

    Tokenizer = object

__all__ = ["PreTrainedModel", "Tokenizer"]
