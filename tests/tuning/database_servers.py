"""Database servers of the kinds that teams have: on loopback, in folders of their own."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import background
import pytest
import sqlalchemy

from retdm.tuning.connection import with_driver

USER, PASSWORD = "team", "pass-word-of-the-team"
_LIMIT_S = 240


class Server:
    """One that wants a password; subclasses say how it is made and started."""

    scheme: str
    database: str
    refused: str
    """What it says of a wrong password."""
    ends_by = signal.SIGTERM
    """The signal after which it ends soon, with all its connections."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="retdm-database-"))
        self.as_user: list[str] = []
        if os.geteuid() == 0:  # as whom they refuse to run
            if shutil.which("setpriv") is None:
                pytest.skip("needs setpriv, since database servers refuse to run as root")
            user = pwd.getpwnam("nobody")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            ids = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
            self.as_user = ["setpriv", *ids]
        self.port = background.free_port(5432)
        self.address = f"127.0.0.1:{self.port}/{self.database}"
        self.url = f"{self.scheme}://{USER}:{PASSWORD}@{self.address}"
        self.prepare()
        self.start()

    def prepare(self) -> None:
        """Make its files, with the user."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """Of the server."""
        raise NotImplementedError

    def run(self, *command: str) -> None:
        """Run a program as the server's user, to its end."""
        done = subprocess.run(
            [*self.as_user, *command], cwd="/", capture_output=True, text=True, timeout=_LIMIT_S
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        command = [*self.as_user, *self.command()]
        if self.as_user:
            # Or it would outlive a killed test run.
            command.insert(1, f"--pdeathsig={self.ends_by.name.removeprefix('SIG')}")
        log = self.folder / "log"
        with log.open("a") as file:
            self._process = subprocess.Popen(command, cwd="/", stdout=file, stderr=file)
        engine = sqlalchemy.create_engine(with_driver(self.url))
        deadline = time.monotonic() + _LIMIT_S
        while True:
            try:
                engine.connect().close()
                break
            except sqlalchemy.exc.OperationalError:
                assert self._process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        engine.dispose()

    def stop(self) -> None:
        """End it at once, and all connections."""
        if self._process.poll() is None:
            self._process.send_signal(self.ends_by)
        self._process.wait(60)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)


class Postgres(Server):
    scheme, database = "postgresql", "postgres"
    refused = "password authentication failed"
    ends_by = signal.SIGINT

    def __init__(self) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not found:
            pytest.skip(
                "needs PostgreSQL, whose programs are not in /usr/lib/postgresql; on Debian: apt "
                "install postgresql"
            )
        pytest.importorskip("psycopg2")
        self._programs = found[-1].parent
        super().__init__()

    def prepare(self) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        options = ("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")
        user = (f"--username={USER}", f"--pwfile={secret}")
        self.run(str(self._programs / "initdb"), f"--pgdata={self.folder}/data", *user, *options)

    def command(self) -> list[str]:
        settings = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off")
        options = [word for one in settings for word in ("-c", one)]
        data = f"{self.folder}/data"
        return [str(self._programs / "postgres"), "-D", data, "-p", str(self.port), *options]


class MariaDb(Server):
    scheme, database = "mysql", "studies"
    refused = "Access denied for user 'team'"

    def __init__(self) -> None:
        path = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
        found = shutil.which("mariadbd", path=path)
        if found is None:
            pytest.skip("needs mariadbd, for MySQL's way; on Debian: apt install mariadb-server")
        pytest.importorskip("pymysql")
        self._program = found
        super().__init__()

    def prepare(self) -> None:
        # What mariadb-install-db does, of which Debian's package for the server alone has a part.
        share = Path(self._program).resolve().parents[1] / "share/mysql"
        tables = ("mysql_system_tables.sql", "mysql_system_tables_data.sql")
        user = (
            "FLUSH PRIVILEGES",
            f"CREATE DATABASE {self.database}",
            f"CREATE USER '{USER}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'",
            f"GRANT ALL ON {self.database}.* TO '{USER}'@'127.0.0.1'",
        )
        script = "CREATE DATABASE mysql;\nUSE mysql;\n"
        script += "\n".join((share / name).read_text() for name in tables)
        script += "".join(f"\n{one};" for one in user) + "\n"
        (self.folder / "data").mkdir()
        shutil.chown(self.folder / "data", self.folder.owner(), self.folder.group())
        (self.folder / "first.sql").write_text(script)
        program = " ".join([*self._options(), "--bootstrap"])
        self.run("sh", "-c", f"{program} < {self.folder}/first.sql")

    def _options(self) -> list[str]:
        root = Path(self._program).resolve().parents[1]
        return [
            *(
                self._program,
                "--no-defaults",
                f"--basedir={root}",
                f"--datadir={self.folder}/data",
            ),
            *(f"--lc-messages-dir={root}/share/mysql", f"--socket={self.folder}/socket"),
            *("--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0"),
        ]

    def command(self) -> list[str]:
        return [*self._options(), "--bind-address=127.0.0.1", f"--port={self.port}"]
