r"""What shows a search or a run, also while it is at work: TensorBoard and optuna-dashboard.

    python cluster/local/dashboards.py ~/retdm-runs/scene-tune
    python cluster/local/dashboards.py s3://photos/runs/scene-tune
    python cluster/local/dashboards.py s3://photos/runs/scene-tune/trials/0003    one trial's run
    RETDM_STUDY=postgresql://USER:PASSWORD@HOST/NAME \
        python cluster/local/dashboards.py s3://photos/runs/scene-tune

Both listen on loopback, for everybody on this machine, until Ctrl-C. Without an argument it is the
newest search below $RETDM_STORAGE or ~/retdm-runs. The study in a search's folder is shown from a
copy: what is changed there is lost. A database of a team's is shown as it is, and can be changed.
"""

import argparse
import contextlib
import importlib.util
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import background
import copies
import tomli_w
from background import LocalServiceError, Process
from shown import STUDY, Shown, look, newest_search

from retdm import console
from retdm.errors import ConfigError, StorageError
from retdm.scratch import Scratch
from retdm.shown_url import shown_url
from retdm.storage import open_store
from retdm.storage.file import FileStore

log = logging.getLogger(__name__)
_TENSORBOARD_PORT, _OPTUNA_PORT = 6006, 8080
_COPY_EVERY_S = 10.0
_START_LIMIT_S = 120.0
_STOP_GRACE_S = 5.0


@dataclass(frozen=True)
class Dashboard:
    """A program that serves pages."""

    name: str
    process: Process
    port: int
    page: str
    """Path and fragment of the page to open."""
    log: Path

    @property
    def url(self) -> str:
        """Of the page to open."""
        return f"http://127.0.0.1:{self.port}/{self.page}"


def show(shown: Shown) -> None:
    """Start the dashboards and hold them until Ctrl-C.

    Raises:
        RetdmError: If a dashboard does not start or ends, or the study is not there.
    """
    store, study_url = shown.store, shown.study_url
    with Scratch("dashboards") as folder:
        copying: list[Callable[[], None]] = []
        if isinstance(store, FileStore):
            logdir = store.path(shown.events)
        else:
            logdir = folder / shown.events
            logdir.mkdir()
            copying.append(lambda: copies.copy_events(store, f"{shown.events}/", folder))
        if shown.own_study:
            study_url = f"sqlite:///{folder / STUDY}"
            copying.append(lambda: copies.copy_study(store, folder / STUDY))
        for copy in copying:
            copy()
        dashboards: list[Dashboard] = []
        try:
            dashboards.append(_tensorboard(folder, logdir, "" if shown.is_run else "#hparams"))
            if study_url:
                # A folder that was moved keeps the study of its earlier name.
                name = "" if shown.own_study else store.url.rpartition("/")[2]
                taken = dashboards[0].port
                dashboards.append(_optuna(folder, study_url, name, taken))
            _wait_until_ready(dashboards)
            print("\n".join(_lines(shown, dashboards)), flush=True)
            _hold(dashboards, copying)
        finally:
            _stop(dashboards)


def _lines(shown: Shown, dashboards: Sequence[Dashboard]) -> list[str]:
    lines = [f"{'run' if shown.is_run else 'search'}: {shown.store.url}"]
    lines += [f"  {one.name}: {one.url}" for one in dashboards]
    if not (shown.is_run or shown.own_study or shown.study_url):
        lines.append(
            f"  optuna-dashboard: there is no {STUDY}, so the study is in a database; name "
            "it by --study or RETDM_STUDY"
        )
    lines.append(
        "  an open page of TensorBoard stays as it was loaded: reload it, or check Reload data in "
        "its settings (the gear)"
    )
    lines += [f"  {line}" for line in ray_lines(os.environ)]
    return [*lines, "Ctrl-C ends them"]


def ray_lines(env: Mapping[str, str]) -> list[str]:
    """What the environment tells of Ray's own dashboard."""
    server, address = env.get("RAY_API_SERVER_ADDRESS", ""), env.get("RAY_ADDRESS", "")
    if not server and address.startswith(("http://", "https://")):
        server = address
    if server:
        lines = [f"Ray: {server}/#/jobs"]
    elif address == "local":
        return ["Ray: nothing to show, since RAY_ADDRESS=local gives each program one of its own"]
    elif address:
        host = address.rpartition("://")[2].rpartition(":")[0] or address
        host = "127.0.0.1" if host == "auto" else host
        lines = [f"Ray: http://{host}:8265/#/jobs, unless its head was given another port"]
    else:
        return ["Ray: RAY_API_SERVER_ADDRESS, its dashboard's address, is not set here"]
    if env.get("RAY_AUTH_MODE") == "token":
        where = env.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")
        lines.append(f"it asks for the token, which is in {where}")
    return lines


def _tensorboard(folder: Path, logdir: Path, page: str) -> Dashboard:
    port = background.free_port(_TENSORBOARD_PORT)
    command = [sys.executable, "-m", "tensorboard.main", f"--logdir={logdir}"]
    command += ["--host=127.0.0.1", f"--port={port}"]
    return _spawn("TensorBoard", command, port, page, folder / "tensorboard.log")


def _optuna(folder: Path, study_url: str, name: str, taken: int) -> Dashboard:
    """Serve the study called `name`; its database's password is shown nowhere.

    Raises:
        RetdmError: If optuna-dashboard is not installed, the database does not answer, or it has
            no such study.
    """
    if importlib.util.find_spec("optuna_dashboard") is None:
        raise ConfigError(
            "optuna-dashboard is not installed; run: pip install 'retdm[dashboards]'"
        )
    # Optuna takes seconds to import.
    from retdm.tuning.connection import with_driver

    number = _study_number(study_url, name)
    port = background.free_port(_OPTUNA_PORT, avoid=[taken])
    # Command lines are for everybody to read.
    settings = {
        "storage": with_driver(study_url),
        "host": "127.0.0.1",
        "port": port,
        "server": "wsgiref",
    }
    background.write_private(folder / "optuna.toml", tomli_w.dumps({"optuna_dashboard": settings}))
    command = [sys.executable, "-m", "optuna_dashboard._cli"]
    command += [f"--from-config={folder / 'optuna.toml'}"]
    page = f"dashboard/studies/{number}"
    return _spawn("optuna-dashboard", command, port, page, folder / "optuna.log")


def _study_number(url: str, name: str) -> int:
    """By which optuna-dashboard knows the study; without a name, the first one."""
    import optuna

    from retdm.tuning.connection import explained, with_driver

    with explained(url):
        storage = optuna.storages.RDBStorage(with_driver(url), skip_table_creation=True)
        try:
            known = {one.study_name: one._study_id for one in storage.get_all_studies()}
        finally:
            storage.engine.dispose()
    name = name or next(iter(known), "")
    if name not in known:
        raise ConfigError(
            f"{shown_url(url)}: no study {name} in it, but {', '.join(known) or 'none at all'}; a "
            "search's study has the name of its folder"
        )
    return known[name]


def _spawn(name: str, command: Sequence[str], port: int, page: str, log_file: Path) -> Dashboard:
    process = background.spawn(command, log=log_file, env=os.environ, tied=True)
    return Dashboard(name, process, port, page, log_file)


def _wait_until_ready(dashboards: Sequence[Dashboard]) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    for one in dashboards:
        while not background.serves(one.process, one.port):
            _check(one)
            if time.monotonic() > deadline:
                raise LocalServiceError(
                    f"{one.name} did not start in {_START_LIMIT_S:.0f} s; the end of its log:\n"
                    f"{background.tail(one.log)}"
                )
            time.sleep(0.1)


def _check(one: Dashboard) -> None:
    if not background.is_alive(one.process):
        raise LocalServiceError(
            f"{one.name} ended; start it again; the end of its log:\n{background.tail(one.log)}"
        )


def _hold(dashboards: Sequence[Dashboard], copying: Sequence[Callable[[], None]]) -> None:
    """Return at Ctrl-C; until then keep the copies up to date."""
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(_COPY_EVERY_S)
            for one in dashboards:
                _check(one)
            for copy in copying:
                try:
                    copy()
                except StorageError as error:
                    log.warning("the dashboards show what was before: %s", error)


def _stop(dashboards: Sequence[Dashboard]) -> None:
    """End them; from here on nothing interrupts."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
    background.end([one.process for one in dashboards], grace_s=_STOP_GRACE_S)


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Read the command line and show what it names."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n\n")[0],
        epilog=(__doc__ or "").partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("search", nargs="?", help="folder or s3:// URL of a search or a run")
    parser.add_argument(
        "--study",
        default="",
        metavar="URL",
        help="database of the search's study (default: study.db in its folder, else $RETDM_STUDY)",
    )
    arguments = parser.parse_args()
    for number in _ENDING:
        signal.signal(number, _interrupt)
    storage = os.environ.get("RETDM_STORAGE", str(Path.home() / "retdm-runs"))
    store = open_store(arguments.search or newest_search(storage))
    show(look(store, arguments.study, os.environ))
    return 0


if __name__ == "__main__":
    sys.exit(console.run(main))
