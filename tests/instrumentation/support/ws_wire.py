"""A server of WebSocket connections for SDKs whose sessions stay open."""

from __future__ import annotations

import json
import threading
from typing import Any

from websockets.sync.server import serve


class Server:
    """Sends its messages to each connection, one by one; then waits for the client to go.

    Args:
        path: what its URL ends with.
        setup: the answer to the client's first message, where the client speaks first.
    """

    def __init__(self, path: str = "", setup: dict[str, Any] | None = None) -> None:
        self.messages: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self._setup = setup
        self._server = serve(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.socket.getsockname()[1]}{path}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def _serve(self, connection: Any) -> None:
        self.paths.append(connection.request.path)
        if self._setup is not None:
            connection.recv()
            connection.send(json.dumps(self._setup))
        for message in self.messages:
            connection.send(json.dumps(message))
        for _ in connection:
            pass

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
