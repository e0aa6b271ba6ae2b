"""The few parts of Grafana's dashboard JSON that ours are made of (schema version 39, Grafana 10.3 and later)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

SCHEMA_VERSION: Final = 39
COLUMNS: Final = 24
"""Width of the grid."""

SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL query of a panel. `legend` may use ``{{label}}``."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel.

    Attributes:
        kind: ``stat``, ``timeseries`` or ``table``.
        unit: Grafana's unit id (``currencyUSD``, ``short``, ``reqps``, ``s``, ``bytes``).
        stack: draw the series on top of each other.
        steps: thresholds as (from value, colour); the first one's value is ignored.
    """

    title: str
    description: str
    kind: str
    queries: Sequence[Query]
    unit: str = "short"
    decimals: int | None = None
    width: int = 12
    height: int = 8
    stack: bool = False
    steps: Sequence[tuple[float, str]] = ((0.0, "green"),)

    def json(self, number: int, x: int, y: int) -> dict[str, Any]:
        """The panel at a place of the grid."""
        is_table = self.kind == "table"
        defaults: dict[str, Any] = {
            "unit": self.unit,
            "thresholds": {
                "mode": "absolute",
                "steps": [
                    {"color": color, "value": value if i else None} for i, (value, color) in enumerate(self.steps)
                ],
            },
        }
        if self.decimals is not None:
            defaults["decimals"] = self.decimals
        if self.kind == "timeseries":
            defaults["custom"] = {
                "drawStyle": "line",
                "fillOpacity": 20 if self.stack else 0,
                "lineWidth": 1,
                "showPoints": "never",
                "stacking": {"group": "A", "mode": "normal" if self.stack else "none"},
            }
            defaults["min"] = 0
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": SOURCE,
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": _OPTIONS[self.kind],
            "targets": [
                {
                    "datasource": SOURCE,
                    "editorMode": "code",
                    "expr": query.expr,
                    "format": "table" if is_table else "time_series",
                    "instant": is_table or self.kind == "stat",
                    "legendFormat": query.legend or "__auto",
                    "range": not is_table and self.kind != "stat",
                    "refId": chr(ord("A") + index),
                }
                for index, query in enumerate(self.queries)
            ],
            "transformations": [{"id": "organize", "options": {"excludeByName": {"Time": True}}}] if is_table else [],
        }


_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "stat": {
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "auto",
    },
    "timeseries": {
        "legend": {"calcs": ["lastNotNull", "max"], "displayMode": "table", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "table": {"cellHeight": "sm", "showHeader": True, "sortBy": [{"desc": True, "displayName": "Value"}]},
}


@dataclass(frozen=True, slots=True)
class Row:
    """A titled group of panels; they flow left to right and wrap."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A multi-choice variable over a label's values; the regex of all its values means no choice."""

    name: str
    label: str
    metric: str

    def json(self) -> dict[str, Any]:
        query = f"label_values({self.metric}, {self.name})"
        return {
            "allValue": ".*",
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
            "datasource": SOURCE,
            "definition": query,
            "includeAll": True,
            "label": self.label,
            "multi": True,
            "name": self.name,
            "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
            "refresh": 2,
            "sort": 1,
            "type": "query",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """A dashboard on one Prometheus data source, chosen by the variable ``datasource``."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = ()
    since: str = "now-24h"
    tags: Sequence[str] = field(default=("spanledger", "llm", "cost"))

    def json(self) -> dict[str, Any]:
        """The dashboard as Grafana imports it."""
        source: dict[str, Any] = {
            "current": {},
            "includeAll": False,
            "label": "Data source",
            "multi": False,
            "name": "datasource",
            "query": "prometheus",
            "refresh": 1,
            "type": "datasource",
        }
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": list(self.tags),
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "timezone": "utc",
            "refresh": "1m",
            "time": {"from": self.since, "to": "now"},
            "timepicker": {},
            "annotations": {"list": []},
            "links": [],
            "templating": {"list": [source, *(variable.json() for variable in self.variables)]},
            "panels": list(self._panels()),
        }

    def _panels(self) -> Iterator[dict[str, Any]]:
        number = y = 0
        for row in self.rows:
            number += 1
            yield {
                "id": number,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": y},
                "panels": [],
            }
            y += 1
            x = height = 0
            for panel in row.panels:
                if x + panel.width > COLUMNS:
                    x, y, height = 0, y + height, 0
                number += 1
                yield panel.json(number, x, y)
                x, height = x + panel.width, max(height, panel.height)
            y += height
