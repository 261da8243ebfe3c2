"""Something that answers on a socket like a container engine, and is none, or one of another age."""

from __future__ import annotations

import json
import socketserver
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        text = self.server.version_text if self.path.endswith("/version") else "{}"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *words):
        pass


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


@contextmanager
def fake_engine(path, version):
    """Answer `/version` at a socket with a document, or with a text that is none; yields its DOCKER_HOST."""
    with _Server(str(path), _Handler) as server:
        server.version_text = version if isinstance(version, str) else json.dumps(version)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            server.shutdown()
            thread.join()
