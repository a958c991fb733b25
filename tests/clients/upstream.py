"""A scripted upstream: one port an endpoint, each behaving in its own way, every request on record."""

import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import replies

# What an endpoint does with the calls that ask a model. The list of models works, but for `refusing`.
BEHAVIOURS = (
    "good",
    "refusing",  # 401 to everything, its list of models too
    "401",
    "429",
    "429-once",  # 429 for a second, the first time only
    "overload",  # 529 on Anthropic's paths, 503 with retry-after on OpenAI's
    "error-event",  # an overload said inside a 200, before any content
    "cut-before",  # the connection breaks before any content
    "cut-after",  # it breaks after the first content, the first time only
)
RETRY_AFTER_S = 30
FIRST_TIME_ONLY = ("429-once", "cut-after")
KEPT_HEADERS = (
    "user-agent",
    "accept-encoding",
    "anthropic-version",
    "anthropic-beta",
    "x-claude-code-session-id",
    "session-id",
    "x-stainless-retry-count",
    "content-length",
    "connection",
    "upgrade",
)


class Ledger:
    """What arrived at any endpoint, in order; also written to a file, a line each."""

    def __init__(self, path: Path):
        self._lock = threading.Lock()
        self._file = path.open("w", encoding="utf-8")
        self._entries = []

    def add(self, entry):
        with self._lock:
            self._entries.append(entry)
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()

    def entries(self):
        with self._lock:
            return list(self._entries)

    def close(self):
        self._file.close()


class Endpoint:
    """One endpoint on a port of its own; `key` is the one that it expects, `priority` its place in the cluster."""

    def __init__(self, name, behaviour, priority, ledger):
        if behaviour not in BEHAVIOURS:
            raise ValueError(f"no behaviour {behaviour}; there are {', '.join(BEHAVIOURS)}")
        self.name, self.behaviour, self.priority, self.ledger = name, behaviour, priority, ledger
        self.key = f"sk-endpoint-{name}"
        self._first = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.endpoint = self
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def behaviour_now(self, kind):
        """What it does with this call."""
        if self.behaviour == "refusing":
            return "401"
        if kind == "models":
            return "good"
        if self.behaviour in FIRST_TIME_ONLY and not self._first.acquire(blocking=False):
            return "good"
        return self.behaviour

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Each write of an event is to reach the proxy alone, as a real upstream's does.
    disable_nagle_algorithm = True

    def do_HEAD(self):
        self.serve()

    def do_GET(self):
        self.serve()

    def do_POST(self):
        self.serve()

    def serve(self):
        endpoint = self.server.endpoint
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        request = parsed(body)
        kind = replies.kind_of(urlsplit(self.path).path)
        behaviour = endpoint.behaviour_now(kind)
        endpoint.ledger.add(self.entry(endpoint, behaviour, request, body))
        model = request.get("model", replies.MODEL)
        if kind is None:
            self.send_whole(404, replies.anthropic_error("not_found_error", f"no {self.path} here"))
        elif behaviour == "401":
            self.send_error_of(kind, 401)
        elif behaviour == "429":
            self.send_error_of(kind, 429, RETRY_AFTER_S)
        elif behaviour == "429-once":
            self.send_error_of(kind, 429, 1)
        elif behaviour == "overload" and kind == "messages":
            self.send_error_of(kind, 529)
        elif behaviour == "overload":
            self.send_error_of(kind, 503, RETRY_AFTER_S)
        elif request.get("stream"):
            self.send_stream(kind, model, behaviour)
        else:
            self.send_answer(kind, model, behaviour)

    def entry(self, endpoint, behaviour, request, body):
        credentials = [self.headers.get("x-api-key"), self.headers.get("authorization", "").removeprefix("Bearer ")]
        shown = {name: self.headers[name] for name in KEPT_HEADERS if name in self.headers}
        return {
            "at": time.time(),
            "endpoint": endpoint.name,
            "behaviour": behaviour,
            "method": self.command,
            "path": self.path,
            "stream": bool(request.get("stream")),
            "model": request.get("model"),
            "session": session_of(self.headers, request),
            "body_bytes": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
            # Never a key itself: only whose it is.
            "keys": sorted({"own" if key == endpoint.key else "foreign" for key in credentials if key}),
            "fingerprints": {name.lower(): fingerprint(value) for name, value in self.headers.items()},
            "headers": shown,
        }

    def send_error_of(self, kind, status, retry_after_s=None):
        waits = {"retry-after": str(retry_after_s)} if retry_after_s else {}
        self.send_whole(status, replies.error(kind, status), waits)

    def send_answer(self, kind, model, behaviour):
        if behaviour == "error-event":
            self.send_whole(200, replies.error(kind, 529))
            return
        body = json.dumps(replies.whole(kind, model)).encode()
        if behaviour == "good":
            self.send_bytes(200, body)
            return
        self.send_head(200, {"content-type": "application/json", "content-length": str(len(body))})
        self.wfile.write(b"" if behaviour == "cut-before" else body[: len(body) // 2])
        self.close_connection = True

    def send_stream(self, kind, model, behaviour):
        before, content, ending = replies.events(kind, model)
        sent = {
            "good": before + content + ending,
            "error-event": before[:1] + [replies.overload_event(kind, model)],
            "cut-before": before,
            "cut-after": before + content[:1],
        }[behaviour]
        self.send_head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        for event in sent:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
        if behaviour.startswith("cut"):
            # No last chunk: the answer is seen to be broken off.
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def send_whole(self, status, document, headers=None):
        self.send_bytes(status, json.dumps(document).encode(), headers)

    def send_bytes(self, status, body, headers=None):
        length = {"content-type": "application/json", "content-length": str(len(body))}
        self.send_head(status, {**length, **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_head(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_):
        """The ledger is the log."""


def fingerprint(value):
    """Tells whether two values are the same without showing them, since some are keys."""
    return hashlib.sha256(value.encode("latin-1")).hexdigest()[:12]


def parsed(body):
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def session_of(headers, request):
    """The session that the client names, wherever it does."""
    named = headers.get("x-claude-code-session-id") or headers.get("session-id") or request.get("prompt_cache_key")
    if named:
        return named
    metadata = request.get("metadata")
    user_id = metadata.get("user_id") if isinstance(metadata, dict) else None
    return parsed(user_id).get("session_id") if isinstance(user_id, str) else None
