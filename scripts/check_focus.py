"""Checks a FOCUS 1.0 file with the FinOps Foundation's own focus-validator, in an environment of its own.

    spanledger export focus --period 2026-11 --focus-version 1.0 --output 2026-11.csv
    python scripts/check_focus.py 2026-11.csv
    python scripts/check_focus.py 2026-11.csv --python /path/to/venv/bin/python    # focus-validator is there already

focus-validator 1.0.0, the newest release, holds the rules of 0.5, 1.0-preview and 1.0. Five of those for 1.0 ask for
columns that 1.0 does not have; they are left out, for the reasons below. Everything else must pass.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Final

REQUIREMENTS: Final = ("focus-validator==1.0.0", "multimethod<1.11")
"""pandera 0.17, which it needs, does not run with a newer multimethod."""

LEFT_OUT: Final = {
    "InvoiceIssuer_Required": "the column is called InvoiceIssuerName since 1.0-preview",
    "Provider_Required": "the column is called ProviderName since 1.0-preview",
    "Publisher_Required": "the column is called PublisherName since 1.0-preview",
    "ResourceID_Required": "the column is called ResourceId since 1.0-preview",
    "SkuPriceId_Nullable": "its query reads ChargeType, which became ChargeCategory in 1.0-preview",
}


def environment(folder: Path) -> Path:
    """A new environment with the validator; returns its python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *REQUIREMENTS], check=True)
    return python


def check(file: Path, python: Path, folder: Path) -> int:
    """Run the validator; returns its exit code."""
    overrides = folder / "left-out.yaml"
    overrides.write_text("overrides:\n" + "".join(f"  - {rule}\n" for rule in LEFT_OUT), encoding="utf-8")
    where = "import focus_validator, pathlib; print(pathlib.Path(focus_validator.__file__).parent.parent)"
    # It looks for its list of currencies below the working directory.
    packages = subprocess.run([python, "-c", where], check=True, capture_output=True, text=True).stdout.strip()
    command = [
        str(python),
        "-m",
        "focus_validator.main",
        "--data-file",
        str(file.resolve()),
        "--validate-version",
        "1.0",
    ]
    done = subprocess.run(
        [*command, "--override-file", str(overrides)], cwd=packages, capture_output=True, text=True, check=False
    )
    sys.stdout.write(done.stdout + done.stderr)
    return 0 if done.returncode == 0 and "Validation succeeded" in done.stdout else 1


def main() -> int:
    """Check one file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a FOCUS 1.0 file, CSV or Parquet")
    parser.add_argument("--python", type=Path, help="of an environment that has focus-validator (default: make one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        code = check(options.file, options.python or environment(folder / "venv"), folder)
    for rule, reason in LEFT_OUT.items():
        sys.stdout.write(f"left out: {rule}: {reason}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
