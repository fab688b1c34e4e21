"""What Prometheus scrapes on Kubernetes: the pods in which Ray runs, and no others."""

import json
import shutil

import pytest
import yaml

from tests.cluster.manifests import CLUSTERS, KUBERAY, clusters, pods, rendered
from tests.cluster.test_manifests import CHECKS
from tests.monitoring.files import MONITORING

CONFIG = yaml.safe_load((MONITORING / "kubernetes.yml").read_text())
META = "__meta_kubernetes_pod"
NODE = "ray.io/is-ray-node"
"""The label that KubeRay gives to Ray's pods."""


def _found(documents):
    """What a search for pods finds: a target for each port that a container names."""
    for cluster in clusters(documents):
        for name, template in pods(cluster):
            for container in template["spec"]["containers"]:
                for port in container.get("ports", []):
                    labels = {
                        f"{META}_name": name,
                        f"{META}_container_port_name": port["name"],
                        f"{META}_label_ray_io_is_ray_node": "yes",
                    }
                    yield port["containerPort"], labels
    strange = {f"{META}_name": "other", f"{META}_container_port_name": "metrics"}
    yield 8080, strange
    yield 8080, strange | {f"{META}_label_ray_io_is_ray_node": "no"}


def _with_pods(folder, targets):
    """The configuration with targets in the place of the search; a copy of it."""
    copy = yaml.safe_load((MONITORING / "kubernetes.yml").read_text())
    [job] = copy["scrape_configs"]
    del job["kubernetes_sd_configs"]
    job["static_configs"] = [
        {"targets": [f"10.0.0.{number}:{port}"], "labels": labels}
        for number, (port, labels) in enumerate(targets)
    ]
    shutil.copy(MONITORING / "alerts.yml", folder)
    (folder / "kubernetes.yml").write_text(yaml.safe_dump(copy))
    return folder / "kubernetes.yml"


def test_of_all_manifests_the_metrics_port_of_every_pod_of_ray_is_scraped(promtool, tmp_path):
    targets = [one for name in CLUSTERS for one in _found(rendered(name))]
    wanted = [
        (name, 8080)
        for target in CLUSTERS
        for cluster in clusters(rendered(target))
        for name, _ in pods(cluster)
        if name != "submitter"
    ]
    file = _with_pods(tmp_path, targets)
    assert "SUCCESS: 1 rule files found" in promtool("check", "config", file)
    said = promtool("check", "service-discovery", "--timeout=2s", file, "ray")
    kept = [one["labels"] for one in json.loads(said) if one["labels"]]
    found = [(one["pod"], int(one["__address__"].rpartition(":")[2])) for one in kept]
    assert len(wanted) > 2 * len(CLUSTERS) - 1
    assert sorted(found) == sorted(wanted)


def test_it_looks_for_pods_in_the_namespace_of_the_manifests_and_is_let_in_there():
    [job] = CONFIG["scrape_configs"]
    assert job["kubernetes_sd_configs"] == [{"role": "pod", "namespaces": {"names": ["retdm"]}}]
    documents = rendered("overlays/gpu8")
    [space] = [one["metadata"]["name"] for one in documents if one["kind"] == "Namespace"]
    assert space == "retdm"


def test_both_configurations_scrape_and_judge_alike():
    other = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    assert {name: CONFIG[name] for name in ("global", "rule_files")} == {
        name: other[name] for name in ("global", "rule_files")
    }
    assert [job["job_name"] for job in (*CONFIG["scrape_configs"], *other["scrape_configs"])] == [
        "ray", "ray",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["overlays/gpu8", "runs/gpu8-train", "runs/spot-elastic-train"])
def test_a_pod_monitor_of_an_own_folder_scrapes_the_same(tmp_path, name):
    shutil.copytree(KUBERAY, tmp_path / "kuberay")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/kustomization.yaml").write_text(
        f"resources: [../kuberay/{name}]\ncomponents: [../kuberay/components/pod-monitor]\n"
    )
    documents = rendered(tmp_path / "mine")
    assert {check.__name__: found for check in CHECKS if (found := check(documents))} == {}
    [monitor] = [one for one in documents if one["kind"] == "PodMonitor"]
    assert monitor["spec"]["selector"] == {"matchLabels": {NODE: "yes"}}
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint == {"port": "metrics", "interval": CONFIG["global"]["scrape_interval"]}
