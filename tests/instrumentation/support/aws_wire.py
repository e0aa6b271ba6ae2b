"""Amazon's event streams, as they come over the wire."""

from __future__ import annotations

import binascii
import json
import struct
from typing import Any


def event(kind: str, payload: Any, message_type: str = "event") -> bytes:
    """One message of an AWS event stream."""
    kinds = {"event": ":event-type", "exception": ":exception-type"}
    told = {":message-type": message_type, kinds[message_type]: kind, ":content-type": "application/json"}
    headers = b"".join(
        struct.pack("!B", len(name)) + name.encode() + b"\x07" + struct.pack("!H", len(value)) + value.encode()
        for name, value in told.items()
    )
    body = json.dumps(payload).encode()
    prelude = struct.pack("!II", 16 + len(headers) + len(body), len(headers))
    message = prelude + struct.pack("!I", binascii.crc32(prelude)) + headers + body
    return message + struct.pack("!I", binascii.crc32(message))
