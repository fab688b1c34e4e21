"""What the files of cluster/monitoring ask for."""

import json
import re

import yaml

from tests.conftest import ROOT

MONITORING = ROOT / "cluster/monitoring"
NAME = re.compile(r"\bray_retdm_\w+")


def queries() -> list[tuple[str, str]]:
    """Title of each panel of the dashboard and a query of it."""
    panels = json.loads((MONITORING / "grafana/retdm.json").read_text())["panels"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]


def rules() -> dict[str, str]:
    """The expression of each alert, by its name."""
    (group,) = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for rule in group["rules"]}


def named(*expressions: str) -> set[str]:
    """The metrics of retdm that occur in them."""
    return {name for expression in expressions for name in NAME.findall(expression)}
