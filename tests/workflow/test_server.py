"""The whole path against a real MLflow server, and faults that last at its requests; see `test_faults`."""

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from governance import registry as adapter
from governance.clip.encoder import Encoder
from governance.registry import ABANDONED_TAG, KEY_TAG
from tests.mlflow_server import Fault, Line, Server, first_of_each_kind, lay_line
from tests.workflow.bench import Bench, Stage, loaded_once, make_stages, recover
from tests.workflow.commands import COMMANDS, VERIFY

BRANCHES = {"rollback": ["version", "rollback", "--to", "1", "--reason", "r", "--actor", "mona"]}

_WORDS = {
    "lost": "breaks the connection off",
    "down": "breaks the connection off",
    "error": "breaks the connection off|fails with status 503; its own log says why",
    "silent": r"does not answer within 1 s \(MLFLOW_HTTP_REQUEST_TIMEOUT\)",
}
_READING = ("down", "error", "silent")


@dataclass(frozen=True)
class Distant:
    """A workspace whose MLflow is a server, and the line to it."""

    bench: Bench
    line: Line
    stages: dict[str, Stage]


@pytest.fixture(scope="module")
def distant(
    running_mlflow: Server,
    mlflow_store: Path,
    encoder: Encoder,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Distant]:
    place = tmp_path_factory.mktemp("distant")
    running_mlflow.restore(mlflow_store)
    with (
        lay_line(running_mlflow) as line,
        loaded_once(encoder),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(adapter, "PAUSES_S", (0.0, 0.0))
        environ = {"MLFLOW_TRACKING_URI": line.url, "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
        bench = Bench(place / "home", running_mlflow, environ)
        yield Distant(bench, line, make_stages(bench, place, BRANCHES))


def test_the_whole_path(
    distant: Distant, mlflow: Server, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every verb ended well in `make_stages`; what it left is whole, can be verified, and is served."""
    bench = distant.bench
    bench.restore(distant.stages["drop"].kept)
    assert not (bench.home / "mlartifacts").exists()
    for line in (["doctor"], VERIFY, ["version", "verify", "2"]):
        done = bench.run(line)
        assert done.code == 0, done.err
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's type hints warn of themselves
        import mlflow.pyfunc

        monkeypatch.setenv("MLFLOW_TRACKING_URI", distant.line.url)
        champion = mlflow.pyfunc.load_model("models:/shop@champion")
    rows = [{"path": str(images / "photo" / label / "000.png")} for label in ("cat", "mug")]
    cat, mug = champion.predict(rows)["labels"]
    assert cat[0] == "cat"
    assert mug[0] != "mug"


@pytest.mark.parametrize("name", ["apply", "promote", "rollback"])
def test_what_lasts_from_a_request_on_is_told_and_repeating_converges(
    name: str, distant: Distant, known_attacks: None
) -> None:
    bench, line, stage = distant.bench, distant.line, distant.stages[name]
    bench.restore(stage.kept)
    line.begin()
    assert bench.run(stage.line).code == 0
    chosen = first_of_each_kind(line.requests)
    if (
        name == "apply"
    ):  # it has three times as many; what it reads it reads before or after it writes
        chosen = {n: request for n, request in chosen.items() if not request.startswith("GET")}
    assert len(chosen) > 2
    problems = []
    for number, request in chosen.items():
        kind = _READING[number % len(_READING)] if request.startswith("GET") else "lost"
        bench.restore(stage.kept)
        if problem := _disturb(distant, stage, Fault(kind, number, lasting=True)):
            problems.append(f"{kind} at {request} ({number}): {problem}")
    assert problems == []


def _disturb(distant: Distant, stage: Stage, fault: Fault) -> str | None:
    """What went wrong, but for what was made to."""
    bench, before = distant.bench, distant.bench.events()
    with pytest.MonkeyPatch.context() as patch:
        if fault.kind == "silent":
            patch.setitem(bench.environ, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        distant.line.begin(fault)
        failed = bench.run(stage.line)
        distant.line.begin()
    words = f"MLflow at {distant.line.url} ({_WORDS[fault.kind]})"
    if failed.code == 0:  # its outcome is on record
        told = all(re.search(f"^Warning: .*{words}", said) for said in failed.err)
    else:
        told = failed.code == 7 and len(failed.err) == 1
        told = told and re.fullmatch(f"Error: {words}", failed.err[0]) is not None
    if not told:
        return f"it ended with {failed.code} and said {failed.err}"
    if bench.events()[: len(before)] != before:
        return "events are lost"
    return recover(bench, stage, failed)


def test_a_request_that_arrives_twice_leaves_a_version_that_the_doctor_marks(
    distant: Distant, known_attacks: None
) -> None:
    bench, line, stage = distant.bench, distant.line, distant.stages["apply"]
    bench.restore(stage.kept)
    line.begin()
    assert bench.run(stage.line).code == 0
    number = 1 + [request.endswith("model-versions/create") for request in line.requests].index(
        True
    )
    bench.restore(stage.kept)
    line.begin(Fault("twice", number))
    done = bench.run(stage.line)
    line.begin()
    assert done.code == 0
    assert bench.run(["doctor"]).code == 6
    assert recover(bench, stage, done) is None
    with bench.entered():
        tags = adapter.Registry(line.url, Path("nowhere")).all_tags("shop")
    marked = {number: found for number, found in tags.items() if ABANDONED_TAG in found}
    assert len(marked) == 1
    ((number, found),) = marked.items()
    assert found[ABANDONED_TAG] == found[KEY_TAG]


@pytest.mark.parametrize("size", [1 << 10, 1 << 15])
def test_a_full_disk_of_the_server(
    size: int, distant: Distant, running_mlflow: Server, known_attacks: None
) -> None:
    """Its database cannot grow, or only the artifacts find no room."""
    bench, stage = distant.bench, distant.stages["apply"]
    bench.restore(stage.kept)
    with running_mlflow.full_disk(size):
        failed = bench.run(stage.line)
    assert failed.code == 7
    (said,) = failed.err
    assert re.fullmatch(f"Error: MLflow at {distant.line.url} fails with status 50.; .*", said)
    assert recover(bench, stage, failed) is None


def test_every_verb_says_in_one_line_that_nobody_is_there(
    distant: Distant, monkeypatch: pytest.MonkeyPatch, known_attacks: None
) -> None:
    bench = distant.bench
    for name in ("register", *COMMANDS):
        stage = distant.stages[name]
        bench.restore(stage.kept)
        distant.line.begin(Fault("down", 1, lasting=True))
        failed = bench.run(stage.line)
        asked = bool(distant.line.requests)
        distant.line.begin()
        assert (failed.code, len(failed.err)) == ((7, 1) if asked else (0, 0)), name
        assert asked == (name not in ("file", "approve", "export")), name
        if asked:
            assert recover(bench, stage, failed) is None, name
