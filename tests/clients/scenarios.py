"""Runs each client through qcc against bad endpoints beside a good one, and says what came of it.

Started by `run`, which installs the clients first.
"""

import argparse
import sys
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from clients import Way, all_calls, why_not
from expectations import EXPECTED, failures, is_check, session_failures
from outside import Outside
from proxy import Proxy
from tap import Tap
from upstream import Endpoint, Ledger

CLIENT_KEY = "sk-client-own"
CLIENT_TOKEN = "qcc-token-for-clients"


@dataclass(frozen=True)
class Scenario:
    """One endpoint that behaves so, of the first priority, beside a good one of the second."""

    name: str
    behaviour: str
    spare: str = "good"
    # More than one: again against the same proxy, which then knows the endpoint to be down.
    runs: int = 1
    tokens: tuple = ()
    client_key: str = CLIENT_KEY
    # Also for listing models and counting tokens, which are never streamed.
    small: bool = False


SCENARIOS = [
    Scenario("good", "good", small=True),
    Scenario("known-401", "refusing", small=True),
    Scenario("401", "401", runs=2),
    Scenario("429", "429", runs=2),
    Scenario("overload", "overload"),
    Scenario("error-event", "error-event"),
    Scenario("cut-before", "cut-before"),
    Scenario("cut-after", "cut-after"),
    Scenario("all-429", "429-once", spare="429-once"),
    Scenario("all-401", "401", spare="401"),
    Scenario("token", "good", tokens=(CLIENT_TOKEN,), client_key=CLIENT_TOKEN),
    Scenario("wrong-token", "good", tokens=(CLIENT_TOKEN,)),
]


@dataclass
class Seen:
    """Everything that a scenario showed, and what is wrong with it."""

    shown: list = field(default_factory=list)
    # The ledger's length before each run.
    marks: list = field(default_factory=list)
    entries: list = field(default_factory=list)
    sent: list = field(default_factory=list)
    told: list = field(default_factory=list)
    status: dict = field(default_factory=dict)
    outside: list = field(default_factory=list)
    failures: list = field(default_factory=list)

    def by_run(self, endpoint):
        """The clients' requests at an endpoint, qcc's own checks aside, run by run."""
        ends = [*self.marks[1:], len(self.entries)]
        for start, end in zip(self.marks, ends, strict=True):
            yield [entry for entry in self.entries[start:end] if entry["endpoint"] == endpoint and not is_check(entry)]

    def at(self, endpoint):
        """The same of all runs."""
        return [entry for run in self.by_run(endpoint) for entry in run]


class Stage:
    """The upstreams, the proxy and the tap of one scenario, in a folder of its own."""

    def __init__(self, folder, options, call, placed, tokens=()):
        folder.mkdir(parents=True)
        self.folder = folder
        self.ledger = Ledger(folder / "ledger.jsonl")
        self.endpoints = [Endpoint(name, behaviour, priority, self.ledger) for name, behaviour, priority in placed]
        self.proxy = Proxy(options.qcc, folder, call.protocol, self.endpoints, tokens)
        self.tap = Tap(self.proxy.port)
        self.outside = Outside()
        self.installed = options.installed
        self.variables = {} if call.is_direct and options.fenced else self.outside.environment()

    def way(self, home, key):
        home.mkdir(exist_ok=True)
        return Way(self.tap.port, key, home, self.installed, self.variables)

    def take_down(self, seen):
        try:
            seen.status = self.proxy.status()
        finally:
            # The proxy ends first, so that all that it sent is on record.
            for part in (self.proxy, self.tap, self.outside, *self.endpoints, self.ledger):
                part.close()
        self.tap.save(self.folder)
        seen.entries, seen.outside = self.ledger.entries(), self.outside.hosts
        seen.sent, seen.told = self.tap.requests(), self.tap.answers()


def play(scenario, call, folder, options):
    """One scenario with one client."""
    seen = Seen()
    placed = [("main", scenario.behaviour, 1), ("spare", scenario.spare, 2)]
    stage = Stage(folder, options, call, placed, scenario.tokens)
    try:
        for number in range(scenario.runs):
            way = stage.way(folder / f"home-{number}", scenario.client_key)
            seen.marks.append(len(stage.ledger.entries()))
            seen.shown.append(call.run(way))
    finally:
        stage.take_down(seen)
    seen.failures = failures(scenario, call, seen)
    return seen


def play_sessions(call, folder, options):
    """Sessions of two turns each before three equal endpoints; where each turn was served."""
    seen, served = Seen(), []
    stage = Stage(folder, options, call, [(name, "good", 1) for name in ("a", "b", "c")])
    try:
        for number in range(options.sessions):
            way = stage.way(folder / f"home-{number}", CLIENT_KEY)
            name, turns = str(uuid.uuid4()), []
            for turn in range(2):
                before = len(stage.ledger.entries())
                seen.shown.append(call.run(way, call.session(name, turn)))
                posts = [entry for entry in stage.ledger.entries()[before:] if entry["method"] == "POST"]
                turns.append([entry["endpoint"] for entry in posts if not is_check(entry)])
            served.append(turns)
    finally:
        stage.take_down(seen)
    seen.failures = session_failures(seen, served, options.expect_sessions)
    return seen, "; ".join(" then ".join("+".join(turn) for turn in turns) for turns in served)


def row(scenario, call, seen):
    """A line of the table."""
    last = seen.shown[-1]
    errors = [error for shown in seen.shown for error in shown.errors]
    outcome = "text" if last.code == 0 else f"exit {last.code}"
    outcome += f": {errors[0]}" if errors else ""
    told = " ".join(told_as(answer) for answer in seen.told)
    seconds = " ".join(f"{shown.seconds:.1f}" for shown in seen.shown)
    counts = [" ".join(str(len(run)) for run in seen.by_run(name)) for name in ("main", "spare")]
    return [call.name, scenario.name, *counts, told, seconds, outcome[:70], "FAILED" if seen.failures else "ok"]


def told_as(answer):
    attempts = answer.headers.get("x-qcc-attempts")
    return f"{answer.status}/{attempts}" if attempts else str(answer.status)


def show(rows, file=sys.stdout):
    heads = ["client", "scenario", "at main", "at spare", "told: status/attempts", "seconds", "outcome", ""]
    widths = [max(len(line[column]) for line in [heads, *rows]) for column in range(len(heads))]
    for line in [heads, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip(), file=file)


def arguments():
    parser = argparse.ArgumentParser(
        prog="tests/clients/run",
        description="Installs real clients and runs them through qcc against scripted endpoints on loopback.",
        epilog=f"""clients: {", ".join(sorted({call.client for call in all_calls()}))}
scenarios: {", ".join([*EXPECTED, "sessions"])}

environment:
  QCC_BIN          the binary under test (else it is built)
  QCC_CLIENTS_DIR  where clients are installed (else ~/.cache/qcc-clients)

exit codes: 0 as expected, or skipped; 1 not as expected; 2 usage""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # These come from `run`.
    parser.add_argument("--qcc", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--installed", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--fenced", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--skipped", action="append", default=[], help=argparse.SUPPRESS)
    parser.add_argument("--client", action="append", default=[], help="only this client (may be repeated)")
    parser.add_argument("--scenario", action="append", default=[], help="only this scenario (may be repeated)")
    parser.add_argument("--sessions", type=int, default=3, help="sessions of two turns each (0: none)")
    parser.add_argument("--expect-sessions", action="store_true", help="fail when a session changes its endpoint")
    parser.add_argument("--jobs", type=int, default=2, help="scenarios at once")
    parser.add_argument("--keep", type=Path, help="a new folder for all that was seen")
    options = parser.parse_args()
    for given, known in (
        (options.client, {call.client for call in all_calls()}),
        (options.scenario, {scenario.name for scenario in SCENARIOS} | {"sessions"}),
    ):
        if unknown := set(given) - known:
            parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    # Clients run in folders of their own.
    options.qcc, options.installed = options.qcc.resolve(), options.installed.resolve()
    return options


def plan(options, skipped):
    """What is to be run."""
    calls = [call for call in all_calls() if call.client not in skipped]
    calls = [call for call in calls if not options.client or call.client in options.client]
    chosen = [scenario for scenario in SCENARIOS if not options.scenario or scenario.name in options.scenario]
    plays = [(scenario, call) for call in calls for scenario in chosen if scenario.small or not call.is_small]
    wants_sessions = options.sessions and (not options.scenario or "sessions" in options.scenario)
    return plays, [call for call in calls if call.session and wants_sessions]


def main():
    options = arguments()
    skipped = dict(text.split("=", 1) for text in options.skipped)
    wanted = options.client or sorted({call.client for call in all_calls()})
    for client in wanted:
        if client not in skipped and (why := why_not(client, options.installed)):
            skipped[client] = why
    plays, sessions = plan(options, skipped)
    folder = options.keep.resolve() if options.keep else Path(tempfile.mkdtemp(prefix="qcc-clients-"))
    folder.mkdir(exist_ok=True)

    def played(numbered):
        number, (scenario, call) = numbered
        try:
            seen = play(scenario, call, folder / f"{number:03}", options)
            line = row(scenario, call, seen)
        except Exception as error:  # One broken scenario must not hide the others.
            seen = Seen(failures=[f"{type(error).__name__}: {error}"])
            line = [call.name, scenario.name, "", "", "", "", "", "FAILED"]
        print(".", end="", file=sys.stderr, flush=True)
        return scenario, call, seen, line

    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(played, enumerate(plays)))
    print(file=sys.stderr)
    show([line for *_, line in results])
    wrong = [(f"{call.name}, {scenario.name}", seen.failures) for scenario, call, seen, _ in results if seen.failures]

    for number, call in enumerate(sessions):
        try:
            seen, served = play_sessions(call, folder / f"s{number:02}", options)
        except Exception as error:
            seen, served = Seen(failures=[f"{type(error).__name__}: {error}"]), "none"
        print(f"\nsessions of {call.name}: {served}")
        wrong += [(f"{call.name}, sessions", seen.failures)] if seen.failures else []
    asked = {(call.client, host) for _, call, seen, _ in results for host in seen.outside}
    for client in sorted({client for client, _ in asked}):
        hosts = ", ".join(sorted(host for by, host in asked if by == client))
        print(f"\nkept inside: {client}, which asked for {hosts}")
    for client, why in sorted(skipped.items()):
        if client in wanted:
            print(f"\nskipped: {client}: {why}")
    for name, texts in wrong:
        print(f"\nFAILED {name}", *texts, sep="\n  ")
    passed = len(plays) + len(sessions) - len(wrong)
    print(f"\n{passed} as expected, {len(wrong)} not; all that was seen is in {folder}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
