"""What must hold after a scenario, as the contract of the wire says."""

from dataclasses import dataclass

from replies import MODEL, TEXT
from upstream import fingerprint


@dataclass(frozen=True)
class Expected:
    """Requests of clients that each endpoint may get, and what the status says of main afterwards.

    A client's run is one request, two for small calls: main gets each once at most, and none once it is known to be
    down.
    """

    # At most, run by run.
    main: tuple
    # At least and at most, in all.
    spare: tuple
    cause: str | None = None
    is_cooling: bool = False
    # Counted as failed at main.
    failed: int = 0
    # Told to the client, where it can't be served.
    refusal: int | None = None


EXPECTED = {
    "good": Expected(main=(2,), spare=(0, 0)),
    "known-401": Expected(main=(0,), spare=(1, 2), cause="auth"),
    "401": Expected(main=(1, 0), spare=(2, 2), cause="auth", failed=1),
    "429": Expected(main=(1, 0), spare=(2, 2), is_cooling=True),
    "overload": Expected(main=(1,), spare=(1, 1)),
    "error-event": Expected(main=(1,), spare=(1, 1)),
    "cut-before": Expected(main=(1,), spare=(1, 1), failed=1),
    # Whoever asks again may get the next answer, which is whole, from either.
    "cut-after": Expected(main=(2,), spare=(0, 1), failed=1),
    "all-429": Expected(main=(2,), spare=(1, 2)),
    "all-401": Expected(main=(1,), spare=(1, 1), cause="auth", failed=1, refusal=403),
    "token": Expected(main=(1,), spare=(0, 0)),
    "wrong-token": Expected(main=(0,), spare=(0, 0), refusal=401),
}
# Codex 0.169.0 asks five times more, whatever it is told and whatever the status.
CODEX_TRIES = 6
# What the proxy takes away or writes itself on the way up; `via` where an endpoint is reached without TLS, as here.
NOT_COMPARED = {
    "host",
    "connection",
    "x-api-key",
    "authorization",
    "cookie",
    "transfer-encoding",
    "keep-alive",
    "via",
}


def is_check(entry):
    """Whether qcc sent it of itself: every client names itself."""
    return entry["headers"].get("user-agent", "qcc").startswith("qcc")


def failures(scenario, call, seen):
    """What doesn't hold, in words."""
    expected = EXPECTED[scenario.name]
    found = [*of_keys(seen), *of_bytes(seen)]
    if expected.refusal:
        found += of_refusal(expected.refusal, call, seen)
    elif scenario.name == "all-429":
        found += of_waiting(call, seen)
    elif scenario.name == "cut-after":
        found += of_a_cut(call, seen)
    else:
        found += of_hiding(call, seen)
    if scenario.name == "good":
        found += of_connections(seen)
    return [*found, *of_counts(expected, seen), *of_status(expected, seen)]


def of_keys(seen):
    """An endpoint gets its own key and no other."""
    return [f"{entry['endpoint']} got the keys {entry['keys']}" for entry in seen.entries if entry["keys"] != ["own"]]


def of_bytes(seen):
    """What arrived is what was sent: target, body and headers."""
    for entry in seen.entries:
        if is_check(entry):
            continue
        arrived = (entry["method"], entry["path"], entry["sha256"])
        sent = [request for request in seen.sent if (request.method, request.target, request.sha256) == arrived]
        if not sent:
            yield f"{entry['method']} {entry['path']} with {entry['body_bytes']} bytes arrived and was not sent so"
            continue
        # A client that asks again sends the same body with other headers: it is one of these.
        changed = min((changed_headers(request, entry) for request in sent), key=len)
        if changed:
            yield f"{entry['path']}: headers removed, added or changed: {sorted(changed)}"


def changed_headers(request, entry):
    sent = {name: fingerprint(value) for name, value in request.headers.items()}
    return {name for name, _ in sent.items() ^ entry["fingerprints"].items()} - NOT_COMPARED


def of_hiding(call, seen):
    """Nobody can tell that an endpoint failed."""
    for shown in seen.shown:
        yield from of_answer(shown, MODEL if call.is_small else TEXT)
        if shown.errors:
            yield f"an error was shown: {shown.errors}"
    for answer in seen.told:
        # The refusal of a WebSocket is the answer that makes Codex go on at once.
        if answer.status not in (200, 426) or (answer.status != 426 and "x-qcc-error" in answer.headers):
            yield f"the client was told {answer.status} {answer.headers.get('x-qcc-error', '')}"


def of_connections(seen):
    """The answer to a `HEAD` at the start leaves its connection to the first request; Bun needs its length."""
    heads = [request for request in seen.sent if request.method == "HEAD"]
    firsts = [request for request in seen.sent if request.method == "POST"][:1]
    for head, first in zip(heads, firsts, strict=False):
        if head.connection != first.connection:
            yield "the first request didn't use the connection of the HEAD at the start"


def of_answer(shown, text):
    # A list of models is shown with other words around it by each SDK.
    right = shown.text == text or (text == MODEL and MODEL in shown.text)
    if shown.code != 0 or not right:
        yield f"exit code {shown.code}, text {shown.text[:100]!r}, errors {shown.errors}"


def of_a_cut(call, seen):
    """A cut after content is raised, or the client asks again; it is never taken for the end."""
    [shown] = seen.shown
    if call.is_sdk and shown.code != 0:
        return
    yield from of_answer(shown, TEXT)


def of_waiting(call, seen):
    """Limited everywhere for a second: the client is told so, waits and is served."""
    yield from of_answer(seen.shown[0], TEXT)
    for answer in seen.told:
        if answer.status == 429 and answer.headers.get("retry-after") != "1":
            yield f"the client was told to wait {answer.headers.get('retry-after')} s"


def of_refusal(status, call, seen):
    """A refusal of qcc's own ends in an error; `x-should-retry: false` keeps all but Codex from asking again."""
    for shown in seen.shown:
        if shown.code == 0 and not shown.errors:
            yield f"exit code 0 where it can't be served, text {shown.text[:100]!r}"
    posts = [request for request in seen.sent if request.method == "POST"]
    if len(posts) > (CODEX_TRIES if call.client == "codex" else 1):
        yield f"it asked {len(posts)} times"
    told = [answer.status for answer in seen.told if answer.status not in (200, 426)]
    if set(told) != {status}:
        yield f"the client was told {told}, not {status}"


def of_counts(expected, seen):
    for number, (got, most) in enumerate(zip(seen.by_run("main"), expected.main, strict=True), 1):
        if len(got) > most:
            yield f"run {number}: main got {len(got)} requests, {most} at most were to reach it"
    served, (least, most) = len(seen.at("spare")), expected.spare
    if not least <= served <= most:
        yield f"spare got {served} requests, not {least} to {most}"


def of_status(expected, seen):
    main, spare = seen.status["main"], seen.status["spare"]
    state = "unhealthy" if expected.cause else "healthy"
    if (main["state"], main["cause"]) != (state, expected.cause):
        yield f"status: main is {main['state']} by {main['cause']}, not {state} by {expected.cause}"
    if expected.is_cooling and not main["cooldown_until"]:
        yield "status: main announces no end of its cooldown"
    if main["requests"]["failed"] != expected.failed:
        yield f"status: {main['requests']['failed']} failed requests at main, not {expected.failed}"
    spare_state = state if expected.refusal else "healthy"
    if spare["state"] != spare_state:
        yield f"status: spare is {spare['state']}, not {spare_state}"


def session_failures(seen, served, expects_one_endpoint):
    """Each turn is answered; where sessions have a home, from there."""
    found = [text for shown in seen.shown for text in of_answer(shown, TEXT)]
    for turns in served:
        endpoints = {endpoint for turn in turns for endpoint in turn}
        if expects_one_endpoint and len(endpoints) != 1:
            found.append(f"a session was served by {sorted(endpoints)}")
    return found
