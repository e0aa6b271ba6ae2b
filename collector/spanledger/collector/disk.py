"""The file system as the journal uses it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from spanledger.collector.errors import StartupError


class Disk:
    """The system calls that can fail for lack of space or health; tests put a failing one in its place."""

    def write(self, fd: int, buffers: Sequence[bytes]) -> int:
        """Write some of `buffers`, return the number of bytes written."""
        return os.writev(fd, buffers)

    def sync(self, fd: int) -> None:
        """Bring the file's data, and the size needed to read it back, onto the disk."""
        if hasattr(os, "fdatasync"):
            os.fdatasync(fd)
        else:
            os.fsync(fd)

    def free_bytes(self, directory: Path) -> int:
        """Bytes that we may still use on the disk of `directory`."""
        stat = os.statvfs(directory)
        return stat.f_bavail * stat.f_frsize


def own_directory(directory: Path) -> int:
    """Make a folder this process's own; the kernel releases it when the process ends.

    Returns:
        The descriptor of the lock, to be closed at the end.

    Raises:
        StartupError: the folder cannot be used, or another process owns it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartupError(f"journal {directory}: cannot use this folder: {error.strerror or error}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.read(fd, 32).decode(errors="replace").strip() or "?"
        os.close(fd)
        raise StartupError(
            f"journal {directory} is in use by process {owner}: stop it, or give this one its own data folder"
        ) from error
    with suppress(OSError):  # a full disk: the name of the owner is a courtesy, the lock holds without it
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
    return fd


def sync_directory(directory: Path) -> None:
    """Bring the names of new files in a folder onto the disk."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
