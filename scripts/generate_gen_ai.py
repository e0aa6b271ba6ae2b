"""Generate ``spanledger.semconv.gen_ai`` from pinned releases of the packages that define the GenAI names.

The conventions moved out of OpenTelemetry's main repository and their new home publishes no package of constants, so
two releases are read: ``opentelemetry-semantic-conventions`` (the names as they were last published) and
``opentelemetry-util-genai`` (the newer names, which stand in its code as plain strings). Nothing of them is imported:
the pinned wheels are fetched by pip, checked against their hashes and read as syntax trees.

    python scripts/generate_gen_ai.py              write the module
    python scripts/generate_gen_ai.py --check      exit 1 when the module is not what the pinned packages give
    python scripts/generate_gen_ai.py --wheels DIR take the wheels from DIR instead of the package index
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib.util
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TARGET: Final = Path(__file__).resolve().parents[1] / "semconv/spanledger/semconv/gen_ai.py"


@dataclass(frozen=True, slots=True)
class Pin:
    """One exact release: what is read is what was hashed."""

    package: str
    version: str
    sha256: str

    @property
    def wheel(self) -> str:
        return f"{self.package.replace('-', '_')}-{self.version}-py3-none-any.whl"


SEMCONV: Final = Pin(
    "opentelemetry-semantic-conventions",
    "0.66b2",
    "4cbe61e5f9275d57ab31708446e7938ef4291ebbe6a7fca6f7a629c5acae87d8",
)
UTIL_GENAI: Final = Pin(
    "opentelemetry-util-genai",
    "1.3b0",
    "73ed59f1eeca33d6c41e6aff57b5d2c1133807bfc8832978ba3edeec7eab8cda",
)

ATTRIBUTE_MODULES: Final = ("gen_ai_attributes", "openai_attributes", "aws_attributes")
PREFIXES: Final = ("gen_ai.", "openai.", "aws.bedrock.")
_NAME: Final = re.compile(r"(?:gen_ai|openai|aws\.bedrock)(?:\.[a-z0-9_]+)+\.?")
_REPLACED: Final = re.compile(r"Replaced by `([a-z0-9_.]+)`")


class PinError(Exception):
    """A pinned wheel is missing or is not the one that was pinned."""


@dataclass(frozen=True, slots=True, order=True)
class Constant:
    name: str
    value: str
    note: str = ""


def constant_name(value: str) -> str:
    """``gen_ai.request.model`` → ``GEN_AI_REQUEST_MODEL``; a prefix (trailing point) gets ``_PREFIX``."""
    stem = value.removesuffix(".").upper().replace(".", "_")
    return f"{stem}_PREFIX" if value.endswith(".") else stem


def published(tree: ast.Module) -> Iterator[Constant]:
    """``NAME: Final = "gen_ai...."`` assignments, with what the following docstring says about their replacement."""
    for statement, following in zip(tree.body, [*tree.body[1:], None], strict=True):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.value, ast.Constant):
            continue
        value = statement.value.value
        if not isinstance(value, str) or not value.startswith(PREFIXES):
            continue
        doc = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            doc = str(following.value.value)
        replaced = _REPLACED.search(doc)
        note = f"deprecated: {replaced[1]}" if replaced else "removed" if "Removed" in doc else ""
        yield Constant(constant_name(value), value, note)


def published_values(tree: ast.Module) -> Iterator[Constant]:
    """Members of the ``...Values`` enumerations as constants of their own (``GEN_AI_OPERATION_NAME_VALUE_CHAT``)."""
    for node in tree.body:
        if not isinstance(node, ast.ClassDef) or not node.name.startswith(("GenAi", "Openai")):
            continue
        stem = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", node.name.removesuffix("Values")).upper()
        for member in node.body:
            if isinstance(member, ast.Assign) and isinstance(member.value, ast.Constant):
                target = member.targets[0]
                assert isinstance(target, ast.Name)
                yield Constant(f"{stem}_VALUE_{target.id}", str(member.value.value))


def spelled_out(tree: ast.Module) -> Iterator[Constant]:
    """Names that code spells out as string literals (docstrings are prose and never match the whole pattern)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _NAME.fullmatch(node.value):
            yield Constant(constant_name(node.value), node.value)


def trees(wheel: Path, pattern: re.Pattern[str]) -> Iterator[ast.Module]:
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if pattern.fullmatch(name):
                yield ast.parse(archive.read(name))


def collect(semconv_wheel: Path, util_wheel: Path) -> list[tuple[str, list[Constant]]]:
    """Sections of constants: each name stands in the first section that knows it."""
    attributes = re.compile(rf"opentelemetry/semconv/_incubating/attributes/(?:{'|'.join(ATTRIBUTE_MODULES)})\.py")
    metrics = re.compile(r"opentelemetry/semconv/_incubating/metrics/gen_ai_metrics\.py")
    code = re.compile(r"opentelemetry/util/genai/.*\.py")
    semconv, util = f"{SEMCONV.package} {SEMCONV.version}", f"{UTIL_GENAI.package} {UTIL_GENAI.version}"
    sections = [
        (f"Attributes ({semconv})", [c for tree in trees(semconv_wheel, attributes) for c in published(tree)]),
        (f"Metrics ({semconv})", [c for tree in trees(semconv_wheel, metrics) for c in published(tree)]),
        (f"Newer names ({util})", [c for tree in trees(util_wheel, code) for c in spelled_out(tree)]),
        (f"Values ({semconv})", [c for tree in trees(semconv_wheel, attributes) for c in published_values(tree)]),
    ]
    seen: set[str] = set()
    result: list[tuple[str, list[Constant]]] = []
    for title, constants in sections:
        fresh = sorted({c.name: c for c in constants if c.name not in seen}.values())
        seen.update(c.name for c in fresh)
        result.append((title, fresh))
    return result


def render(sections: list[tuple[str, list[Constant]]]) -> str:
    """The module's text; its header carries the pins and a digest of the body, so that a hand edit shows."""
    lines: list[str] = []
    for title, constants in sections:
        lines += ["", f"# {title}", ""]
        for constant in constants:
            if constant.note:
                lines.append(f"# {constant.note}")
            lines.append(f'{constant.name}: Final[str] = "{constant.value}"')
    body = "\n".join(lines[1:]) + "\n"
    pins = "\n".join(f"{pin.package} {pin.version}\n    sha256 {pin.sha256}" for pin in (SEMCONV, UTIL_GENAI))
    digest = hashlib.sha256(body.encode()).hexdigest()
    return (
        '"""Names of the OpenTelemetry GenAI conventions. Generated by scripts/generate_gen_ai.py: do not edit.\n\n'
        f"Sources:\n\n{pins}\n\nBody:\n\n    sha256 {digest}\n"
        '"""\n\n# ruff: noqa: S105 (token names are no passwords)\n\n'
        "from __future__ import annotations\n\nfrom typing import Final\n\n" + body
    )


def check_pin(pin: Pin, wheel: Path) -> Path:
    """The wheel itself, once its hash was compared.

    Raises:
        PinError: no such file, or another content than the pinned one.
    """
    if not wheel.is_file():
        raise PinError(f"{pin.package} {pin.version}: {wheel} does not exist")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != pin.sha256:
        raise PinError(f"{pin.package} {pin.version}: {wheel.name} has sha256 {digest}, pinned is {pin.sha256}")
    return wheel


def fetch(directory: Path) -> None:
    """Download the pinned wheels with pip (through uv where this interpreter has no pip)."""
    pip = [sys.executable, "-m", "pip"]
    if importlib.util.find_spec("pip") is None:
        pip = ["uv", "run", "--no-project", "--with", "pip", "python", "-m", "pip"]
    wanted = [f"{pin.package}=={pin.version}" for pin in (SEMCONV, UTIL_GENAI)]
    command = [*pip, "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(directory), *wanted]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise PinError(f"pip could not fetch {', '.join(wanted)}: {finished.stderr.strip().splitlines()[-1]}")


def generate(directory: Path) -> str:
    return render(collect(*(check_pin(pin, directory / pin.wheel) for pin in (SEMCONV, UTIL_GENAI))))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 when the module is out of date")
    parser.add_argument("--wheels", type=Path, help="folder that holds the pinned wheels")
    options = parser.parse_args(arguments)
    try:
        if options.wheels:
            text = generate(options.wheels)
        else:
            with tempfile.TemporaryDirectory() as directory:
                fetch(Path(directory))
                text = generate(Path(directory))
    except PinError as error:
        print(f"generate_gen_ai: {error}", file=sys.stderr)
        return 2
    if options.check:
        if TARGET.is_file() and TARGET.read_text() == text:
            return 0
        print(f"generate_gen_ai: {TARGET} is out of date: run scripts/generate_gen_ai.py", file=sys.stderr)
        return 1
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
