"""A provider whose events say when they were sent: `python -m benchmarks.paced_provider`. Prints its URL.

Each event holds ``t`` and the 20-digit reading of `time.perf_counter_ns` just before it was written, which on Linux is
the same clock in every process. One thread per connection, plain blocking sockets: nothing between clock and write.
"""

from __future__ import annotations

import socket
import sys
import threading
import time

from benchmarks import payloads

PIECES = 12
PACE = 0.005  # seconds between two pieces

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"request-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n"
)


def main() -> int:
    """Serve until killed."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_answer, args=(connection,), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    with connection:
        while read_request(connection):
            _stream(connection)


def read_request(connection: socket.socket) -> bool:
    """Read one request and its body; False when the caller has left."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return False
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
    )
    left = length - len(body)
    while left > 0:
        left -= len(connection.recv(65536))
    return True


def _stream(connection: socket.socket) -> None:
    opening, *_, stopped, ended, last = payloads.events()
    block = payloads.frame("content_block_start", index=0, content_block={"type": "text", "text": ""})
    connection.sendall(_HEAD + _chunk(opening.replace(b"msg_bench", f"msg_{_stamp()}".encode()) + block))
    for _ in range(PIECES):
        time.sleep(PACE)
        connection.sendall(_chunk(payloads.delta(_stamp())))
    time.sleep(PACE)
    connection.sendall(_chunk(stopped + ended + last) + b"0\r\n\r\n")


def _stamp() -> str:
    return f"t{time.perf_counter_ns():020}"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


if __name__ == "__main__":
    sys.exit(main())
