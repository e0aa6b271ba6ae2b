"""What a tie-out tells people to run, run: the queries behind each reason, over a store with calls and a bill."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal as D
from typing import Any

import pytest
from report_books import CREDIT, Books

from spanledger.cli.app import run
from spanledger.reconciler.bill_line import Charge

DAY = date(2026, 9, 4)


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    """Two days of every reason that bill lines or calls can stand behind."""
    books = Books(tmp_path_factory.mktemp("store"))
    for number, org in enumerate(("acme", "other")):
        for day in (DAY, DAY + timedelta(days=1)):
            books.call(org, day, project="web")
            books.call(org, day, project="o'brien", request_model="it's-100%_new", response_model="it's-100%_new")
            books.call(org, day, project="twice")
            books.call(org, day, project="twice", tokens=1_000_000 + number)
            books.bill(org, day, project="web")
            books.bill(org, day, project="twice")
            books.bill(org, day, project="jobs")
            more = {"project": "o'brien", "model": "it's-100%_new", "token_class": "input_uncached"}
            books.line(org, day, "0.3", quantity=1_000_000, **more)
            books.line(org, day, "-0.2", charge=CREDIT, model="", project="")
            books.line(org, day, "0.1", charge=Charge.TAX, model="", project="")
            books.line(org, day, "0.05", model="", project="", line_item="a new thing")
            books.line(org, day, "0.25", quantity=25, model="", project="", token_class="web_searches")
            # Another connection of the same org must stay out of it.
            books.line(org, day, "0.7", quantity=10, connection="second", project="jobs", token_class="output_text")
    books.write()
    return books


def rows(books: Books, query: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert run(["query", query, "--data", str(books.path), "--format", "json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def causes(books: Books, capsys: pytest.CaptureFixture[str]) -> dict[str, list[dict[str, Any]]]:
    command = ["reconcile", "--period", "2026-09-04..2026-09-05", "--connection", "prod", "--org", "acme", "--json"]
    assert run([*command, "--data", str(books.path)]) == 3
    (tied,) = json.loads(capsys.readouterr().out)["connections"]
    found: dict[str, list[dict[str, Any]]] = {}
    for cause in tied["causes"]:
        found.setdefault(cause["name"], []).append(cause)
    sums = {name: str(sum((D(c["amount"]) for c in each), D(0)).normalize()) for name, each in found.items()}
    assert sums == {name: str(D(amount).normalize()) for name, amount in tied["residuals"].items()}
    return found


def test_every_reason_has_its_lines_or_calls(books: Books, capsys: pytest.CaptureFixture[str]):
    found = causes(books, capsys)
    assert found.keys() == {
        "missing_telemetry", "excess_telemetry", "unpriced", "credits_and_discounts", "tax", "unmatched_line",
        "tool_fees",
    }  # fmt: skip
    for name in ("missing_telemetry", "credits_and_discounts", "tax", "unmatched_line", "tool_fees"):
        for cause in found[name]:
            lines = rows(books, cause["evidence"], capsys)
            assert sum((D(line["amount_usd"]) for line in lines), D(0)) == D(cause["amount"]), cause
            assert {line["org_id"] for line in lines} == {"acme"}
            assert {line["connection"] for line in lines} == {"prod"}
    (excess,) = found["excess_telemetry"]
    calls = rows(books, excess["evidence"], capsys)
    assert {call["project"] for call in calls} == {"twice"}
    assert len(calls) == 4
    (unpriced,) = found["unpriced"]
    calls = rows(books, unpriced["evidence"], capsys)
    assert {call["request_model"] for call in calls} == {"it's-100%_new"}
    assert {call["cost_status"] for call in calls} == {"unpriced"}


def test_what_the_terminal_prints_can_be_pasted(books: Books, capsys: pytest.CaptureFixture[str]):
    command = ["reconcile", "--period", "2026-09-04..2026-09-05", "--connection", "prod", "--org", "acme"]
    run([*command, "--data", str(books.path)])
    out = capsys.readouterr().out
    pasted = [shlex.split(line) for line in re.findall(r"^ +spanledger (query .+)$", out, re.MULTILINE)]
    assert len(pasted) == 3
    for words in pasted:
        assert run([*words, "--data", str(books.path), "--format", "json"]) == 0
        assert json.loads(capsys.readouterr().out)
