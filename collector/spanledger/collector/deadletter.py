"""The folder of what could not be processed: requests, or the bad parts of them, each beside a readable reason.

Files are named ``<received UTC>-<place>.<signal>.<pb|json>``, with the reason in a ``.reason.txt`` of the same name, so
that `spanledger import` can load them again once the cause is mended.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from spanledger.collector.errors import DeadLettersFullError
from spanledger.collector.segment import Frame, Gap
from spanledger.collector.signals import Encoding


class DeadLetters:
    """Writes dead letters into one folder, made on first need. Used by one thread.

    The folder has a limit. At the limit the pipeline waits, in time the journal is full, and senders wait, too: nothing
    that was acknowledged is ever thrown away unseen.
    """

    def __init__(self, directory: Path, *, limit_bytes: int = 1 << 30) -> None:
        self._directory = directory
        self._limit_bytes = limit_bytes

    def put(self, frame: Frame, payload: bytes, reason: str) -> Path:
        """Keep `payload`, which is all or a part of a frame's; durable on return.

        Raises:
            DeadLettersFullError, OSError: it is not kept; the caller must not go on as if it were.
        """
        suffix = "json" if frame.encoding is Encoding.JSON else "pb"
        received = datetime.fromtimestamp(frame.received_ns / 1e9, UTC)
        place = f"{frame.end.segment}-{frame.end.offset}"
        name = f"{received:%Y%m%dT%H%M%S}-{place}.{frame.signal.name.lower()}"
        return self._keep(name, suffix, payload, f"org: {frame.org_id}\nreason: {reason}\n")

    def put_gap(self, gap: Gap, reason: str) -> Path:
        """Keep bytes of the journal that are no frame any more; durable on return. Raises as `put`."""
        return self._keep(f"gap-{gap.end.segment}-{gap.end.offset}", "bin", gap.data, f"reason: {reason}\n")

    def _keep(self, name: str, suffix: str, data: bytes, reason: str) -> Path:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._directory / f"{name}.{suffix}"
        # Not counted along, but looked up: somebody may have imported and deleted some meanwhile.
        used = sum(entry.stat().st_size for entry in os.scandir(self._directory) if entry.name != path.name)
        if used + len(data) > self._limit_bytes:
            raise DeadLettersFullError(
                f"the dead-letter folder {self._directory} is full ({used} of {self._limit_bytes} bytes): "
                "mend the reasons noted in it, import the letters, then delete them"
            )
        _write_durably(self._directory / f"{name}.reason.txt", reason.encode())
        _write_durably(path, data)
        return path


def _write_durably(path: Path, data: bytes) -> None:
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
