"""A relay of bytes between a client and the proxy: it shows what the client sent and what it was told.

Real clients show none of the answer's headers, and changing how they are started would change what is tested.
"""

import contextlib
import hashlib
import re
import socket
import struct
import threading
from dataclasses import dataclass

ANSWER_HEAD = re.compile(rb"HTTP/1\.1 (\d{3})[^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")
# Closing with it sends a reset, as the side that broke off did.
LINGER_RESET = struct.pack("ii", 1, 0)


@dataclass
class Request:
    """What a client sent, and on which of its connections."""

    connection: int
    method: str
    target: str
    headers: dict
    sha256: str


@dataclass
class Answer:
    """The head of what a client was told."""

    status: int
    headers: dict


class Tap:
    """Listens on a port of its own and relays each connection to `port` on loopback."""

    def __init__(self, port):
        self._to = ("127.0.0.1", port)
        self._lock = threading.Lock()
        self._connections = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                proxy = socket.create_connection(self._to)
            except OSError:
                client.close()
                continue
            sent, told = bytearray(), bytearray()
            with self._lock:
                self._connections.append((sent, told))
            for one, other in (client, proxy), (proxy, client):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                kept = sent if one is client else told
                threading.Thread(target=self._relay, args=(one, other, kept), daemon=True).start()

    def _relay(self, source, target, kept):
        try:
            while data := source.recv(65536):
                with self._lock:
                    kept.extend(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            # The other direction may have closed it already.
            with contextlib.suppress(OSError):
                target.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
            target.close()

    def requests(self):
        """What the client sent, connection by connection."""
        return [request for number, (sent, _) in enumerate(self._seen()) for request in requests_in(number, sent)]

    def answers(self):
        """What the client was told, connection by connection."""
        return [answer for _, told in self._seen() for answer in answers_in(told)]

    def save(self, folder):
        """Writes each connection's bytes to two files."""
        for number, (sent, told) in enumerate(self._seen()):
            (folder / f"connection-{number}-sent").write_bytes(sent)
            (folder / f"connection-{number}-told").write_bytes(told)

    def _seen(self):
        with self._lock:
            return [(bytes(sent), bytes(told)) for sent, told in self._connections]

    def close(self):
        # A blocked accept sleeps on through a close; a shutdown wakes it.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def requests_in(connection, sent):
    """The requests of a connection; the last one only if it is complete."""
    found = []
    while b"\r\n\r\n" in sent:
        head, rest = sent.split(b"\r\n\r\n", 1)
        first, _, fields = head.decode("latin-1").partition("\r\n")
        headers = headers_in(fields)
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            break
        method, target, _ = first.split(" ", 2)
        found.append(Request(connection, method, target, headers, hashlib.sha256(rest[:length]).hexdigest()))
        sent = rest[length:]
    return found


def answers_in(told):
    return [Answer(int(status), headers_in(fields.decode("latin-1"))) for status, fields in ANSWER_HEAD.findall(told)]


def headers_in(fields):
    pairs = (line.partition(":") for line in fields.split("\r\n") if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
