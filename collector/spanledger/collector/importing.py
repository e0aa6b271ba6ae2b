"""`spanledger import`: OTLP files through the same journal and pipeline as everything else.

Importing twice changes nothing, because replay changes nothing. A file that cannot be read never stops the others.
"""

from __future__ import annotations

import http.client
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, Protocol

from spanledger.collector.errors import MalformedError, PermanentError, RetryableError, UnavailableError
from spanledger.collector.intake import DEFAULT_MAX_BODY_BYTES, judge
from spanledger.collector.journal import Journal
from spanledger.collector.otlp_files import Piece, Problems, read_pieces
from spanledger.collector.segment import FrameFields
from spanledger.collector.signals import Encoding, Signal
from spanledger.collector.stats import Stats

_GATHERED_BYTES: Final = 8 << 20
"""Pieces of this size together share one fsync."""


@dataclass(slots=True)
class ImportSummary:
    """What came of reading files. Counts of records unless said otherwise."""

    files: int = 0
    spans: int = 0
    logs: int = 0
    metrics: int = 0
    """Metrics say nothing that the ledger needs; they are counted and left out."""
    refused: Counter[str] = field(default_factory=Counter[str])
    """What could not be read, by ``<file>: <reason>``."""
    about_calls: int | None = None
    """Records that say something about a model call; ``None`` when a server does the rest and nobody here knows."""
    known_before: int | None = None
    """Those of them that the ledger had already."""
    dropped: int | None = None
    """Records that say nothing about a model call."""
    calls: int | None = None
    """Calls that the ledger has more than before; negative when late evidence joined some of those."""

    @property
    def merged(self) -> int | None:
        """New records about model calls that made no call of their own: further witnesses, details, sums of calls."""
        if self.about_calls is None or self.known_before is None or self.calls is None:
            return None
        return self.about_calls - self.known_before - self.calls

    def add_outcome(self, before: Stats, after: Stats) -> None:
        """Say what became of the records, from copies of the pipeline's counters before the import and at its end."""
        self.about_calls = after.observations - before.observations
        self.known_before = after.repeated_observations - before.repeated_observations
        self.dropped = after.dropped_records.total() - before.dropped_records.total()

    def as_dict(self) -> dict[str, int | dict[str, int] | None]:
        """JSON-ready, for ``--json``."""
        return {
            "files": self.files,
            "spans": self.spans,
            "logs": self.logs,
            "metrics": self.metrics,
            "refused": dict(self.refused),
            "about_calls": self.about_calls,
            "known_before": self.known_before,
            "dropped": self.dropped,
            "calls": self.calls,
            "merged": self.merged,
        }


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """How far an import is, in bytes as they stand on disk."""

    file: Path
    done_bytes: int
    total_bytes: int
    waiting_for: str = ""
    """Why nothing moves right now (a full journal, a server that does not answer); ``""`` when it moves."""


class Sink(Protocol):
    """Where requests go."""

    def send(self, pieces: Sequence[Piece], /) -> None:
        """Take requests; they are durable on return.

        Raises:
            RetryableError: try the same again later.
            PermanentError: the sink refuses these requests.
        """
        ...


class JournalSink:
    """Into the journal of this process, as one org."""

    def __init__(self, journal: Journal, org_id: str) -> None:
        self._journal = journal
        self._org_id = org_id

    def send(self, pieces: Sequence[Piece], /) -> None:
        """Take requests."""
        received_ns = time.time_ns()
        self._journal.append_many(
            [(FrameFields(self._org_id, piece.signal, piece.encoding, received_ns), piece.body) for piece in pieces]
        )


class OtlpHttpSink:
    """To a running server's OTLP/HTTP listener, which owns the store; the token decides the org there."""

    def __init__(self, url: str, token: str = "", timeout_seconds: float = 60.0) -> None:
        self._url = urllib.parse.urlsplit(url)
        self._token = token
        self._timeout = timeout_seconds

    def send(self, pieces: Sequence[Piece], /) -> None:
        """Take requests."""
        secure = self._url.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        where = self._url.netloc
        try:
            with closing(kind(where, timeout=self._timeout)) as connection:
                for piece in pieces:
                    self._post(connection, piece)
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(f"the server at {where} does not answer: {error}", retry_after=1.0) from error

    def _post(self, connection: http.client.HTTPConnection, piece: Piece) -> None:
        kind = "json" if piece.encoding is Encoding.JSON else "x-protobuf"
        headers = {"content-type": f"application/{kind}"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        connection.request("POST", self._url.path.rstrip("/") + piece.signal.path, piece.body, headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status in (429, 502, 503, 504):
            raise UnavailableError(f"the server at {self._url.netloc} is busy ({answer.status})", retry_after=1.0)
        if answer.status != 200:
            raise PermanentError(f"the server at {self._url.netloc} refused the data: {answer.status} {answer.reason}")


def import_files(
    paths: Sequence[Path],
    sink: Sink,
    *,
    progress: Callable[[ImportProgress], None] = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
) -> ImportSummary:
    """Send all files (of folders: all files in them, sorted) to a sink. Waits as long as the sink says "later".

    Raises:
        PermanentError: a path does not exist, or the sink refuses the data.
    """
    summary = ImportSummary()
    files: list[Path] = []
    for path in paths:
        found = list(_files(path))
        files += found
        if not found:
            summary.refused[f"{path}: there are no files in this folder"] += 1
    total = sum(file.stat().st_size for file in files)
    done = 0

    def deliver(file: Path, pieces: list[Piece], position: int) -> None:
        while pieces:
            try:
                sink.send(pieces)
                pieces.clear()
            except RetryableError as error:
                progress(ImportProgress(file, done + position, total, str(error)))
                sleep(min(error.retry_after, 1.0))
        progress(ImportProgress(file, done + position, total))

    for file in files:
        summary.files += 1
        problems = Problems()
        position = 0
        try:
            with file.open("rb", buffering=0) as raw:
                gathered: list[Piece] = []
                size = 0
                for piece in read_pieces(raw, problems):
                    if len(piece.body) > max_body_bytes:
                        problems.refused[f"a request of more than {max_body_bytes} bytes"] += 1
                    elif _count(piece, summary, problems):
                        gathered.append(piece)
                        size += len(piece.body)
                    if size >= _GATHERED_BYTES:
                        deliver(file, gathered, _position(raw))
                        size = 0
                position = _position(raw)
                deliver(file, gathered, position)
        except OSError as error:
            problems.refused[f"cannot read it: {error.strerror or error}"] += 1
        except MalformedError as error:
            problems.refused[str(error)] += 1
        summary.refused.update({f"{file}: {reason}": count for reason, count in problems.refused.items()})
        done += position
    return summary


def _count(piece: Piece, summary: ImportSummary, problems: Problems) -> bool:
    """Count a piece's records; whether it is worth sending."""
    verdict = judge(piece.signal, piece.encoding, piece.body)
    problems.refused.update(verdict.refused)
    match piece.signal:
        case Signal.TRACES:
            summary.spans += verdict.accepted
        case Signal.LOGS:
            summary.logs += verdict.accepted
        case Signal.METRICS:
            summary.metrics += verdict.accepted
    return verdict.accepted > 0 and piece.signal is not Signal.METRICS


def _position(file: IO[bytes]) -> int:
    """Bytes read so far; 0 for a pipe, which nobody knows the length of."""
    return file.tell() if file.seekable() else 0


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(
            file
            for file in path.rglob("*")
            if file.is_file() and not file.name.startswith(".") and not file.name.endswith(".reason.txt")
        )
    elif path.exists():
        yield path
    else:
        raise PermanentError(f"{path}: there is no such file or folder")
