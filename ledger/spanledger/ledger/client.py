"""Where the ledger's store is, and how to connect to it.

The embedded store (chDB, in process) and a ClickHouse server speak through the same client class, so nothing behind
`connect` knows the difference. One process owns an embedded store: `Lock` says so to all others.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from spanledger.ledger.errors import (
    PermanentStoreError,
    RetryableStoreError,
    StoreError,
    StoreInUseError,
    translate,
)

MARKER: Final = "spanledger-store.json"
"""Says that a directory is ours; written when a store is created."""
LOCK: Final = "spanledger-store.lock"
MARKER_FORMAT: Final = 1

_SETTINGS: Final[dict[str, Any]] = {
    # One import may span years; the default of 100 partitions per insert guards against mistakes that we do not make.
    "max_partitions_per_insert_block": 0,
    # Keys are looked up by the tens of thousands, in one array parameter.
    "max_query_size": 16 * 1024 * 1024,
    # Versions are merged when parts are, and by FINAL until then; merging each insert alone costs as much as writing.
    "optimize_on_insert": 0,
}
_CLUSTER_SETTINGS: Final[dict[str, Any]] = {
    # An insert into a Distributed table must be on its shards when it returns: what we acknowledge is durable.
    "distributed_foreground_insert": 1,
    "distributed_product_mode": "global",
}
_ENGINE_FILES: Final = frozenset({"data", "metadata", "metadata_dropped", "store", "tmp", "status", "user_defined"})


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreTarget:
    """Where the store is: an embedded directory or a ClickHouse server.

    Attributes:
        path: directory of the embedded store; ``None`` for a server.
        url: ``http(s)://user:password@host:port/?cluster=name``; ``""`` for the embedded store. Kept out of ``repr``.
        cluster: the cluster whose name goes into ``ON CLUSTER``; ``""`` for a single server.
    """

    path: Path | None = None
    url: str = field(default="", repr=False)
    cluster: str = ""

    @classmethod
    def embedded(cls, path: str | os.PathLike[str]) -> StoreTarget:
        """The embedded store in directory `path` (made when missing)."""
        return cls(path=Path(path))

    @classmethod
    def server(cls, url: str) -> StoreTarget:
        """A ClickHouse server's HTTP interface.

        Raises:
            PermanentStoreError: the URL is not ``http(s)://...``; the message does not repeat its password.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise PermanentStoreError(
                f"not a ClickHouse URL: {_without_password(url)!r}; write http(s)://user:password@host:8123"
            )
        return cls(url=url, cluster=parse_qs(parts.query).get("cluster", [""])[0])

    @property
    def name(self) -> str:
        """The place in words for messages; never holds a password."""
        return str(self.path) if self.path is not None else _without_password(self.url)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def connect(target: StoreTarget) -> Client:
    """Open a client on the store.

    A process may hold many clients of one target (one for each thread that reads at the same time).

    Raises:
        PermanentStoreError: the directory or the URL cannot be a store.
        RetryableStoreError: the server does not answer.
    """
    with store_errors(f"connecting to {target.name}"):
        if target.path is not None:
            check_directory(target.path)
            return clickhouse_connect.get_client(  # pyright: ignore[reportUnknownMemberType]
                interface="chdb", path=str(target.path), settings=dict(_SETTINGS), tz_mode="aware"
            )
        parts = urlsplit(target.url)
        return clickhouse_connect.get_client(  # pyright: ignore[reportUnknownMemberType]
            interface=parts.scheme,
            host=parts.hostname,
            port=parts.port or (8443 if parts.scheme == "https" else 8123),
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password or ""),
            settings=_SETTINGS | (_CLUSTER_SETTINGS if target.cluster else {}),
            # Sessions would serialise our threads' queries, and we keep no session state.
            autogenerate_session_id=False,
            tz_mode="aware",
        )


@contextmanager
def store_errors(doing: str) -> Generator[None]:
    """Translate driver errors, once, at the seam; `doing` completes "store failed while ..."."""
    try:
        yield
    except ClickHouseError as error:
        raise translate(error, doing) from error
    except (ConnectionError, TimeoutError) as error:
        raise RetryableStoreError(f"store failed while {doing}: {error}") from error


def check_directory(path: Path) -> None:
    """Refuse, with one readable line, a directory that cannot be our store.

    Raises:
        PermanentStoreError: not a directory, not writable, or full of somebody else's files.
    """
    if path.exists() and not path.is_dir():
        raise PermanentStoreError(f"store {path} is a file, not a directory: choose another --data directory")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PermanentStoreError(
            f"store {path} cannot be made: {error.strerror}: choose another --data directory"
        ) from (error)
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise PermanentStoreError(
            f"store {path} is not writable: mend its permissions or choose another --data directory"
        )
    marker = path / MARKER
    if not marker.exists():
        engine_files = sorted(entry.name for entry in path.iterdir() if entry.name in _ENGINE_FILES)
        if engine_files:
            raise PermanentStoreError(
                f"store {path} holds a ClickHouse store that is not Spanledger's ({', '.join(engine_files)}): "
                "choose another --data directory"
            )
        marker.write_text(json.dumps({"format": MARKER_FORMAT}) + "\n")
        return
    try:
        written = json.loads(marker.read_text())["format"]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise PermanentStoreError(f"store {path}: {MARKER} is damaged: restore it from a backup") from error
    if written != MARKER_FORMAT:
        raise PermanentStoreError(
            f"store {path} has format {written}, this version reads format {MARKER_FORMAT}: upgrade spanledger"
        )


class Lock:
    """Ownership of an embedded store by this process, for as long as it lives (a killed process frees it)."""

    def __init__(self, path: Path) -> None:
        """Take the lock of the store in directory `path`.

        Raises:
            StoreInUseError: another process has it; carries its process id.
        """
        check_directory(path)
        self._file = (path / LOCK).open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.seek(0)
            owner = self._file.read().strip()
            self._file.close()
            pid = int(owner) if owner.isdecimal() else None
            raise StoreInUseError(
                f"store {path} is in use by process {owner or 'unknown'}: "
                "stop it, or talk to its SQL endpoint with --clickhouse http://127.0.0.1:8123",
                pid,
            ) from error
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def release(self) -> None:
        """Give the store back."""
        self._file.close()


def owner_of(path: Path) -> int | None:
    """The id of the process that owns the embedded store in `path`; ``None`` when nobody does."""
    try:
        with (path / LOCK).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = file.read().strip()
                return int(owner) if owner.isdecimal() else None
    except FileNotFoundError:
        return None
    return None


__all__ = [
    "LOCK",
    "MARKER",
    "Lock",
    "StoreError",
    "StoreTarget",
    "check_directory",
    "connect",
    "owner_of",
    "store_errors",
]
