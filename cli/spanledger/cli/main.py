"""The console script, and what it says when only the application's part of Spanledger is installed."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; ``pip install spanledger`` alone is for applications and brings no command."""
    try:
        from spanledger.cli.app import run

        code = run(sys.argv[1:])
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "spanledger":
            raise
        sys.stderr.write(f"spanledger: {error.name} is not installed: pip install 'spanledger[all]'\n")
        code = 2
    sys.exit(code)


if __name__ == "__main__":
    main()
