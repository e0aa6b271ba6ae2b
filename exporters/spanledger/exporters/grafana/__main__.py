"""``python -m spanledger.exporters.grafana DIRECTORY``: write the dashboards as JSON files."""

from __future__ import annotations

import sys
from pathlib import Path

from spanledger.exporters.grafana.files import files


def main(arguments: list[str]) -> int:
    """Write every dashboard into the directory; returns the exit code."""
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("usage: python -m spanledger.exporters.grafana DIRECTORY (an existing one)", file=sys.stderr)
        return 2
    for name, text in files().items():
        Path(arguments[0], name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
