"""Amounts are exact: what goes in comes out, and only the ledger's scale rounds."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger.semconv import money

amounts = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0.000004500000000000000000000000000000000", Decimal("0.0000045")),
        ("1.5E-7", Decimal("0.00000015")),
        ("0E-6176", Decimal(0)),
        ("-0", Decimal(0)),
        (12, Decimal(12)),
        (Decimal("0.1"), Decimal("0.1")),
        ("12345678901234567890.123456789012", Decimal("12345678901234567890.123456789012")),
    ],
)
def test_parse_is_exact(text: str | int | Decimal, amount: Decimal) -> None:
    parsed = money.parse(text)
    assert parsed == amount
    assert not parsed.is_signed() or parsed < 0


@pytest.mark.parametrize("nonsense", ["", "abc", "1,5", "NaN", "Infinity", "$1", "1 2"])
def test_what_is_no_amount_is_refused(nonsense: str) -> None:
    with pytest.raises(money.MoneyError, match="not an amount"):
        money.parse(nonsense)


@pytest.mark.parametrize("value", [0.1, True, None, b"1"])
def test_other_types_are_refused(value: object) -> None:
    with pytest.raises(money.MoneyError, match="must be a decimal text"):
        money.parse(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("amount", "booked"),
    [
        ("0.0000000000005", "0.000000000000"),
        ("0.0000000000015", "0.000000000002"),
        ("0.0000000000025", "0.000000000002"),
        ("-0.0000000000015", "-0.000000000002"),
        ("99999999999999999999999999", "99999999999999999999999999.000000000000"),
    ],
)
def test_the_ledger_rounds_half_even_at_twelve_digits(amount: str, booked: str) -> None:
    assert money.to_ledger(Decimal(amount)).as_tuple() == Decimal(booked).as_tuple()


def test_an_amount_that_does_not_fit_is_refused_not_clamped() -> None:
    with pytest.raises(money.MoneyError, match="too large"):
        money.to_ledger(Decimal(10) ** 26)


@pytest.mark.parametrize(
    ("amount", "plain"),
    [
        ("0.00250", "0.0025"),
        ("12", "12"),
        ("1E+3", "1000"),
        ("-3.50", "-3.5"),
        ("0E-12", "0"),
        ("1E-12", "0.000000000001"),
    ],
)
def test_text_is_plain(amount: str, plain: str) -> None:
    assert money.text(Decimal(amount)) == plain


@given(amounts)
def test_text_and_parse_are_inverse(amount: Decimal) -> None:
    assert money.parse(money.text(amount)) == amount


@given(amounts)
def test_booking_twice_changes_nothing(amount: Decimal) -> None:
    booked = money.to_ledger(amount)
    assert money.to_ledger(booked) == booked
    assert abs(booked - amount) <= Decimal("0.0000000000005")
