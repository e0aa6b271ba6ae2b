"""An ingest that dies after any of its writes, and is done again, leaves the same ledger."""

from __future__ import annotations

import itertools
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from spanledger.ledger.errors import PermanentStoreError, RetryableStoreError
from spanledger.ledger.store import Ledger
from spanledger.semconv.observation import Role, ToolCall

_fresh = itertools.count(1)


class Dying:
    """A client whose connection breaks at the n-th write: before it, or after the store has it."""

    def __init__(self, client: Any, at: int, *, after: bool) -> None:
        self._client, self._left, self._after = client, at, after
        self.died = False

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)
        if name not in ("insert", "raw_insert", "command"):
            return real

        def write(*arguments: Any, **options: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                self.died = True
                if self._after:
                    real(*arguments, **options)
                raise OperationalError("connection lost")
            if self._left < 0:
                raise OperationalError("connection lost")
            return real(*arguments, **options)

        return write


@pytest.fixture(scope="module")
def evidence_in_two(observe):
    """A first batch, and a second that changes what the first settled into."""
    first = [
        observe(1, response_id="", scope_name="framework", lasted=5, tool_calls=(ToolCall(name="t"),)),
        observe(2, at=30),
        observe(3, at=70, team_id="a"),
    ]
    second = [
        observe(11, trace=1, parent=1, at=1, lasted=3),
        observe(12, at=61, response_id="chatcmpl-2", scope_name="late"),
        observe(13, at=70, role=Role.AGGREGATE, usage=(9, 9)),
        observe(14, at=71, team_id="b", tool_calls=(ToolCall(name="u"),)),
    ]
    return first, second


def names(books: Any) -> Any:
    """What everything looks like when call ids, which are scoped by org, are left out."""
    found = books.everything()
    calls = books.calls("* EXCEPT (org_id, call_id, settled_at)")
    rollups = {
        unit: [row[1:] if row[0] == books.org else (row[0], *row[2:]) for row in found[unit]]
        for unit in ("minute", "hour", "day")
    }
    return (
        sorted(calls, key=repr),
        rollups,
        [row[4:] for row in found["witnesses"]],
        sorted(row[3:] for row in found["tool_calls"]),
        len(found["evidence"]),
    )


@pytest.fixture(scope="module")
def undisturbed(evidence_in_two, writer_of):
    """The ledger of an org where nothing went wrong."""
    writer = writer_of("undisturbed")
    for batch in evidence_in_two:
        writer(*batch)
    return writer


@pytest.mark.parametrize("after", [False, True], ids=["before the store has it", "after the store has it"])
@pytest.mark.parametrize("write", range(1, 16))
def test_dying_at_any_write_and_doing_it_again(
    write, after, evidence_in_two, client, prices, undisturbed, new_writer, books_of
):
    """A new process starts from whatever is there; then everything is delivered again, in other batches."""
    first, second = evidence_in_two
    org = f"crash{next(_fresh)}"
    new_writer(org)(*first)
    dying = Dying(client, write, after=after)
    with pytest.raises(RetryableStoreError, match="connection lost"):
        Ledger(dying, prices).ingest([replace(o, org_id=org) for o in second])
    assert dying.died
    again = new_writer(org)
    again(second[0])
    again(*first, *second[1:])
    assert names(books_of(org)) == names(books_of("undisturbed"))
    truth = {c.metric: c.value - c.pending for c in again.ledger.counters(org)}
    assert truth == {c.metric: c.value - c.pending for c in undisturbed.ledger.counters("undisturbed")}


def test_the_same_process_tries_again_after_a_write_that_only_seemed_to_fail(observe, client, prices, books_of):
    """The store has the evidence, the answer was lost: the second try writes nothing, and yet totals are right."""
    org = f"crash{next(_fresh)}"

    class AnswerLost:
        """Loses the answer to the one insert of evidence."""

        lost = False

        def __getattr__(self, name: str) -> Any:
            real = getattr(client, name)
            if name != "raw_insert":
                return real

            def insert(table: str, *arguments: Any, **options: Any) -> Any:
                real(table, *arguments, **options)
                if table == "spanledger.observations" and not self.lost:
                    self.lost = True
                    raise OperationalError("connection lost")

            return insert

    ledger = Ledger(AnswerLost(), prices)
    evidence = [observe(1, org_id=org)]
    with pytest.raises(RetryableStoreError):
        ledger.ingest(evidence)
    assert ledger.ingest(evidence).repeated == 1
    assert [c.value for c in ledger.counters(org)] == [Decimal("0.0045"), Decimal(1), Decimal(1200)]
    assert len(books_of(org).usage("day")) == 1


def test_a_new_process_finishes_the_rollups_of_a_dead_one(observe, client, prices, new_writer, books_of):
    """Killed after the evidence was written: nobody will deliver it again, so the note has to be enough."""
    org = f"crash{next(_fresh)}"

    class Killed(BaseException):
        """As SIGKILL: nothing catches it."""

    class Dies:
        """Gets as far as the evidence, which is the last before the rollups."""

        def __getattr__(self, name: str) -> Any:
            real = getattr(client, name)
            if name != "raw_insert":
                return real

            def insert(table: str, *arguments: Any, **options: Any) -> Any:
                real(table, *arguments, **options)
                if table == "spanledger.observations":
                    raise Killed

            return insert

    with pytest.raises(Killed):
        Ledger(Dies(), prices).ingest([observe(1, org_id=org)])
    assert books_of(org).usage("day") == []
    assert len(books_of(org).calls()) == 1
    found = new_writer(org).ledger.counters(org)
    assert [(c.metric, c.value) for c in found] == [
        ("llm_cost_usd_total", Decimal("0.0045")),
        ("llm_requests_total", Decimal(1)),
        ("llm_tokens_total", Decimal(1200)),
    ]
    assert len(books_of(org).usage("day")) == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DatabaseError("Code: 241. DB::Exception: memory", code=241), RetryableStoreError),
        (DatabaseError("Code: 252. DB::Exception: too many parts", code=252), RetryableStoreError),
        (DatabaseError("Code: 60. DB::Exception: no such table", code=60), PermanentStoreError),
        (OperationalError("connection refused"), RetryableStoreError),
    ],
)
def test_errors_are_told_apart_by_their_code(error, kind, observe, client, prices):
    """The pipeline tries again what may succeed, and nothing else; the message is one line and says what was done."""

    class Broken:
        def __getattr__(self, name: str) -> Any:
            if name == "raw_insert":

                def fail(*arguments: Any, **options: Any) -> Any:
                    raise error

                return fail
            return getattr(client, name)

    with pytest.raises(kind, match="store failed while writing calls: ") as caught:
        Ledger(Broken(), prices).ingest([observe(1, org_id="broken")])
    assert "\n" not in str(caught.value)
