"""Which SQL the endpoint lets through: reads of the ledger, nothing else.

The engine's own ``readonly`` is not enough for an engine that lives in our process: ``SELECT file('/etc/passwd')``,
``SELECT ... INTO OUTFILE``, the ``Python`` table function and several statements in one text all pass. So every query
is parsed by the engine (``parseQueryToJSON``: same grammar, one statement only) and its whole syntax tree must consist
of what is listed here. What is unknown is refused.

For a request that sees one organisation only, the tree must also stay within the ledger's own tables: the engine
filters their rows (`spanledger.exporters.sql_session`), and nothing else that holds rows may be named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from spanledger.exporters.sql_errors import SqlError

DATABASE: Final = "spanledger"
ANSWERED: Final = "this endpoint answers SELECT, SHOW and DESCRIBE"

_STATEMENTS: Final = frozenset(
    {"SelectWithUnionQuery", "SelectIntersectExceptQuery", "ExplainQuery", "ShowTablesQuery", "ShowColumnsQuery"}
)
_NODES: Final = _STATEMENTS | frozenset(
    {
        "ArrayJoin",
        "Asterisk",
        "ColumnsApplyTransformer",
        "ColumnsExceptTransformer",
        "ColumnsListMatcher",
        "ColumnsRegexpMatcher",
        "ColumnsReplaceTransformer",
        "ColumnsReplaceTransformerReplacement",
        "ColumnsTransformerList",
        "DataType",
        "ExpressionList",
        "Function",
        "Identifier",
        "InterpolateElement",
        "Literal",
        "OrderByElement",
        "QualifiedAsterisk",
        "QualifiedColumnsListMatcher",
        "QualifiedColumnsRegexpMatcher",
        "QueryParameter",
        "SampleRatio",
        "SelectQuery",
        "SetQuery",
        "Subquery",
        "TableExpression",
        "TableIdentifier",
        "TableJoin",
        "TablesInSelectQuery",
        "TablesInSelectQueryElement",
        "WindowDefinition",
        "WindowListElement",
        "WithElement",
    }
)
TABLE_FUNCTIONS: Final = frozenset(
    {"generate_series", "generateseries", "null", "numbers", "numbers_mt", "values", "view", "zeros", "zeros_mt"}
)
"""Table functions (lower case) that compute rows from their arguments alone."""

_FUNCTIONS: Final = frozenset(
    {
        "evalmlmethod",
        "file",
        "fuzzquery",
        "generateserialid",
        "getclienthttpheader",
        "getmacro",
        "getserversetting",
        "getserverport",
        "joinget",
        "joingetornull",
        "logtrace",
        "showcertificate",
        "sleep",
        "sleepeachrow",
        "structuretocapnprotoschema",
        "structuretoprotobufschema",
    }
)
_FUNCTION_PREFIXES: Final = (
    "__",
    "addressto",
    "ai",
    "catboost",
    "dict",
    "filesystem",
    "modelevaluate",
    "naivebayes",
    "region",
    "zookeeper",
)
"""Functions (lower case) that read something besides their arguments: files, dictionaries, models, the network, the
process; or that only burn time."""
_SYSTEM_TABLES: Final = frozenset(
    {
        "aggregate_function_combinators",
        "build_options",
        "collations",
        "contributors",
        "data_type_families",
        "formats",
        "functions",
        "keywords",
        "licenses",
        "numbers",
        "numbers_mt",
        "one",
        "settings",
        "table_functions",
        "time_zones",
        "zeros",
        "zeros_mt",
    }
)
"""System tables that say nothing about the data."""
_NAME_TABLES: Final = frozenset({"columns", "databases", "tables"})
_NAME_COLUMNS: Final = frozenset(
    {"comment", "database", "default_kind", "engine", "is_temporary", "name", "position", "schema", "table", "type"}
)
"""System tables that list names beside sizes of everybody's data, and the columns of them that are only names: query
builders need those."""
_MATCHERS: Final = ("Asterisk", "ColumnsListMatcher", "ColumnsRegexpMatcher")
_IN_FUNCTIONS: Final = frozenset(
    {"in", "notin", "nullin", "notnullin", "globalin", "globalnotin", "globalnullin", "globalnotnullin"}
)

_SHOW_KEYS: Final = frozenset(
    {
        "case_insensitive_like",
        "changed",
        "database",
        "databases",
        "extended",
        "format_ast",
        "from",
        "full",
        "like",
        "limit_length",
        "not_like",
        "settings",
        "table",
        "type",
    }
)

_NAME = r"(?:[A-Za-z_][A-Za-z0-9_]*|`[A-Za-z0-9_.]+`|\"[A-Za-z0-9_.]+\")"
_QUOTES: Final = '`"'
_SIMPLE: Final = re.compile(
    rf"""\s*(?:
        (?P<describe>DESC(?:RIBE)?(?:\s+TABLE)?)
      | (?P<exists>EXISTS(?:\s+(?:TABLE|VIEW))?)
      | (?P<create>SHOW\s+CREATE(?:\s+(?:TABLE|VIEW))?)
    )\s+(?:(?P<database>{_NAME})\s*\.\s*)?(?P<table>{_NAME})(?:\s+FORMAT\s+(?P<format>\w+))?\s*;?\s*""",
    re.IGNORECASE | re.VERBOSE | re.ASCII,
)
"""Statements about one table, which the engine cannot turn into JSON; simple enough to read here."""


@dataclass(frozen=True, slots=True)
class Readable:
    """What a scoped request may name.

    Attributes:
        filtered: tables and views of the ledger whose rows the engine filters by organisation.
        hidden: further tables and views of the ledger.
    """

    filtered: frozenset[str]
    hidden: frozenset[str]


@dataclass(frozen=True, slots=True)
class Checked:
    """A query that passed.

    Attributes:
        format: of its FORMAT clause; ``""`` without one.
        is_select: a SELECT; SHOW, DESCRIBE and EXPLAIN otherwise.
    """

    format: str
    is_select: bool


def simple_statement(query: str) -> re.Match[str] | None:
    """``DESCRIBE t``, ``EXISTS t`` or ``SHOW CREATE t`` and nothing else; ``None`` for all other text."""
    return _SIMPLE.fullmatch(query)


def check_simple(statement: re.Match[str], readable: Readable | None) -> Checked:
    """Check such a statement.

    Raises:
        SqlError: the table is out of the request's sight.
    """
    if readable is not None:
        database = (statement["database"] or DATABASE).strip(_QUOTES)
        _check_table((database, statement["table"].strip(_QUOTES)), readable)
    return Checked(statement["format"] or "", is_select=False)


def check(tree_json: str, readable: Readable | None) -> Checked:
    """Check a syntax tree from ``parseQueryToJSON``.

    Args:
        tree_json: the engine's JSON.
        readable: what a request of one organisation may name; ``None`` for a request that sees everything.

    Raises:
        SqlError: something in the query is not listed here.
    """
    tree: dict[str, Any] = json.loads(tree_json)
    root = str(tree.get("type"))
    if root not in _STATEMENTS:
        raise SqlError.readonly(f"Cannot execute {root} in readonly mode: {ANSWERED}")
    if readable is not None and root == "ExplainQuery":
        raise SqlError.denied("EXPLAIN is not for a token of one organisation: it tells about all rows of a table")
    nodes = list(_nodes(tree, ""))
    for node, place in nodes:
        _check_node(node, place, readable)
    if readable is not None and any(_lists_names(node) for node, _ in nodes):
        _check_names_only(nodes)
    wanted = tree.get("format_ast")
    return Checked(str(wanted["name"]) if wanted else "", is_select=root.startswith("Select"))


def _nodes(value: Any, place: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Every node of the tree with the key under which its parent holds it."""
    pending: list[tuple[Any, str]] = [(value, place)]
    while pending:
        item, key = pending.pop()
        if isinstance(item, dict):
            node = cast("dict[str, Any]", item)
            # Literals hold values, whose dicts carry "field_type" and no "type".
            if "type" in node:
                yield node, key
            pending.extend((child, name) for name, child in node.items())
        elif isinstance(item, list):
            pending.extend((child, key) for child in item)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _lists_names(node: Mapping[str, Any]) -> bool:
    parts = _table_parts(node) if node["type"] == "TableIdentifier" else ()
    return len(parts) == 2 and parts[0] == "system" and parts[1] in _NAME_TABLES


def _check_names_only(nodes: Sequence[tuple[Mapping[str, Any], str]]) -> None:
    for node, place in nodes:
        kind = str(node["type"])
        if kind.endswith(_MATCHERS):
            raise SqlError.denied("all columns of a system table are not for a token of one organisation: name them")
        if kind == "Identifier" and place != "format_ast":
            name = str(node.get("name", "")).rpartition(".")[2]
            if name not in _NAME_COLUMNS:
                raise SqlError.denied(f"{name} beside system tables is not for a token of one organisation")


def _check_node(node: Mapping[str, Any], place: str, readable: Readable | None) -> None:
    kind = node["type"]
    if kind not in _NODES:
        raise SqlError.denied(f"{kind} is not allowed in a query here")
    if "out_file" in node or node.get("is_into_outfile_with_stdout"):
        raise SqlError.readonly("INTO OUTFILE would write a file: take the rows from the answer")
    if kind == "Function":
        _check_function(node, place, readable)
    elif kind == "ColumnsApplyTransformer":
        _check_function_name(str(node.get("func_name", "")))
    if readable is None:
        return
    if kind == "TableIdentifier":
        _check_table(_table_parts(node), readable)
    elif kind == "SelectQuery" and "prewhere" in node:
        raise SqlError.denied("PREWHERE would run before the rows of other organisations are left out: write WHERE")
    elif kind == "SetQuery":
        raise SqlError.readonly("Cannot modify settings in readonly mode")
    elif kind.startswith("Show"):
        _check_show(node)


def _check_function(node: Mapping[str, Any], place: str, readable: Readable | None) -> None:
    name = str(node.get("name", ""))
    if place == "table_function":
        if name.lower() not in TABLE_FUNCTIONS:
            raise SqlError.denied(f"the table function {name} is not allowed here: query the tables of {DATABASE}")
        return
    _check_function_name(name)
    if readable is not None and name.lower() in _IN_FUNCTIONS:
        _check_in(node, readable)


def _check_function_name(name: str) -> None:
    lower = name.lower()
    if lower in _FUNCTIONS or lower.startswith(_FUNCTION_PREFIXES):
        raise SqlError.denied(f"the function {name} is not allowed here: it reaches beyond the ledger's tables")


def _check_in(node: Mapping[str, Any], readable: Readable) -> None:
    """``x IN name`` reads a table when one has that name: only names of no table (a ``WITH`` element) pass."""
    arguments = node.get("arguments", {}).get("children", [])
    for argument in arguments[1:]:
        if argument.get("type") not in ("Identifier", "TableIdentifier"):
            continue
        parts = _table_parts(argument)
        if len(parts) > 1 or not readable.hidden.isdisjoint(parts) or not readable.filtered.isdisjoint(parts):
            raise SqlError.denied(f"IN {'.'.join(parts)} is not allowed here: write IN and a SELECT in brackets")


def _check_show(node: Mapping[str, Any]) -> None:
    if node.get("where_expression") is not None:
        raise SqlError.denied("SHOW ... WHERE is not for a token of one organisation: use LIKE")
    origin: Mapping[str, Any] = node.get("from") or {"name": node.get("database", "")}
    if origin.get("children") or origin.get("name") not in ("", DATABASE):
        raise SqlError.denied(f"only the database {DATABASE} is in sight of this token")
    if any(value not in (None, False, "") and key not in _SHOW_KEYS for key, value in node.items()):
        raise SqlError.denied("only SHOW TABLES, SHOW DATABASES and SHOW COLUMNS are for a token of one organisation")


def _table_parts(node: Mapping[str, Any]) -> tuple[str, ...]:
    if node.get("children"):
        raise SqlError.denied("a table name as a parameter is not for a token of one organisation: write the name out")
    parts = node.get("name_parts")
    return tuple(str(part) for part in parts) if parts else (str(node.get("name", "")),)


def _check_table(parts: tuple[str, ...], readable: Readable) -> None:
    if len(parts) == 1:
        # A name of no table can only be a WITH element; the engine looks unqualified tables up in our database.
        if parts[0] in readable.hidden:
            raise SqlError.denied(f"{DATABASE}.{parts[0]} is not in sight of this token")
        return
    database, table = parts[0], parts[-1]
    if len(parts) == 2 and (
        (database == DATABASE and table in readable.filtered)
        or (database == "system" and (table in _SYSTEM_TABLES or table in _NAME_TABLES))
    ):
        return
    raise SqlError.denied(f"{'.'.join(parts)} is not in sight of this token")
