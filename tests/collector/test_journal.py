"""The journal: durable before it answers, bounded, and whole again after any crash."""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger.collector.errors import JournalFullError, RetryableError, StartupError, UnavailableError
from spanledger.collector.journal import Disk, Frame, Gap, Journal, JournalSettings, Position
from spanledger.collector.segment import SEGMENT_HEADER_BYTES, FrameFields, last_whole_frame
from spanledger.collector.signals import Encoding, Signal
from spanledger.collector.stats import Stats

SMALL = JournalSettings(limit_bytes=1 << 20, segment_bytes=10_000, reserve_bytes=0)


def append(journal: Journal, payload: bytes, org: str = "acme") -> None:
    journal.append(org, Signal.TRACES, Encoding.PROTOBUF, payload, received_ns=123)


def read_all(journal: Journal, after: Position | None = None, max_bytes: int = 5_000) -> list[Frame | Gap]:
    position = journal.start if after is None else after
    found: list[Frame | Gap] = []
    while items := journal.read(position, max_bytes):
        found += items
        position = items[-1].end
    assert position >= journal.end
    return found


def payloads(journal: Journal) -> list[bytes]:
    return [item.payload for item in read_all(journal) if isinstance(item, Frame)]


def segments(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.journal"))


class CountingDisk(Disk):
    """A disk that counts its syncs, and holds the first ones until it is told to go on."""

    def __init__(self) -> None:
        self.syncs = 0
        self.may_sync = threading.Event()
        self.may_sync.set()
        self.in_sync = threading.Event()

    def sync(self, fd: int) -> None:
        self.syncs += 1
        self.in_sync.set()
        assert self.may_sync.wait(10)
        super().sync(fd)


class FailingDisk(Disk):
    """A disk that fails with `error` while it is set, after writing `torn` bytes."""

    def __init__(self) -> None:
        self.write_error = self.sync_error = 0
        self.torn = 0
        self.free: int | None = None

    def write(self, fd: int, buffers: Sequence[bytes]) -> int:
        if self.write_error:
            if self.torn:
                os.write(fd, b"".join(buffers)[: self.torn])
            raise OSError(self.write_error, os.strerror(self.write_error))
        return super().write(fd, buffers)

    def sync(self, fd: int) -> None:
        if self.sync_error:
            raise OSError(self.sync_error, os.strerror(self.sync_error))
        super().sync(fd)

    def free_bytes(self, directory: Path) -> int:
        return super().free_bytes(directory) if self.free is None else self.free


def test_frames_come_back_as_they_went_in(tmp_path: Path) -> None:
    """Org, signal, encoding, time and payload survive, in order, across segments and a reopening."""
    journal = Journal.open(tmp_path, SMALL)
    sent = [
        (
            FrameFields(f"org-{n}-é", Signal(n % 3 + 1), Encoding(n % 2 + 1), n * 10**9),
            random.Random(n).randbytes(n * 300),
        )
        for n in range(20)
    ]
    for frame in sent:
        journal.append_many([frame])

    def found(journal: Journal) -> list[tuple[FrameFields, bytes]]:
        return [
            (FrameFields(item.org_id, item.signal, item.encoding, item.received_ns), item.payload)
            for item in read_all(journal)
            if isinstance(item, Frame)
        ]

    assert found(journal) == sent
    assert len(segments(tmp_path)) > 1
    journal.close()
    again = Journal.open(tmp_path, SMALL)
    assert found(again) == sent
    again.close()


def test_many_waiting_requests_share_one_fsync(tmp_path: Path) -> None:
    """While one fsync runs, the others gather; the next fsync is for all of them."""
    disk = CountingDisk()
    journal = Journal.open(tmp_path, SMALL, disk=disk)
    append(journal, b"opens the segment")
    disk.syncs, disk.may_sync = 0, threading.Event()
    disk.in_sync.clear()
    with ThreadPoolExecutor(16) as pool:
        first = pool.submit(append, journal, b"first")
        assert disk.in_sync.wait(10)
        rest = [pool.submit(append, journal, b"%d" % n) for n in range(15)]
        while len(journal._queue) < 15:
            assert not first.done()
        disk.may_sync.set()
        for future in (first, *rest):
            future.result(10)
    assert disk.syncs == 2
    assert sorted(payloads(journal)[1:]) == sorted([b"first", *(b"%d" % n for n in range(15))])
    journal.close()


def test_nothing_is_acknowledged_before_it_is_synced(tmp_path: Path) -> None:
    """While the disk syncs, the request waits and the reader sees nothing of it."""
    disk = CountingDisk()
    journal = Journal.open(tmp_path, SMALL, disk=disk)
    disk.may_sync.clear()
    thread = threading.Thread(target=append, args=(journal, b"slow"))
    thread.start()
    assert disk.in_sync.wait(10)
    assert thread.is_alive()
    assert journal.read(journal.start, 1000) == []
    disk.may_sync.set()
    thread.join(10)
    assert payloads(journal) == [b"slow"]
    journal.close()


def test_requests_from_many_threads_all_arrive(tmp_path: Path) -> None:
    """No request is lost or doubled between leaders and followers."""
    journal = Journal.open(tmp_path, JournalSettings(segment_bytes=2_000, reserve_bytes=0, fsync=False))
    sent = [b"%d" % n for n in range(2_000)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda payload: append(journal, payload), sent))
    assert sorted(payloads(journal)) == sorted(sent)
    journal.close()


def test_many_frames_of_one_caller_are_one_commit(tmp_path: Path) -> None:
    """An import pays for one fsync, not for one per request."""
    disk = CountingDisk()
    journal = Journal.open(tmp_path, SMALL, disk=disk)
    fields = FrameFields("acme", Signal.LOGS, Encoding.JSON, 5)
    journal.append_many([(fields, b"%d" % n) for n in range(100)])
    assert disk.syncs == 1
    assert len(payloads(journal)) == 100
    journal.close()


def test_segments_behind_the_checkpoint_are_deleted(tmp_path: Path) -> None:
    """Worked-off segments leave the disk; the next start begins at the checkpoint, not before."""
    journal = Journal.open(tmp_path, SMALL)
    for n in range(10):
        append(journal, b"%d" % n * 4_000)
    assert len(segments(tmp_path)) == 5
    frames = read_all(journal)
    journal.checkpoint(frames[6].end)
    assert len(segments(tmp_path)) == 2
    assert (
        journal.pending_bytes(journal.start)
        == sum(path.stat().st_size for path in segments(tmp_path)) - frames[6].end.offset
    )
    journal.close()
    again = Journal.open(tmp_path, SMALL)
    assert [payload[:1] for payload in payloads(again)] == [b"7", b"8", b"9"]
    append(again, b"new")
    assert payloads(again)[-1] == b"new"
    again.checkpoint(read_all(again)[-1].end)
    again.close()
    third = Journal.open(tmp_path, SMALL)
    assert payloads(third) == []
    append(third, b"newer")
    assert payloads(third) == [b"newer"]
    third.close()


def test_old_checkpoints_never_hide_new_frames(tmp_path: Path) -> None:
    """Segment numbers go on growing after every segment was deleted by hand."""
    journal = Journal.open(tmp_path, SMALL)
    append(journal, b"old")
    journal.checkpoint(journal.end)
    journal.close()
    for path in segments(tmp_path):
        path.unlink()
    again = Journal.open(tmp_path, SMALL)
    append(again, b"new")
    assert payloads(again) == [b"new"]
    again.close()


@pytest.mark.parametrize("content", ["", "{", '{"segment": "x", "offset": 1}', "[]"])
def test_an_unreadable_checkpoint_means_reading_again(tmp_path: Path, content: str) -> None:
    """Replay is harmless, so a lost checkpoint costs work and nothing else."""
    journal = Journal.open(tmp_path, SMALL)
    append(journal, b"kept")
    journal.checkpoint(journal.end)
    journal.close()
    (tmp_path / "checkpoint").write_text(content)
    again = Journal.open(tmp_path, SMALL)
    assert payloads(again) == [b"kept"]
    again.close()


def test_a_checkpoint_that_cannot_be_saved_still_makes_room(tmp_path: Path) -> None:
    """On a full disk the worked-off segments are what has to go first; the lost checkpoint only costs work."""
    journal = Journal.open(tmp_path, SMALL)
    for n in range(10):
        append(journal, b"%d" % n * 4_000)
    (tmp_path / "checkpoint.new").mkdir()  # nothing can be written there now
    journal.checkpoint(read_all(journal)[6].end)
    assert len(segments(tmp_path)) == 2
    journal.close()
    again = Journal.open(tmp_path, SMALL)
    assert [payload[:1] for payload in payloads(again)] == [b"6", b"7", b"8", b"9"]
    again.close()


# --- limits and a failing disk


def test_at_its_limit_the_journal_refuses_and_loses_nothing(tmp_path: Path) -> None:
    """The limit is a refusal; after the pipeline has worked, there is room again."""
    journal = Journal.open(tmp_path, JournalSettings(limit_bytes=20_000, segment_bytes=5_000, reserve_bytes=0))
    accepted = 0
    while journal.size_bytes + 1_100 <= 20_000:
        append(journal, bytes(1_000))
        accepted += 1
    with pytest.raises(JournalFullError, match="limit of 20000 bytes") as refused:
        append(journal, bytes(1_000))
    assert refused.value.retry_after > 0
    assert len(payloads(journal)) == accepted >= 15
    assert journal.size_bytes <= 20_000
    journal.checkpoint(journal.end)
    append(journal, bytes(1_000))
    journal.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("torn", [0, 1, 37])
def test_a_full_disk_refuses_and_keeps_what_was_acknowledged(tmp_path: Path, number: int, torn: int) -> None:
    """ENOSPC in the middle of a frame: that request is refused, the half frame is cut, and later ones go on."""
    disk = FailingDisk()
    journal = Journal.open(tmp_path, SMALL, disk=disk)
    append(journal, b"before")
    disk.write_error, disk.torn = number, torn
    with pytest.raises(JournalFullError, match="no space left"):
        append(journal, b"x" * 100)
    disk.write_error = 0
    append(journal, b"after")
    assert [item.payload if isinstance(item, Frame) else item for item in read_all(journal)] == [b"before", b"after"]
    journal.close()
    again = Journal.open(tmp_path, SMALL)
    assert payloads(again) == [b"before", b"after"]
    again.close()


@pytest.mark.parametrize("broken", ["write_error", "sync_error"])
def test_failed_tries_leave_no_files_behind(tmp_path: Path, broken: str) -> None:
    """Senders try for hours while the disk is full or broken; the folder must not fill with empty segments."""
    disk = FailingDisk()
    journal = Journal.open(tmp_path, SMALL, disk=disk)
    for first in (False, True):
        if first:
            append(journal, b"before")
        setattr(disk, broken, errno.ENOSPC if broken == "write_error" else errno.EIO)
        for _ in range(5):
            with pytest.raises(RetryableError):
                append(journal, b"x" * 100)
        setattr(disk, broken, 0)
        assert len(segments(tmp_path)) <= 1
        assert len(journal._sizes) <= 1
    append(journal, b"after")
    assert payloads(journal) == [b"before", b"after"]
    journal.close()


def test_a_failed_fsync_is_no_acknowledgement(tmp_path: Path) -> None:
    """After EIO the kernel may have dropped the pages: nothing is acknowledged, and that file is not written again."""
    disk = FailingDisk()
    journal = Journal.open(tmp_path, SMALL, disk=disk)
    append(journal, b"before")
    disk.sync_error = errno.EIO
    with pytest.raises(UnavailableError, match="cannot write to the journal"):
        append(journal, b"lost")
    disk.sync_error = 0
    append(journal, b"after")
    assert payloads(journal) == [b"before", b"after"]
    assert len(segments(tmp_path)) == 2
    journal.close()


def test_the_reserve_is_left_to_the_store(tmp_path: Path) -> None:
    """The journal stops before the disk is full, so that the store can still work off what was accepted."""
    disk = FailingDisk()
    journal = Journal.open(tmp_path, JournalSettings(reserve_bytes=1 << 20), disk=disk)
    disk.free = (1 << 20) + 50
    with pytest.raises(JournalFullError, match="bytes left"):
        append(journal, bytes(100))
    disk.free = 2 << 20
    append(journal, bytes(100))
    journal.close()


def test_a_closed_journal_refuses(tmp_path: Path) -> None:
    """A request that comes while the process stops is not swallowed."""
    journal = Journal.open(tmp_path, SMALL)
    journal.close()
    with pytest.raises(UnavailableError, match="stopping"):
        append(journal, b"late")


# --- after a crash


def build_segment(tmp_path: Path, frames: int = 4) -> tuple[Path, bytes, list[int]]:
    """A folder with one segment, its bytes, and where each frame ends."""
    journal = Journal.open(tmp_path, JournalSettings(reserve_bytes=0, fsync=False))
    for n in range(frames):
        append(journal, b"%d" % n * 50)
    ends = [item.end.offset for item in read_all(journal)]
    journal.close()
    [path] = segments(tmp_path)
    return path, path.read_bytes(), ends


def test_a_torn_tail_is_cut_at_the_last_whole_frame(tmp_path: Path) -> None:
    """Wherever the file breaks off: whole frames before it are there, the rest is cut and reported."""
    path, data, ends = build_segment(tmp_path, 2)
    for length in range(len(data)):
        path.write_bytes(data[:length])
        stats = Stats()
        journal = Journal.open(tmp_path, SMALL, stats=stats)
        whole = [end for end in ends if end <= length]
        assert len(payloads(journal)) == len(whole)
        cut = length - (whole[-1] if whole else SEGMENT_HEADER_BYTES if length >= SEGMENT_HEADER_BYTES else 0)
        assert stats.torn_bytes == cut
        journal.close()


def test_appending_after_a_torn_tail(tmp_path: Path) -> None:
    """New frames after the repair are read; the torn one is gone for good."""
    path, data, _ = build_segment(tmp_path)
    path.write_bytes(data[:-3])
    journal = Journal.open(tmp_path, SMALL)
    append(journal, b"new")
    assert [payload[:3] for payload in payloads(journal)] == [b"000", b"111", b"222", b"new"]
    journal.close()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_in_the_middle_costs_only_the_damaged_frames(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A flipped byte is a gap: its bytes are handed over, and every frame that is whole is still read."""
    directory = tmp_path_factory.mktemp("journal")
    path, content, ends = build_segment(directory)
    place = data.draw(st.integers(SEGMENT_HEADER_BYTES, ends[2] - 1))
    damaged = bytearray(content)
    damaged[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(damaged)
    journal = Journal.open(directory, SMALL)
    items = read_all(journal)
    hit = next(index for index, end in enumerate(ends) if place < end)
    expected = [b"%d" % n * 50 for n in range(4) if n != hit]
    assert [item.payload for item in items if isinstance(item, Frame)] == expected
    [gap] = [item for item in items if isinstance(item, Gap)]
    assert gap.data == bytes(damaged[(ends[hit - 1] if hit else SEGMENT_HEADER_BYTES) : ends[hit]])
    journal.close()


def test_a_foreign_file_in_the_middle_is_a_gap(tmp_path: Path) -> None:
    """A segment that is none of ours is handed over whole, and the next one is read."""
    journal = Journal.open(tmp_path, SMALL)
    for n in range(3):
        append(journal, b"%d" % n * 6_000)
    journal.close()
    second = segments(tmp_path)[1]
    second.write_bytes(b"nonsense, not ours")
    again = Journal.open(tmp_path, SMALL)
    items = read_all(again)
    assert [item.data if isinstance(item, Gap) else item.payload[:1] for item in items] == [
        b"0",
        b"nonsense, not ours",
        b"2",
    ]
    again.close()


def test_a_frame_inside_a_payload_is_never_taken_for_one(tmp_path: Path) -> None:
    """A sender who knows the format cannot smuggle a frame of another org into a torn tail: the salt is secret."""
    forged = FrameFields("victim", Signal.TRACES, Encoding.PROTOBUF, 1)
    inner = forged.head(b"forged", salt=0) + b"forged"
    journal = Journal.open(tmp_path, SMALL)
    append(journal, inner + bytes(100))
    journal.close()
    [path] = segments(tmp_path)
    torn = path.read_bytes()[:-20]
    assert inner in torn
    assert last_whole_frame(torn) == SEGMENT_HEADER_BYTES


def test_one_process_owns_a_journal(tmp_path: Path) -> None:
    """The second owner gets one line with the first one's process id."""
    journal = Journal.open(tmp_path, SMALL)
    with pytest.raises(StartupError, match=f"is in use by process {os.getpid()}"):
        Journal.open(tmp_path, SMALL)
    journal.close()
    Journal.open(tmp_path, SMALL).close()


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    """One readable line with the folder's name."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match=r"journal .*file: cannot use this folder"):
        Journal.open(tmp_path / "file", SMALL)
