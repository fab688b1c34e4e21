"""A real HTTP server of files, with ranges, that misbehaves when told to."""

import socket
import struct
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Archives(ThreadingHTTPServer):
    """Files by name; each request to come takes one of `faults` first, if there is any.

    A fault is ("status", code, headers), ("reset", n), ("cut", n), ("stall", n, seconds),
    ("flip", position) or ("other",): n bytes of the answer are sent before it happens.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.faults: deque[tuple[Any, ...]] = deque()
        self.ranges = True
        self.tag = '"one"'
        self.delay_s = 0.0
        """Before each piece of 16 KiB."""
        self.seen: list[tuple[str, str | None, str | None]] = []
        """Path, Range and If-Range of each request."""
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def server_close(self) -> None:
        # A thread that serves a closed socket asks for it again and again, as fast as it can.
        self.shutdown()
        super().server_close()

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are part of the tests."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def starts(self) -> list[int]:
        """Where each request began to read."""
        return [int((part or "bytes=0-")[6:-1]) for _, part, _ in self.seen]


class _Handler(BaseHTTPRequestHandler):
    server: Archives

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        server.seen.append((self.path, wanted, condition))
        fault = server.faults.popleft() if server.faults else ("none",)
        if fault[0] == "status":
            return self._answer(fault[1], fault[2], b"")
        name = self.path.removeprefix("/")
        if name.startswith("http"):  # we are the proxy
            name = self.path.rpartition("/")[2]
        if name not in server.files:
            return self._answer(404, {}, b"")
        body = server.files[name]
        if fault[0] == "flip":
            body = body[: fault[1]] + bytes([body[fault[1]] ^ 255]) + body[fault[1] + 1 :]
        if fault[0] == "other":
            return self._answer(200, {}, b"<html>Please log in</html>")
        headers = {"ETag": server.tag} if server.tag else {}
        if wanted and server.ranges and condition in (None, server.tag):
            first = int(wanted[6:-1])
            if first >= len(body):
                return self._answer(416, {}, b"")
            headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
            return self._answer(206, headers, body[first:], fault)
        return self._answer(200, headers, body, fault)

    def _answer(
        self, status: int, headers: dict[str, str], body: bytes, fault: tuple[Any, ...] = ("none",)
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        stop = fault[1] if fault[0] in ("reset", "cut", "stall") else len(body)
        for at in range(0, stop, 1 << 14):
            time.sleep(self.server.delay_s)
            self.wfile.write(body[at : min(at + (1 << 14), stop)])
        if fault[0] == "reset":
            # Closing with this option set sends RST.
            self.connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            self.connection.close()
        if fault[0] == "stall":
            time.sleep(fault[2])
        self.close_connection = True
