"""The two aliases in the ledger: ``candidate``, the newest version, and ``champion``, the one that is served."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from governance.ledger import checkpoints
from governance.ledger.database import Ledger, Session
from governance.ledger.events import append
from governance.ledger.lookup import alias_version, find_model, find_request
from governance.ledger.tables import Alias, Model, ModelVersion
from governance.states import Action, State
from governance.workflow.transition import advance

if TYPE_CHECKING:
    from governance.registry import Registry

CANDIDATE = "candidate"
CHAMPION = "champion"


def subject_of(model: str, number: int) -> str:
    """How events name a version."""
    return f"version:{model}/{number}"


def champion_number(session: Session, model: Model) -> int | None:
    """Number of the version that is served."""
    version = alias_version(session, model, CHAMPION)
    return None if version is None else version.number


def take_alias(
    session: Session,
    actor: str,
    model: Model,
    alias: str,
    version: ModelVersion,
    payload: Mapping[str, Any],
) -> None:
    """Point an alias at a version and record from where it came.

    A version that becomes champion releases the requests it holds, and the tree head after that is signed.
    """
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
        "version.promoted" if alias == CHAMPION else "version.nominated",
        subject_of(model.name, version.number),
        {"alias": alias, "from": before, "to": version.number, **payload},
    )
    if alias == CHAMPION:
        for member in version.members:
            request = find_request(session, member.request_id)
            if request.state == State.APPLIED:
                release = {"version": version.number, "version_digest": version.digest}
                advance(session, request, Action.RELEASE, actor, release)
        checkpoints.take(session, actor)


def mirror(ledger: Ledger, registry: "Registry", model_name: str, names: Sequence[str]) -> None:
    """Set aliases in MLflow to what the ledger says, after the outcome was refused."""
    with ledger.read() as session:
        model = find_model(session, model_name)
        found = {name: alias_version(session, model, name) for name in names}
    for name, version in found.items():
        if version is None:
            registry.delete_alias(model_name, name)
        else:
            registry.set_alias(model_name, name, version.registry_version)
