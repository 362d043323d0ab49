"""docs/operations.md is done as it is written, and the units of deploy/systemd do what it says."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.mlflow_server import START_S, free_port
from tests.postgres import Server, find_binaries

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
UNITS = ROOT / "deploy" / "systemd"
PROGRAMS = "/opt/governance/bin"


@dataclass
class Place:
    """A machine as the document has it, but with other places, and ports on which nobody listens."""

    root: Path
    database: Server
    port: int = field(default_factory=free_port)

    def here(self, text: str) -> str:
        """A text of the documents with this machine's places."""
        for there, here in (
            ("@127.0.0.1/", f"@127.0.0.1:{self.database.port}/"),
            (
                "--host 127.0.0.1 governance",
                f"--host 127.0.0.1 --port {self.database.port} governance",
            ),
            ("127.0.0.1 --port 5000", f"127.0.0.1 --port {self.port}"),
            ("127.0.0.1:5000", f"127.0.0.1:{self.port}"),
            (PROGRAMS, f"{self.root}/bin"),
            *((place, f"{self.root}{place}") for place in ("/srv/", "/etc/", "/var/lib/")),
        ):
            text = text.replace(there, here)
        return text

    @property
    def environ(self) -> dict[str, str]:
        """Of somebody who logs in."""
        binaries = find_binaries()
        path = f"{self.root}/bin:{binaries}:{os.environ['PATH']}"
        return os.environ | {"PATH": path, "PYTHONPATH": f"{ROOT}", "OMP_NUM_THREADS": "1"}

    def run(self, line: str, environ: Mapping[str, str] | None = None) -> str:
        """Run shell lines, which must succeed."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.here(line)],
            cwd=self.root, env=self.environ | dict(environ or {}), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def place(tmp_path: Path, postgresql: Server) -> Iterator[Place]:
    """A machine with the databases and the programs, and nothing else yet."""
    (tmp_path / "bin").mkdir()
    for name in ("governance", "mlflow"):
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {name} "$@"\n')
        program.chmod(0o755)
    for name in ("srv", "var/lib/node_exporter/textfile"):
        (tmp_path / name).mkdir(parents=True)
    postgresql.execute("CREATE ROLE mlflow LOGIN")
    for name in ("governance", "mlflow"):
        postgresql.create(name)
    postgresql.execute("ALTER DATABASE mlflow OWNER TO mlflow")
    yield Place(tmp_path, postgresql)
    for name in ("governance", "mlflow"):
        postgresql.drop(name)
    postgresql.execute("DROP ROLE mlflow")


@pytest.mark.slow
def test_it_is_set_up_as_it_is_written(place: Place) -> None:
    tables, server, admin, person, service = _blocks("bash")
    place.run(tables)
    (unit,) = _starts("governance-mlflow")
    assert unit == server.strip().replace("mlflow ", f"{PROGRAMS}/mlflow ", 1)
    (place.root / "etc" / "governance").mkdir(parents=True)
    environment = _environment(place, UNITS / "governance.env")
    with _running(place, unit, environment):
        _wait_for(f"http://127.0.0.1:{place.port}/health")
        place.run(admin + person + service)
        with (place.root / "srv" / "governance" / "governance.toml").open("a") as file:
            file.write('[notify.endpoints.log]\nfile = "notifications.jsonl"\n')
        carla = {**environment, "GOVERNANCE_HOME": "carla", "GOVERNANCE_KEY_FILE": "carla.key"}
        ada = {**environment, "GOVERNANCE_HOME": "ada"}
        place.run("governance model register shop --open-clip demo", ada)
        _units_do_what_they_are_for(place, environment, carla)


def _units_do_what_they_are_for(
    place: Place, environment: dict[str, str], carla: dict[str, str]
) -> None:
    messages = place.root / "srv" / "governance" / "notifications.jsonl"
    (follow,) = _starts("governance-notify")
    with _running(place, follow, environment) as runner:
        filing = "governance request file --forget mug --basis bias --reason r"
        deadline = time.monotonic() + 60
        number = 0
        while not messages.exists() and time.monotonic() < deadline:
            number += 1  # an endpoint hears of what happens from its first round on
            place.run(f"{filing} --again", carla)
            time.sleep(1)
        assert '"request.filed"' in messages.read_text()
        runner.send_signal(signal.SIGTERM)
        assert runner.wait(60) == 0
    verify, doctor = _starts("governance-verify")
    assert "events hold" in place.run(verify.removeprefix("-"), environment)
    assert "Nothing is wrong." in place.run(doctor, environment)
    (metrics,) = _starts("governance-metrics")
    place.run(metrics, environment)
    written = place.root / "var/lib/node_exporter/textfile/governance.prom"
    assert f'governance_requests{{model="shop",state="filed"}} {number}' in written.read_text()
    assert 'governance_last_verification_success{by="audit verify"} 1' in written.read_text()


def test_every_unit_is_in_the_document() -> None:
    for unit in UNITS.glob("governance-*"):
        assert unit.name in TEXT or unit.with_suffix(".timer").name in TEXT
    listed = re.findall(r"^\| `(governance-[\w.-]+)` \|", TEXT, re.M)
    assert all((UNITS / name).is_file() for name in listed)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    (tmp_path / "postgresql.service").write_text("[Service]\nExecStart=/bin/true\n")
    for unit in UNITS.iterdir():
        text = re.sub(rf"{PROGRAMS}/\S+", sys.executable, unit.read_text())
        (tmp_path / unit.name).write_text(text)
    names = [path.name for path in sorted(tmp_path.glob("governance-*"))]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.S | re.M)


def _starts(unit: str) -> list[str]:
    """What a service runs."""
    return re.findall(r"^ExecStart=(.*)$", (UNITS / f"{unit}.service").read_text(), re.M)


def _environment(place: Place, file: Path) -> dict[str, str]:
    lines = [
        line for line in place.here(file.read_text()).splitlines() if "=" in line and line[0] != "#"
    ]
    return dict(line.split("=", 1) for line in lines)


@contextmanager
def _running(
    place: Place, line: str, environment: dict[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    with (place.root / "log").open("ab") as log:
        process = subprocess.Popen(
            place.here(line).split(), cwd=place.root, env=place.environ | environment,
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with suppress(URLError, OSError), urlopen(url) as answer:
            assert answer.status == 200
            return
        time.sleep(0.5)
    raise AssertionError(f"{url} does not answer")
