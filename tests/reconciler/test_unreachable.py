"""What a trial of a connection says when nobody answers."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from clickhouse_connect.driver.client import Client

from spanledger.reconciler.connections import Connection
from spanledger.reconciler.service import Bills


@pytest.mark.parametrize(("environ", "said", "has_steps"), [
    ({"KEY": "sk-admin-x"}, "cannot be reached: no route", False),
    ({}, "environment variable KEY is not set", True),
])  # fmt: skip
def test_the_steps_to_a_key_are_shown_where_the_key_may_be_the_matter(
    bills_client: Client, clock: Any, org: str, environ: dict[str, str], said: str, has_steps: bool
):
    def nobody(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route", request=request)

    bills = Bills.on(
        bills_client, environ, clock=clock, http=lambda: httpx.Client(transport=httpx.MockTransport(nobody))
    )
    connection = Connection(
        org_id=org,
        name="prod",
        connector="anthropic",
        settings={"requests_per_second": "1000"},
        secrets={"admin_key": "env:KEY"},
    )
    report = bills.test(connection, pin=False)
    assert said in report.problem
    assert (bool(report.setup), report.is_usable) == (has_steps, False)
