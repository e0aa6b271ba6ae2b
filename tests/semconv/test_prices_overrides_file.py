"""Mistakes in an overrides file: one line each, naming file, line and field."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from spanledger.semconv.prices.overrides_file import OverridesError, load_overrides


def problems(tmp_path: Path, text: str, name: str = "prices.toml") -> list[str]:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(OverridesError) as caught:
        load_overrides(path)
    lines = [str(problem) for problem in caught.value.problems]
    assert all("\n" not in line for line in lines)
    assert all(line.startswith(f"{path}:") for line in lines)
    return [line.removeprefix(f"{path}:") for line in lines]


DISCOUNT = '[[discounts]]\nprovider = "openai"\n'
ALIAS = '[[aliases]]\nprovider = "azure_openai"\n'
COMMITMENT = '[[commitments]]\nprovider = "azure_openai"\nmodel = "ptu"\n'
RATES = '[[rates]]\nprovider = "openai"\nmodel = "gpt-4o"\n'

MISTAKES = [
    (DISCOUNT, "1: percent: is missing"),
    (DISCOUNT + "percent = 120\n", "3: percent: must be at most 100 (a surcharge is negative)"),
    (DISCOUNT + 'percent = "ten"\n', "3: percent: must be a number, not 'ten'"),
    (DISCOUNT + "percent = true\n", "3: percent: must be a number, not True"),
    (DISCOUNT + "percent = nan\n", "3: percent: must be a number, not Decimal('NaN')"),
    (DISCOUNT + "percent = 5\nprecent = 6\n", "4: precent: unknown field: did you mean 'percent'?"),
    (
        '[[discounts]]\nprovider = "opnai"\npercent = 5\n',
        "2: provider: unknown provider 'opnai': did you mean 'openai'?",
    ),
    ("[[discounts]]\nprovider = 3\npercent = 5\n", "2: provider: must be a text in quotes"),
    ("[[discounts]]\npercent = 5\n", "1: provider: is missing: a rule names a provider or a model"),
    (DISCOUNT + 'percent = 5\nfrom = "1.1.2026"\n', "4: from: must be a day like 2026-01-31 (days are UTC)"),
    (DISCOUNT + "percent = 5\nfrom = 2026-01-01T00:00:00Z\n", "4: from: must be a day like 2026-01-31 (days are UTC)"),
    (
        DISCOUNT + "percent = 5\nfrom = 2026-02-01\nuntil = 2026-01-31\n",
        "5: until: must not be before from (2026-02-01)",
    ),
    (DISCOUNT + 'percent = 5\nclasses = ["inptu"]\n', "4: classes: unknown token class 'inptu': did you mean 'input'?"),
    (DISCOUNT + "percent = 5\nclasses = 'input'\n", "4: classes: must be a list of texts"),
    (
        DISCOUNT + "percent = 5\n" + DISCOUNT + "percent = 6\n",
        "4: discounts: the same calls have a rule of the same kind in line 1 already",
    ),
    (
        DISCOUNT + 'model = "GPT-4o*"\npercent = 5\n' + DISCOUNT + 'model = "gpt-4o*"\npercent = 6\n',
        "5: discounts: the same calls have a rule of the same kind in line 1 already",
    ),
    (
        DISCOUNT + "percent = 5\nclasses = []\n",
        "4: classes: names no class; leave it out to mean all",
    ),
    (DISCOUNT + "percent = -1e12\n", "3: percent: is too large"),
    (DISCOUNT + "percent = 5\nfrom = 2200-01-01\n", "4: from: must not be after 2149-06-05"),
    (DISCOUNT + "percent = 5\nuntil = 1969-12-31\n", "4: until: must not be before 1970-01-01"),
    (RATES + "per_million = {}\n", "4: per_million: no rate at all: write per_million = { input = ..., output = ... }"),
    (RATES + "per_million = { input = 1e400 }\n", "4: input: is too large"),
    (RATES + "per_million = { input = 1e-19 }\n", "4: input: has more than 18 digits behind the point"),
    (RATES + f"per_million = {{ input = 0.{'1' * 90} }}\n", "4: input: has more than 18 digits behind the point"),
    (
        ALIAS + 'model = "prod"\nmeans = "gpt-4o"\n' + ALIAS + 'model = "Prod"\nmeans = "gpt-4.1"\n',
        "5: aliases: the same calls have a rule of the same kind in line 1 already",
    ),
    (
        '[azure_deployments]\nprod = "gpt-4o"\nProd = "gpt-4.1"\n',
        "3: Prod: stands in line 2 already (case does not matter)",
    ),
    (
        COMMITMENT + 'name = "one"\nmonthly = 1\n' + COMMITMENT + 'name = "other"\nmonthly = 2\n',
        "6: commitments: the same calls have a rule of the same kind in line 1 already",
    ),
    (COMMITMENT + 'name = "one"\nmonthly = 1\nunits = 1.5\n', "6: units: must be a number of units"),
    ('[[fx]]\ncurrency = "USD"\nusd = 2\n', "2: currency: the US dollar has no exchange rate to itself"),
    ('[[fx]]\ncurrency = "EUR"\nusd = 2\nfrom = 1900-01-01\n', "4: from: must be a day from 1970-01-01 to 2149-06-05"),
    (
        '[[fx]]\ncurrency = "EUR"\nusd = 2\n[[fx]]\ncurrency = "EUR"\nusd = 3\n',
        "4: fx: the currency has a rate in line 1 already",
    ),
    ('[discounts]\nprovider = "openai"\n', "1: discounts: must be a list of tables: write [[discounts]]"),
    ("[[discount]]\npercent = 5\n", "1: discount: unknown section: did you mean 'discounts'?"),
    (RATES, "1: per_million: no rate at all: write per_million = { input = ..., output = ... }"),
    (RATES + "per_million = { input = -1 }\n", "4: input: must not be below 0"),
    (RATES + "per_million = { inputs = 1 }\n", "4: inputs: unknown token class 'inputs': did you mean 'input'?"),
    (
        RATES + "[rates.per_million]\noutput = 1\ninput_uncached = 2\ninput = 1\n",
        "7: input: input_uncached has a rate already",
    ),
    (RATES + "per_million = 3\n", "4: per_million: must be a table: { input = 2.5, output = 10 }"),
    (RATES + "per_million = { input = 1 }\nprompt_over = 1.5\n", "5: prompt_over: must be a number of tokens"),
    (RATES + "per_million = { input = 1 }\nbatch = 'yes'\n", "5: batch: must be true or false"),
    (
        RATES + "per_million = { input = 1 }\ncurrency = 'EUR'\n",
        "5: currency: no exchange rate for EUR: add [[fx]] with currency, usd and from",
    ),
    (
        RATES
        + "per_million = { input = 1 }\ncurrency = 'EUR'\nfrom = 2026-01-01\n"
        + "[[fx]]\ncurrency = 'EUR'\nusd = 1.1\nfrom = 2026-02-01\n",
        "5: currency: no exchange rate for EUR on 2026-01-01",
    ),
    (
        RATES
        + "per_million = { input = 1 }\ncurrency = 'EUR'\n[[fx]]\ncurrency = 'EUR'\nusd = 1.1\nfrom = 2026-02-01\n",
        "5: currency: no exchange rate for EUR on the beginning (give the rule a from, or one [[fx]] without from)",
    ),
    ("[[rates]]\nprovider = 'openai'\nper_million = { input = 1 }\n", "1: model: is missing"),
    ("[[aliases]]\nmodel = 'prod'\n", "1: means: is missing"),
    ("[[commitments]]\nname = 'ptu'\nmodel = 'ptu'\nmonthly = -5\n", "4: monthly: must not be below 0"),
    ("[[commitments]]\nmodel = 'ptu'\nmonthly = 5\n", "1: name: is missing"),
    ("[[fx]]\ncurrency = 'EUR'\nusd = 0\n", "3: usd: must be what one unit of the currency is worth in US dollars"),
    ("[azure_deployments]\nprod = 4\n", "2: prod: must be the name of a model in quotes"),
    ("azure_deployments = 'x'\n", "1: azure_deployments: must be a table of name = model: write [azure_deployments]"),
    ("discounts = [1]\n", "1: discounts: must be a table"),
    ("[[discounts]\n", "1: file: is not TOML: Expected ']]' at the end of an array declaration"),
]


@pytest.mark.parametrize(("text", "problem"), MISTAKES, ids=[problem for _, problem in MISTAKES])
def test_a_mistake_is_one_line_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    assert problems(tmp_path, text) == [problem]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = "[[discounts]]\nprovider = 'openai'\npercent = 'x'\n\n[[rates]]\nmodel = 'm'\nper_millon = { input = 1 }\n"
    assert problems(tmp_path, text) == [
        "3: percent: must be a number, not 'x'",
        "5: per_million: no rate at all: write per_million = { input = ..., output = ... }",
        "7: per_millon: unknown field: did you mean 'per_million'?",
    ]


def test_the_error_itself_is_the_first_line_and_counts_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text("[[discounts]]\npercent = 'x'\n")
    with pytest.raises(OverridesError, match=r"prices\.toml:1: provider: is missing.* \(and 1 more\)$"):
        load_overrides(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.toml", None, "1: file: cannot be read: No such file or directory"),
        ("prices.json", b"{}", "1: file: must be named .toml, .yaml or .yml"),
        ("prices.toml", b"\xff\xfe", "1: file: is not UTF-8 text"),
        ("prices.yaml", b"- 1\n", "1: file: must be a mapping of sections"),
        ("prices.yaml", b"a: [1\nb: 2\n", "2: file: is not YAML: expected ',' or ']', but got ':'"),
        ("prices.yaml", b"fx: 1\nfx: 2\n", "2: file: fx stands twice in one mapping"),
        ("prices.yaml", b"fx: []\n? [a, b]\n: 3\n", "2: file: a name must be a plain text"),
        ("prices.yaml", b"a: &a [*a]\n", "1: file: is nested too deeply"),
        ("prices.yaml", b"a: " + 3_000 * b"[" + 3_000 * b"]", "1: file: is nested too deeply"),
        ("prices.toml", b"a = " + 3_000 * b"[" + 3_000 * b"]", "1: file: is nested too deeply"),
        ("prices.toml", b"a = 1\nb = " + 5_000 * b"9", "2: file: has a number that is too long"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OverridesError) as caught:
        load_overrides(path)
    assert str(caught.value) == f"{path}:{message}"


TOML = """
# the contract of 2026
[[discounts]]
name = "ea"
provider = "Azure OpenAI"    # spellings of spans are understood
percent = 12.345678901234567890
from = 2026-01-01
until = 2026-12-31

[[rates]]
provider = "mistral"
model = "mistral-large*"
currency = "eur"
service_tier = "Priority"
  [rates.per_million]
  input = "0.123456789012345678"
  output = 1e-3

[azure_deployments]
"prod.chat" = "gpt-4o"

[[fx]]
currency = "EUR"
usd = 1.1
"""

YAML = """
# the contract of 2026
discounts:
  - name: ea
    provider: Azure OpenAI
    percent: 12.345678901234567890
    from: 2026-01-01
    until: 2026-12-31
rates:
  - provider: mistral
    model: mistral-large*
    currency: eur
    service_tier: Priority
    per_million:
      input: "0.123456789012345678"
      output: 1e-3
azure_deployments:
  prod.chat: gpt-4o
fx:
  - {currency: EUR, usd: 1.1}
"""


@pytest.mark.parametrize(("name", "text"), [("p.toml", TOML), ("p.yaml", YAML), ("p.yml", YAML)])
def test_both_formats_say_the_same_with_exact_numbers(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    overrides = load_overrides(path)
    discount, rates, alias = overrides.discounts[0], overrides.rates[0], overrides.aliases[0]
    assert discount.percent == Decimal("12.345678901234567890")
    assert discount.scope.provider == "azure_openai"
    assert (str(discount.scope.valid_from), str(discount.scope.valid_to)) == ("2026-01-01", "2027-01-01")
    assert rates.rates["input_uncached"].amount == Decimal("0.123456789012345678")
    assert rates.rates["output_text"].amount == Decimal("0.001")
    assert (rates.currency, rates.service_tier) == ("EUR", "priority")
    assert (alias.scope.provider, alias.scope.model, alias.model) == ("azure_openai", "prod.chat", "gpt-4o")
    assert overrides.exchange[0].usd == Decimal("1.1")
    assert overrides.source == f"overrides:{name}"
    assert len(overrides.source_version) == 12


def test_a_mistake_in_yaml_has_its_place_too(tmp_path: Path) -> None:
    text = "rates:\n  - model: m\n    provider: openai\n    per_million:\n      input: 1\n      outptu: 2\n"
    assert problems(tmp_path, text, "prices.yaml") == [
        "6: outptu: unknown token class 'outptu': did you mean 'output'?"
    ]


def test_an_empty_file_overrides_nothing(tmp_path: Path) -> None:
    for name in ("a.toml", "a.yaml"):
        (tmp_path / name).write_text("")
        assert list(load_overrides(tmp_path / name).rules()) == []


def test_values_that_look_like_structure_do_not_confuse_the_line_numbers(tmp_path: Path) -> None:
    text = (
        '[[discounts]]\nname = """\n[[discounts]]\npercent = 1\n"""\nprovider = "openai" # [[rates]]\npercent = "x"\n'
        '[[discounts]]\n"provider" = "anthropic"\npercent = "y"\n'
    )
    assert problems(tmp_path, text) == [
        "7: percent: must be a number, not 'x'",
        "10: percent: must be a number, not 'y'",
    ]


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_bytes(b"\xef\xbb\xbf" + (DISCOUNT + "percent = 5\n").encode())
    assert [rule.percent for rule in load_overrides(path).discounts] == [Decimal(5)]


def test_days_that_no_call_can_have_mean_since_ever_and_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(DISCOUNT + "percent = 5\nfrom = 0001-01-01\nuntil = 9999-12-31\n")
    (rule,) = load_overrides(path).discounts
    assert (rule.scope.valid_from, rule.scope.valid_to) == (None, None)
