"""Command lines in fresh processes without the seconds of importing: a zygote forks a child for each.

The zygote has imported everything and run nothing, so that what it forks is as good as a new interpreter. A child can
be told to kill itself, as by SIGKILL from outside, at the n-th of its writes (`tests.points`).
"""

import gc
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

TIMEOUT_S = 300
"""Within which a child must end."""

_write_text = Path.write_text
"""As it is before it becomes a point."""


@dataclass(frozen=True)
class Outcome:
    """What one child did.

    Attributes:
        codes: exit codes of its command lines; the last one that began has none if the child was killed.
        out, err: what they printed.
        points: names of the writes that it came by, in order.
        killed: whether it did not live to the end.
    """

    codes: list[int]
    out: list[str]
    err: list[str]
    points: list[str]
    killed: bool


@dataclass
class Zygote:
    """The process, as the tests see it; calls from several threads run at the same time."""

    place: Path
    _waiting: dict[int, "SimpleQueue[int]"] = field(default_factory=dict)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def __enter__(self) -> "Zygote":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.zygote"],
            cwd=Path(__file__).parents[1],
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *rest: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def run(
        self,
        lines: Sequence[Sequence[str]],
        environ: Mapping[str, str],
        die_at: int | None = None,
        file_limit: int | None = None,
    ) -> Outcome:
        """Run command lines one after another in a new child.

        Args:
            lines: of arguments of ``governance``; ``["inspect"]`` prints what a workspace has come to.
            environ: environment variables besides those of the tests.
            die_at: number of the write at which the child kills itself, from 1.
            file_limit: bytes beyond which no file of the child's may grow.
        """
        number = next(self._numbers)
        files = self.place / f"{number}"
        files.mkdir()
        self._waiting[number] = SimpleQueue()
        request = {
            "number": number, "files": str(files), "lines": [list(line) for line in lines],
            "environ": dict(environ), "die_at": die_at, "file_limit": file_limit,
        }  # fmt: skip
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        status = self._waiting[number].get(timeout=TIMEOUT_S)
        done = json.loads(_text(files / "codes") or "[]")
        outputs = [
            [_text(files / f"{end}-{i}") for i in range(len(lines))] for end in ("out", "err")
        ]
        killed = os.WIFSIGNALED(status)
        assert killed or os.WEXITSTATUS(status) == 0, _text(files / "crash")
        return Outcome(done, *outputs, _text(files / "points").splitlines(), killed)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            number, status = map(int, line.split())
            self._waiting[number].put(status)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _serve() -> None:
    """Fork for every line on standard input; answer with the child's number and how it ended."""
    import mlflow.store.artifact.artifact_repo
    import mlflow.store.model_registry.sqlalchemy_store
    import mlflow.store.tracking.sqlalchemy_store
    from sqlalchemy.orm import configure_mappers

    import governance.audit.verify
    import governance.cli.main
    import governance.cli.request
    import governance.cli.version
    import governance.clip.encode
    import governance.clip.export
    import governance.clip.fold
    import governance.clip.load
    import governance.ledger.migrate
    import governance.registry
    import governance.workflow.doctor
    import governance.workflow.prepare
    import governance.workflow.release
    import governance.workflow.versions  # noqa: F401
    import tests.points  # noqa: F401

    configure_mappers()
    # A child that collected what was imported would look at all of it, and copy it.
    gc.collect()
    gc.freeze()
    # Artifacts are copied by several threads, so that the same command would not die at the same write.
    repository = mlflow.store.artifact.artifact_repo.ArtifactRepository
    repository.max_workers = property(lambda _: 1)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        request = json.loads(line)
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            child = os.fork()
            if child == 0:
                _work(request)
            _, status = os.waitpid(child, 0)
            os.write(1, f"{request['number']} {status}\n".encode())
            os._exit(0)
    os._exit(
        0
    )  # nothing is put away that children may still use, and frozen objects are not complained of


def _work(request: dict[str, Any]) -> None:
    """Run the command lines and end the process."""
    files = Path(request["files"])
    status = 1
    try:
        os.environ.update(request["environ"])
        codes = []
        with _watched(files / "points", request["die_at"]):
            for i, line in enumerate(request["lines"]):
                for descriptor, end in ((1, "out"), (2, "err")):
                    target = os.open(files / f"{end}-{i}", os.O_WRONLY | os.O_CREAT, 0o600)
                    os.dup2(target, descriptor)
                    os.close(target)
                with _limited(request["file_limit"]):
                    codes.append(_command(line))
                    sys.stdout.flush()
                    sys.stderr.flush()
                _write_text(files / "codes", json.dumps(codes))
        status = 0
    except BaseException:
        import traceback

        (files / "crash").write_text(traceback.format_exc())
    finally:
        os._exit(status)


def _command(line: list[str]) -> int:
    from governance.cli.main import run

    if line == ["inspect"]:
        print(json.dumps(inspect(), sort_keys=True))
        return 0
    return run(line)


@contextmanager
def _limited(size: int | None) -> Iterator[None]:
    """Let writes beyond a size fail as on a full disk, with an error rather than a signal."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if size is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def _watched(report: Path, die_at: int | None) -> Iterator[None]:
    """Name every write in a file, and die at one of them."""
    from tests.points import watch

    descriptor = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    numbers = itertools.count(1)

    def point(name: str, path: Path | None) -> None:
        os.write(descriptor, f"{name}\n".encode())
        if next(numbers) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    with watch(point):
        yield


def inspect() -> dict[str, Any]:
    """What a workspace has come to, without times, ids and whatever else differs from run to run."""
    from governance import registry as adapter
    from governance.ledger.database import Ledger
    from governance.ledger.intents import open_intents
    from governance.ledger.lookup import every
    from governance.ledger.tables import Alias, ModelVersion, Request
    from governance.registry import ABANDONED_TAG
    from governance.settings import load_settings

    settings = load_settings()
    registry = adapter.Registry(settings.tracking_uri, settings.artifact_dir)
    tags = registry.all_tags("shop")
    valid = {number for number, found in tags.items() if ABANDONED_TAG not in found}
    with Ledger(settings.database_url).read() as session:
        return {
            "requests": [(row.id, row.state) for row in every(session, Request)],
            "versions": [
                (row.number, row.digest, row.weights_digest, [m.request_id for m in row.members])
                for row in every(session, ModelVersion)
            ],
            "aliases": sorted((row.name, row.version.number) for row in every(session, Alias)),
            "open intents": len(open_intents(session)),
            "exports": _exports(session, settings),
            "MLflow's versions": sorted(tags[number]["governance.digest"] for number in valid),
            "MLflow's aliases": sorted(
                (name, tags[number]["governance.digest"])
                for name, number in registry.aliases("shop").items()
            ),
        }


def _exports(session: Any, settings: Any) -> list[tuple[str, list[str], list[str]]]:
    """The directories in the workspace that are on record as exports, with their files, and what is beside them.

    An export that is on record twice, or without its directory, is in this list a second time.
    """
    from governance.digests import load_json
    from governance.evidence.artifact import SIGNATURE_NAME
    from governance.ledger.database import Ledger
    from governance.ledger.events import stream
    from governance.workflow.exports import verify_export

    found = []
    for event in stream(session, action="version.exported"):
        signed, _ = verify_export(Ledger(settings.database_url), "shop", 2, settings.home / "out")
        assert signed.statement_digest == load_json(event.payload)["statement_digest"]
        files = sorted(path.name for path in (settings.home / "out").iterdir())
        assert SIGNATURE_NAME in files
        beside = sorted(
            path.name for pattern in (".*", "departures/*") for path in settings.home.glob(pattern)
        )
        found.append((signed.name, files, beside))
    return found


if __name__ == "__main__":
    _serve()
