"""A stand-in for a forge behind the ingress: says what reached it, echoes WebSockets, serves Git over HTTP.

`python forge.py PORT FOLDER`: repositories lie in FOLDER; every request is a line of FOLDER/requests.jsonl.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

PORT, FOLDER = int(sys.argv[1]), Path(sys.argv[2])
LOCK = threading.Lock()


class Forge(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self.echo()
        elif ".git/" in self.path:
            self.git()
        else:
            self.tell()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - the names that http.server asks for

    def pieces(self):
        """Yield the body as it comes."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            piece = self.rfile.read(min(left, 1 << 20))
            left -= len(piece)
            yield piece

    def tell(self):
        length, digest, begin = 0, hashlib.sha256(), b""
        for piece in self.pieces():
            length += len(piece)
            digest.update(piece)
            begin = (begin + piece)[:4000]
        said = {
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "length": length,
            "sha256": digest.hexdigest(),
            "begin": begin.decode("latin-1"),
        }
        with LOCK, (FOLDER / "requests.jsonl").open("a") as file:
            file.write(json.dumps(said) + "\n")
        self.reply(200, [("Content-Type", "application/json")], json.dumps(said).encode())

    def reply(self, status, headers, body):
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def echo(self):
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        while word := self.connection.recv(100):
            self.wfile.write(b"heard " + word)
        self.close_connection = True

    def git(self):
        url = urlsplit(self.path)
        environ = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(FOLDER),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": url.path,
            "QUERY_STRING": url.query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "REMOTE_USER": "someone",
            "REMOTE_ADDR": "127.0.0.1",
        }
        body = b"".join(self.pieces())
        words = ["git", "http-backend"]
        done = subprocess.run(words, input=body, env=environ, capture_output=True, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = [tuple(line.split(": ", 1)) for line in head.decode().split("\r\n") if line]
        status = next((int(value[:3]) for name, value in headers if name == "Status"), 200)
        chunked = self.headers.get("Transfer-Encoding", "")
        with LOCK, (FOLDER / "requests.jsonl").open("a") as file:
            file.write(json.dumps({"path": self.path, "length": len(body), "encoding": chunked}) + "\n")
        self.reply(status, [pair for pair in headers if pair[0] != "Status"], content)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Forge)
    server.daemon_threads = True
    server.serve_forever()
