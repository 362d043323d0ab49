"""Refusals are part of the record: who tried what, and why it was not done."""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar

from governance.errors import GovernanceError, RefusedError
from governance.ledger.database import Ledger
from governance.ledger.events import append
from governance.ledger.lookup import find_actor, find_model
from governance.workflow.aliases import subject_of

Verb = ParamSpec("Verb")
Result = TypeVar("Result")


def recorded(
    attempt: str, kind: str, *names: str
) -> Callable[[Callable[Verb, Result]], Callable[Verb, Result]]:
    """Record it when a verb is refused; the refusal goes on to the caller.

    Args:
        attempt: what is tried, as the commands call it.
        kind: kind of the subject, ``request``, ``version``, ….
        names: parameters of the verb that name it: one that holds a name, a number or several numbers, or those of
            the model and of the version; none if it is the ledger as a whole.

    The verb takes the ledger, or the tools with it, as its first parameter and the acting person as its second.
    """

    def decorate(verb: Callable[Verb, Result]) -> Callable[Verb, Result]:
        signature = inspect.signature(verb)

        @functools.wraps(verb)
        def wrapper(*args: Verb.args, **kwargs: Verb.kwargs) -> Result:
            try:
                return verb(*args, **kwargs)
            except RefusedError as error:
                given = signature.bind(*args, **kwargs)
                given.apply_defaults()
                first, actor, *_ = given.arguments.values()
                ledger = first if isinstance(first, Ledger) else first.ledger
                _record(ledger, actor, attempt, kind, names, given.arguments, error)
                raise

        return wrapper

    return decorate


def _record(
    ledger: Ledger,
    actor: str,
    attempt: str,
    kind: str,
    names: tuple[str, ...],
    given: Mapping[str, Any],
    refusal: RefusedError,
) -> None:
    """Append the refusal; a ledger that cannot take it does not hide the refusal itself."""
    payload = {"attempt": attempt, "problem": str(refusal)}
    try:
        with ledger.write() as session:
            find_actor(session, actor)
            values = [given[name] for name in names] or ["ledger"]
            if kind == "version":
                values = [subject_of(find_model(session, values[0]).name, values[1])]
            elif kind == "model" and values[0] is None:
                values = [find_model(session, None).name]
            for value in _several(values[0]):
                append(session, actor, f"{kind}.refused", f"{kind}:{value}", payload)
    except GovernanceError:
        return


def _several(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list | tuple) else [value]
