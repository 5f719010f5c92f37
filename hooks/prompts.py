"""Text into ids, with the beginning-of-sequence token exactly once, and ids into text.

Two things write that token: the tokenizer, by its own habit, and many chat templates.  Applying both writes it twice,
which no model was trained on.  Here a plain text gets it if the tokenizer's habit is to write one, and a chat prompt
gets what its template writes; doubled ones are reduced to one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from hooks.foreign import Tokenizer

Template = Literal["auto", "none", "chat"]


def writes_bos(tokenizer: Tokenizer) -> bool:
    """Whether the tokenizer puts its beginning-of-sequence token before a text by itself."""
    tool: Any = tokenizer
    return tool.bos_token_id is not None and list(tool("").input_ids)[:1] == [tool.bos_token_id]


def encode(tokenizer: Tokenizer, texts: Sequence[str], *, template: Template = "auto") -> list[list[int]]:
    """Tokenise prompts, unpadded.

    Args:
        tokenizer: of the model that will read them.
        texts: the prompts, without special tokens.
        template: ``"chat"`` puts each text into the chat template as one user message and opens the answer;
            ``"none"`` takes it as it is; ``"auto"`` is ``"chat"`` where the tokenizer has a template, else ``"none"``.

    Raises:
        TypeError: for one string in place of a list.
        ValueError: for ``"chat"`` without a template, or a text of no tokens.
    """
    if isinstance(texts, str):
        raise TypeError("encode takes a list of texts; put the one text into a list")
    tool: Any = tokenizer
    chat = template == "chat" or (template == "auto" and bool(tool.chat_template))
    if chat and not tool.chat_template:
        raise ValueError('the tokenizer has no chat template; use template="none" or give it one')
    bos = tool.bos_token_id
    out: list[list[int]] = []
    habit = not chat and writes_bos(tokenizer)
    for text in texts:
        if chat:
            messages = [{"role": "user", "content": text}]
            text = tool.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        # Special tokens are added here and not by the tokenizer, some of which would also close the text with one.
        ids = [int(token) for token in tool(text, add_special_tokens=False).input_ids]
        if habit and ids[:1] != [bos]:
            ids = [bos, *ids]
        while bos is not None and ids[:2] == [bos, bos]:
            ids = ids[1:]
        if not ids:
            raise ValueError(f"the text {text!r} has no tokens, so there is nothing for a model to read")
        out.append(ids)
    return out


def decode(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """Return the text of ids, special tokens left out and no space tidied away."""
    tool: Any = tokenizer
    return str(tool.decode([int(token) for token in ids], skip_special_tokens=True, clean_up_tokenization_spaces=False))
