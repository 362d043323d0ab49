"""The two aliases in the ledger: ``candidate``, the newest version, and ``champion``, the one that is served."""

from collections.abc import Mapping
from typing import Any

from governance.ledger.database import Session
from governance.ledger.events import append
from governance.ledger.lookup import find_request
from governance.ledger.tables import Alias, Model, ModelVersion
from governance.states import Action, State
from governance.workflow.transition import advance

CANDIDATE = "candidate"
CHAMPION = "champion"


def subject_of(model: str, number: int) -> str:
    """How events name a version."""
    return f"version:{model}/{number}"


def take_alias(
    session: Session,
    actor: str,
    model: Model,
    alias: str,
    version: ModelVersion,
    payload: Mapping[str, Any],
) -> None:
    """Point an alias at a version and record from where it came.

    A version that becomes champion releases the requests it holds.
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
