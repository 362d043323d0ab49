"""Log lines and spans: what they say, and what they never say."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from governance import telemetry
from governance.errors import RefusedError
from governance.ledger.database import Ledger
from governance.ledger.events import append, head
from governance.workflow import actors, requests
from tests.ledger.case import case_template, cases, file

__all__ = ["case_template", "cases"]


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What is logged at level info, as JSON."""
    stream = io.StringIO()
    undo = telemetry.configure("json", "info", stream)
    yield stream
    undo()


def read(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_verb_logs_its_events_and_how_long_it_took(cases: Ledger, lines: io.StringIO) -> None:
    number = file(cases, "cat")
    with cases.read() as session:
        seq = head(session)[0]
    event, verb = read(lines)
    assert event.pop("time").endswith("Z")
    assert event == {
        "level": "info", "event": "event", "seq": seq, "action": "request.filed",
        "subject": f"request:{number}",
    }  # fmt: skip
    assert verb.pop("time") >= ""
    assert 0 <= verb.pop("duration_s") < 60
    assert verb == {
        "level": "info", "event": "model.file", "outcome": "done", "events": [seq],
        "subjects": [f"request:{number}"], "intents": [],
    }  # fmt: skip


def test_no_line_holds_a_name_a_reason_or_a_class(cases: Ledger, lines: io.StringIO) -> None:
    number = file(cases, "oak")
    requests.reject(cases, "dmitri", number, "a comment")
    actors.deactivate(cases, "ada", "zoe", "left the house")
    with pytest.raises(RefusedError):
        requests.approve(cases, "carla", 3, "secret words")
    text = lines.getvalue()
    for private in ("carla", "dmitri", "ada", "zoe", "oak", "comment", "because", "left", "secret"):
        assert private not in text
    found = read(lines)
    assert [line["outcome"] for line in found if "outcome" in line] == [
        "done", "done", "done", "refused",
    ]  # fmt: skip
    deactivated = next(line for line in found if line.get("action") == "actor.deactivated")
    assert deactivated["subject"] == "actor"


def test_an_intent_is_named_where_it_begins_and_where_it_ends(
    cases: Ledger, lines: io.StringIO
) -> None:
    with telemetry.step("a.step"), cases.write() as session:
        begun = append(session, "mona", "version.intended", "version:shop/9", {})
        append(session, "mona", "version.abandoned", "version:shop/9", {"intent": begun.digest})
    found = read(lines)
    assert [line.get("intent") for line in found] == [begun.digest, begun.digest, None]
    assert found[-1]["intents"] == [begun.digest]


def test_what_is_rolled_back_is_not_logged(cases: Ledger, lines: io.StringIO) -> None:
    def fail() -> None:
        with telemetry.step("a.step"), cases.write() as session:
            append(session, "mona", "version.intended", "version:shop/9", {})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    (line,) = read(lines)
    assert (line["outcome"], line["events"]) == ("failed", [])


def test_lines_for_people() -> None:
    stream = io.StringIO()
    undo = telemetry.configure("text", "warning", stream)
    telemetry.log("info", "quiet", number=1)
    telemetry.log("warning", "loud", number=1, word="a b", nothing=None)
    undo()
    telemetry.log("error", "afterwards")
    time, _, rest = stream.getvalue().partition(" ")
    assert time.endswith("Z")
    assert rest == 'WARNING loud number=1 word="a b"\n'


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({}, []),
        ({"OTEL_TRACES_EXPORTER": "none"}, []),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, ["console", "otlp_proto_http"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, ["otlp_proto_http"]),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            ["otlp_proto_grpc"],
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_SDK_DISABLED": "true"}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_TRACES_EXPORTER": "none"}, []),
    ],
)
def test_the_standard_variables_say_where_spans_go(environ: dict[str, str], names: Any) -> None:
    assert telemetry._exporters(environ) == names


SPANS = """
import sys
from governance import telemetry
from governance.errors import RefusedError
end = telemetry.start_tracing()
with telemetry.step("request.approve"):
    pass
try:
    with telemetry.step("request.reject"):
        raise RefusedError("carla may not")
except RefusedError:
    pass
end()
print("opentelemetry" in sys.modules)
"""


def spans(**environ: str) -> tuple[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", SPANS], env=clean | environ, capture_output=True, text=True,
        check=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    return done.stdout.strip(), done.stderr


def test_without_an_exporter_nothing_is_imported() -> None:
    assert spans() == ("False", "")


def test_spans_of_verbs_say_how_they_ended_and_no_more() -> None:
    pytest.importorskip("opentelemetry.sdk")
    out, err = spans(OTEL_TRACES_EXPORTER="console", OTEL_SERVICE_NAME="shop-governance")
    assert out == "True"
    decoder, found, rest = json.JSONDecoder(), [], err.strip()
    while rest:
        span, end = decoder.raw_decode(rest)
        found.append(span)
        rest = rest[end:].strip()
    first, second = found
    assert [span["name"] for span in found] == [
        "governance.request.approve", "governance.request.reject",
    ]  # fmt: skip
    assert first["attributes"]["governance.outcome"] == "done"
    assert second["attributes"]["governance.outcome"] == "refused"
    assert second["status"]["status_code"] == "ERROR"
    assert first["resource"]["attributes"]["service.name"] == "shop-governance"
    assert "carla" not in err


def test_an_exporter_that_is_not_installed_is_no_failure() -> None:
    out, err = spans(OTEL_TRACES_EXPORTER="nonesuch")
    assert (out, err) == ("True", "")
