"""Which characters of a text did each token write?  Offsets from the ids, never from text cut into tokens anew.

Where the tokens' own texts join up to the whole text, their lengths are the offsets.  Where they do not (a character
split over several tokens, a tokenizer that drops a leading space), the text is decoded step by step behind a short
window, and a token that ends inside a character is held back until the character is complete; all tokens that share
the character are said to have written it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Int

BROKEN = "\ufffd"
"""What a decoder writes in the place of a character that is not complete."""


@dataclass(frozen=True)
class Written:
    """A text and, token by token, the characters it wrote; a special token writes none."""

    text: str
    starts: Int[np.ndarray, "token"]
    stops: Int[np.ndarray, "token"]

    def token_span(self, start: int, stop: int) -> tuple[int, int]:
        """The tokens ``[first, last + 1)`` whose writing begins in the characters ``[start, stop)``.

        A token belongs where its first character that is no blank stands, so that `` The`` opens the sentence that
        "The" opens.  Empty (first equal to last + 1) if no token begins there.
        """
        anchors = self._anchors
        first, last = np.searchsorted(anchors, [start, stop], side="left")
        return int(first), int(last)

    @property
    def _anchors(self) -> Int[np.ndarray, "token"]:
        found = self.__dict__.get("_found")
        if found is None:
            places = []
            for start, stop in zip(self.starts, self.stops):
                piece = self.text[start:stop]
                body = piece.lstrip()
                places.append(start + len(piece) - len(body) if body else start)
            found = np.maximum.accumulate(np.array(places, dtype=np.int64)) if places else np.zeros(0, dtype=np.int64)
            self.__dict__["_found"] = found
        return found


@dataclass
class Decoder:
    """Decodes ids of one tokenizer and remembers the text of each single token."""

    tokenizer: Any
    """Anything with ``decode(ids, skip_special_tokens=...)``."""
    _pieces: dict[int, str] = field(default_factory=dict)

    def __call__(self, ids: Sequence[int]) -> Written:
        """The text of the ids and the characters of each."""
        ids = [int(token) for token in ids]
        text = self.decode(ids)
        lengths = [len(self.piece(token)) for token in ids]
        if "".join(self._pieces[token] for token in ids) == text:
            stops = np.cumsum(np.array(lengths, dtype=np.int64))
            return Written(text, stops - np.array(lengths, dtype=np.int64), stops)
        for windowed in (True, False):
            starts, stops = self._walk(ids, windowed=windowed)
            if len(stops) and stops[-1] == len(text):
                break
        return Written(text, np.minimum(starts, len(text)), np.minimum(stops, len(text)))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids, special tokens skipped and blanks left as they are."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def piece(self, token: int) -> str:
        """The text of one token on its own."""
        if token not in self._pieces:
            self._pieces[token] = self.decode([token])
        return self._pieces[token]

    def _walk(self, ids: Sequence[int], *, windowed: bool) -> tuple[Int[np.ndarray, "token"], Int[np.ndarray, "token"]]:
        """Offsets by decoding longer and longer heads, from the last complete token but one if ``windowed``."""
        starts, stops = [], []
        anchor = read = place = held = 0
        before = ""
        for index in range(len(ids)):
            added = self.decode(ids[anchor : index + 1])[len(before) :]
            starts.append(place + held)
            if added.endswith(BROKEN) and index + 1 < len(ids):
                held = len(added.rstrip(BROKEN))
                stops.append(place + held + 1)
                continue
            place, held = place + len(added), 0
            stops.append(place)
            anchor, read = (read, index + 1) if windowed else (0, index + 1)
            before = self.decode(ids[anchor:read])
        return np.array(starts, dtype=np.int64), np.array(stops, dtype=np.int64)
