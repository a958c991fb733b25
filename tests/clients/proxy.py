"""A qcc of a scenario's own: its configuration, its process, its status."""

import json
import os
import subprocess

CLUSTER = "clients"


class Proxy:
    """A running qcc before these endpoints."""

    def __init__(self, binary, folder, protocol, endpoints, tokens):
        self._binary = binary
        self._config = folder / "config.toml"
        self._config.touch(mode=0o600)
        self._config.write_text(configuration(protocol, endpoints, tokens), encoding="utf-8")
        (folder / "run").mkdir(mode=0o700)
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder / "run"),
            "QCC_LOG": "debug",
        }
        self._log = (folder / "qcc.log").open("wb")
        command = [binary, "proxy", "start", "--cluster", CLUSTER, "--config", self._config]
        self._process = subprocess.Popen(
            command, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._log
        )
        # The one line that it prints when it serves: `qcc: cluster NAME on http://ADDR`.
        line = self._process.stdout.readline().decode()
        if "http://" not in line:
            self.close()
            raise RuntimeError(f"qcc did not start; its log is {folder / 'qcc.log'}")
        self.port = int(line.rsplit(":", 1)[1])

    def status(self):
        """The status document's endpoints by name."""
        command = [self._binary, "status", "--json", "--cluster", CLUSTER, "--config", self._config]
        answer = subprocess.run(command, env=self._environment, capture_output=True, timeout=10, check=False)
        return {endpoint["name"]: endpoint for endpoint in json.loads(answer.stdout)["endpoints"]}

    def close(self):
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()


def configuration(protocol, endpoints, tokens):
    head = f'[clusters.{CLUSTER}]\nlisten = "127.0.0.1:0"\ndrain_timeout = "1s"\n'
    # Clients that ask again and again are to be told soon that no endpoint is left.
    head += f'queue_timeout = "1s"\nclient_tokens = {json.dumps(tokens)}\n'
    tables = (
        f"""
[[clusters.{CLUSTER}.endpoints]]
name = "{endpoint.name}"
base_url = "http://127.0.0.1:{endpoint.port}"
api_key = "{endpoint.key}"
protocol = "{protocol}"
priority = {endpoint.priority}
"""
        for endpoint in endpoints
    )
    return head + "".join(tables)
