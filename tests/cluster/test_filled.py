"""An operator's names reach every file, and nothing but the words that stand for them."""

import json
import re
import subprocess

import pytest
import yaml

from tests.cluster.filled import LINES, NAMES, ROOT, RUNNING, filled

AWS = ROOT / "cluster/aws.yaml"
FILES = [AWS, *sorted((ROOT / "cluster/iam").glob("*.json"))]
TEXT = AWS.read_text()
LEFT = re.compile("|".join(NAMES))


def test_every_word_to_fill_in_is_told_and_filled_by_one_file():
    left = "\n".join(
        [TEXT.partition("cluster_name")[2], *(path.read_text() for path in FILES[1:])]
    )
    told = set(re.findall(r"# To fill in: (.*)\.", TEXT)[0].split(", "))
    assert set(re.findall(r"\b[A-Z][A-Z_]{2,}\b", left)) & set(NAMES) == {
        *told,
        "BUCKET",
        "OIDC_ID",
    }
    # VPC is named by a command alone.
    assert set(NAMES) == {*told, "BUCKET", "OIDC_ID", "VPC"}
    assert len(LINES) == len(NAMES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_word_is_left_and_the_file_is_still_one(path):
    text = filled(path)
    assert not LEFT.search(text.replace("AWS_REGION", ""))
    (yaml.safe_load if path == AWS else json.loads)(text)


def test_the_name_of_a_variable_is_not_touched():
    options = yaml.safe_load(filled(AWS))["docker"]["run_options"]
    assert f"--env=AWS_REGION={NAMES['REGION']}" in options
    assert "--env=AWS_REGION=eu-central-1" in options


def test_words_within_addresses_and_paths_are_filled():
    config = yaml.safe_load(filled(AWS))
    assert config["auth"]["ssh_private_key"] == "~/.ssh/my-key.pem"
    registry = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
    assert config["docker"]["image"].startswith(f"{registry}/retdm:")
    head = filled(ROOT / "cluster/iam/head.json")
    assert '"arn:aws:ec2:eu-central-1::image/ami-0123456789abcdef0"' in head
    assert f'subnet/{NAMES["SUBNET"]}"' in head


def test_no_word_stands_in_the_prose_where_a_value_would_garble_it():
    prose = [line for line in RUNNING.read_text().splitlines() if not line.startswith("    ")]
    words = re.compile(rf"\b(?:{'|'.join(NAMES)})\b")
    # Within a path or a command it is to be filled; alone it is the word that is spoken of.
    names = re.sub(r"`([^`]*)`", lambda code: code[1] * (code[1] in NAMES), "\n".join(prose))
    assert words.findall(names) == []


def test_what_is_filled_in_is_not_committed():
    names = ["mine.sed", "mine-aws.yaml", "cluster/mine/kustomization.yaml"]
    done = subprocess.run(
        ["git", "check-ignore", *names], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == names


def test_the_commands_on_the_page_are_filled_in_the_same_way():
    lines = re.findall(r"^    .*", filled(RUNNING), re.MULTILINE)
    commands = "\n".join(line for line in lines if not line.startswith("    s/"))
    assert "export AWS_REGION=eu-central-1 AWS_DEFAULT_REGION=eu-central-1 " in commands
    assert not LEFT.search(re.sub(r"AWS_(DEFAULT_)?REGION", "", commands))
