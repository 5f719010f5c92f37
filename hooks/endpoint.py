"""A server that speaks OpenAI's completions: vLLM, SGLang, llama.cpp, TGI, or a hosted one.

One request at a time: what is worth another try (too many requests, a server that is down for a moment, an answer that
is no JSON) is tried again, after the time the server asks for; what is not ends in one sentence that says what the
server said.  The key comes from an environment variable and is sent to nobody but the server; it is never written, and
where the server repeats it in a message it is blotted out.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Literal
from urllib.parse import urlsplit

from hooks.streams import stream

Api = Literal["completions", "chat"]
PATHS: dict[str, str] = {"completions": "/completions", "chat": "/chat/completions"}
AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Answers after which the same request may succeed."""
LONGEST_PAUSE = 120.0
"""Seconds; a server that asks for more is asked again after these."""


class EndpointError(RuntimeError):
    """The server could not be used; the sentence says what it said and what may help."""


@dataclass(frozen=True)
class Endpoint:
    """Where a model is served, and how patient to be with it.

    Raises:
        ValueError: for an address that is none, or that has a password in it.
    """

    url: str
    """Up to and with ``/v1``, as in ``http://localhost:8000/v1``."""
    model: str
    """The model's name as the server knows it."""
    api: Api = "completions"
    """``completions`` sends the prompt as it is, ``chat`` as one user message into the server's own template."""
    key_from: str = "OPENAI_API_KEY"
    """Environment variable with the key; without one no key is sent."""
    timeout: float = 600.0
    """Seconds to wait for one answer."""
    retries: int = 5
    """Further tries of a request."""
    pause: float = 1.0
    """Seconds before the second try; twice as long before each further one, unless the server says when."""

    def __post_init__(self) -> None:
        url = self.url.rstrip("/")
        for path in ("/chat/completions", "/completions"):
            url = url.removesuffix(path)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"an endpoint is an address such as http://localhost:8000/v1, not {self.url!r}")
        if parts.username or parts.password:
            raise ValueError(f"put the key into the environment variable {self.key_from}, not into the address")
        if self.api not in PATHS:
            raise ValueError(f"api is completions or chat, not {self.api!r}")
        object.__setattr__(self, "url", url)


class Client:
    """A connection to an endpoint; several threads may ask at once.

    Leaving the context, or :meth:`halt`, ends what is under way.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        import httpx

        self.endpoint = endpoint
        self._key = os.environ.get(endpoint.key_from, "").strip()
        self._stopped = threading.Event()
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        # No limit on connections: how many ask at once is decided where the threads are.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        timeout = httpx.Timeout(endpoint.timeout, connect=min(endpoint.timeout, 30.0))
        self._http = httpx.Client(headers=headers, timeout=timeout, limits=limits, follow_redirects=False)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.halt()

    def halt(self) -> None:
        """End what is under way; whoever waits for an answer gets an :class:`EndpointError`."""
        self._stopped.set()
        self._http.close()

    def check(self) -> None:
        """See at once whether a server is there and has the model; one without a list of models is taken as it is.

        Raises:
            EndpointError: where no server answers, it refuses the key, or its list has no such model.
        """
        import httpx

        where, model = self.endpoint.url, self.endpoint.model
        try:
            answer = self._http.get(f"{where}/models", timeout=min(self.endpoint.timeout, 30.0))
        except httpx.TimeoutException:
            return
        except httpx.HTTPError as error:
            raise EndpointError(
                f"no server answers at {where} ({_why(error)}); start it, or mend --endpoint"
            ) from error
        if answer.status_code in (401, 403):
            raise self._refusal(answer)
        try:
            listed = [str(entry["id"]) for entry in answer.json()["data"]] if answer.status_code == 200 else []
        except (ValueError, KeyError, TypeError):
            return
        if listed and model not in listed:
            known = ", ".join(listed[:5]) + (", ..." if len(listed) > 5 else "")
            raise EndpointError(f"{where} has no model {model!r}; it has {known}")

    def ask(self, body: Mapping[str, Any], *, label: str = "") -> dict[str, Any]:
        """The server's answer to one request, an object with at least one choice.

        Args:
            body: the request.
            label: what it is about, for the random part of the pauses.

        Raises:
            EndpointError: where the server refuses it, or every try failed.
        """
        import httpx

        last = ""
        for attempt in range(self.endpoint.retries + 1):
            pause: float | None = None
            try:
                answer = self._http.post(f"{self.endpoint.url}{PATHS[self.endpoint.api]}", json=dict(body))
            except (httpx.HTTPError, RuntimeError) as error:
                # A client that was closed meanwhile says so with a RuntimeError.
                last = _why(error)
            else:
                found = self._read(answer)
                if isinstance(found, dict):
                    return found
                last, pause = found, _asked_pause(answer.headers.get("retry-after"))
            if self._stopped.is_set():
                raise EndpointError("the request was given up")
            if attempt < self.endpoint.retries:
                self._stopped.wait(self._pause(attempt, label) if pause is None else pause)
        tries = self.endpoint.retries + 1
        raise EndpointError(f"{self.endpoint.url} failed {tries} time{'s' * (tries > 1)} at the same request: {last}")

    def _pause(self, attempt: int, label: str) -> float:
        # A random part, so that many waiting threads do not come back all at once.
        share = stream(0, "pause", label, str(attempt)).random()
        return min(LONGEST_PAUSE, self.endpoint.pause * 2.0**attempt * (0.5 + share))

    def _read(self, answer: Any) -> dict[str, Any] | str:
        """What was answered, or why to try again."""
        if answer.status_code in AGAIN:
            return f"{answer.status_code}: {self._said(answer)}"
        if answer.status_code != 200:
            raise self._refusal(answer)
        try:
            found = answer.json()
        except ValueError:
            return f"its answer is no JSON ({self._said(answer)!r})"
        if not isinstance(found, dict) or not isinstance(found.get("choices"), list) or not found["choices"]:
            return f"its answer has no choices ({self._said(answer)!r})"
        if not all(isinstance(choice, dict) for choice in found["choices"]):
            return f"its answer has choices that are no objects ({self._said(answer)!r})"
        return found

    def _refusal(self, answer: Any) -> EndpointError:
        where, status, said = self.endpoint.url, answer.status_code, self._said(answer)
        if status in (401, 403):
            sent = "refused the key" if self._key else "wants a key"
            return EndpointError(
                f"{where} {sent} ({status}: {said}); set the environment variable {self.endpoint.key_from}"
            )
        if status == 404:
            other = "chat" if self.endpoint.api == "completions" else "completions"
            return EndpointError(
                f"{where} knows no {PATHS[self.endpoint.api]} or no model {self.endpoint.model!r} ({status}: {said}); "
                f"see whether the address ends in /v1, or try --api {other}"
            )
        return EndpointError(f"{where} refused the request ({status}: {said})")

    def _said(self, answer: Any) -> str:
        """The message of an answer, short, on one line and without the key."""
        try:
            found = answer.json()
            error = found.get("error", found) if isinstance(found, dict) else found
            text = str(error.get("message", error)) if isinstance(error, dict) else str(error)
        except ValueError:
            text = answer.text
        if self._key:
            text = text.replace(self._key, "***")
        text = " ".join(text.split())
        return text if len(text) <= 300 else text[:300] + " ..."


def _why(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _asked_pause(header: str | None) -> float | None:
    """Seconds that a Retry-After header asks for: a number, or a date."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(LONGEST_PAUSE, max(0.0, seconds)) if seconds == seconds else None
