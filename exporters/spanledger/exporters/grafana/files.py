"""All dashboards as files."""

from __future__ import annotations

import json
from typing import Final

from spanledger.exporters.grafana.spend import SPEND

DASHBOARDS: Final = (SPEND,)


def files() -> dict[str, str]:
    """File name → text of every dashboard."""
    return {
        f"{dashboard.uid}.json": json.dumps(dashboard.json(), indent=2, ensure_ascii=False) + "\n"
        for dashboard in DASHBOARDS
    }
