"""Samples of a model that is served elsewhere, as rollouts.

Every request has a name (its problem and its first sample) and a seed of its own that follows from it, so that order
and number of threads change nothing that is asked; whether the same seed gives the same text is the server's affair.
What was answered is written down line by line in a journal; a run that was killed asks only for the rest.

Token ids stand in the rollouts only where they are certain (column ``exact``, see :mod:`hooks.said`), and prompts are
sent as ids where the tokenizer is at hand.  Elsewhere there is the text, and ``Rollouts.with_ids`` cuts it, aloud.
``logp`` is what the server gives: vLLM's is of the untempered model, other servers' may be after temperature and top-p.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from types import SimpleNamespace
from typing import Any

from hooks.endpoint import Client, Endpoint
from hooks.foreign import Tokenizer
from hooks.journal import Journal
from hooks.prompts import Template, encode
from hooks.requests import Row, rows_of
from hooks.rollouts import Rollouts
from hooks.said import choices_of, ids_of, logp_of
from hooks.streams import stream


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What is asked of a server for each problem.

    Raises:
        ValueError: for a number that makes no sense.
    """

    n: int = 1
    """Samples of each problem."""
    temperature: float = 1.0
    """0 is greedy."""
    top_p: float = 1.0
    """Nucleus."""
    max_new_tokens: int = 256
    """Longest text, in tokens."""
    seed: int | None = 0
    """Every request's seed follows from it; None sends none, for servers that do not know seeds."""
    stop: tuple[str, ...] = ()
    """Texts that end a sample."""
    logprobs: bool = True
    """Ask for the log-prob of every token."""
    token_ids: bool = False
    """Ask for token ids, as vLLM gives them (``return_token_ids``); other servers may refuse."""
    per_request: int = 8
    """Samples of one request; where a server gives fewer than asked, the rest is asked for again."""

    def __post_init__(self) -> None:
        for name, least in (("n", 1), ("max_new_tokens", 1), ("per_request", 1), ("temperature", 0.0)):
            if not getattr(self, name) >= least:
                raise ValueError(f"{name} is at least {least}, not {getattr(self, name)}")
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p lies above 0 and at most at 1, not {self.top_p}")


def served(
    endpoint: Endpoint,
    problems: Sequence[Any],
    asking: Asking,
    *,
    tokenizer: Tokenizer | None = None,
    eos: Sequence[int] = (),
    template: Template = "none",
    threads: int = 16,
    journal: Path | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Rollouts:
    """Let a served model write samples, and return them as rollouts, problem by problem.

    Args:
        endpoint: the server and the model's name there.
        problems: strings, or anything with ``id`` and ``prompt``.
        asking: how many samples, and how they are drawn.
        tokenizer: of the model that is served; prompts then go as ids (not to the chat interface), and the tokens the
            server lists become ids where both agree.
        eos: the model's end-of-sequence ids; the tokenizer's own by default.
        template: how the tokenizer writes a prompt, as for ``Model.encode``; without a tokenizer "none".
        threads: requests under way at once.
        journal: file of what was answered so far; the same call goes on with it.
        progress: told (samples done, samples in all).

    Returns:
        rollouts with the further columns ``exact`` (the ids are the sampled ones) and ``logp_total`` (the server's sum
        over the tokens it lists, NaN without).

    Raises:
        EndpointError: where the server is not there, refuses, or fails for good; what was answered is in the journal.
        ValueError: for a journal of other requests, or a template without a tokenizer.
    """
    if tokenizer is None and template != "none":
        raise ValueError(f"the template {template!r} is the tokenizer's; give the tokenizer, or ask the chat interface")
    tool: Any = tokenizer
    ends = list(eos) or ([] if tool is None or tool.eos_token_id is None else [int(tool.eos_token_id)])
    rows = _rows(problems, asking.n, tokenizer, template)
    with Journal(journal, _settings(endpoint, asking, rows, tokenizer)) as kept:
        tell = progress or (lambda done, total: None)
        tell(len(kept.answers), len(rows))
        if len(kept.answers) < len(rows):
            _ask_all(endpoint, rows, asking, kept, threads, tokenizer, lambda: tell(len(kept.answers), len(rows)))
        answers = kept.answers
    return Rollouts.of(_result(row, answers[row.problem, row.sample], endpoint, tool, ends) for row in rows)


def _rows(problems: Sequence[Any], n: int, tokenizer: Tokenizer | None, template: Template) -> list[Row]:
    """Prompts with the names of their samples; without a tokenizer their ids are a stand-in that is never sent."""

    def cut(texts: Sequence[str], *, template: Template) -> list[list[int]]:
        return [[0]] * len(texts) if tokenizer is None else encode(tokenizer, texts, template=template)

    return rows_of(SimpleNamespace(encode=cut), problems, n=n, template=template)


def _settings(endpoint: Endpoint, asking: Asking, rows: Sequence[Row], tokenizer: Tokenizer | None) -> dict[str, Any]:
    """What makes the answers what they are; the address is not part of it."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps([row.problem, row.prompt, *row.ids]).encode())
    return {
        "model": endpoint.model, "api": endpoint.api, **asdict(asking), "stop": list(asking.stop),
        "tokenizer": tokenizer is not None, "problems": digest.hexdigest()[:16],
    }  # fmt: skip


def _ask_all(
    endpoint: Endpoint,
    rows: Sequence[Row],
    asking: Asking,
    kept: Journal,
    threads: int,
    tokenizer: Tokenizer | None,
    tell: Callable[[], object],
) -> None:
    """Ask for every sample that is missing; the first failure ends the others."""
    blocks: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        blocks.setdefault((row.problem, row.sample // asking.per_request), []).append(row)

    def work(block: Sequence[Row]) -> None:
        while missing := [row for row in block if (row.problem, row.sample) not in kept.answers]:
            body = _body(missing, endpoint, asking, tokenizer)
            answer = client.ask(body, label=f"{missing[0].problem} {missing[0].sample}")
            kept.add(missing[0], choices_of(answer, stops=asking.stop)[: len(missing)])
            tell()

    with Client(endpoint) as client:
        client.check()
        _side_by_side([partial(work, block) for block in blocks.values()], threads)


def _side_by_side(tasks: Sequence[Callable[[], object]], threads: int) -> None:
    """Do the tasks, several at once; the first error, or Ctrl-C, ends the waiting for all of them.

    The threads are the interpreter's to drop: a pool would wait for every request under way, however long it hangs.
    """
    todo, ended = deque(tasks), SimpleQueue[Exception | None]()

    def labour() -> None:
        while True:
            try:
                task = todo.popleft()
            except IndexError:
                return
            try:
                task()
            except Exception as error:  # noqa: BLE001 - it is raised where the tasks are waited for
                ended.put(error)
            else:
                ended.put(None)

    for _ in range(min(max(1, threads), len(tasks))):
        Thread(target=labour, daemon=True).start()
    try:
        for _ in tasks:
            error = ended.get()
            if error is not None:
                raise error
    finally:
        todo.clear()


def _body(missing: Sequence[Row], endpoint: Endpoint, asking: Asking, tokenizer: Tokenizer | None) -> dict[str, Any]:
    """A request for all the samples of a block that are missing, in the name of the first."""
    row, chat = missing[0], endpoint.api == "chat"
    body: dict[str, Any] = {
        "model": endpoint.model, "max_tokens": asking.max_new_tokens, "temperature": asking.temperature
    }  # fmt: skip
    if chat:
        body["messages"] = [{"role": "user", "content": row.prompt}]
    else:
        body["prompt"] = row.prompt if tokenizer is None else list(row.ids)
    # Servers differ in what they know, so what is at its usual value is left out.
    if len(missing) > 1:
        body["n"] = len(missing)
    if asking.top_p < 1.0:
        body["top_p"] = asking.top_p
    if asking.stop:
        body["stop"] = list(asking.stop)
    if asking.seed is not None:
        body["seed"] = int(stream(asking.seed, "served", row.problem, row.sample).integers(2**31))
    if asking.logprobs:
        body["logprobs"] = True if chat else 1
    if asking.token_ids:
        body["return_token_ids"] = True
    return body


def _result(row: Row, choice: dict[str, Any], endpoint: Endpoint, tokenizer: Any, eos: Sequence[int]) -> dict[str, Any]:
    """A row of the table; ids only where both the prompt's and the text's are certain."""
    sent = list(row.ids) if tokenizer is not None and endpoint.api == "completions" else None
    prompt_ids = choice["prompt_ids"] or sent
    ids = ids_of(choice, tokenizer, eos=eos)
    exact = prompt_ids is not None and ids is not None
    given = [one for one in choice["logp"] or [] if one is not None]
    found = ids if exact and ids is not None else []
    return {
        "problem": row.problem, "sample": row.sample, "model": endpoint.model, "prompt": row.prompt,
        "prompt_ids": prompt_ids if exact else [], "ids": found, "text": choice["text"],
        "logp": logp_of(choice, found), "stop": choice["stop"], "author": [endpoint.model] * len(found),
        "exact": exact, "logp_total": math.fsum(given) if given and len(given) == len(choice["logp"]) else math.nan,
    }  # fmt: skip
