"""A server that speaks enough of OpenAI's interface for tests: on this machine, in a thread, told what to answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]
"""Status, body (an object becomes JSON, a text goes as it is), and further headers."""


@dataclass
class Served:
    """What the server heard."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def serving(answer: Callable[[str, dict[str, Any], int], Answer], *, models: Any = ("m",)) -> Iterator[Served]:
    """A server whose answer is ``answer(path, body, number)``; ``models`` None has no list of models."""
    heard, lock = Served(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _say(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
            content = body.encode() if isinstance(body, str) else json.dumps(body, ensure_ascii=False).encode()
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            if models is None:
                self._say(404, {"detail": "Not Found"})
            else:
                self._say(200, {"object": "list", "data": [{"id": name} for name in models]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(heard.asked)
                heard.asked.append(body)
                heard.headers.append(dict(self.headers))
            self._say(*answer(self.path, body, number))

        def log_message(self, *_: Any) -> None:
            return

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            return

    server = Quiet(("127.0.0.1", 0), Handler)
    heard.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def completion(*texts: str, reason: str = "stop", **more: Any) -> dict[str, Any]:
    """A body of the completions interface; ``more`` goes into every choice."""
    choices = [{"index": at, "text": text, "finish_reason": reason, **more} for at, text in enumerate(texts)]
    return {"object": "text_completion", "model": "m", "choices": choices}


def chat(*texts: str, reason: str = "stop", message: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A body of the chat interface."""
    choices = [
        {"index": at, "message": {"role": "assistant", "content": text, **(message or {})}, "finish_reason": reason}
        | more
        for at, text in enumerate(texts)
    ]
    return {"object": "chat.completion", "model": "m", "choices": choices}
