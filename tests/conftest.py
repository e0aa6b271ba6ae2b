"""Fixtures that every part's tests share."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from spanledger.cli import runtime
from spanledger.cli.demo.provider import FakeProvider

ROOT = Path(__file__).resolve().parent.parent
ANY_PORT = ("--otlp-grpc=127.0.0.1:0", "--otlp-http=127.0.0.1:0", "--http=127.0.0.1:0", "--sql=127.0.0.1:0")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(autouse=True)
def no_ambient_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own configuration and keys never reach a test."""
    for name in list(os.environ):
        if name.startswith(("SPANLEDGER_", "OTEL_", "OPENAI_", "ANTHROPIC_")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that runs in this process sets logging up, on a stream that is closed when its test ends."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    for handler in root.handlers[:]:
        if type(handler) is logging.StreamHandler and handler not in handlers:
            root.removeHandler(handler)  # pyright: ignore[reportUnknownArgumentType]


@pytest.fixture
def fake_provider() -> Iterator[FakeProvider]:
    """A fresh fake provider with empty books."""
    with FakeProvider(seed=1) as provider:
        yield provider


def _wait_for(look: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """Look until there is something to see; the deadline is a failure."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds:g} s: {what}")


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., Any]:
    """``wait_for(look, what, seconds=30)``: look until something is seen that is not None, False or empty."""
    return _wait_for


@dataclass(slots=True)
class Served:
    """A ``spanledger serve`` in a process of its own."""

    process: subprocess.Popen[bytes]
    data: Path
    running: runtime.RunningServer
    log: Path

    def url(self, listener: str) -> str:
        return self.running.listeners[listener]

    def sql(self, query: str) -> list[dict[str, Any]]:
        """Rows from the SQL endpoint, as any ClickHouse client would get them."""
        parameters = {"query": query, "default_format": "JSONEachRow", "output_format_json_quote_decimals": "1"}
        try:
            with urllib.request.urlopen(
                f"{self.url('sql')}/?{urllib.parse.urlencode(parameters)}", timeout=30
            ) as answer:
                return [json.loads(line) for line in answer.read().splitlines()]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{query}: {error.read().decode()}") from error

    def settle(self) -> None:
        """Wait until everything that was acknowledged is in the ledger."""
        _, answer = self.running.post("/settle", {"seconds": "60"}, b"")
        assert json.loads(answer)["settled"], self.log.read_text()

    def get(self, path: str, token: str = "") -> str:
        """A page of the web listener."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        with urllib.request.urlopen(
            urllib.request.Request(self.url("http") + path, headers=headers), timeout=30
        ) as page:
            return page.read().decode()

    def stop(self) -> int:
        """Ask it to stop, as an init system does."""
        self.process.terminate()
        return self.process.wait(40)

    def kill(self) -> None:
        """End it without a chance to say goodbye."""
        self.process.kill()
        self.process.wait(10)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """``serve(*options, data=...)`` starts a server on free ports; all are stopped at the end."""
    started: list[Served] = []

    def start(*options: str, data: Path | None = None) -> Served:
        place = data or tmp_path / "data"
        log = tmp_path / f"serve-{len(started)}.log"
        command = [sys.executable, "-m", "spanledger.cli.main", "serve", "--data", str(place), *ANY_PORT, *options]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=tmp_path)

        def announced() -> runtime.RunningServer | None:
            assert process.poll() is None, log.read_text()
            running = runtime.find(place)
            return running if running is not None and running.pid == process.pid else None

        served = Served(process, place, _wait_for(announced, "the server's announcement", 60), log)
        started.append(served)
        return served

    yield start
    for served in started:
        if served.process.poll() is None:
            served.process.kill()
            served.process.wait(10)


@pytest.fixture
def spanledger(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``spanledger("tokens", "list", ...)`` runs the command in a process of its own, in an empty directory."""

    def run(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        command: Sequence[str] = [sys.executable, "-m", "spanledger.cli.main", *arguments]
        return subprocess.run(
            command,
            cwd=tmp_path,
            env=os.environ | (env or {}),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run
