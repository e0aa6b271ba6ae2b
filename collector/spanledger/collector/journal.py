"""The durable journal between the receivers and the pipeline.

`append` returns after the request is on disk: written and fsynced. Requests that arrive while another one is being
synced wait together and share the next fsync (group commit), so the disk's latency bounds the delay of a request, not
the number of requests. The pipeline reads frames in order and moves the checkpoint; whole segments behind the
checkpoint are deleted. After a crash, everything from the checkpoint on is read again, which the ledger tolerates.

The journal never drops: when its byte limit is reached, or the disk is full or nearly so, `append` refuses.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from spanledger.collector.disk import Disk, own_directory, sync_directory
from spanledger.collector.errors import JournalFullError, RetryableError, StartupError, UnavailableError
from spanledger.collector.segment import (
    SEGMENT_HEADER_BYTES,
    SUFFIX,
    Frame,
    FrameFields,
    Gap,
    Position,
    claimed_frame_size,
    last_whole_frame,
    new_segment_header,
    next_valid,
    parse_frame,
    segment_salt,
)
from spanledger.collector.signals import Encoding, Signal
from spanledger.collector.stats import Stats

_log = logging.getLogger(__name__)

_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_BUFFERS_PER_WRITE: Final = 512
MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSettings:
    """Limits of the journal.

    Attributes:
        limit_bytes: the journal refuses to grow beyond this.
        segment_bytes: a segment is closed when it reaches this size.
        reserve_bytes: disk space that the journal leaves free, so that the store on the same disk can still work off
            what has been accepted.
        fsync: whether an acknowledged request survives a crash of the machine (not only of the process).
    """

    limit_bytes: int = 8192 * MIB
    segment_bytes: int = 64 * MIB
    reserve_bytes: int = 256 * MIB
    fsync: bool = True


@dataclass(slots=True, eq=False)
class _Waiting:
    """Frames of one caller that wait for their fsync."""

    frames: Sequence[tuple[FrameFields, bytes]]
    size: int
    wake: threading.Event = field(default_factory=threading.Event)
    leads: bool = False
    error: RetryableError | None = None


class Journal:
    """An append-only, segmented, checksummed log on disk, owned by one process.

    Thread-safe: any number of threads may `append`; one thread may `read` and `checkpoint`.
    """

    def __init__(self, directory: Path, settings: JournalSettings, stats: Stats, disk: Disk, lock_fd: int) -> None:
        self._directory = directory
        self._settings = settings
        self._segment_bytes = max(1, min(settings.segment_bytes, settings.limit_bytes // 4))
        self._stats = stats
        self._disk = disk
        self._lock_fd = lock_fd
        self._lock = threading.Lock()
        self._grown = threading.Condition(self._lock)
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._leading = False
        self._closed = False
        self._woken = False
        self._fd = -1
        self._write_segment = 0
        self._write_offset = 0
        self._write_salt = 0
        self._end = Position(0, 0)
        self._sizes: dict[int, int] = {}
        self._read_fd = -1
        self._read_segment = 0
        self._read_salt: int | None = None
        self._checkpoint = Position(0, 0)

    @classmethod
    def open(
        cls,
        directory: Path,
        settings: JournalSettings | None = None,
        *,
        stats: Stats | None = None,
        disk: Disk | None = None,
    ) -> Journal:
        """Open or create the journal in `directory`, and cut an unfinished frame from its tail.

        Raises:
            StartupError: the folder cannot be used, or another process owns it.
        """
        lock_fd = own_directory(directory)
        journal = cls(directory, settings or JournalSettings(), stats or Stats(), disk or Disk(), lock_fd)
        try:
            journal._recover()
        except OSError as error:
            os.close(lock_fd)
            raise StartupError(f"journal {directory}: cannot read it: {error.strerror or error}") from error
        return journal

    # --- writing

    def append(
        self, org_id: str, signal: Signal, encoding: Encoding, payload: bytes, received_ns: int | None = None
    ) -> None:
        """Store one request; return when it is durable. See `append_many`."""
        received_ns = time.time_ns() if received_ns is None else received_ns
        self.append_many([(FrameFields(org_id, signal, encoding, received_ns), payload)])

    def append_many(self, frames: Sequence[tuple[FrameFields, bytes]]) -> None:
        """Store requests, fields and payloads, with one fsync; return when all are durable.

        Raises:
            JournalFullError: the byte limit is reached or the disk is full.
            UnavailableError: the disk failed or the journal is closed.
                After either, some of the frames may be stored all the same: sending them again does no harm.
        """
        waiting = _Waiting(frames, sum(fields.frame_size(payload) for fields, payload in frames))
        with self._lock:
            if self._closed:
                raise UnavailableError("the collector is stopping")
            limit = self._settings.limit_bytes
            if self._size() + self._queued_bytes + waiting.size > limit:
                raise JournalFullError(f"the journal has reached its limit of {limit} bytes; the store is behind")
            self._queue.append(waiting)
            self._queued_bytes += waiting.size
            waiting.leads, self._leading = not self._leading, True
        if not waiting.leads:
            waiting.wake.wait()
        if waiting.leads:
            self._commit_queue()
        if waiting.error is not None:
            raise waiting.error

    def _commit_queue(self) -> None:
        """Write and sync all that waits, wake it, and pass the lead to the first that came meanwhile."""
        with self._lock:
            group = list(self._queue)
            self._queue.clear()
        error: RetryableError | None = UnavailableError("the journal's writer was interrupted")
        try:
            self._write(group)
            error = None
        except OSError as problem:
            error = self._give_up(problem)
        except RetryableError as problem:
            error = problem
        finally:
            with self._lock:
                self._queued_bytes -= sum(waiting.size for waiting in group)
                self._leading = bool(self._queue)
                heir = self._queue[0] if self._queue else None
                self._grown.notify_all()
            for waiting in group:
                waiting.error = error
                waiting.wake.set()
            if heir is not None:
                heir.leads = True
                heir.wake.set()

    def _write(self, group: Sequence[_Waiting]) -> None:
        free = self._disk.free_bytes(self._directory)
        size = sum(waiting.size for waiting in group)
        if free - size < self._settings.reserve_bytes:
            raise JournalFullError(f"the disk of {self._directory} has only {free} bytes left")
        buffers: list[bytes] = []
        offset = self._write_offset
        for fields, payload in (frame for waiting in group for frame in waiting.frames):
            frame_size = fields.frame_size(payload)
            if self._fd < 0 or (offset > 0 and offset + frame_size > self._segment_bytes):
                self._flush(buffers, offset)
                buffers = [self._start_segment()]
                offset = SEGMENT_HEADER_BYTES
            buffers += (fields.head(payload, self._write_salt), payload)
            offset += frame_size
        self._flush(buffers, offset)

    def _flush(self, buffers: list[bytes], end: int) -> None:
        """Write `buffers` at the end of the current segment, sync them, and let the reader see them."""
        if not buffers:
            return
        while buffers:
            written = self._disk.write(self._fd, buffers[:_BUFFERS_PER_WRITE])
            while buffers and written >= len(buffers[0]):
                written -= len(buffers.pop(0))
            if written:
                buffers[0] = buffers[0][written:]
        if self._settings.fsync:
            self._disk.sync(self._fd)
        with self._lock:
            self._write_offset = self._sizes[self._write_segment] = end
            self._end = Position(self._write_segment, end)

    def _start_segment(self) -> bytes:
        """Create the next segment's file; return the header that its first flush has to write."""
        number = self._write_segment + 1
        fd = os.open(self._path(number), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            if self._settings.fsync:
                sync_directory(self._directory)
        except OSError:
            os.close(fd)
            raise
        header, salt = new_segment_header()
        old_fd = self._fd
        with self._lock:
            self._fd, self._write_segment, self._write_offset, self._write_salt = fd, number, 0, salt
            self._sizes[number] = 0
        if old_fd >= 0:
            os.close(old_fd)
        return header

    def _give_up(self, problem: OSError) -> RetryableError:
        """Take back what was half written; whether the segment is written on depends on what went wrong."""
        no_space = problem.errno in _NO_SPACE
        if self._fd >= 0 and not (self._cut_half_written() and no_space):
            # After a failed fsync the kernel may have dropped the written pages: this file is not written to again.
            self._abandon_segment()
        if no_space:
            return JournalFullError(f"no space left for the journal in {self._directory}")
        return UnavailableError(f"cannot write to the journal in {self._directory}: {problem.strerror or problem}")

    def _cut_half_written(self) -> bool:
        """Put the segment back to its last durable frame; whether it can be written on."""
        try:
            os.ftruncate(self._fd, self._write_offset)
            os.lseek(self._fd, self._write_offset, os.SEEK_SET)
        except OSError:
            # The half-written frame stays as a torn tail, which `_recover` and `read` know how to skip.
            _log.warning("journal %s: could not cut a half-written frame", self._directory)
            return False
        return self._write_offset > 0

    def _abandon_segment(self) -> None:
        os.close(self._fd)
        self._fd = -1
        if self._write_offset == 0:  # nothing in it: no file is left behind for each failed try
            self._path(self._write_segment).unlink(missing_ok=True)
            with self._lock:
                self._sizes.pop(self._write_segment, None)

    # --- reading

    @property
    def start(self) -> Position:
        """Where reading has to begin: the last checkpoint."""
        return self._checkpoint

    @property
    def end(self) -> Position:
        """The place after the last durable frame."""
        with self._lock:
            return self._end

    @property
    def limit_bytes(self) -> int:
        """Size at which the journal refuses to grow."""
        return self._settings.limit_bytes

    @property
    def size_bytes(self) -> int:
        """Bytes of all segments on disk."""
        with self._lock:
            return self._size()

    def pending_bytes(self, after: Position) -> int:
        """Bytes of durable frames after a place."""
        with self._lock:
            return sum(
                size - (after.offset if number == after.segment else 0)
                for number, size in self._sizes.items()
                if number >= after.segment
            )

    def wait(self, after: Position, timeout: float) -> bool:
        """Wait for a durable frame after a place; ``False`` when the time is over or `wake` was called."""
        with self._grown:
            self._grown.wait_for(lambda: self._woken or self._end > after, timeout)
            self._woken = False
            return self._end > after

    def wake(self) -> None:
        """End the `wait` that is going on, or the next one."""
        with self._grown:
            self._woken = True
            self._grown.notify_all()

    def read(self, after: Position, max_bytes: int) -> list[Frame | Gap]:
        """Durable frames after a place, about `max_bytes` of them but at least one, in order; empty at the end.

        Bytes that fail their checksum come as a `Gap`: the caller keeps them aside and goes on.
        """
        segment, offset = after
        while True:
            with self._lock:
                size = self._sizes.get(segment)
                later = [number for number in self._sizes if number > segment]
            if size is not None and offset < size:
                break
            if not later:
                return []
            segment, offset = min(later), 0
        offset = max(offset, SEGMENT_HEADER_BYTES)
        fd, salt = self._reader(segment)
        if salt is None:
            return [Gap(os.pread(fd, size, 0), Position(segment, size))]
        data = os.pread(fd, min(max_bytes, size - offset), offset)
        first = claimed_frame_size(data, 0)
        if first is not None and first > len(data):
            data = os.pread(fd, min(first, size - offset), offset)
        items: list[Frame | Gap] = []
        at = 0
        while at < len(data):
            frame = parse_frame(data, at, salt, Position(segment, offset))
            if frame is None:
                # Perhaps only cut by max_bytes: then the next read starts here and knows.
                return items or [self._gap(fd, salt, Position(segment, offset), size)]
            items.append(frame)
            at = frame.end.offset - offset
        return items

    def _gap(self, fd: int, salt: int, start: Position, size: int) -> Gap:
        data = os.pread(fd, size - start.offset, start.offset)
        resume = next_valid(data, 1, salt)
        length = len(data) if resume is None else resume
        return Gap(data[:length], Position(start.segment, start.offset + length))

    def _reader(self, segment: int) -> tuple[int, int | None]:
        if self._read_segment != segment or self._read_fd < 0:
            if self._read_fd >= 0:
                os.close(self._read_fd)
            self._read_fd = os.open(self._path(segment), os.O_RDONLY | os.O_CLOEXEC)
            self._read_segment = segment
            self._read_salt = segment_salt(os.pread(self._read_fd, SEGMENT_HEADER_BYTES, 0))
        return self._read_fd, self._read_salt

    def checkpoint(self, position: Position) -> None:
        """Say that everything before `position` is safe elsewhere; segments behind it are deleted.

        Written atomically but not synced, and not at all on a full disk: losing it means reading some frames again.
        """
        self._checkpoint = position
        with self._lock:
            done = [
                number
                for number, size in self._sizes.items()
                if number < position.segment
                or (number == position.segment and number != self._write_segment and position.offset >= size)
            ]
        for number in done:  # before the checkpoint, because it makes room
            self._path(number).unlink(missing_ok=True)
        with self._lock:
            for number in done:
                del self._sizes[number]
        path = self._directory / "checkpoint"
        try:
            path.with_suffix(".new").write_text(json.dumps({"segment": position.segment, "offset": position.offset}))
            path.with_suffix(".new").replace(path)
        except OSError as error:
            _log.warning("journal %s: could not save the checkpoint: %s", self._directory, error.strerror or error)

    # --- opening and closing

    def _recover(self) -> None:
        found = sorted(int(path.stem) for path in self._directory.glob(f"*{SUFFIX}") if path.stem.isdecimal())
        self._sizes = {number: self._path(number).stat().st_size for number in found}
        if found:
            self._sizes[found[-1]] = self._cut_torn_tail(found[-1])
        for number, size in [*self._sizes.items()]:
            if size <= SEGMENT_HEADER_BYTES:
                self._path(number).unlink()
                del self._sizes[number]
        self._checkpoint = self._read_checkpoint()
        ends = (Position(number, size) for number, size in self._sizes.items())
        self._end = max([self._checkpoint, *ends])
        # Numbers only grow, even after every segment was deleted: an old checkpoint must not hide new frames.
        self._write_segment = max([self._checkpoint.segment, *found])

    def _cut_torn_tail(self, number: int) -> int:
        path = self._path(number)
        data = path.read_bytes()
        end = last_whole_frame(data)
        if end < len(data):
            torn = len(data) - end
            _log.warning("journal %s: cut an unfinished frame of %d bytes (never acknowledged)", path, torn)
            self._stats.torn_bytes += torn
            os.truncate(path, end)
            fd = os.open(path, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        return end

    def _read_checkpoint(self) -> Position:
        try:
            saved = json.loads((self._directory / "checkpoint").read_text())
            position = Position(int(saved["segment"]), int(saved["offset"]))
        except FileNotFoundError:
            return Position(0, 0)
        except (ValueError, KeyError, TypeError):
            _log.warning("journal %s: unreadable checkpoint; reading all frames again", self._directory)
            return Position(0, 0)
        return position

    def close(self) -> None:
        """Refuse further requests, finish those that wait, and release the folder."""
        with self._lock:
            self._closed = True
            self._grown.notify_all()
            self._grown.wait_for(lambda: not self._leading)
        for fd in (self._fd, self._read_fd, self._lock_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._read_fd = self._lock_fd = -1

    def _size(self) -> int:
        return sum(self._sizes.values())

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:020d}{SUFFIX}"


__all__ = ["Disk", "Frame", "Gap", "Journal", "JournalSettings", "Position"]
