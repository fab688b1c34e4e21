"""What cluster/RUNNING.md tells an operator fits the programs and cluster/aws.yaml."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import yaml

from retdm.config import load_config
from retdm.onray.workers import Workers
from retdm.shard.__main__ import _parser as shard_parser
from retdm.shard.spec import load_spec
from tests.cluster.policies import actions

ROOT = Path(__file__).resolve().parents[2]
RUNNING = (ROOT / "cluster/RUNNING.md").read_text()
TEXT = (ROOT / "cluster/aws.yaml").read_text()
CONFIG = yaml.safe_load(TEXT)
WORKER = CONFIG["available_node_types"]["worker"]
SUBMITTED = [
    (shlex.split(how), shlex.split(what))
    for how, what in re.findall(
        r"^    (ray job submit .*python) (jobs/train\.py .*)",
        RUNNING.replace("\\\n", " "),
        re.MULTILINE,
    )
]
"""The commands that submit a run: what is told to Ray, and to the program."""


def test_the_workers_have_the_gpus_of_the_run_that_is_described():
    [text] = set(re.findall(r"--workers (\d+:\d+)", RUNNING))
    workers, gpus = Workers.parse(text), WORKER["resources"]["GPU"]
    assert (workers.low, workers.high) == (gpus, gpus * WORKER["max_workers"]) == (4, 8)
    assert CONFIG["max_workers"] == WORKER["max_workers"]
    assert f"--workers {text}" in TEXT


def test_the_command_of_the_run_is_one_that_the_program_takes():
    _, (file, *words) = SUBMITTED[-1]
    args = runpy.run_path(str(ROOT / file))["parser"]().parse_args(words)
    config = load_config(ROOT / args.recipe, args.set)
    assert config.data.url == "s3://BUCKET/coco2014"
    assert args.storage == "s3://BUCKET/runs"
    # There is no GPU before one is asked for.
    assert (WORKER["min_workers"], config.run.gpus) == (0, "required")


def test_the_dry_run_is_that_of_the_run_and_shows_what_it_prints_and_uses_up_no_id():
    (how, dry), (_, run) = SUBMITTED
    assert dry == [*run, "--dry-run"]
    assert how == ["ray", "job", "submit", "--working-dir", ".", "--", "python"]


def test_the_weights_that_are_put_into_the_bucket_are_those_of_the_recipe():
    from torchvision.models import VGG16_Weights

    weights = VGG16_Weights.DEFAULT
    [fetched] = re.findall(r"^ +curl -O (\S+)$", RUNNING, re.MULTILINE)
    assert fetched == weights.url
    config = load_config(ROOT / "jobs/recipes/coco2014-vgg16.toml")
    assert (config.model.backbone, config.model.weights) == ("vgg16", "imagenet")
    file, folder = re.findall(r"^ +aws s3 cp (\S+) (\S+)$", RUNNING, re.MULTILINE)[0]
    assert f"`--set model.weights={folder}{file}`" in RUNNING
    assert fetched.endswith(f"/{file}")
    [size] = re.findall(r"downloads VGG-16's, (\d+) MiB, ", RUNNING)
    assert int(size) == round(weights.meta["_file_size"])


def test_zones_are_looked_up_for_the_workers_kind_of_machine():
    kind = WORKER["node_config"]["InstanceType"]
    assert f"--filters Name=instance-type,Values={kind} " in RUNNING


def test_the_command_that_packs_is_one_that_the_program_takes_on_a_machine_of_its_own():
    [text] = re.findall(r"^    python -m retdm\.shard (build .*)", RUNNING, re.MULTILINE)
    given = shard_parser().parse_args(shlex.split(text))
    assert load_spec(ROOT / given.spec, given.set)[0].name == "coco2014"
    assert f"--set data.url={given.out} " in RUNNING
    # There is no disk that nodes share, and the head has no CPUs.
    assert not given.ray


def test_the_quota_to_ask_for_is_that_of_all_workers_together():
    machines = CONFIG["max_workers"]
    assert machines == 2
    cores = machines * WORKER["resources"]["CPU"]
    kind = WORKER["node_config"]["InstanceType"]
    assert f"Ask for {cores} vCPUs, two {kind}, " in RUNNING


def test_the_token_that_is_made_here_is_read_by_its_owner_alone(tmp_path):
    [made] = re.findall(r"^    (\(umask .*? ray get-auth-token .*\)) ", RUNNING, re.MULTILINE)
    env = {"HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    script = f"umask 022; {made}"
    subprocess.run(["bash", "-c", script], env=env, cwd=tmp_path, check=True, timeout=300)
    token = tmp_path / ".ray/auth_token"
    assert token.read_text()
    assert token.stat().st_mode & 0o777 == 0o600
    [kept] = re.findall(r"^    aws ssm put-parameter .*", RUNNING, re.MULTILINE)
    assert kept.endswith(" --value file://$HOME/.ray/auth_token")
    # The same page followed again, after `ray down`, finds the parameter there.
    assert " --overwrite " in kept


def test_the_image_is_built_for_the_machines_by_a_builder_that_knows_its_lines():
    text = (ROOT / "cluster/image/Dockerfile").read_text()
    for page in (RUNNING, text):
        assert "docker build --platform linux/amd64 -f cluster/image/Dockerfile " in page
    assert "RUN --mount=" in text
    assert "BuildKit" in RUNNING


def test_the_role_that_spot_machines_want_is_made_by_hand():
    # The head could make it only with a right on IAM, which it has not.
    assert "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com\n" in RUNNING
    assert not [one for one in actions("head") if one.startswith("iam:Create")]


def test_prometheus_on_the_heads_machine_finds_its_files_and_is_reached_by_a_tunnel_alone():
    [command] = re.findall(r"^    ssh .*docker run .*", RUNNING.replace("\\\n", " "), re.MULTILINE)
    there = {here: path for path, here in re.findall(r"--volume (\S+):(\S+):ro ", command)}
    # The machine's folder that Ray's container has as /tmp, in which Ray's own is /tmp/ray.
    [shared] = [one for one in CONFIG["docker"]["run_options"] if one.endswith(":/tmp")]
    assert there["/tmp/ray"] == shared.removeprefix("--volume=").removesuffix(":/tmp") + "/ray"
    [copied] = re.findall(r"^    scp .* -r (\S+) \$head:$", RUNNING, re.MULTILINE)
    assert there["/etc/prometheus"] == f"/home/{CONFIG['auth']['ssh_user']}/{Path(copied).name}"
    [name] = re.findall(r" --config\.file=/etc/prometheus/(\S+) ", command)
    [job] = yaml.safe_load((ROOT / copied / name).read_text())["scrape_configs"]
    assert Path(job["file_sd_configs"][0]["files"][0]).parent == Path("/tmp/ray")
    assert command.endswith(" --web.listen-address=127.0.0.1:9090")
    assert " -N -L 9090:127.0.0.1:9090 $head " in RUNNING
