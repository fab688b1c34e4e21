"""What RUNNING.md has an operator make on AWS is what it has them remove."""

import re
import shlex
import subprocess

import pytest

from tests.cluster.filled import ROOT, RUNNING, filled

STAY = {"create-service-linked-role", "create-open-id-connect-provider"}
"""Of the whole account."""


@pytest.fixture(scope="module")
def called(tmp_path_factory):
    """Every call of `aws` on the page, by a shell that has only its arguments printed."""
    lines = filled(RUNNING).splitlines()
    page = "\n".join(line.strip() if line.startswith("    ") else "" for line in lines)
    blocks = [
        block
        for block in re.split(r"\n\n+", page)
        if re.match(r"(aws|for|group=|\(umask) ?", block) and "aws " in block
    ]
    script = "\n".join(
        [
            "aws() { printf '%q ' \"$@\" >&3; echo >&3; }",
            'ray() { :; }; curl() { echo 1.2.3.4; }; docker() { :; }; sed() { cat "${@: -1}"; }',
            *blocks,
        ]
    )
    folder = tmp_path_factory.mktemp("project")  # the commands write mine-aws.yaml into it
    (folder / "cluster").symlink_to(ROOT / "cluster")
    done = subprocess.run(
        ["bash", "-eu", "-c", f"exec 3>&1 >/dev/null\n{script}"],
        cwd=folder, env={"PATH": "/usr/bin:/bin", "HOME": "/nowhere"},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


def _values(called, operation, *options):
    """What the calls of an operation name by these options."""
    return {
        tuple(call[call.index(option) + 1] for option in options)
        for call in called
        if call[1] == operation
    }


def test_roles_their_rights_and_profiles_go_as_they_came(called):
    for made, removed, *options in (
        ("create-role", "delete-role", "--role-name"),
        ("put-role-policy", "delete-role-policy", "--role-name", "--policy-name"),
        ("create-instance-profile", "delete-instance-profile", "--instance-profile-name"),
        (
            "add-role-to-instance-profile", "remove-role-from-instance-profile",
            "--instance-profile-name", "--role-name",
        ),
    ):  # fmt: skip
        there = _values(called, made, *options)
        assert there
        assert there == _values(called, removed, *options)


def test_a_role_goes_after_its_rights_and_its_profile(called):
    names = [call[1] for call in called]
    last = max(n for n, name in enumerate(names) if name == "delete-role-policy")
    profiles = max(n for n, name in enumerate(names) if name.startswith("remove-role-from"))
    assert max(last, profiles) < names.index("delete-role")


def test_all_else_that_is_made_has_its_removal(called):
    removals = {
        "create-security-group": "delete-security-group",
        "create-repository": "delete-repository",
        "put-parameter": "delete-parameter",
        "create-bucket": "rb",
        "create-role": "delete-role",
        "create-instance-profile": "delete-instance-profile",
    }
    made = {call[1] for call in called if re.match(r"create-|put-parameter", call[1])} - STAY
    assert made == set(removals)
    assert set(removals.values()) <= {call[1] for call in called}
    for one, other, option in (
        ("create-repository", "delete-repository", "--repository-name"),
        ("put-parameter", "delete-parameter", "--name"),
    ):
        assert _values(called, one, option) == _values(called, other, option)
