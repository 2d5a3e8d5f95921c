"""A real PostgreSQL server for tests: its own folder, its own port, gone when the test is."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

PORTS = range(18300, 18320)
PASSWORD = "quiet-river-7431"
"""Of the role ``ridgeway``, which may create databases."""


def programs() -> Path | None:
    """The folder of the newest PostgreSQL's programs, as Debian installs them; or that of the one on the path."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))
    found = [folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()]
    on_path = shutil.which("initdb")
    return found[-1] if found else Path(on_path).resolve().parent if on_path else None


def as_server(command: Sequence[str]) -> list[str]:
    """The command as a user that PostgreSQL consents to run under: it refuses root."""
    if os.geteuid() != 0:
        return list(command)
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]


class Cluster:
    """One server; role ``admin`` may do all, ``ridgeway`` may create databases, ``poor`` may not."""

    def __init__(self) -> None:
        folder = programs()
        assert folder is not None
        self.programs = folder
        # Not pytest's own: user postgres may not look into that.
        self.folder = Path(tempfile.mkdtemp(prefix="ridgeway-postgresql-"))
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._initialise()

    def _initialise(self) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            for path in (self.folder, secret):
                os.chown(path, user.pw_uid, user.pw_gid)
        options = ["--username=admin", "--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--no-sync"]
        self._run("initdb", f"--pgdata={self.folder / 'data'}", "--no-locale", *options)
        self.start()
        self.sql(
            f"CREATE ROLE ridgeway LOGIN CREATEDB PASSWORD '{PASSWORD}'; CREATE ROLE poor LOGIN PASSWORD '{PASSWORD}'"
        )

    def _run(self, program: str, *arguments: str) -> None:
        command = as_server([str(self.programs / program), *arguments])
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder)

    def start(self, **options: str) -> None:
        """Starts it and returns when it takes connections."""
        chosen = {"fsync": "off", "listen_addresses": "127.0.0.1", "unix_socket_directories": "", **options}
        given = [word for name, value in chosen.items() for word in ("-c", f"{name}={value}")]
        command = [str(self.programs / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), *given]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(as_server(command), cwd=self.folder, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while subprocess.run(
            [self.programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False
        ).returncode:
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.1)

    def stop(self) -> None:
        """Ends it at once, as a machine that loses its power does; what was committed stays."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        """Ends it and takes its folder away."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def log(self) -> str:
        """What it has written."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def address(self, name: str, user: str = "ridgeway") -> str:
        """What to give as ``servers.database``."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{name}"

    def sql(self, text: str, *, database: str = "postgres", user: str = "admin") -> str:
        """What psql prints, without headings."""
        done = subprocess.run(
            [self.programs / "psql", *self._client(database, user), "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", text],
            check=True,
            capture_output=True,
            text=True,
            env=self.client_environment,
        )
        return done.stdout.strip()

    def dump(self, database: str) -> str:
        """The whole database as SQL."""
        done = subprocess.run(
            [self.programs / "pg_dump", *self._client(database, "admin")],
            check=True,
            capture_output=True,
            text=True,
            env=self.client_environment,
        )
        return done.stdout

    def _client(self, database: str, user: str) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(self.port), "-U", user, "-d", database]

    @property
    def client_environment(self) -> Mapping[str, str]:
        """What PostgreSQL's own programs sign in with."""
        return {**os.environ, "PGPASSWORD": PASSWORD}


def _free_port() -> int:
    for port in PORTS:
        with closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"no port is free in {PORTS}")
