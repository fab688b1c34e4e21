"""Who may take on the roles of cluster/iam, and the commands of RUNNING.md that make them."""

import copy
import json
import re

import pytest

from tests.cluster.filled import RUNNING, filled
from tests.cluster.manifests import CLUSTERS, rendered
from tests.cluster.policies import FOLDER, loosely_trusted

TEXT = RUNNING.read_text().replace("\\\n", " ")
COMMANDS = [" ".join(line.split()) for line in TEXT.splitlines() if line.startswith("    ")]
TRUST = json.loads(filled(FOLDER / "trust-irsa.json"))
ISSUER = "oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"


def test_the_role_of_pods_is_taken_by_one_service_account_alone():
    assert loosely_trusted(TRUST) == []
    [statement] = TRUST["Statement"]
    principal = f"arn:aws:iam::123456789012:oidc-provider/{ISSUER}"
    assert statement["Principal"] == {"Federated": principal}


@pytest.mark.parametrize("target", CLUSTERS)
def test_it_is_the_service_account_of_every_manifest(target):
    [account] = [one["metadata"] for one in rendered(target) if one["kind"] == "ServiceAccount"]
    [statement] = TRUST["Statement"]
    subject = statement["Condition"]["StringEquals"][f"{ISSUER}:sub"]
    assert subject == f"system:serviceaccount:{account['namespace']}:{account['name']}"


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda s: s["Condition"]["StringEquals"].pop(f"{ISSUER}:aud"), "of any audience"),
        (lambda s: s["Condition"]["StringEquals"].pop(f"{ISSUER}:sub"), "by any service account"),
        (lambda s: s.pop("Condition"), "by any service account"),
        (
            lambda s: s["Condition"]["StringEquals"].update(
                {f"{ISSUER}:sub": "system:serviceaccount:retdm:*"}
            ),
            "by any service account",
        ),
        (
            lambda s: s.update(Condition={"StringLike": s["Condition"]["StringEquals"]}),
            "StringLike",
        ),
        (
            lambda s: s["Principal"].update(Federated=s["Principal"]["Federated"][:-1] + "0"),
            "of another provider",
        ),
        (lambda s: s.update(Principal="*"), "by anybody"),
    ],
)
def test_a_trust_that_lets_others_in_is_found(spoil, fault):
    document = copy.deepcopy(TRUST)
    spoil(document["Statement"][0])
    found = loosely_trusted(document)
    assert any(re.search(fault, one) for one in found), found


def test_the_commands_make_the_role_that_pods_name_with_the_rights_to_the_bucket():
    [account] = [
        one["metadata"] for one in rendered("overlays/gpu8") if one["kind"] == "ServiceAccount"
    ]
    role = account["annotations"]["eks.amazonaws.com/role-arn"].rpartition("/")[2]
    of_role = [line for line in COMMANDS if f"--role-name {role} " in line]
    made, allowed = of_role
    assert made.startswith("aws iam create-role ")
    assert made.endswith('"$(sed -f mine.sed cluster/iam/trust-irsa.json)"')
    assert allowed.startswith("aws iam put-role-policy ")
    assert allowed.endswith('"$(sed -f mine.sed cluster/iam/storage.json)"')
    [provider] = [line for line in COMMANDS if "create-open-id-connect-provider" in line]
    assert provider.endswith("--url https://oidc.eks.REGION.amazonaws.com/id/OIDC_ID")
    assert "--client-id-list sts.amazonaws.com " in provider


def test_every_file_of_rights_is_in_the_table_and_in_a_command():
    for path in FOLDER.glob("*.json"):
        assert f"| `iam/{path.name}` |" in TEXT
        used = [line for line in COMMANDS if path.name in line or f":{path.stem}" in line]
        assert used, path.name
