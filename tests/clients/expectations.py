"""What must hold after a scenario, as the contract of the wire says."""

from replies import TEXT

# What the status says of the endpoint afterwards, where the scenario decides it.
UNHEALTHY = {"known-401": "auth", "401": "auth", "all-401": "auth"}
COOLING = ("429",)
# Scenarios that the proxy hides altogether.
HIDDEN = ("good", "known-401", "401", "429", "overload", "error-event", "cut-before", "token")
# How many requests of the clients main gets in each run; a client sends one POST a run, and none of these is
# sent to it twice.
AT_BAD = {
    "known-401": [0],
    "401": [1, 0],
    "429": [1, 0],
    "overload": [1],
    "error-event": [1],
    "cut-before": [1],
    "all-401": [1],
    "wrong-token": [0],
}
# What the client is told where it can't be served, and how many requests spare gets then.
REFUSED = {"all-401": 403, "wrong-token": 401}
AT_SPARE_REFUSED = {"all-401": 1, "wrong-token": 0}
# What the proxy takes away or writes itself on the way up.
NOT_COMPARED = {"host", "connection", "x-api-key", "authorization", "cookie", "transfer-encoding", "keep-alive"}


def is_check(entry):
    """Whether qcc sent it of itself: every client names itself."""
    return entry["headers"].get("user-agent", "qcc").startswith("qcc")


def failures(scenario, call, seen):
    found = [*of_keys(seen), *of_bytes(seen)]
    if scenario.name in HIDDEN:
        found += of_hiding(call, seen)
    elif scenario.name == "cut-after":
        found += of_a_cut(call, seen)
    else:
        found += of_refusal(REFUSED[scenario.name], seen)
    found += of_counts(scenario, seen)
    found += of_status(scenario, seen)
    return found


def of_keys(seen):
    """An endpoint gets its own key and no other."""
    return [f"{entry['endpoint']} got the keys {entry['keys']}" for entry in seen.entries if entry["keys"] != ["own"]]


def of_bytes(seen):
    """What arrived is what was sent: target, body and headers."""
    sent = {(request.method, request.target, request.sha256): request for request in seen.sent}
    for entry in seen.entries:
        if is_check(entry):
            continue
        request = sent.get((entry["method"], entry["path"], entry["sha256"]))
        if request is None:
            yield f"{entry['method']} {entry['path']} with {entry['body_bytes']} bytes arrived and was not sent so"
            continue
        missing = set(request.headers) - set(entry["header_names"]) - NOT_COMPARED
        added = set(entry["header_names"]) - set(request.headers) - NOT_COMPARED
        if missing or added:
            yield f"{entry['path']}: headers missing {sorted(missing)}, added {sorted(added)}"


def of_hiding(call, seen):
    """Nobody can tell that an endpoint failed."""
    for shown in seen.shown:
        yield from of_text(call, shown)
        if shown.errors:
            yield f"an error was shown: {shown.errors}"
    for answer in seen.told:
        # The refusal of a WebSocket is the answer that makes Codex go on at once.
        if answer.status not in (200, 426) or (answer.status != 426 and "x-qcc-error" in answer.headers):
            yield f"the client was told {answer.status} {answer.headers.get('x-qcc-error', '')}"


def of_text(call, shown):
    right = "scripted-model" in shown.text if call.is_small else shown.text == TEXT
    if shown.code != 0 or not right:
        yield f"exit code {shown.code}, text {shown.text[:100]!r}, errors {shown.errors}"


def of_a_cut(call, seen):
    """A cut after content is raised, or the client asks again; it is never taken for the end."""
    [shown] = seen.shown
    if call.is_sdk and shown.code != 0:
        return
    yield from of_text(call, shown)
    if not call.is_sdk and not seen.at("main"):
        yield "the endpoint that cuts was never asked"


def of_refusal(status, seen):
    """A refusal of qcc's own is an error that the client ends with at once: it doesn't ask again."""
    for shown in seen.shown:
        if shown.code == 0 and not shown.errors:
            yield f"exit code 0 where it can't be served, text {shown.text[:100]!r}"
    posts = [request for request in seen.sent if request.method == "POST"]
    if len(posts) > len(seen.shown):
        yield f"it asked {len(posts)} times"
    told = [answer.status for answer in seen.told if answer.status not in (200, 426)]
    if set(told) != {status}:
        yield f"the client was told {told}, not {status}"


def of_counts(scenario, seen):
    allowed = AT_MAIN.get(scenario.name)
    if allowed is None:
        return
    ends = [*seen.marks[1:], len(seen.entries)]
    for number, (start, end, most) in enumerate(zip(seen.marks, ends, allowed, strict=True), 1):
        got = [entry for entry in seen.entries[start:end] if entry["endpoint"] == "main" and not is_check(entry)]
        if len(got) > most:
            yield f"run {number}: main got {len(got)} requests, {most} at most were to reach it"
    served = seen.at("spare")
    if (most := AT_SPARE_REFUSED.get(scenario.name)) is not None:
        if len(served) > most:
            yield f"spare got {len(served)} requests, {most} at most were to reach it"
    elif len(served) < scenario.runs:
        yield f"spare served {len(served)} requests of {scenario.runs} at least"


def of_status(scenario, seen):
    main, spare = seen.status["main"], seen.status["spare"]
    if cause := UNHEALTHY.get(scenario.name):
        if (main["state"], main["cause"]) != ("unhealthy", cause):
            yield f"status: main is {main['state']} by {main['cause']}, not unhealthy by {cause}"
    elif main["state"] == "unhealthy":
        yield f"status: main is unhealthy by {main['cause']}: {main['last_error']}"
    if scenario.name in COOLING and not main["cooldown_until"]:
        yield "status: main announces no end of its cooldown"
    if scenario.name in ("cut-before", "cut-after") and main["requests"]["failed"] != 1:
        yield f"status: {main['requests']['failed']} failed requests at main, not 1"
    if scenario.name == "all-401":
        return
    if spare["state"] == "unhealthy" or spare["requests"]["failed"]:
        yield f"status: spare is {spare['state']}, {spare['requests']['failed']} failed"


def session_failures(seen, served, expects_one_endpoint):
    found = [f"exit code {shown.code}: {shown.errors}" for shown in seen.shown if shown.code != 0]
    for turns in served:
        endpoints = {endpoint for turn in turns for endpoint in turn}
        if expects_one_endpoint and len(endpoints) != 1:
            found.append(f"a session was served by {sorted(endpoints)}")
    return found
