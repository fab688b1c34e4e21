"""Dashboard, alerts and Prometheus's configuration agree with the code and with each other."""

import json
import re

import prometheus
import yaml

from retdm.methods.clock import PARTS
from retdm.train.metrics import METRICS
from tests.conftest import ROOT
from tests.monitoring.files import MONITORING, named, queries, rules

CASES = ROOT / "tests/monitoring/alerts_test.yml"
DECLARED = {metric.on_prometheus for metric in METRICS}


def test_the_dashboard_shows_every_metric_there_is_and_no_other():
    shown = named(*(query for _, query in queries()))
    assert shown == DECLARED


def test_alerts_look_at_metrics_that_there_are():
    assert named(*rules().values()) <= DECLARED
    assert len(rules()) >= 4


def test_parts_in_queries_are_parts_of_the_time_of_a_worker():
    parts = set()
    for expression in [*(query for _, query in queries()), *rules().values()]:
        for selector in re.findall(r"retdm_seconds_total\{([^}]*)\}", expression):
            for match in re.findall(r'part=~?"([^"]*)"', selector):
                parts |= set(match.split("|"))
    assert parts <= set(PARTS)
    assert {"data", "fit"} < parts


def test_names_and_parts_are_such_as_prometheus_takes():
    for metric in METRICS:
        assert re.fullmatch(r"retdm_[a-z0-9_]+", metric.name)
        # Ray adds it to those of totals.
        assert not metric.name.endswith("_total")
    assert len(DECLARED) == len(METRICS)


def test_panels_have_a_place_and_a_number_of_their_own():
    panels = json.loads((MONITORING / "grafana/retdm.json").read_text())["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len({panel["id"] for panel in panels}) == len(set(places)) == len(panels)
    assert all(panel["title"] and panel["description"] for panel in panels)


def test_the_dashboard_asks_for_the_data_source_that_is_provisioned():
    text = (MONITORING / "grafana/retdm.json").read_text()
    provided = yaml.safe_load((MONITORING / "grafana/datasource.yml").read_text())
    (source,) = provided["datasources"]
    assert set(re.findall(r'"type": "prometheus", "uid": "([^"]*)"', text)) == {source["uid"]}
    interval = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["global"]
    assert source["jsonData"]["timeInterval"] == interval["scrape_interval"]


def test_the_local_server_finds_the_place_to_change_in_the_configuration():
    text = (MONITORING / "prometheus.yml").read_text()
    assert text.count(prometheus.DISCOVERY) == 1


def test_the_file_of_nodes_is_read_as_often_as_they_are_scraped():
    # It is a link: the default, five minutes between looks, is for files whose changes are seen.
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    [[nodes]] = [job["file_sd_configs"] for job in config["scrape_configs"]]
    assert nodes["refresh_interval"] == config["global"]["scrape_interval"]


def test_every_alert_is_tried_where_it_fires_and_where_it_does_not():
    fires, silent = set(), set()
    for case in yaml.safe_load(CASES.read_text())["tests"]:
        for one in case["alert_rule_test"]:
            (fires if one.get("exp_alerts") else silent).add(one["alertname"])
    assert fires == silent == set(rules())


def test_the_configuration_is_one(promtool):
    assert "SUCCESS: 1 rule files found" in promtool(
        "check", "config", MONITORING / "prometheus.yml"
    )
    assert f"{len(rules())} rules found" in promtool("check", "rules", MONITORING / "alerts.yml")


def test_alerts_fire_when_they_should_and_only_then(promtool):
    assert "SUCCESS" in promtool("test", "rules", CASES)
