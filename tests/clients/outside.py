"""Where clients try to go besides the proxy under test: a web proxy that notes the host and refuses."""

import socketserver
import threading


class Outside:
    """Takes the place of the way out; `hosts` are those that were asked for."""

    def __init__(self):
        self.hosts = []
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refusal)
        self._server.daemon_threads = True
        self._server.hosts = self.hosts
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def environment(self):
        """What makes a client take this way for every host but loopback."""
        address = f"http://127.0.0.1:{self._server.server_address[1]}"
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
        inside = {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
        return {**dict.fromkeys(names, address), **inside}

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class Refusal(socketserver.StreamRequestHandler):
    def handle(self):
        asked = self.rfile.readline(4096).split()
        if len(asked) > 1:
            self.server.hosts.append(asked[1].decode("latin-1"))
        self.wfile.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
