"""What the policies of cluster/iam allow."""

import json
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "cluster/iam"


def statements(name):
    """The statements of a policy; each one's "Action" is a list."""
    found = json.loads((FOLDER / f"{name}.json").read_text())["Statement"]
    return [one | {"Action": _listed(one["Action"])} for one in found]


def actions(name):
    """All actions that a policy allows."""
    return {action for one in statements(name) for action in one["Action"]}


def _listed(value):
    return [value] if isinstance(value, str) else value
