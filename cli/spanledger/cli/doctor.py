"""What ``spanledger doctor`` looks at: each check says what it found and, where something is wrong, how to mend it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any, Final

from spanledger.cli import runtime
from spanledger.cli.commands.serve import ADDRESSES

LOW_DISK_BYTES: Final = 1 << 30
SKEW_SECONDS: Final = 60
EXAMINE_SECONDS: Final = 180
GROUP: Final = "opentelemetry_instrumentor"
OURS: Final = "spanledger_"
NEEDED_BY_SERVE: Final = ("clickhouse-connect", "chdb", "grpcio", "starlette", "uvicorn", "prometheus-client")
NEEDED_BY_CAPTURE: Final = (
    "opentelemetry-api",
    "opentelemetry-sdk",
    "opentelemetry-distro",
    "opentelemetry-exporter-otlp",
)


UNPRICED: Final = (
    "SELECT provider, response_model, count() FROM calls WHERE cost_status = 'unpriced' AND status = 'ok' GROUP BY ALL"
)


class Level(StrEnum):
    """How bad a finding is."""

    ok = "ok"
    warn = "warn"
    fail = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    level: Level
    subject: str
    what: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to look."""

    data: Path
    clickhouse: str


Check = Callable[[Place], Iterator[Finding]]


def ok(subject: str, what: str) -> Finding:
    """All is well."""
    return Finding(Level.ok, subject, what)


def python(_place: Place) -> Iterator[Finding]:
    """The interpreter and the packages of the serving side."""
    now = ".".join(str(part) for part in sys.version_info[:3])
    yield ok("python", f"{now}, spanledger {version('spanledger')}")
    missing = [name for name in NEEDED_BY_SERVE if _installed(name) is None]
    if missing:
        yield Finding(Level.fail, "packages", f"missing: {', '.join(missing)}", "pip install 'spanledger[all]'")
    missing = [name for name in NEEDED_BY_CAPTURE if _installed(name) is None]
    if missing:
        mend = "pip install 'spanledger[auto]' where applications run"
        yield Finding(Level.warn, "packages", f"opentelemetry-instrument lacks {', '.join(missing)}", mend)


def server(place: Place) -> Iterator[Finding]:
    """Whether a server runs on the data directory, and whether its listeners answer."""
    running = runtime.find(place.data)
    if running is None:
        yield Finding(Level.warn, "server", f"none runs on {place.data}", f"spanledger serve --data {place.data}")
        return
    yield ok("server", f"process {running.pid}, version {running.version}")
    installed = version("spanledger")
    if running.version != installed:
        what = f"the running server is {running.version}, this command is {installed}"
        yield Finding(Level.warn, "server", what, "restart the server")
    http = running.listeners.get("http")
    if http:
        yield from _ready(http)
    for name in ADDRESSES:
        yield ok(name, running.listeners.get(name, "off"))


def _ready(http: str) -> Iterator[Finding]:
    try:
        with urllib.request.urlopen(f"{http}/readyz", timeout=10) as answer:  # noqa: S310 - our own listener
            yield ok("ready", f"{http}/readyz says {answer.status}")
    except urllib.error.HTTPError as error:
        reasons = error.read().decode(errors="replace")[:300]
        yield Finding(Level.fail, "ready", f"not ready: {reasons}", "see the server's log")
    except OSError as error:
        yield Finding(Level.fail, "ready", f"{http} does not answer: {error}", "see the server's log")


def ports(place: Place) -> Iterator[Finding]:
    """Whether the usual ports are free for a server that is yet to start."""
    if runtime.find(place.data) is not None:
        return
    for name, address in ADDRESSES.items():
        host, _, port = address.rpartition(":")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, int(port)))
            except OSError as error:
                mend = f"stop what listens there, or serve with --{name} HOST:PORT"
                yield Finding(Level.warn, name, f"{address}: {error.strerror}", mend)
            else:
                yield ok(name, f"{address} is free")


def disk(place: Place) -> Iterator[Finding]:
    """Room for the journal and the embedded store, and what could not be processed."""
    there = next(folder for folder in (place.data, *place.data.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    level = Level.warn if free < LOW_DISK_BYTES else Level.ok
    mend = "free some space: without it requests are refused" if level is Level.warn else ""
    yield Finding(level, "disk", f"{free >> 20:,} MiB free for {place.data}", mend)
    letters = [file for file in (place.data / "dead-letters").glob("*") if not file.name.endswith(".reason.txt")]
    if letters:
        what = f"{len(letters)} requests could not be processed: {place.data / 'dead-letters'}"
        yield Finding(
            Level.warn, "dead letters", what, "read the .reason.txt beside each, mend, then spanledger import"
        )


def store(place: Place) -> Iterator[Finding]:
    """Whether the store opens, its schema is current, its clock agrees, and what the ledger holds."""
    from spanledger.cli import access
    from spanledger.cli.errors import CommandError
    from spanledger.ledger.client import MARKER
    from spanledger.ledger.migrate import pending

    if not place.clickhouse and not (place.data / MARKER).exists():
        yield Finding(Level.warn, "store", f"no ledger at {place.data} yet", "the first spanledger serve makes it")
        return
    try:
        with access.client(place.data, place.clickhouse) as client:
            rest = pending(client)
            if rest:
                names = ", ".join(migration.name for migration in rest)
                yield Finding(Level.warn, "store", f"its schema lacks {names}", "restart the server")
            yield from _contents(client)
    except CommandError as error:
        yield Finding(Level.fail, "store", str(error), "")


def _contents(client: Any) -> Iterator[Finding]:
    ((now,),) = client.query("SELECT now64(3, 'UTC')").result_rows
    skew = abs((datetime.now(UTC) - now).total_seconds())
    if skew > SKEW_SECONDS:
        what = f"this machine's clock and the store's differ by {skew:.0f} s"
        yield Finding(Level.fail, "clock", what, "set both by NTP: calls are booked on the day they started")
    else:
        yield ok("clock", f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC, as the store's")
    sql = (
        "SELECT count(), countIf(cost_status = 'unpriced' AND status = 'ok'), countIf(started_at > now() + 60), "
        "max(settled_at) FROM spanledger.calls WHERE started_at > now() - INTERVAL 1 DAY"
    )
    ((calls, unpriced, future, last),) = client.query(sql).result_rows
    yield ok(
        "ledger", f"{calls:,} calls in the last 24 hours" + (f", the last settled {last:%H:%M:%S} UTC" if calls else "")
    )
    if unpriced:
        mend = f'spanledger query "{UNPRICED}"'
        yield Finding(Level.warn, "prices", f"{unpriced:,} calls of the last 24 hours have no price", mend)
    if future:
        yield Finding(Level.warn, "clock", f"{future:,} calls start in the future", "set the senders' clocks by NTP")


def sdks(_place: Place) -> Iterator[Finding]:
    """Which LLM SDKs are installed here, whether we support their versions, and who else instruments them."""
    found = {point.name: point for point in entry_points(group=GROUP)}
    ours = {name.removeprefix(OURS): point for name, point in found.items() if name.startswith(OURS)}
    if not ours:
        yield Finding(Level.fail, "capture", "our instrumentations are not registered", "pip install spanledger again")
        return
    for point in (point for _, point in sorted(ours.items())):
        yield from _sdk(point)
    yield from _examined()
    for name, point in sorted(found.items()):
        if name not in ours:
            continue
        other = point.dist.name if point.dist is not None else point.value
        what = f"{other} instruments {name} too: its spans join ours, each call counts once"
        mend = f"save the work: OTEL_PYTHON_DISABLED_INSTRUMENTATIONS={name}"
        yield Finding(Level.warn, "capture", what, mend)


def _sdk(point: EntryPoint) -> Iterator[Finding]:
    from packaging.requirements import Requirement

    needs: Sequence[str] = point.load()().instrumentation_dependencies()
    for text in needs:
        requirement = Requirement(text)
        installed = _installed(requirement.name)
        if installed is None:
            continue
        if requirement.specifier.contains(installed, prereleases=True):
            yield ok("capture", f"{requirement.name} {installed} is instrumented")
        else:
            what = f"{requirement.name} {installed} is not instrumented: we need {requirement.specifier}"
            yield Finding(Level.warn, "capture", what, f"pip install -U {requirement.name}")


def _examined() -> Iterator[Finding]:
    """What the installed SDKs lack: all are imported for it, in a process of its own."""
    command = [sys.executable, "-m", "spanledger.instrumentation.examine"]
    try:
        ran = subprocess.run(  # noqa: S603 - our own interpreter and module
            command, capture_output=True, text=True, timeout=EXAMINE_SECONDS, check=True
        )
        found: list[dict[str, Any]] = json.loads(ran.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        mend = f"run it by hand: {' '.join(command)}"
        yield Finding(Level.warn, "capture", f"the SDKs could not be examined: {type(error).__name__}", mend)
        return
    for one in found:
        mend = f"pip install -U spanledger, or stay with {one['sdk']} {one['tested']}"
        for line in one["problems"]:
            yield Finding(Level.warn, "capture", line, mend)
        if one["is_newer"] and not one["problems"]:
            what = f"{one['sdk']} {one['version']} is newer than what was tested ({one['tested']}), and looks alike"
            yield Finding(Level.warn, "capture", what, mend)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


CHECKS: Final[tuple[Check, ...]] = (python, server, ports, disk, store, sdks)


def examine(place: Place) -> list[Finding]:
    """Run every check."""
    return [finding for check in CHECKS for finding in check(place)]
