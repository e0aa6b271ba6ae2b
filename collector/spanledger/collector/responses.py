"""Bodies of Export…ServiceResponse: empty when everything was accepted, else with ``partial_success``."""

from __future__ import annotations

import json

from spanledger.collector import wire
from spanledger.collector.decode import Verdict
from spanledger.collector.signals import Signal


def to_protobuf(verdict: Verdict) -> bytes:
    """The response as protobuf; the three services' messages are the same on the wire."""
    if not verdict.refused:
        return b""
    partial = {"rejected": verdict.refused.total(), "error_message": verdict.message}
    return bytes(wire.ExportResponse(partial_success=partial).SerializeToString())


def to_json(signal: Signal, verdict: Verdict) -> bytes:
    """The response in protobuf's JSON mapping, where 64-bit integers are strings."""
    if not verdict.refused:
        return b"{}"
    partial = {signal.rejected_field: str(verdict.refused.total()), "errorMessage": verdict.message}
    return json.dumps({"partialSuccess": partial}).encode()
