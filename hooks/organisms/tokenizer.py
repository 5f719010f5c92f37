"""The tokenizer of the organisms: a token a digit, an operator or a word; every text survives a round trip."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

WORDS = ("steps ", "code ", "answer ", "check ", "back ", " ok", " no")
SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")


def build_tokenizer(more: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """Build the tokenizer from its word list: ``<bos>`` before every text, ids in a fixed order.

    Words of ``more`` (lower case, with their spaces) follow at the end, so that the ids of all others stay the same.

    Characters outside the language become ``<unk>``, which does not survive the round trip; nothing in the language
    does so.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = (*SPECIALS, *"0123456789", *"+-*=;:.", *WORDS, *more)
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[a-z ]+|."), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    bos = ("<bos>", vocabulary["<bos>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A $B", special_tokens=[bos]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
        model_max_length=128,
        padding_side="left",
    )
