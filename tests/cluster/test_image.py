"""The cluster's image: hadolint's rules, those of our own, and what the builder is sent."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import retdm
from tests.cluster.dockerfile import stages, words
from tests.cluster.image_rules import faults

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "cluster/image/Dockerfile").read_text()
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
USER = "USER 1000:1000\n"


def _hadolint(text):
    """Codes of hadolint's rules that the Dockerfile breaks."""
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [program, "--format", "json", "-"], input=text, capture_output=True, text=True
    )
    return [one["code"] for one in json.loads(done.stdout)]


def _changed(old, new):
    assert DOCKERFILE.count(old) == 1, old
    return DOCKERFILE.replace(old, new)


def test_hadolint_finds_nothing():
    assert _hadolint(DOCKERFILE) == []


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("cuda:13.0.3-base-ubuntu24.04", "cuda", "DL3006"),
        ("cuda:13.0.3-base-ubuntu24.04", "cuda:latest", "DL3007"),
        ("COPY retdm retdm", "ADD retdm retdm", "DL3020"),
        (" \\\n    && rm -rf /var/lib/apt/lists/*", "", "DL3009"),
        ("--no-install-recommends ", "", "DL3015"),
        (USER, "USER root\n", "DL3002"),
        ("WORKDIR /home/retdm", "WORKDIR retdm", "DL3000"),
        ("--no-cache-dir --only-binary", "--only-binary", "DL3042"),
        ('SHELL ["/bin/bash", "-o", "pipefail", "-c"]', "RUN cat x | sort", "DL4006"),
        ("apt-get install", "apt install", "DL3027"),
        ("&& rm -rf /var", "&& sudo rm -rf /var", "DL3004"),
    ],
)
def test_hadolint_finds(old, new, code):
    assert code in _hadolint(_changed(old, new))


def test_the_image_breaks_no_rule_of_ours():
    assert faults(DOCKERFILE, constraints=CONSTRAINTS) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("13.0.3", "12.8.1", "torch of constraints.txt has CUDA 13.0.3"),
        ("python:3.11.14-slim-bookworm", "python:3.11-slim", "its tag is not exact"),
        ("python:3.11.14-slim-bookworm", "python:3.12.2-slim-bookworm", "no base has Python 3.11"),
        ("COPY retdm retdm", "ADD https://host/retdm.zip retdm", "use COPY"),
        ("RUN ldconfig", "RUN wget -qO- https://host/x.sh | sh", "downloads without a pin"),
        ("RAY_AUTH_MODE=token", "RAY_AUTH_TOKEN=abc", "a secret would stay"),
        ("USER 1000:1000\n", "ARG AWS_SECRET_ACCESS_KEY\n" + USER, "a secret would stay"),
        (
            "--only-binary=:all: -c /opt/retdm/constraints.txt",
            "--only-binary=:all:",
            "no -c constraints.txt",
        ),
        ("pip wheel --no-cache-dir", "pip wheel", "no --no-cache-dir"),
        ("COPY constraints.txt /opt/retdm/", "COPY . /opt/retdm/", "code is copied before"),
        ("COPY constraints.txt /opt/retdm/", "COPY jobs x /opt/retdm/", "code is copied before"),
        ("ca-certificates", "ca-certificates gcc", "gcc stays in the image"),
        ("ca-certificates", "python3-dev", "python3-dev stays in the image"),
        ("--only-binary=:all: ", "", "it may need a compiler"),
        (USER, "", "give a number other than 0"),
        (USER, "USER retdm\n", "give a number other than 0"),
        (USER, "USER 0\n", "give a number other than 0"),
        (USER, USER + "RUN true\n", "RUN comes after USER"),
        (USER, "USER 1001\n", "no user 1001 is made"),
        (" wget \\\n", " \\\n", "wget is missing: KubeRay's probes"),
        (" rsync ", " ", "rsync is missing"),
        ("openssh-client ", "", "openssh-client is missing"),
        ("52365\nCMD", "\nCMD", "Ray's 52365 missing"),
        ("ENV HOME=/home/retdm", "ENV A=b", "ENV HOME is missing"),
        ("WORKDIR /home/retdm", "WORKDIR /srv", "WORKDIR is not in the user's home"),
        (" && pip check", "", "no pip check"),
    ],
)
def test_our_rules_find(old, new, message):
    found = faults(_changed(old, new), constraints=CONSTRAINTS)
    assert any(message in fault for fault in found), found


def test_the_stages_are_read_with_continued_lines_joined():
    first, second = stages("# FROM x\nFROM a:1 AS one\nRUN b \\\n    && c\n\nFROM one\nUSER 5\n")
    assert (first.base, first.name, first.texts("RUN")) == ("a:1", "one", ["b && c"])
    assert (second.base, second.texts("USER")) == ("one", ["5"])


NETWORKS = {"timm", "lite0"}
EXTRAS = {
    "compare.py": NETWORKS,
    "serve.py": {*NETWORKS, "serve", "export"},  # bundles are what export has
    "train.py": NETWORKS,
    "tune.py": NETWORKS,
}
"""What each job asks for that a cluster runs."""


def test_every_job_finds_its_packages_in_the_image():
    assert set(EXTRAS) == {path.name for path in ROOT.glob("jobs/*.py")}
    [program] = re.findall(r'python -c "(.+?)" > requirements\.txt', DOCKERFILE)
    printed = subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True)
    installed = set(printed.splitlines())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["dependencies"]) <= installed
    for job, extras in EXTRAS.items():
        for extra in extras:
            assert set(project["optional-dependencies"][extra]) <= installed, job


def _allowed():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return {line.removeprefix("!") for line in lines if line.startswith("!")}


def test_the_builder_is_sent_what_is_copied_and_nothing_else():
    assert "*" in (ROOT / ".dockerignore").read_text().splitlines()
    copied = set()
    for stage in stages(DOCKERFILE):
        for text in stage.texts("COPY"):
            flags, said = words(text)
            copied |= set() if "from" in flags else set(said[:-1])
    assert copied == _allowed()
    assert all((ROOT / name).exists() for name in copied)


def test_the_comment_says_the_command_of_the_build():
    [pin] = re.findall(r"^ray==(\S+)$", CONSTRAINTS, re.M)
    tag = f"retdm:{retdm.__version__}-ray{pin}"
    assert (
        f"docker build --platform linux/amd64 -f cluster/image/Dockerfile -t REGISTRY/{tag} .\n"
        in DOCKERFILE
    )
