"""The two aliases in the ledger: ``candidate``, the newest version, and the production alias of the policy."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from governance.errors import ConflictError, GovernanceError, UnavailableError
from governance.ledger import checkpoints
from governance.ledger.database import Ledger, Session
from governance.ledger.events import append
from governance.ledger.intents import abandon
from governance.ledger.lookup import alias_version, find_model, find_request
from governance.ledger.names import subject_of
from governance.ledger.rules import production, served_version
from governance.ledger.tables import Alias, Model, ModelVersion
from governance.ledger.whereabouts import place_of
from governance.states import Action, State
from governance.workflow.transition import advance

if TYPE_CHECKING:
    from governance.registry import Registry

_LOOKS = 5


def served_number(session: Session, model: Model) -> int | None:
    """Number of the version that is served."""
    version = served_version(session, model)
    return None if version is None else version.number


def check_expected(session: Session, model: Model, expect: int | None) -> None:
    """Make sure that the version that somebody saw served still is; None expects nothing.

    Raises:
        ConflictError: another one is.
    """
    served = served_number(session, model)
    if expect is not None and served != expect:
        raise ConflictError(
            f"version {served} of {model.name!r} is served, not version {expect}; look at it and try again"
        )


def take_alias(
    session: Session,
    actor: str,
    model: Model,
    alias: str,
    version: ModelVersion,
    payload: Mapping[str, Any],
) -> None:
    """Point an alias at a version and record from where it came.

    A version that is served from then on releases the requests it holds, and the tree head after that is signed.
    """
    serves = alias == production(session)
    row = session.get(Alias, (model.id, alias))
    before = None if row is None else row.version.number
    if row is None:
        session.add(Alias(model_id=model.id, name=alias, version_id=version.id))
    else:
        row.version = version
    session.flush()
    append(
        session,
        actor,
        "version.promoted" if serves else "version.nominated",
        subject_of(model.name, version.number),
        {"alias": alias, "from": before, "to": version.number, **payload},
    )
    if serves:
        for member in version.members:
            request = find_request(session, member.request_id)
            if request.state == State.APPLIED:
                release = {"version": version.number, "version_digest": version.digest}
                advance(session, request, Action.RELEASE, actor, release)
        checkpoints.take(session, actor)


def mirror(ledger: Ledger, registry: "Registry", model_name: str, names: Sequence[str]) -> None:
    """Set aliases in MLflow to what the ledger says, and look again: others may be moving them too.

    Raises:
        UnavailableError: MLflow or the ledger cannot be used, or somebody else keeps moving them.
    """
    for _ in range(_LOOKS):
        with ledger.read() as session:
            model = find_model(session, model_name)
            wanted = {name: _registered(session, model, name) for name in names}
        found = registry.aliases(model_name)
        done = True
        for name, version in wanted.items():
            if version is None and name in found:
                registry.delete_alias(model_name, name)
                done = False
            elif version is not None and version != found.get(name):
                registry.set_alias(model_name, name, version)
                done = False
        if done:
            return
    raise UnavailableError(f"somebody else keeps moving the aliases of {model_name!r} in MLflow")


def _registered(session: Session, model: Model, alias: str) -> str | None:
    """MLflow's number of the version that an alias points at in the ledger."""
    version = alias_version(session, model, alias)
    return None if version is None else place_of(session, version).registry_version


def settle(ledger: Ledger, registry: "Registry", model_name: str, names: Sequence[str]) -> None:
    """Mirror aliases after the outcome is on record; what fails now is left to the doctor."""
    with suppress(GovernanceError):
        mirror(ledger, registry, model_name, names)


def give_up(
    ledger: Ledger,
    actor: str,
    subject: str,
    intent: str,
    problem: GovernanceError,
) -> None:
    """Close the intent of a step that cannot be completed; one that only has to be repeated stays open."""
    if isinstance(problem, UnavailableError):
        return
    with suppress(GovernanceError), ledger.write() as session:
        abandon(session, actor, subject, intent)
