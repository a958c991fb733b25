"""How each client is started, and how the text that it shows is read from what it prints."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SDK = Path(__file__).parent / "sdk"
TIMEOUT_S = 120
QUIET_CLAUDE = {"DISABLE_TELEMETRY": "1", "DISABLE_ERROR_REPORTING": "1", "DISABLE_AUTOUPDATER": "1"}
# With this it sends no `HEAD /api/hello` either.
QUIETER_CLAUDE = {**QUIET_CLAUDE, "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}


@dataclass(frozen=True)
class Way:
    """What a client is given: the proxy's port, its credential, its home, and the folder of installed clients."""

    port: int
    key: str
    home: Path
    installed: Path
    environment: dict


@dataclass
class Shown:
    """What a person would have seen."""

    code: int
    text: str
    errors: list
    seconds: float


@dataclass(frozen=True)
class Call:
    """One way of using a client. `session` starts or continues a session; none for what knows no sessions."""

    client: str
    way: str
    protocol: str
    command: Callable
    read: Callable
    session: Callable | None = None
    # Without proxy variables, where a network namespace keeps it inside.
    is_direct: bool = False

    @property
    def name(self):
        return f"{self.client} {self.way}"

    @property
    def is_sdk(self):
        return self.client not in ("claude-code", "codex")

    @property
    def is_small(self):
        return self.way == "small"

    def run(self, way, command=None):
        """Runs it, and ends it with everything that it started when it takes too long."""
        started = time.monotonic()
        argv, extra = (command or self.command)(way)
        environment = {"PATH": os.environ["PATH"], "HOME": str(way.home), **way.environment, **extra}
        process = subprocess.Popen(
            argv,
            env=environment,
            cwd=way.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            err += f"\nended after {TIMEOUT_S} s"
        (way.home / "stdout").write_text(out, encoding="utf-8")
        (way.home / "stderr").write_text(err, encoding="utf-8")
        text, errors = self.read(out)
        if process.returncode != 0 and not errors:
            errors = [last_line(err)]
        return Shown(process.returncode, text, errors, time.monotonic() - started)


def last_line(text):
    return (text.strip().splitlines() or ["nothing was printed"])[-1][:200]


def anthropic_way(way):
    return {"ANTHROPIC_BASE_URL": f"http://127.0.0.1:{way.port}", "ANTHROPIC_API_KEY": way.key}


def openai_way(way):
    return {"OPENAI_BASE_URL": f"http://127.0.0.1:{way.port}/v1", "OPENAI_API_KEY": way.key}


def claude(way, *more):
    program = way.installed / "claude-code/node_modules/.bin/claude"
    argv = [program, "-p", "say hi", "--output-format", "json", "--model", "claude-haiku-4-5", *more]
    return argv, {**anthropic_way(way), **QUIETER_CLAUDE}


def claude_bearer(way):
    """As the hint of `qcc proxy start` says, and with its `HEAD` at its start, which proxy variables keep it from."""
    address = {"ANTHROPIC_BASE_URL": f"http://127.0.0.1:{way.port}"}
    return claude(way)[0], {**address, **QUIET_CLAUDE, "ANTHROPIC_AUTH_TOKEN": way.key}


def claude_session(name, turn):
    return lambda way: claude(way, "--session-id" if turn == 0 else "--resume", name)


def read_claude(out):
    try:
        shown = json.loads(out)
    except ValueError:
        return "", ["no result was printed"]
    return shown.get("result") or "", [shown.get("result")] if shown.get("is_error") else []


def codex(way, *words, config):
    """Codex reads its settings from a file in its home; `OPENAI_BASE_URL` says nothing to it."""
    program = way.installed / "codex/node_modules/.bin/codex"
    home = way.home / ".codex"
    home.mkdir(exist_ok=True)
    # Model metadata is looked up by name; this is one that it knows.
    text = f'model = "gpt-5.1-codex"\ncheck_for_update_on_startup = false\n{config}'
    (home / "config.toml").write_text(text, encoding="utf-8")
    argv = [program, "exec", *words, "--skip-git-repo-check", "--json", "say hi"]
    return argv, {"CODEX_HOME": str(home), "CODEX_API_KEY": way.key, "QCC_CLIENTS_KEY": way.key}


def codex_provider(way, *words):
    """A provider of one's own in its settings."""
    provider = f"""model_provider = "qcc"
[model_providers.qcc]
name = "qcc"
base_url = "http://127.0.0.1:{way.port}/v1"
wire_api = "responses"
env_key = "QCC_CLIENTS_KEY"
"""
    return codex(way, *words, config=provider)


def codex_base_url(way, *words):
    """Its own provider at another address: it tries a WebSocket first."""
    return codex(way, *words, config=f'openai_base_url = "http://127.0.0.1:{way.port}/v1"\n')


def codex_session(_name, turn):
    return lambda way: codex_provider(way, *(["resume", "--last"] if turn else []))


def read_codex(out):
    events = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    items = [event["item"] for event in events if event.get("type") == "item.completed"]
    texts = [item["text"] for item in items if item["type"] == "agent_message"]
    errors = [event.get("message") for event in events if event.get("type") == "error"]
    errors += [item["message"] for item in items if item["type"] == "error"]
    # A warning about the model's name is none about the exchange.
    return "".join(texts), [error for error in errors if "Model metadata" not in error]


def read_text(out):
    return out.strip(), []


def python(script, mode, environment, client):
    return lambda way: ([way.installed / client / "venv/bin/python", SDK / script, mode], environment(way))


def node(script, mode, environment, package):
    def command(way):
        modules = {"NODE_PATH": str(way.installed / package / "node_modules")}
        return ["node", SDK / script, mode], {**environment(way), **modules}

    return command


def all_calls():
    calls = [
        Call("claude-code", "x-api-key", "anthropic", claude, read_claude, claude_session),
        Call("claude-code", "bearer", "anthropic", claude_bearer, read_claude, is_direct=True),
        Call("codex", "provider", "openai", codex_provider, read_codex, codex_session),
        Call("codex", "base-url", "openai", codex_base_url, read_codex),
    ]
    for mode in ("whole", "stream", "helper", "small"):
        by_python = python("anthropic_calls.py", mode, anthropic_way, "anthropic-python")
        by_node = node("anthropic_calls.cjs", mode, anthropic_way, "anthropic-js")
        calls.append(Call("anthropic-python", mode, "anthropic", by_python, read_text))
        calls.append(Call("anthropic-js", mode, "anthropic", by_node, read_text))
    for mode in ("whole", "stream", "responses", "responses-stream", "small"):
        by_python = python("openai_calls.py", mode, openai_way, "openai-python")
        by_node = node("openai_calls.cjs", mode, openai_way, "openai-js")
        calls.append(Call("openai-python", mode, "openai", by_python, read_text))
        calls.append(Call("openai-js", mode, "openai", by_node, read_text))
    return sorted(calls, key=lambda call: call.client)


def why_not(client, installed):
    """Why a client can't be run here; none if it can."""
    program = {
        "claude-code": [installed / "claude-code/node_modules/.bin/claude", "--version"],
        "codex": [installed / "codex/node_modules/.bin/codex", "--version"],
        "anthropic-js": ["node", "-e", "require('@anthropic-ai/sdk')"],
        "openai-js": ["node", "-e", "require('openai')"],
        "anthropic-python": [installed / "anthropic-python/venv/bin/python", "-c", "import anthropic"],
        "openai-python": [installed / "openai-python/venv/bin/python", "-c", "import openai"],
    }[client]
    modules = str(installed / client / "node_modules")
    environment = {"PATH": os.environ["PATH"], "HOME": os.devnull, "NODE_PATH": modules}
    try:
        tried = subprocess.run(
            program, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    # Node prints its version last; what is wrong stands in the first line that says so.
    errors = [line for line in tried.stderr.splitlines() if "Error:" in line]
    return None if tried.returncode == 0 else (errors or [last_line(tried.stderr)])[0][:200]


if __name__ == "__main__":
    print("\n".join(sorted({call.client for call in all_calls()})))
