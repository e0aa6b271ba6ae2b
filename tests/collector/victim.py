"""A collector process to be killed: run by the durability tests, not a test itself.

python victim.py receive FOLDER      gRPC receiver and journal, nothing reads it
python victim.py serve FOLDER        the same with the pipeline into an embedded store
python victim.py fill FOLDER BYTES   appends until the file size limit BYTES is hit, prints what was acknowledged
"""

from __future__ import annotations

import resource
import sys
import threading
from pathlib import Path

from spanledger.collector.auth import Authenticator
from spanledger.collector.deadletter import DeadLetters
from spanledger.collector.errors import JournalFullError
from spanledger.collector.grpc_receiver import GrpcReceiver, GrpcSettings
from spanledger.collector.intake import Intake
from spanledger.collector.journal import Journal, JournalSettings
from spanledger.collector.pipeline import Pipeline, PipelineSettings
from spanledger.collector.signals import Encoding, Signal
from spanledger.collector.stats import Stats

SETTINGS = JournalSettings(segment_bytes=20_000, reserve_bytes=0)


def receive(folder: Path, *, with_pipeline: bool) -> None:
    stats = Stats()
    journal = Journal.open(folder / "journal", SETTINGS, stats=stats)
    if with_pipeline:
        from spanledger.ledger.client import StoreTarget
        from spanledger.ledger.store import Ledger
        from spanledger.semconv.dialects import Dialects
        from spanledger.semconv.prices import PriceBook

        ledger = Ledger.open(StoreTarget.embedded(folder / "store"), prices=PriceBook())
        settings = PipelineSettings(batch_age=0.01)
        Pipeline(journal, Dialects(), ledger, DeadLetters(folder / "dead"), stats=stats, settings=settings).start()
    receiver = GrpcReceiver(Intake(journal, stats), Authenticator(None, required=False), GrpcSettings(port=0))
    receiver.start()
    print(receiver.port, flush=True)
    threading.Event().wait()


def fill(folder: Path, limit: int) -> None:
    journal = Journal.open(folder / "journal", JournalSettings(reserve_bytes=0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    acknowledged = 0
    while True:
        try:
            journal.append("acme", Signal.TRACES, Encoding.PROTOBUF, b"%d " % acknowledged * 100)
        except JournalFullError as error:
            print(acknowledged, error, flush=True)
            return
        acknowledged += 1


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        fill(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        receive(Path(sys.argv[2]), with_pipeline=sys.argv[1] == "serve")
