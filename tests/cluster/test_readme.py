"""What cluster/kuberay/README.md tells an operator to write and to apply."""

import re
import shutil

import pytest

from retdm.config import load_config
from tests.cluster import access
from tests.cluster.commands import commands_on, read
from tests.cluster.leaving import seconds_to_save
from tests.cluster.manifests import (
    CLUSTERS,
    KUBERAY,
    ROOT,
    clusters,
    ray_container,
    rendered,
    targets,
)
from tests.cluster.schemas import KUBERNETES
from tests.cluster.test_manifests import CHECKS

TEXT = (KUBERAY / "README.md").read_text()


EXAMPLE, PACKING = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


def _rendered_beside(tmp_path, example):
    """What a folder beside a copy of ours makes of its kustomization.yaml."""
    shutil.copytree(KUBERAY, tmp_path / "kuberay")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/kustomization.yaml").write_text(example)
    return rendered(tmp_path / "mine")


def _faults(documents):
    return {check.__name__: found for check in CHECKS if (found := check(documents))}


def test_the_example_of_an_own_folder_is_sound_and_changes_what_it_says(tmp_path):
    documents = _rendered_beside(tmp_path, EXAMPLE)
    assert _faults(documents) == {}
    (cluster,) = clusters(documents)
    assert cluster.job["metadata"]["name"] == "pets"
    assert "data.url=s3://photos/pets" in cluster.job["spec"]["entrypoint"]
    shown = str(documents)
    assert "registry.example.com" not in shown
    assert "s3://retdm" not in shown
    assert "role/photos" in shown


def test_every_overlay_and_run_is_named_and_everything_named_is_there():
    named = set(re.findall(r"`((?:overlays|runs|queues|components)/[\w-]+)`", TEXT))
    named |= {f"runs/gpu8{end}" for end in re.findall(r"`(-(?:tune|compare))`", TEXT)}
    assert set(CLUSTERS) <= named
    for name in named:
        assert (KUBERAY / name / "kustomization.yaml").is_file(), name


def test_all_data_that_a_run_reads_is_packed_by_a_run_or_by_a_command_that_is_told():
    packs = re.findall(r"^    (python -m retdm\.shard build .*)", TEXT, re.MULTILINE)
    # The home is the shell's to put in.
    done = [read(line.replace("~", "/home"), {}) for line in packs]
    runs = [command for run in targets("runs") for command in _commands(run)]
    packed = {command.given.out for command in [*done, *runs] if not command.configs}
    wanted = {config.data.url for command in runs for config in command.configs}
    assert wanted == packed == {f"s3://retdm/{name}" for name in ("coco2014", "demo", "scene")}


def _commands(run):
    documents = rendered(run)
    return [one for cluster in clusters(documents) for one in commands_on(cluster, documents)]


def test_the_commands_find_the_own_folder_from_the_folder_of_the_project():
    [told] = re.findall(r"For example `(\S+)/kustomization\.yaml`, beside this folder", TEXT)
    assert (ROOT / told).parent == KUBERAY.parent
    assert re.findall(r"^    kubectl (?:kustomize|apply -k) (\S+)", TEXT, re.M) == [told, told]


def test_the_example_is_of_one_region():
    region = r"\b[a-z]{2}-[a-z]+-\d\b"
    assert len(re.findall(region, EXAMPLE)) == 2
    assert len(set(re.findall(region, EXAMPLE))) == 1


def test_keys_from_a_secret_work_wherever_the_text_says_to_name_them(tmp_path):
    shutil.copytree(KUBERAY, tmp_path / "kuberay")
    [told] = re.findall(r"where ((?:`\S+`,?\s(?:and )?)+)name `components/s3-irsa`", TEXT)
    named = set(re.findall(r"`(\S+)`", told))
    assert named == {name for name in CLUSTERS if "components/s3-irsa" in _written(KUBERAY / name)}
    for name in named:
        file = tmp_path / "kuberay" / name / "kustomization.yaml"
        file.write_text(file.read_text().replace("components/s3-irsa", "components/s3-secret"))
    for name in CLUSTERS:
        documents = rendered(tmp_path / "kuberay" / name)
        assert access.no_way_to_s3(documents) == []
        assert "role-arn" not in str(documents), name


@pytest.mark.parametrize(
    "name", ["overlays/gpu8", "overlays/spot-elastic", "runs/gpu8-train", "runs/shard"]
)
def test_keys_from_a_secret_come_by_an_own_folder_in_the_place_of_the_role(tmp_path, name):
    documents = _rendered_beside(tmp_path, _own(f"resources: [../kuberay/{name}]", _SECRET))
    assert _faults(documents) == {}
    assert "role-arn" not in str(documents)
    for cluster in clusters(documents):
        for group in cluster.groups:
            assert {"secretRef": {"name": "retdm-s3"}} in ray_container(group)["envFrom"]


def test_the_example_takes_keys_from_a_secret_without_its_patch_of_the_role(tmp_path):
    patch = r"  - target: {kind: ServiceAccount.*?(?=  - target)"
    assert len(re.findall(patch, EXAMPLE, re.DOTALL)) == 1
    without = re.sub(patch, "", EXAMPLE, flags=re.DOTALL)
    documents = _rendered_beside(tmp_path, without + _SECRET + "\n")
    assert _faults(documents) == {}
    assert "role-arn" not in str(documents)


def test_the_patch_for_packing_puts_all_of_it_into_the_own_bucket(tmp_path):
    kept = EXAMPLE.partition("  - target: {kind: RayJob}")[0]
    example = kept.replace("runs/gpu8-train", "runs/shard") + PACKING
    documents = _rendered_beside(tmp_path, example)
    assert _faults(documents) == {}
    [cluster] = clusters(documents)
    [command], [ours] = commands_on(cluster, documents), _commands("runs/shard")
    assert vars(command.given) == vars(ours.given) | {"out": "s3://photos/coco2014"}
    assert "s3://retdm" not in str(documents)


@pytest.mark.parametrize("name", ["overlays/gpu8", "runs/gpu8-kueue-train", "runs/shard"])
def test_a_folder_of_ones_own_may_move_all_to_another_namespace(tmp_path, name):
    documents = _rendered_beside(
        tmp_path, _own(f"resources: [../kuberay/{name}]", "namespace: team")
    )
    # Kueue's queue is told to be the administrator's to add.
    missing = {"quotas_too_small": ["queue retdm does not exist"]} if "kueue" in name else {}
    assert _faults(documents) == missing
    spaces = {one["metadata"]["namespace"] for one in documents if "namespace" in one["metadata"]}
    [made] = [one["metadata"]["name"] for one in documents if one["kind"] == "Namespace"]
    assert spaces == {"team"} == {made}


def test_all_that_another_namespace_has_to_change_is_named():
    """Whatever names ours outside of the overlays, runs and what they are made of."""
    cluster = KUBERAY.parent
    files = [*(cluster / "monitoring").glob("*.yml"), *(cluster / "iam").iterdir()]
    files += (KUBERAY / "queues").rglob("queue*.yaml")
    ours = r"kubernetes\.io/metadata\.name: retdm|namespace: retdm|names: \[retdm\]|account:retdm"
    naming = {
        str(file.relative_to(cluster)) for file in files if re.search(ours, file.read_text())
    }
    assert naming == {
        "kuberay/queues/kueue/queues.yaml",
        "iam/trust-irsa.json",
        "monitoring/kubernetes.yml",
    }
    [told] = re.findall(r"What names `retdm` outside of it: (.*?)\.\n", TEXT, re.DOTALL)
    for name in ("queues/kueue", "iam/trust-irsa.json", "monitoring/kubernetes.yml", "-n retdm"):
        assert f"`{name}`" in told


def test_the_namespace_is_made_before_the_secret():
    first, second = re.findall(r"^    kubectl .*(?:namespace\.yaml|create secret).*$", TEXT, re.M)
    assert (ROOT / first.split()[-1]).is_file()
    assert "retdm-s3" in second


[_SECRET] = re.findall(r"^    (components: \[.*s3-secret\])$", TEXT, re.MULTILINE)


def _own(*lines):
    """A kustomization with these lines."""
    head = ("apiVersion: kustomize.config.k8s.io/v1beta1", "kind: Kustomization")
    return "\n".join([*head, *lines]) + "\n"


def _written(folder):
    return (folder / "kustomization.yaml").read_text()


def test_numbers_in_the_text_are_those_of_the_manifests():
    (cluster,) = clusters(rendered("overlays/gpu8"))
    pod = cluster.workers[0]["template"]["spec"]
    recipe = load_config(ROOT / "jobs/recipes/coco2014-vgg16.toml")
    shm, cache = [volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"][:2]]
    assert _number(r"`/dev/shm`\* has (\d+ G)iB") == shm.removesuffix("i")
    assert _number(r"`/cache`\* has (\d+ G)iB") == cache.removesuffix("i")
    grace_s = pod["terminationGracePeriodSeconds"]
    assert _number(r"`terminationGracePeriodSeconds` \((\d+);") == str(grace_s)
    assert _number(r"for VGG-16 (\d+) s") == str(int(seconds_to_save(recipe)))
    assert _number(r"schemas \(([\d.]+)\)") == KUBERNETES


def _number(pattern):
    return re.search(pattern, TEXT)[1].replace(" ", "")
