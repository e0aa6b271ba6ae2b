"""No float touches money: a scan of the price book's own code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "semconv/spanledger/semconv"
LIKENESS = PACKAGE / "prices/similar.py"
MODULES = [
    *(path for path in sorted((PACKAGE / "prices").glob("*.py")) if path != LIKENESS),
    PACKAGE / "money.py",
    PACKAGE / "cost.py",
]


def floats(tree: ast.AST) -> list[str]:
    """Where code makes, names or divides into a float."""
    found = []
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Constant) and isinstance(node.value, (float, complex)):
            found.append(f"line {line}: the literal {node.value}")
        elif isinstance(node, ast.Name) and node.id == "float":
            found.append(f"line {line}: the name float")
        elif isinstance(node, (ast.BinOp, ast.AugAssign)) and isinstance(node.op, ast.Div):
            found.append(f"line {line}: true division (use Decimal's own, under the exact context)")
        elif isinstance(node, ast.Attribute) and node.attr in ("total_seconds", "fsum", "inf", "nan"):
            found.append(f"line {line}: .{node.attr}")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "round":
            found.append(f"line {line}: round()")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_no_float_touches_money(path: Path) -> None:
    assert floats(ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    "text", ["x = 0.5", "y = float(z)", "a / b", "a /= b", "round(x)", "math.inf", "d.total_seconds()"]
)
def test_the_scan_sees_floats(text: str) -> None:
    assert floats(ast.parse(text))


def test_the_scan_sees_the_whole_package() -> None:
    assert len(MODULES) >= 12


def test_the_one_module_with_fractions_knows_no_money() -> None:
    """It compares spellings; difflib's likeness is a fraction."""
    text = LIKENESS.read_text()
    assert floats(ast.parse(text))
    assert "Decimal" not in text
    assert "import money" not in text


def arithmetic_outside_the_exact_context(tree: ast.AST) -> list[str]:
    """``Decimal * x`` and the like use the application's context, which may round; ``CONTEXT.multiply`` does not."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.Add, ast.Sub)):
            names = {child.attr for child in ast.walk(node) if isinstance(child, ast.Attribute)}
            names |= {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}
            if names & {"amount", "each", "rate", "percent", "usd", "monthly", "total", "low", "high", "premium"}:
                found.append(f"line {node.lineno}")
    return found


QUICK = PACKAGE / "prices/quick.py"


@pytest.mark.parametrize("path", [path for path in MODULES if path != QUICK], ids=lambda path: path.name)
def test_money_is_calculated_under_the_exact_context(path: Path) -> None:
    assert arithmetic_outside_the_exact_context(ast.parse(path.read_text())) == []


def test_the_quick_way_looks_at_the_applications_context_before_it_uses_it() -> None:
    """Its operators stand in one function, behind the question whether that context keeps every digit.

    That the answer is right is shown by `test_prices_properties`, under contexts of every kind.
    """
    tree = ast.parse(QUICK.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "price"]
    using = [(node, places) for node in functions if (places := arithmetic_outside_the_exact_context(node))]
    ((price, places),) = using
    assert places == arithmetic_outside_the_exact_context(tree)
    asks = [
        node.lineno
        for node in ast.walk(price)
        if isinstance(node, ast.If) and ast.unparse(node.test).startswith("getcontext().prec < digits")
    ]
    assert len(asks) == 1
    assert min(int(place.removeprefix("line ")) for place in places) > asks[0]
