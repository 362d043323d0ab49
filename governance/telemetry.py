"""What programs are told about the work: log lines on standard error and OpenTelemetry spans.

A line holds numbers, digests, verbs and durations; never a name of a person, a reason, a class or a text. Nothing is
imported or computed for it before somebody asks for it: the default level is ``warning``, at which a command is as
quiet as ever, and spans are made only if the environment configures an exporter or the host program has done so.
"""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from datetime import UTC, datetime
from time import monotonic
from typing import Any, NamedTuple, TextIO

from governance.errors import GovernanceError

FORMATS = ("text", "json")
LEVELS = ("warning", "info", "debug", "error")
FORMAT_VARIABLE = "GOVERNANCE_LOG_FORMAT"
LEVEL_VARIABLE = "GOVERNANCE_LOG_LEVEL"

_logger = logging.getLogger("governance")
_logger.addHandler(logging.NullHandler())
_FIELDS = "governance_fields"


class Appended(NamedTuple):
    """An event that a transaction added.

    Attributes:
        seq: its number.
        action: what was done.
        subject: to what; that of an actor is left out.
        intent: digest of the intent that it opens or ends.
    """

    seq: int
    action: str
    subject: str
    intent: str | None


_collected: ContextVar[list[Appended] | None] = ContextVar("governance_step", default=None)


def configure(format_: str, level: str, stream: TextIO | None = None) -> Callable[[], None]:
    """Write log lines to a stream, standard error if none is given.

    Returns:
        What takes this back.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_Json() if format_ == "json" else _Text())
    before = _logger.level, _logger.propagate
    _logger.addHandler(handler)
    _logger.setLevel(level.upper())
    _logger.propagate = False

    def undo() -> None:
        _logger.removeHandler(handler)
        _logger.setLevel(before[0])
        _logger.propagate = before[1]

    return undo


def log(level: str, event: str, **fields: Any) -> None:
    """One line: what happened, and fields of plain values; those that are None are left out."""
    number = getattr(logging, level.upper())
    if _logger.isEnabledFor(number):
        kept = {name: value for name, value in fields.items() if value is not None}
        _logger.log(number, event, extra={_FIELDS: kept})


def committed(events: Iterable[Appended]) -> None:
    """Events are in the log now."""
    step_events = _collected.get()
    for event in events:
        if step_events is not None:
            step_events.append(event)
        log(
            "info", "event", seq=event.seq, action=event.action, subject=_impersonal(event.subject),
            intent=event.intent,
        )  # fmt: skip


@contextmanager
def step(verb: str) -> Iterator[None]:
    """A verb of the workflow: a span, and a line at its end with the events it added and how long it took."""
    begun, events = monotonic(), list[Appended]()
    token = _collected.set(events)
    outcome = "done"
    try:
        with _span(verb) as span:
            try:
                yield
            except GovernanceError as error:
                outcome = _word(error)
                raise
            except BaseException:
                outcome = "failed"
                raise
            finally:
                _describe(span, outcome, events)
    finally:
        _collected.reset(token)
        log(
            "info",
            verb,
            outcome=outcome,
            duration_s=round(monotonic() - begun, 3),
            events=[event.seq for event in events],
            subjects=sorted({_impersonal(event.subject) for event in events}),
            intents=sorted({event.intent for event in events if event.intent is not None}),
        )


def failed(problem: str, error: BaseException, exit_code: int) -> None:
    """A command ends with an error; the line says what people would be told."""
    log(
        "error",
        "failed",
        problem=problem,
        error=type(error).__name__,
        exit_code=exit_code,
    )


def start_tracing() -> Callable[[], None]:
    """Make spans go where the standard ``OTEL_*`` variables say, if the SDK and the exporter are installed.

    Returns:
        What hands over the last spans.
    """
    names = _exporters(os.environ)
    if not names:
        return lambda: None
    from importlib.metadata import entry_points

    try:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
    except ImportError as error:
        log("warning", "no_tracing", problem=str(error))
        return lambda: None
    provider = TracerProvider()
    for name in names:
        if name == "console":  # standard output is for results
            provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(out=sys.stderr)))
            continue
        found = list(entry_points(group="opentelemetry_traces_exporter", name=name))
        if not found:
            log("warning", "no_tracing", problem=f"no exporter {name} is installed")
            continue
        provider.add_span_processor(BatchSpanProcessor(found[0].load()()))
    trace.set_tracer_provider(provider)
    return provider.shutdown


def _exporters(environ: Mapping[str, str]) -> list[str]:
    """Names of the exporters that the environment asks for."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return []
    given = environ.get("OTEL_TRACES_EXPORTER", "")
    if not given and any(
        environ.get(name)
        for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    ):
        given = "otlp"
    protocol = environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environ.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"
    )
    otlp = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
    names = [name.strip() for name in given.split(",")]
    return [otlp if name == "otlp" else name for name in names if name and name != "none"]


def _span(name: str) -> AbstractContextManager[Any]:
    # Who has not imported the API has configured nothing.
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return nullcontext()
    tracer = trace.get_tracer("governance")
    span: AbstractContextManager[Any] = tracer.start_as_current_span(
        f"governance.{name}", record_exception=False, set_status_on_exception=False
    )
    return span


def _describe(span: Any, outcome: str, events: list[Appended]) -> None:
    if span is None or not span.is_recording():
        return
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("governance.outcome", outcome)
    span.set_attribute("governance.events", [event.seq for event in events])
    if outcome != "done":
        span.set_status(Status(StatusCode.ERROR, outcome))


def _word(error: GovernanceError) -> str:
    """``refused``, ``conflict``, …: the name of the error."""
    return type(error).__name__.removesuffix("Error").lower()


def _impersonal(subject: str) -> str:
    return "actor" if subject.startswith("actor:") else subject


class _Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, _FIELDS, {}),
        }
        return json.dumps(line, ensure_ascii=False, default=str)


class _Text(logging.Formatter):
    """Time, level, what happened, and ``name=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields = getattr(record, _FIELDS, {})
        said = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in fields.items()]
        return " ".join([_time(record), record.levelname, record.getMessage(), *said])


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
