"""The folder of what could not be processed: each request as it came, beside a readable reason.

Files are named ``<received UTC>-<place>.<signal>.<pb|json>``, with the reason in a ``.reason.txt`` of the same name, so
that `spanledger import` can load them again once the cause is mended.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from spanledger.collector.segment import Frame
from spanledger.collector.signals import Encoding


class DeadLetters:
    """Writes dead letters into one folder, made on first need. Used by one thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, frame: Frame, reason: str) -> Path:
        """Keep a frame; durable on return.

        Raises:
            OSError: the disk does not take it; the caller must not go on as if it had.
        """
        suffix = "json" if frame.encoding is Encoding.JSON else "pb"
        received = datetime.fromtimestamp(frame.received_ns / 1e9, UTC)
        place = f"{frame.end.segment}-{frame.end.offset}"
        name = f"{received:%Y%m%dT%H%M%S}-{place}.{frame.signal.name.lower()}"
        return self._keep(name, suffix, frame.payload, f"org: {frame.org_id}\nreason: {reason}\n")

    def put_gap(self, data: bytes, reason: str, place: str) -> Path:
        """Keep bytes of the journal that are no frame any more; durable on return."""
        return self._keep(f"gap-{place}", "bin", data, f"reason: {reason}\n")

    def _keep(self, name: str, suffix: str, data: bytes, reason: str) -> Path:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._directory / f"{name}.{suffix}"
        _write_durably(self._directory / f"{name}.reason.txt", reason.encode())
        _write_durably(path, data)
        return path


def _write_durably(path: Path, data: bytes) -> None:
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
