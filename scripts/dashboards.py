"""Build Grafana's dashboards: templates/services/grafana/dashboards.yml becomes the JSON that Grafana reads.

Run it after a change; tests/catalogue/test_grafana.py holds the files to it, byte for byte.
"""
# ruff: noqa: INP001 - a script beside others, not a package

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

SERVICE = Path(__file__).resolve().parents[1] / "templates" / "services" / "grafana"
_FOLDER = SERVICE / "config" / "dashboards"
_COLUMNS = 24
_TAG = "autogit"
_LATER = " AutoGit's own API exports this from a later version on; until then the panel is empty."

Json = dict[str, Any]
Step = tuple[float | None, str]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Query(_Strict):
    """What is asked, and how its series are called."""

    expr: str
    name: str = ""


class Panel(_Strict):
    """One panel; width and height follow the kind unless they are given."""

    kind: Literal["timeseries", "stat", "state-timeline", "bargauge", "table", "logs"]
    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str = ""
    later: bool = False
    steps: str = ""
    source: Literal["prometheus", "loki", "tempo"] | None = None
    width: int | None = None
    height: int | None = None


class Variable(_Strict):
    """A choice at the top of a dashboard: the values of a label, or a free text where there is no `label`."""

    name: str
    title: str
    label: str = ""
    metric: str = ""


class Dashboard(_Strict):
    """One file; its name is the end of its uid."""

    name: str
    title: str
    description: str
    panels: tuple[Panel, ...]
    variables: tuple[Variable, ...] = ()


class Dashboards(_Strict):
    """The whole of dashboards.yml."""

    steps: dict[str, tuple[Step, ...]]
    dashboards: tuple[Dashboard, ...]


_SIZES = {"stat": (4, 4), "logs": (_COLUMNS, 10)}
_LAST = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_OPTIONS: dict[str, Json] = {
    "timeseries": {
        "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"colorMode": "value", "graphMode": "area", "reduceOptions": _LAST, "textMode": "auto"},
    "state-timeline": {"mergeValues": True, "rowHeight": 0.9, "showValue": "never"},
    "bargauge": {"displayMode": "basic", "orientation": "horizontal", "reduceOptions": _LAST},
    "table": {"cellHeight": "sm", "showHeader": True},
    # Details are where the links to traces are.
    "logs": {"enableLogDetails": True, "showTime": True, "sortOrder": "Descending", "wrapLogMessage": True},
}
_FIELDS: dict[str, Json] = {
    "timeseries": {
        "color": {"mode": "palette-classic"},
        "custom": {"fillOpacity": 10, "showPoints": "never", "spanNulls": False},
        "min": 0,
    },
    "bargauge": {"color": {"mode": "thresholds"}, "min": 0},
}
_COLOURED: Json = {"color": {"mode": "thresholds"}}


def load_dashboards(text: str) -> Dashboards:
    """Return what dashboards.yml says. Raises pydantic's ValidationError."""
    return Dashboards.model_validate(yaml.safe_load(text))


def dashboard_json(dashboard: Dashboard, steps: Mapping[str, Sequence[Step]]) -> str:
    """Return the text of a dashboard's file."""
    body = {
        "uid": f"autogit-{dashboard.name}",
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": [_TAG],
        "schemaVersion": 42,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "links": [
            {"type": "dashboards", "title": "Dashboards", "tags": [_TAG], "asDropdown": False, "keepTime": True},
        ],
        "templating": {"list": [_variable(variable) for variable in dashboard.variables]},
        "panels": list(_placed(dashboard.panels, steps)),
    }
    return json.dumps(body, indent=1, ensure_ascii=False) + "\n"


def _placed(panels: Sequence[Panel], steps: Mapping[str, Sequence[Step]]) -> Iterator[Json]:
    """Yield the panels from left to right; a new line begins where one does not fit."""
    x = y = tallest = 0
    for number, panel in enumerate(panels, start=1):
        width, height = _SIZES.get(panel.kind, (12, 8))
        width, height = panel.width or width, panel.height or height
        if x + width > _COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        place = {"x": x, "y": y, "w": width, "h": height}
        yield {"id": number, "gridPos": place, **_panel(panel, steps[panel.steps] if panel.steps else ())}
        x, tallest = x + width, max(tallest, height)


def _panel(panel: Panel, steps: Sequence[Step]) -> Json:
    source = panel.source or ("loki" if panel.kind == "logs" else "prometheus")
    defaults: Json = {}
    if panel.unit:
        plain: Sequence[Step] = ((None, "text"),)
        thresholds = [{"color": color, "value": value} for value, color in steps or plain]
        defaults = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": thresholds}}
        defaults |= _FIELDS.get(panel.kind, _COLOURED)
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description + _LATER * panel.later,
        "datasource": _source(source),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _OPTIONS[panel.kind],
        "targets": [_target(panel.kind, source, query, "ABC"[i]) for i, query in enumerate(panel.queries)],
    }


def _target(kind: str, source: str, query: Query, letter: str) -> Json:
    target: Json = {"refId": letter, "datasource": _source(source)}
    if source == "tempo":
        return target | {"query": query.expr, "queryType": "traceql", "limit": 20, "tableType": "traces"}
    target |= {"expr": query.expr, "legendFormat": query.name}
    if source == "loki":
        return target | {"queryType": "range"}
    instant = kind in {"bargauge", "table"}
    return target | {
        "instant": instant,
        "range": not instant,
        "format": "table" if kind == "table" else "time_series",
        # Points of a histogram that carry a trace id are shown as links.
        "exemplar": "histogram_quantile" in query.expr and not instant,
    }


def _source(name: str) -> Json:
    return {"type": name, "uid": name}


def _variable(variable: Variable) -> Json:
    body: Json = {"name": variable.name, "label": variable.title, "hide": 0, "options": []}
    if not variable.label:
        return body | {"type": "textbox", "query": "", "current": {"text": "", "value": ""}}
    query: Json = {"refId": "values", "type": 1, "label": variable.label, "stream": ""}
    if variable.metric:
        query = {"refId": "values", "qryType": 1, "query": f"label_values({variable.metric}, {variable.label})"}
    return body | {
        "type": "query",
        "datasource": _source("prometheus" if variable.metric else "loki"),
        "query": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def dashboard_files() -> dict[str, str]:
    """Return every dashboard's text by the name of its file."""
    found = load_dashboards((SERVICE / "dashboards.yml").read_text(encoding="utf-8"))
    return {f"{dashboard.name}.json": dashboard_json(dashboard, found.steps) for dashboard in found.dashboards}


def main() -> None:
    """Write every dashboard's file."""
    for name, text in dashboard_files().items():
        (_FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
