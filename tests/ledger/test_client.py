"""Where the store is, and what is wrong with it, in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from spanledger.ledger.client import LOCK, MARKER, Lock, StoreTarget, check_directory, connect, owner_of
from spanledger.ledger.errors import PermanentStoreError, RetryableStoreError, StoreInUseError
from spanledger.ledger.store import Ledger


def test_a_new_directory_becomes_a_store(tmp_path):
    """And is known as one afterwards."""
    place = tmp_path / "a" / "b"
    check_directory(place)
    assert json.loads((place / MARKER).read_text()) == {"format": 1}
    check_directory(place)


def test_other_files_may_lie_beside_the_store(tmp_path):
    """The collector keeps its journal there."""
    (tmp_path / "journal").mkdir()
    check_directory(tmp_path)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda p: p.write_text("x"), r"store .*/data is a file, not a directory: choose another --data directory"),
        (lambda p: (p / "store").mkdir(parents=True), r"holds a ClickHouse store that is not Spanledger's \(store\)"),
        (lambda p: (p.mkdir(), (p / MARKER).write_text("{")), r"spanledger-store.json is damaged: restore it"),
        (lambda p: (p.mkdir(), (p / MARKER).write_text('{"format": 2}')), r"has format 2, .* upgrade spanledger"),
    ],
)
def test_what_cannot_be_our_store(tmp_path, prepare, message):
    """Nothing is touched, and the line names the place and the mend."""
    place = tmp_path / "data"
    prepare(place)
    with pytest.raises(PermanentStoreError, match=message) as caught:
        Ledger.open(StoreTarget.embedded(place), prices=None)
    assert str(place) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written(tmp_path):
    """Permissions are named as such."""
    tmp_path.chmod(0o500)
    with pytest.raises(PermanentStoreError, match="is not writable: mend its permissions"):
        check_directory(tmp_path)


def test_a_parent_that_is_a_file(tmp_path):
    """The system's reason is in the line."""
    (tmp_path / "file").write_text("")
    with pytest.raises(PermanentStoreError, match="cannot be made: Not a directory"):
        check_directory(tmp_path / "file" / "data")


HOLD = """
import sys, time
from pathlib import Path
from spanledger.ledger.client import Lock
lock = Lock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_the_second_process_is_told_who_owns_the_store(tmp_path):
    """And gets it as soon as the owner is gone, however it went."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder:
        assert holder.stdout.readline() == "held\n"
        assert owner_of(tmp_path) == holder.pid
        with pytest.raises(StoreInUseError, match=f"in use by process {holder.pid}: stop it, or talk to") as caught:
            Ledger.open(StoreTarget.embedded(tmp_path), prices=None)
        assert caught.value.pid == holder.pid
        holder.kill()
    assert owner_of(tmp_path) is None
    Lock(tmp_path).release()


def test_nobody_owns_what_is_not_there(tmp_path):
    """Asking makes nothing."""
    assert owner_of(tmp_path / "nowhere") is None
    assert not (tmp_path / "nowhere").exists()
    check_directory(tmp_path)
    assert owner_of(tmp_path) is None
    assert not (tmp_path / LOCK).exists()


@pytest.mark.parametrize("url", ["localhost:8123", "clickhouse://h:9000", "http://", "ftp://user:secret@host"])
def test_urls_that_are_none(url):
    """The password is not repeated."""
    with pytest.raises(PermanentStoreError, match="not a ClickHouse URL") as caught:
        StoreTarget.server(url)
    assert "secret" not in str(caught.value)


def test_a_server_target_hides_its_password():
    """In its name and in its repr; the cluster is read from the URL."""
    target = StoreTarget.server("https://user:secret@ch.example:8443/?cluster=prod")
    assert target.cluster == "prod"
    assert target.name == "https://ch.example:8443/?cluster=prod"
    assert "secret" not in repr(target)


def test_a_server_that_does_not_answer_is_retryable():
    """Nothing listens on the discard port."""
    with pytest.raises(RetryableStoreError, match=r"connecting to http://127.0.0.1:9/"):
        connect(StoreTarget.server("http://127.0.0.1:9/"))


def test_open_close_open(tmp_path, observe):
    """What was ingested is there again, and the lock is given back."""

    class NoPrices:
        def price_many(self, observations):
            from spanledger.semconv.cost import Cost, CostStatus

            return [Cost(status=CostStatus.UNPRICED, reason="none") for _ in observations]

    for number in (1, 2):
        ledger = Ledger.open(StoreTarget.embedded(tmp_path), NoPrices())
        ledger.ingest([observe(number, at=number)])
        assert ledger.query("SELECT count() FROM spanledger.calls").result_rows[0][0] == number
        assert ledger.query("SELECT sum(calls) FROM spanledger.usage_by_day").result_rows[0][0] == number
        ledger.close()
        assert owner_of(tmp_path) is None
