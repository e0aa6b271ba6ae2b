"""How a running server is found: ``server.json`` in its data directory.

It holds the process id, the addresses of every listener, and the address and secret of the control listener, through
which other commands of the same user write (tokens, imports, bills) while the server owns the store. Readable by its
owner alone, and gone when the server stops; a file left behind by a killed server is recognised by its dead process.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from spanledger.cli.errors import CommandError

FILE: Final = "server.json"
CONTROL_USER: Final = "control"


def _no_listeners() -> dict[str, str]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningServer:
    """A server that owns a data directory.

    Attributes:
        pid: its process.
        version: its version of spanledger.
        listeners: ``otlp_grpc``, ``otlp_http``, ``http``, ``sql`` → URL; those that are off are missing.
        control_url: ``http://127.0.0.1:PORT`` of the control listener.
        secret: the control listener's password.
        pulls: whether it pulls bills by itself.
    """

    pid: int
    version: str
    listeners: dict[str, str] = field(default_factory=_no_listeners)
    control_url: str = ""
    secret: str = field(default="", repr=False)
    pulls: bool = False

    @property
    def store_url(self) -> str:
        """The store behind the control listener, as a ClickHouse URL with its password."""
        return self.control_url.replace("://", f"://{CONTROL_USER}:{self.secret}@", 1) + "/"

    def lines(self, path: str, parameters: dict[str, str]) -> Iterator[bytes]:
        """Ask the control listener for something that it answers line by line, as it goes.

        Raises:
            CommandError: it does not answer, refuses, or ends in the middle of a line.
        """
        import http.client
        import urllib.error

        try:
            with self._ask(path, parameters, b"") as answer:
                yield from answer
        except urllib.error.HTTPError as error:
            reason = error.read().decode("utf-8", "replace")
            raise CommandError(f"the server (process {self.pid}) refuses: {reason or error}") from error
        except (OSError, http.client.HTTPException) as error:
            raise CommandError(f"the server (process {self.pid}) does not answer: {error}") from error

    def post(self, path: str, parameters: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Ask the control listener; HTTP status and body.

        Raises:
            CommandError: it does not answer.
        """
        import urllib.error

        try:
            with self._ask(path, parameters, body) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError as error:
            raise CommandError(f"the server (process {self.pid}) does not answer: {error}") from error

    def _ask(self, path: str, parameters: dict[str, str], body: bytes) -> Any:
        import urllib.parse
        import urllib.request

        url = f"{self.control_url}{path}?{urllib.parse.urlencode(parameters)}"
        headers = {"authorization": f"Bearer {self.secret}", "content-type": "application/octet-stream"}
        request = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310 - http, from our own file
        return urllib.request.urlopen(request, timeout=600)  # noqa: S310

    def write(self, data: Path) -> None:
        """Announce the server, readable by its owner alone."""
        path = data / FILE
        fresh = path.with_suffix(f".{self.pid}.tmp")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
        fresh.replace(path)


def forget(data: Path) -> None:
    """Remove the announcement."""
    (data / FILE).unlink(missing_ok=True)


def find(data: Path) -> RunningServer | None:
    """The server that runs on ``data``; None when there is none."""
    try:
        found = json.loads((data / FILE).read_text(encoding="utf-8"))
        server = RunningServer(**found)
    except (OSError, ValueError, TypeError):
        return None
    return server if _alive(server.pid) else None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
