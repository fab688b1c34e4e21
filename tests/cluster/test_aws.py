"""cluster/aws.yaml: valid by Ray's schema and EC2's model, and as closed as it says."""

import copy
import re
from pathlib import Path
from types import SimpleNamespace

import boto3
import jsonschema
import pytest
import yaml

import retdm
from tests.cluster.filled import NAMES, filled
from tests.cluster.policies import FOLDER, actions

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "cluster/aws.yaml").read_text()
CONFIG = yaml.safe_load(TEXT)
RUNNING = (ROOT / "cluster/RUNNING.md").read_text()
HEAD, WORKER = (CONFIG["available_node_types"][name] for name in ("head", "worker"))
ANSWERS = {
    "DescribeSubnets": {
        "Subnets": [
            {
                "SubnetId": NAMES["SUBNET"],
                "VpcId": NAMES["VPC"],
                "State": "available",
                "MapPublicIpOnLaunch": True,
                "AvailabilityZone": "eu-central-1a",
            }
        ]
    },
    "DescribeSecurityGroups": {
        "SecurityGroups": [{"GroupId": NAMES["SECURITY_GROUP"], "VpcId": NAMES["VPC"]}]
    },
    "RunInstances": {"Instances": [{"InstanceId": "i-1", "State": {"Name": "pending"}}]},
    "DescribeInstances": {
        "Reservations": [
            {"Instances": [{"InstanceId": "i-1", "State": {"Name": "running"}, "Tags": []}]}
        ]
    },
}


def _filled():
    return yaml.safe_load(filled(ROOT / "cluster/aws.yaml"))


def _valid(config):
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


@pytest.fixture
def cloud(monkeypatch):
    """What is asked of Amazon, as (operation, parameters); the answers are canned.

    botocore checks the parameters by EC2's model before it comes here.
    """
    from ray.autoscaler._private.aws import utils

    asked = []

    def answer(model, params, **_):
        body = params["body"] if isinstance(params["body"], dict) else {}
        asked.append((f"{model.service_model.service_name}:{model.name}", body))
        return SimpleNamespace(status_code=200), {
            "ResponseMetadata": {"HTTPStatusCode": 200},
            **copy.deepcopy(ANSWERS.get(model.name, {})),
        }

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    session = boto3.Session()
    session.events.register("before-call", answer)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", session)
    for name in ("resource_cache", "client_cache"):
        getattr(utils, name).cache_clear()
    yield asked
    for name in ("resource_cache", "client_cache"):
        getattr(utils, name).cache_clear()


def test_it_is_valid_by_rays_own_schema():
    prepared = _valid(CONFIG)
    assert {
        name: kind["max_workers"] for name, kind in prepared["available_node_types"].items()
    } == {
        "head": 0,
        "worker": 2,
    }


@pytest.mark.parametrize(
    ("place", "name"),
    [((), "idle_timeout_minuets"), (("docker",), "imgae"), (("auth",), "ssh_usr")],
)
def test_a_word_that_ray_does_not_know_is_refused(place, name):
    wrong = copy.deepcopy(CONFIG)
    part = wrong
    for step in place:
        part = part[step]
    part[name] = 1
    with pytest.raises(jsonschema.ValidationError, match=name):
        _valid(wrong)


def test_ray_up_makes_no_role_no_key_and_no_security_group(cloud, monkeypatch, tmp_path):
    from ray.autoscaler._private.aws.config import bootstrap_aws

    prepared = _valid(_filled())
    done = bootstrap_aws(copy.deepcopy(prepared))
    assert {operation for operation, _ in cloud} == {
        "ec2:DescribeSubnets",
        "ec2:DescribeSecurityGroups",
    }
    for name, kind in done["available_node_types"].items():
        assert kind["node_config"] == prepared["available_node_types"][name]["node_config"]


def _provider():
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    return AWSNodeProvider(_filled()["provider"], "retdm")


def _operate(cloud):
    """All that the head asks while it starts, tags and ends a worker."""
    provider = _provider()
    provider.create_node(
        _filled()["available_node_types"]["worker"]["node_config"], {"ray-node-type": "worker"}, 1
    )
    provider.non_terminated_nodes({})
    provider.set_node_tags("i-1", {"ray-node-status": "up-to-date"})
    provider.terminate_nodes(["i-1"])
    return cloud


def test_the_heads_policy_has_exactly_what_its_autoscaler_asks(cloud):
    asked = {operation for operation, _ in _operate(cloud)}
    # Starting a machine with a role is an action of its own, which is no call.
    assert actions("head") == asked | {"iam:PassRole"}


def test_what_is_started_carries_the_tag_by_which_the_heads_policy_knows_its_own(cloud):
    [request] = [body for operation, body in _operate(cloud) if operation == "ec2:RunInstances"]
    tags = {
        request[f"TagSpecification.1.Tag.{number}.Key"]: request[
            f"TagSpecification.1.Tag.{number}.Value"
        ]
        for number in range(1, 10)
        if f"TagSpecification.1.Tag.{number}.Key" in request
    }
    assert tags["ray-cluster-name"] == CONFIG["cluster_name"]
    policy = (FOLDER / "head.json").read_text()
    assert policy.count(f'Tag/ray-cluster-name": "{CONFIG["cluster_name"]}"') == 2
    assert request["InstanceMarketOptions.MarketType"] == "spot"


def test_a_machine_that_ec2_would_not_understand_is_refused_before_it_is_asked(cloud):
    from botocore.exceptions import ParamValidationError

    node = _filled()["available_node_types"]["worker"]["node_config"]
    with pytest.raises((ParamValidationError, SystemExit, ValueError)):
        _provider().create_node(node | {"InstanceTyp": "g5.12xlarge"}, {}, 1)
    assert not cloud


def test_workers_are_spot_machines_and_the_head_is_not():
    assert WORKER["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in HEAD["node_config"]


def test_workers_and_no_others_wait_for_the_notice_that_they_are_taken_back():
    [watch] = [line for line in CONFIG["worker_start_ray_commands"] if "spot_notice" in line]
    assert " python /opt/retdm/spot_notice.py $RAY_HEAD_IP:6379 " in watch
    copied = "COPY cluster/image/spot_notice.py /opt/retdm/\n"
    assert copied in (ROOT / "cluster/image/Dockerfile").read_text()
    assert not [line for line in CONFIG["head_start_ray_commands"] if "spot_notice" in line]


def test_the_head_takes_no_work():
    assert HEAD["resources"] == {"CPU": 0, "GPU": 0}
    [start] = [line for line in CONFIG["head_start_ray_commands"] if line.startswith("ray start")]
    assert {"--num-cpus=0", "--num-gpus=0", "--dashboard-host=127.0.0.1"} <= set(start.split())


def test_both_kinds_have_roles_keys_groups_and_metadata_by_token_alone():
    for kind, profile in ((HEAD, "retdm-head"), (WORKER, "retdm-worker")):
        node = kind["node_config"]
        assert node["IamInstanceProfile"] == {"Name": profile}
        assert node["MetadataOptions"]["HttpTokens"] == "required"
        assert node["SecurityGroupIds"] == ["SECURITY_GROUP"]
        assert all(disk["Ebs"]["Encrypted"] for disk in node["BlockDeviceMappings"])


def test_every_node_asks_for_the_token_which_is_in_no_file_of_ours():
    options = CONFIG["docker"]["run_options"]
    assert "--env=RAY_AUTH_MODE=token" in options
    [path] = [one.partition("TOKEN_PATH=")[2] for one in options if "TOKEN_PATH=" in one]
    [mount] = [one.removeprefix("--volume=") for one in options if ":/run/retdm" in one]
    there, here, mode = mount.split(":")
    assert (path, mode) == (f"{here}/auth_token", "ro")
    [fetch] = [line for line in CONFIG["initialization_commands"] if "aws ssm" in line]
    assert fetch.startswith("umask 077;")
    assert fetch.endswith(f"> {there}/auth_token")
    for secret in ("AWS_SECRET", "AWS_ACCESS_KEY", "RAY_AUTH_TOKEN="):
        assert secret not in TEXT


def test_no_file_is_copied_and_no_disk_is_shared():
    assert CONFIG["file_mounts"] == {}
    assert CONFIG["cluster_synced_files"] == []
    assert not re.search("efs|nfs", TEXT, re.IGNORECASE)


def test_the_image_is_the_one_that_is_built_from_this_version():
    from ray import __version__ as ray_version

    name = CONFIG["docker"]["image"].rpartition("/")[2]
    assert name == f"retdm:{retdm.__version__}-ray{ray_version}"
    assert f"-t ACCOUNT.dkr.ecr.REGION.amazonaws.com/{name} " in RUNNING
    # `ray up` wants the version here to be that of the image, which is that of the constraints.
    assert f"ray=={ray_version}\n" in (ROOT / "constraints.txt").read_text()
    assert not any(CONFIG[f"{kind}setup_commands"] for kind in ("", "head_", "worker_"))


def test_the_nodes_policies_read_the_token_and_the_image_that_are_named():
    assert actions("node") == {
        "ecr:BatchGetImage",
        "ecr:GetAuthorizationToken",
        "ecr:GetDownloadUrlForLayer",
        "ssm:GetParameter",
    }
    text = (FOLDER / "node.json").read_text()
    assert "parameter/retdm/ray-token" in text
    assert "--name /retdm/ray-token" in TEXT
    assert "repository/retdm" in text
