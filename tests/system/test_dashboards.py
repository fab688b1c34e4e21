"""A real search in every dashboard there is, opened in a real browser."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import job
import optuna
import pytest
import ray_head

from retdm.storage import open_store
from tests.conftest import ROOT
from tests.local.conftest import marked
from tests.system.browser import Browser
from tests.train.conftest import SMALL, shards

__all__ = ["marked", "shards"]
pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(1800)]
SPACE = (
    "tune.space.loss.lambda1={log=[0.001,1]}",
    "tune.space.loss.lambda2={log=[0.001,1]}",
    "tune.space.loss.k={int=[1,5]}",
)
COOKIE = "ray-authentication-token"


@dataclasses.dataclass
class Search:
    folder: Path
    ray: dict[str, str]
    """What a client of its Ray head needs."""
    submission: str
    """Id of its job."""
    trials: list[dict]
    """As tune.json has them."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs chromium, to open the dashboards; on Debian: apt install chromium")
    browser = Browser(program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def search(browser, shards, tmp_path_factory):
    """Three trials on a Ray head with a token; only where there is a browser to show them in."""
    folder = tmp_path_factory.mktemp("search")
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
        "RAY_memory_monitor_refresh_ms": "0",  # whatever else fills this machine's memory
    }
    client = ray_head.start(folder / "ray", num_cpus=2, env=env, tied=True)
    pairs = [f"data.url={shards}", f"data.cache_dir={folder / 'cache'}", *SMALL, *SPACE]
    overrides = [word for pair in pairs for word in ("--set", pair)]
    where = ["--storage", str(folder / "runs"), "--run-name", "looked-at"]
    recipe = "jobs/recipes/demo.toml"
    status = job.submit(
        [
            "python",
            "jobs/tune.py",
            recipe,
            *overrides,
            "--trials",
            "3",
            "--concurrency",
            "1",
            *where,
        ],
        working_dir=ROOT,
        env=env | client,
        log=folder / "job.log",
        limit_s=1500,
    )
    log = (folder / "job.log").read_text()
    assert status == 0, log[-5000:]
    submission = re.search(r"Job '(\w+)' submitted successfully", log)[1]
    trials = json.loads((folder / "runs/looked-at/tune.json").read_text())["trials"]
    assert [one["state"] for one in trials] == ["complete"] * 3
    yield Search(folder / "runs/looked-at", client, submission, trials)
    ray_head.stop(folder / "ray")


class Shown:
    """`with Shown(url) as addresses`: the program, and what it says it shows where."""

    def __init__(self, *words, **env):
        self._words, self._env = words, {**os.environ, "PYTHONPATH": str(ROOT), **env}

    def __enter__(self):
        program = str(ROOT / "cluster/local/dashboards.py")
        self._process = subprocess.Popen(
            [sys.executable, program, *self._words],
            env=self._env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.said = ""
        for line in self._process.stdout:
            self.said += line
            if line.startswith("Ctrl-C"):
                return dict(re.findall(r"^  (\S+): (http\S+)", self.said, re.MULTILINE))
        raise AssertionError(self.said)

    def __exit__(self, kind, error, traceback):
        self._process.send_signal(signal.SIGINT)
        output = self._process.communicate(timeout=60)[0]
        if error is None:
            assert (self._process.returncode, output) == (0, "")


def _hparams(trials):
    """What TensorBoard's table of hyperparameters has of them, to five digits."""
    numbers = [value for one in trials for value in one["params"].values()]
    numbers += [one["values"]["mAP"] for one in trials]
    return [f"{number:#.5g}" for number in numbers]


def _in_optuna(browser, study, trial):
    """Open a trial's page of optuna-dashboard."""
    params = [f"{name} {value}" for name, value in trial["params"].items()]
    page = f"{study}/trials?numbers={trial['number']}"
    browser.shows(page, f"Trial {trial['number']} (trial_id=", "Complete", *params, trial["why"])


def test_tensorboard_and_optuna_show_the_search(browser, search, marked):
    mark, alive = marked
    with Shown(str(search.folder), **mark) as found:
        names = ("loss.lambda1", "loss.lambda2", "loss.k", "ray/tune/mAP", "0000", "0001", "0002")
        browser.shows(found["TensorBoard"], *names, *_hparams(search.trials))
        browser.shows(found["optuna-dashboard"], "looked-at", "Best Trial (number=")
        for trial in search.trials:
            _in_optuna(browser, found["optuna-dashboard"], trial)
        assert len(alive()) > 2
    assert alive() == []


def test_tensorboard_shows_the_run_of_a_trial(browser, search):
    shown = Shown(str(search.folder / "trials/0000"))
    with shown as found:
        browser.shows(found["TensorBoard"], "distance_own", "norm_label", "step")
        assert list(found) == ["TensorBoard"]


def test_what_is_on_s3_is_shown_and_followed(browser, search, s3):
    store = open_store(s3.url("moved"))
    files = [path for path in search.folder.rglob("*") if path.is_file()]
    for path in files:
        name = str(path.relative_to(search.folder))
        if name.startswith(("tune/000", "study.db", "tune.json")) and "/0002/" not in f"/{name}":
            store.write(name, path)
    with Shown(store.url) as found:
        browser.shows(found["TensorBoard"], "0000", "0001", *_hparams(search.trials[:2]))
        _in_optuna(browser, found["optuna-dashboard"], search.trials[0])
        # The search goes on: a trial's files come, and another trial is begun.
        for path in files:
            if path.parent == search.folder / "tune/0002":
                store.write(str(path.relative_to(search.folder)), path)
        copy = search.folder.parent / "study.db"
        shutil.copy(search.folder / "study.db", copy)
        study = optuna.load_study(study_name="looked-at", storage=f"sqlite:///{copy}")
        study.ask({"loss.k": optuna.distributions.IntDistribution(1, 5)})
        store.write("study.db", copy)
        browser.shows(f"{found['optuna-dashboard']}/trials", "4 Trials", "Trial 3 Running")
        # TensorBoard has read it some seconds later; a page shows what there was when it was
        # loaded.
        names = ("0000", "0001", "0002")
        browser.shows(found["TensorBoard"], *names, *_hparams(search.trials), reload_s=15)


def test_rays_dashboard_shows_the_job_its_log_and_its_runs(browser, search):
    with Shown(str(search.folder), **search.ray) as found:
        token = Path(search.ray["RAY_AUTH_TOKEN_PATH"]).read_text()
        jobs = found["Ray"]
        browser.shows(jobs, "Authentication Token Required")
        browser.shows(jobs, search.submission, cookie=f"{COOKIE}={token}")
        page = f"{jobs}/{search.submission}"
        browser.shows(page, f"Submission ID {search.submission}", "good at validation mAP")
        server = search.ray["RAY_API_SERVER_ADDRESS"]
        wanted = [f"trial {one['number']} ({_params(one)}): " for one in search.trials]
        browser.shows(f"{server}/api/jobs/{search.submission}/logs", *wanted)
        runs = [f'"name":"{one["number"]:04}"' for one in search.trials]
        settings = [f'"lambda1":{one["params"]["loss.lambda1"]}' for one in search.trials]
        browser.shows(f"{server}/api/train/v2/runs/v1", *runs, *settings, search.submission)


def _params(trial):
    """As the search's own lines have them."""
    return ", ".join(f"{name} = {value:.4g}" for name, value in sorted(trial["params"].items()))
