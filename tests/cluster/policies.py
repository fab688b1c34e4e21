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


def loosely_trusted(document):
    """Who, besides one service account of one Kubernetes, may take on a role by web identity."""
    out = []
    for one in document["Statement"]:
        principal = one["Principal"]
        if not isinstance(principal, dict) or set(principal) != {"Federated"}:
            out.append("taken by anybody")
            continue
        issuer = principal["Federated"].partition("oidc-provider/")[2]
        condition = one.get("Condition", {})
        out += [f"{kind} is a pattern" for kind in condition if kind != "StringEquals"]
        wanted = condition.get("StringEquals", {})
        if wanted.get(f"{issuer}:aud") != "sts.amazonaws.com":
            out.append("taken by tokens of any audience")
        subject = wanted.get(f"{issuer}:sub", "*")
        if "*" in subject or subject.count(":") != 3:
            out.append("taken by any service account")
        out += [f"{key} is of another provider" for key in wanted if not key.startswith(issuer)]
    return out


def _listed(value):
    return [value] if isinstance(value, str) else value
