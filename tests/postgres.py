"""A throw-away PostgreSQL server on loopback, and the reason when there can be none."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy.engine import URL

OWNER = "ledger_owner"
"""Role that owns the databases and their tables; the server's superuser as well, so that tests can tamper."""

APPLICATION = "ledger_app"
"""Role that the program works as: what `governance db grants` prints is all that it may do."""

REQUIRED = "GOVERNANCE_REQUIRE_POSTGRESQL"
"""Environment variable: with ``1`` the tests that need a server fail, rather than skip, where none can be had."""

_UNSAFE_BUT_FAST = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "autovacuum=off",
    "max_wal_size=96MB",
)
_CLUSTER = ("--no-sync", "--auth=trust", f"--username={OWNER}", "--encoding=UTF8", "--locale=C")
_MEMORY = Path("/dev/shm")
_ROOM = 1 << 30


@dataclass(frozen=True)
class Server:
    """A running server; `port` is on 127.0.0.1, and everybody on this machine is trusted."""

    port: int

    def url(self, database: str, role: str = OWNER) -> str:
        """How the program names a database."""
        driver = "postgresql+psycopg"
        url = URL.create(driver, role, host="127.0.0.1", port=self.port, database=database)
        return url.render_as_string(hide_password=False)

    def create(self, database: str, template: str = "template0") -> None:
        """Make a database, a copy of another to which nobody is connected; only its owner and the program get in."""
        names = {"name": sql.Identifier(database), "template": sql.Identifier(template)}
        self.execute(
            sql.SQL("CREATE DATABASE {name} TEMPLATE {template}").format(**names),
            sql.SQL("REVOKE ALL ON DATABASE {name} FROM PUBLIC").format(**names),
            sql.SQL("GRANT CONNECT ON DATABASE {name} TO {role}").format(
                role=sql.Identifier(APPLICATION), **names
            ),
        )

    def drop(self, database: str) -> None:
        """Remove a database, whoever is connected to it."""
        self.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))

    def execute(self, *statements: sql.Composed | str, database: str = "postgres") -> None:
        """Run statements as the owner, each on its own."""
        with closing(
            psycopg.connect(
                host="127.0.0.1", port=self.port, user=OWNER, dbname=database, autocommit=True
            )
        ) as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[arg-type]


@cache
def find_binaries() -> Path | None:
    """Directory of the newest server's programs: Debian's layout, ``pg_config``, or the search path."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    places = [*reversed(debian)]
    if (config := shutil.which("pg_config")) is not None:
        done = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)
        places.append(Path(done.stdout.strip()))
    if (initdb := shutil.which("initdb")) is not None:
        places.append(Path(initdb).resolve().parent)
    for place in places:
        if (place / "initdb").is_file() and (place / "pg_ctl").is_file():
            return place
    return None


def obstacle() -> str | None:
    """Why no server can be started here, None if one can."""
    if find_binaries() is None:
        return "PostgreSQL is not installed (no initdb in /usr/lib/postgresql/*/bin or on PATH)"
    if os.geteuid() == 0 and not _has_user():
        return "PostgreSQL refuses to run as root, and there is no user postgres"
    return None


@contextmanager
def serve() -> Iterator[Server]:
    """Run a server for a while; its data are deleted afterwards.

    Raises:
        RuntimeError: it cannot be started; with what its programs said.
    """
    binaries = find_binaries()
    if binaries is None:
        raise RuntimeError(obstacle())
    # pytest's own directories are closed to other users, and the path of a socket must be short.
    place = Path(tempfile.mkdtemp(prefix="governance-pg-", dir=_fastest_place()))
    if os.geteuid() == 0:
        shutil.chown(place, "postgres")
    data = place / "data"
    port = _free_port()
    settings = (
        f"port={port}",
        "listen_addresses=127.0.0.1",
        f"unix_socket_directories={place}",
        *_UNSAFE_BUT_FAST,
    )
    options = " ".join(f"-c {setting}" for setting in settings)
    control = [f"{binaries}/pg_ctl", "-D", f"{data}", "-w"]
    try:
        _call([f"{binaries}/initdb", "-D", f"{data}", *_CLUSTER])
        _call([*control, "-l", f"{place}/log", "-o", options, "start"])
        server = Server(port)
        server.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(APPLICATION)))
        yield server
    finally:
        _call([*control, "-m", "immediate", "stop"], check=False)
        shutil.rmtree(place)


def _fastest_place() -> Path:
    """Memory if there is room: copying a database takes 0.02 s there and 0.2 s on a disk."""
    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _ROOM:
        return _MEMORY
    return Path("/tmp")


def _has_user() -> bool:
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _call(command: Sequence[str], check: bool = True) -> None:
    if os.geteuid() == 0:
        command = ["runuser", "-u", "postgres", "--", *command]
    # No pipe: the server would inherit it and keep it open.
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(command, stdout=said, stderr=said, cwd="/", check=False)
        if check and done.returncode != 0:
            said.seek(0)
            raise RuntimeError(f"{command}: {said.read().decode(errors='replace')}")
