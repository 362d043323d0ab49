"""Refusals are part of the record: who tried what, and why it was not done."""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar

from governance.errors import GovernanceError, RefusedError
from governance.ledger.database import Ledger
from governance.ledger.events import append
from governance.ledger.lookup import find_actor, find_model
from governance.telemetry import step

Verb = ParamSpec("Verb")
Result = TypeVar("Result")


def recorded(
    attempt: str, kind: str | None, *names: str
) -> Callable[[Callable[Verb, Result]], Callable[Verb, Result]]:
    """Record it when a verb is refused; the refusal goes on to the caller. What the verb did goes into logs and spans.

    Args:
        attempt: what is tried, as the commands call it.
        kind: kind of the subject, ``request``, ``version``, …; None if the one parameter holds the whole subject.
        names: parameters of the verb that name it: one that holds a name, a number or several numbers, or those of
            the model and of the version; none if it is the ledger itself.

    The verb takes the ledger, or the tools with it, as its first parameter, and the acting person as `actor`.
    """

    def decorate(verb: Callable[Verb, Result]) -> Callable[Verb, Result]:
        signature = inspect.signature(verb)

        @functools.wraps(verb)
        def wrapper(*args: Verb.args, **kwargs: Verb.kwargs) -> Result:
            try:
                with step(f"{kind}.{attempt.replace(' ', '_')}"):
                    return verb(*args, **kwargs)
            except RefusedError as error:
                given = signature.bind(*args, **kwargs)
                given.apply_defaults()
                first = next(iter(given.arguments.values()))
                ledger = first if isinstance(first, Ledger) else first.ledger
                _record(ledger, attempt, kind, names, given.arguments, error)
                raise

        return wrapper

    return decorate


def _record(
    ledger: Ledger,
    attempt: str,
    kind: str | None,
    names: tuple[str, ...],
    given: Mapping[str, Any],
    refusal: RefusedError,
) -> None:
    """Append the refusal; a ledger that cannot take it does not hide the refusal itself."""
    actor = given["actor"]
    payload = {"attempt": attempt, "problem": str(refusal), "cause": refusal.cause}
    try:
        with ledger.write() as session:
            find_actor(session, actor)
            values = [given[name] for name in names]
            if kind is None:
                kind, _, values[0] = values[0].partition(":")
            elif kind == "version":
                values = [f"{find_model(session, values[0]).name}/{values[1]}"]
            elif kind == "model" and values[0] is None:
                values = [find_model(session, None).name]
            for value in _several(values[0]) if values else ["ledger"]:
                append(session, actor, f"{kind}.refused", f"{kind}:{value}", payload)
    except GovernanceError:
        return


def _several(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list | tuple) else [value]
