"""The whole way on this machine: photos, shards on S3, two Ray Train workers, metrics.

`make demo` runs this. Rendered photos stand in for a data set; everything else is what a cluster
would run. All files lie in .demo/, which is emptied at the start; every server that is started
is ended again, also after an error, Ctrl-C or a closed terminal.
"""

import argparse
import contextlib
import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import background
import job
import ray_head
import s3_server
from background import LocalServiceError

from retdm import console

ROOT = Path(__file__).resolve().parents[2]
BUCKET = "retdm-demo"
RUN = "demo"
_MARK = "made-by-retdm-demo"
_JOB_LIMIT_S = 30 * 60.0
_SPARE_CPUS = 1  # for the job's own process beside its workers


class Steps:
    """Numbers, announces and times the parts of the demo."""

    def __init__(self, total: int) -> None:
        self._total = total
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Print the title, then how long the block took."""
        print(f"\n[{len(self.seconds) + 1}/{self._total}] {title}", flush=True)
        begin = time.monotonic()
        yield
        self.seconds[title] = time.monotonic() - begin
        print(f"      {self.seconds[title]:.1f} s", flush=True)

    def table(self) -> str:
        """All timings, and their sum."""
        rows = [*self.seconds.items(), ("all", sum(self.seconds.values()))]
        return "\n".join(f"  {seconds:6.1f} s  {title}" for title, seconds in rows)


def run_demo(arguments: argparse.Namespace) -> int:
    """Do all steps; servers are ended whatever happens.

    Returns:
        0, or 1 if the job failed or the model learned too little.
    """
    folder: Path = arguments.dir.resolve()
    _empty(folder)
    try:
        return _steps(folder, arguments)
    finally:
        print("\nstopping the servers", flush=True)
        _stop(folder)


def _steps(folder: Path, arguments: argparse.Namespace) -> int:
    steps = Steps(6)
    photos, shards, runs = folder / "photos", f"s3://{BUCKET}/shards", f"s3://{BUCKET}/runs"
    with steps.step("Starting an S3 server (OpenStack Swift)"):
        settings = s3_server.start(folder / "s3", bucket=BUCKET, tied=True)
        # Settings of the caller's own cloud, a session token say, would spoil the signatures.
        env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        env |= settings
        print(f"      {settings['AWS_ENDPOINT_URL']}")
    # Ray needs some seconds to start; it does so while the photos are made. It hands its
    # environment to the jobs: so the S3 key is in no command line and no log of Ray, where the
    # variables of a runtime_env are printed.
    client = ray_head.start(
        folder / "ray",
        num_cpus=arguments.workers + _SPARE_CPUS,
        auth=arguments.auth,
        env=env,
        tied=True,
        wait=False,
    )
    with steps.step(f"Rendering {arguments.images} photos, labelled in COCO format"):
        _program(
            "retdm.datasets.synthetic",
            *("--out", str(photos), "--images", str(arguments.images)),
            *("--seed", str(arguments.seed), "--size", str(arguments.size)),
            env=env,
        )
    with steps.step(f"Packing them into shards at {shards}"):
        _program(
            "retdm.shard",
            *("build", str(ROOT / "shards/synthetic.toml")),
            *("--source", str(photos), "--out", shards),
            *("--set", f"options.images={arguments.images}"),
            *(
                "--set",
                f"options.seed={arguments.seed}",
                "--set",
                f"options.size={arguments.size}",
            ),
            env=env,
        )
    with steps.step("Waiting for the Ray head"):
        ray_head.wait_until_ready(folder / "ray")
        print(f"      dashboard: {client['RAY_API_SERVER_ADDRESS']}")
        if "RAY_AUTH_TOKEN_PATH" in client:
            print(f"      its token: {client['RAY_AUTH_TOKEN_PATH']}")
    with steps.step(f"Training on {arguments.workers} workers, then evaluating"):
        status = _train(folder, shards, runs, env | client, arguments)
    if status:
        return status
    with steps.step("Fetching the results"):
        result = _fetch(folder, f"{runs}/{RUN}", env)
    return _report(folder, result, steps, client, arguments)


def _train(
    folder: Path, shards: str, runs: str, env: Mapping[str, str], arguments: argparse.Namespace
) -> int:
    entrypoint = ["python", "jobs/train.py", arguments.recipe, "--set", f"data.url={shards}"]
    entrypoint += ["--set", f"data.cache_dir={folder / 'cache'}"]
    for override in arguments.set:
        entrypoint += ["--set", override]
    entrypoint += ["--storage", runs, "--run-name", RUN, "--workers", str(arguments.workers)]
    print(f"      ray job submit --working-dir . -- {shlex.join(entrypoint)}", flush=True)
    log = folder / "job.log"
    status = job.submit(entrypoint, working_dir=ROOT, env=env, log=log, limit_s=_JOB_LIMIT_S)
    if status:
        print(f"\nerror: the job failed; the end of {log}:", file=sys.stderr)
        print(background.tail(log, 30), file=sys.stderr)
        print(f"Ray's own logs: {folder / 'ray/logs'}", file=sys.stderr)
        return 1
    return 0


def _fetch(folder: Path, run: str, env: Mapping[str, str]) -> dict[str, Any]:
    """Copy result and TensorBoard files of the run out of S3, and return the result."""
    from retdm.storage import open_store

    os.environ.update({name: env[name] for name in env if name.startswith("AWS_")})
    store = open_store(run)
    content = store.read("result.json")
    (folder / "result.json").write_bytes(content)
    for name in store.names("tensorboard/"):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        store.download(name, target)
    result: dict[str, Any] = json.loads(content)
    return result


def _report(
    folder: Path,
    result: Mapping[str, Any],
    steps: Steps,
    client: Mapping[str, str],
    arguments: argparse.Namespace,
) -> int:
    print()
    print(steps.table())
    mean_ap = result["metrics"]["test"]["mAP"]
    baseline = result["baseline"]["label_frequency_mAP"]
    ratio = mean_ap / baseline if mean_ap is not None and baseline else math.nan
    print(f"\ntest mAP {mean_ap or math.nan:.3f}: {ratio:.1f} times that of the label frequencies")
    print(f"results:     {folder / 'result.json'}")
    print(f"TensorBoard: {Path(sys.executable).parent}/tensorboard --logdir {folder}/tensorboard")
    print(f"job log:     {folder / 'job.log'}")
    print(f"dashboard:   {client['RAY_API_SERVER_ADDRESS']} until this program ends")
    if arguments.hold:
        print("\nservers keep running; Ctrl-C ends them", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
    if not ratio >= arguments.at_least:
        print(
            f"error: test mAP is less than {arguments.at_least:g} times that of the label "
            "frequencies: the model did not learn; see the loss curves in TensorBoard",
            file=sys.stderr,
        )
        return 1
    return 0


def _program(module: str, *arguments: str, env: Mapping[str, str]) -> None:
    """Run `python -m module`, its progress bars on our terminal."""
    command = [sys.executable, "-m", module, *arguments]
    # A session of its own: Ctrl-C is handled here, once. Leaving `with` early kills it.
    with subprocess.Popen(command, cwd=ROOT, env=env, start_new_session=True) as process:
        try:
            status = process.wait()
        except BaseException:
            process.kill()
            raise
    if status:
        raise LocalServiceError(
            f"`python -m {module} {shlex.join(arguments)}` failed with status {status}; "
            "its message is above"
        )


def _empty(folder: Path) -> None:
    """End what a killed demo left running, and clear its folder."""
    if folder.exists():
        if not (folder / _MARK).exists() and any(folder.iterdir()):
            raise LocalServiceError(
                f"{folder}: holds files that no demo made; choose an empty folder with --dir"
            )
        _stop(folder)
        shutil.rmtree(folder)
    folder.mkdir(parents=True, mode=0o700)
    (folder / _MARK).touch()


def _stop(folder: Path) -> None:
    """End the servers; from here on nothing interrupts."""
    earlier = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDING}
    ray_head.stop(folder / "ray")
    s3_server.stop(folder / "s3")
    for number, handler in earlier.items():
        signal.signal(number, handler)


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Read the command line and run the demo."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n\n")[0],
        epilog=(__doc__ or "").partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--dir", type=Path, default=ROOT / ".demo", help="folder of all its files")
    add("--images", type=int, default=1300, help="photos to render")
    add("--size", type=int, default=96, help="their side in pixels")
    add("--seed", type=int, default=0, help="of the photos")
    add("--workers", type=int, default=2, help="DDP workers")
    add("--recipe", default="jobs/recipes/demo.toml", help="what to train, below the project")
    add("--set", action="append", default=[], metavar="A.B=C", help="override a setting")
    add("--auth", choices=["token", "disabled"], default="token", help="of the Ray head")
    add("--at-least", type=float, default=3.0, help="test mAP wanted, in label frequency mAPs")
    add("--hold", action="store_true", help="leave the dashboard running until Ctrl-C")
    arguments = parser.parse_args()
    for number in _ENDING:
        signal.signal(number, _interrupt)
    return run_demo(arguments)


if __name__ == "__main__":
    sys.exit(console.run(main))
