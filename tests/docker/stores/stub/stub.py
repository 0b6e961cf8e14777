"""Answers 200, or the status in /tmp/fail."""

from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class Stub(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        fail = Path("/tmp/fail")
        self.send_response(int(fail.read_text()) if fail.exists() else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()


HTTPServer(("0.0.0.0", 8080), Stub).serve_forever()
