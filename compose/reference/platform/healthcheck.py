"""`healthcheck.py PORT`: exit 0 when the service answers `/health`. Imports next to nothing."""

from __future__ import annotations

import _socket
import sys

connection = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
connection.connect(("127.0.0.1", int(sys.argv[1])))
connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
sys.exit(0 if b" 200 " in connection.recv(64) else 1)
