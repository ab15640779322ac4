"""What is told of alerts: a webhook's server and a mail server, on loopback."""

from __future__ import annotations

import http.server
import json
import socket
import socketserver
import threading
from typing import Any


class Receiver:
    """A webhook. `answers` are the statuses of the next calls, 200 after them; "hang" answers only when it closes,
    "drip" a byte now and then until it does."""

    def __init__(self, *answers: int | str) -> None:
        self.answers = list(answers)
        self.got: list[tuple[dict[str, str], Any]] = []
        self.came = threading.Condition()
        self._over = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with outer.came:
                    outer.got.append((headers, json.loads(body)))
                    answer = outer.answers.pop(0) if outer.answers else 200
                    outer.came.notify_all()
                if answer == "hang":
                    outer._over.wait(30)
                    return
                if answer == "drip":
                    _drip(self.wfile, outer._over)
                    return
                self.send_response(int(answer))
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing is printed."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def wait(self, count: int, seconds: float = 60.0) -> list[tuple[dict[str, str], Any]]:
        """The first `count` calls, once they have come."""
        with self.came:
            assert self.came.wait_for(lambda: len(self.got) >= count, seconds), self.got
            return self.got[:count]

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()


def _drip(to: Any, over: threading.Event) -> None:
    while not over.wait(0.05):
        try:
            to.write(b"2")
        except OSError:
            return


class MailServer:
    """As much of SMTP (RFC 5321) as one mail takes; `refuses` says no to the recipient, `drips` ends no reply."""

    def __init__(self, *, refuses: bool = False, drips: bool = False) -> None:
        self._over = threading.Event()
        self.mails: list[str] = []
        self.said: list[str] = []
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                if drips:
                    _drip(self.wfile, outer._over)
                    return
                self._say("220 hello")
                while line := self.rfile.readline().decode().strip():
                    outer.said.append(line)
                    if line.startswith("ehlo"):
                        self._say("250-hello\r\n250-AUTH PLAIN")
                    word = line.split(" ")[0].upper()
                    if word == "QUIT":
                        self._say("221 bye")
                        return
                    if word == "DATA":
                        self._say("354 go on")
                        lines = []
                        while (text := self.rfile.readline().decode()) not in (".\r\n", ""):
                            lines.append(text)
                        outer.mails.append("".join(lines))
                    self._say("550 no such user" if refuses and word == "RCPT" else "250 fine")

            def _say(self, text: str) -> None:
                self.wfile.write(f"{text}\r\n".encode())

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()


def unused_port() -> int:
    """Where nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
