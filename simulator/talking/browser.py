"""The conversation as a page in the browser: one static file, and a small server that listens to
this machine alone.
"""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

import numpy as np

from policies.common.errors import InputError
from simulator.talking.conversation import Conversation, Stage
from simulator.talking.words import Names, Typed, page_of

HERE = "127.0.0.1"
MOST_BYTES = 10_000  # of a request


class Talk:
    """One conversation at a time; `again` begins another."""

    def __init__(self, stage: Stage, names: Names, arm: str | None, user: str | None):
        self.stage, self.names, self.arm, self.user = stage, names, arm, user
        self.conversation: Conversation = stage.begin(arm, user)

    def told(self) -> dict[str, Any]:
        """What the page shows."""
        page = page_of(self.conversation, self.names)
        return {
            "arm": self.conversation.arm,
            "arms": list(self.stage.arms),
            "user": self.user,
            **page,
        }

    def again(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Another conversation, perhaps with another policy."""
        arm = asked["arm"] if isinstance(asked.get("arm"), str) else self.arm
        self.conversation = self.stage.begin(arm, self.user)
        self.arm = arm
        return self.told()

    def answered(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The next page.

        Raises:
            InputError: the answer is not one to the page that is shown.
        """
        k = self.conversation.slate_size
        if asked.get("page") != self.conversation.page + 1:
            raise InputError("that page is gone; load this one again")
        slots, more = asked.get("clicked", []), asked.get("more_like")
        wanted = [*(slots if isinstance(slots, list) else [None])]
        wanted += [] if more is None else [more]
        if not all(type(slot) is int and 0 <= slot < k for slot in wanted):
            raise InputError(f"slots are numbers from 0 to {k - 1}")
        typed = Typed(np.isin(np.arange(k), slots), more)
        self.conversation.answer(typed.clicked, typed.more_like)
        return self.told()


class Local(BaseHTTPRequestHandler):
    """Answers this machine alone, and drops who says nothing."""

    timeout = 30  # s

    def parse_request(self) -> bool:
        """Refuses what was sent to another name: a site that calls itself this machine."""
        if not super().parse_request():
            return False
        host = str(self.headers.get("Host", "")).rsplit(":", 1)[0]
        if host not in (HERE, "localhost"):
            self.send_error(403)
            return False
        return True

    def asked(self) -> dict[str, Any] | None:
        """The JSON object that was sent; None where it is none.

        Another site's page may post here as well, but not as JSON without asking first.
        """
        length = str(self.headers.get("Content-Length") or "")
        size = int(length) if length.isascii() and length.isdigit() and len(length) < 9 else 0
        kind = self.headers.get("Content-Type", "")
        if kind != "application/json" or not 0 < size <= MOST_BYTES:
            return None
        try:
            found = json.loads(self.rfile.read(size))
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def answer(self, body: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def handler_of(talk: Talk) -> type[Local]:
    """Requests of the page: `GET /`, `GET /page`, `POST /answer`, `POST /again`."""
    page = (files("simulator.talking") / "chat.html").read_bytes()
    steps = {"/answer": talk.answered, "/again": talk.again}
    lock = threading.Lock()  # one answer at a time; a connection that says nothing holds up none

    class Handler(Local):
        def do_GET(self) -> None:
            if self.path == "/":
                self.answer(page, "text/html; charset=utf-8")
            elif self.path == "/page":
                self._told(talk.told)
            else:
                self.send_error(404)

        def do_POST(self) -> None:
            step, asked = steps.get(self.path), self.asked()
            if step is None or asked is None:
                self.send_error(404 if step is None else 400)
                return
            self._told(lambda: step(asked))

        def _told(self, work: Callable[[], dict[str, Any]]) -> None:
            try:
                with lock:
                    told, status = work(), 200
            except InputError as error:
                told, status = {"error": str(error)}, 400
            self.answer(json.dumps(told).encode(), "application/json", status)

    return Handler


def server_of(talk: Talk, port: int) -> HTTPServer:
    """A server for this machine alone.

    Raises:
        InputError: nobody may listen there.
    """
    if not 0 <= port <= 65_535:
        raise InputError(f"--port {port}: wanted a number from 0 to 65535")
    try:
        server = ThreadingHTTPServer((HERE, port), handler_of(talk))
        server.daemon_threads = True
        return server
    except OSError as error:
        raise InputError(f"--port {port}: {error.strerror}; name another one") from None


def serve(stage: Stage, names: Names, arm: str | None, user: str | None, port: int) -> None:
    """Until it is interrupted."""
    with server_of(Talk(stage, names, arm, user), port) as server:
        print(f"http://{HERE}:{server.server_port}/  (Ctrl-C ends it)", flush=True)
        server.serve_forever()
