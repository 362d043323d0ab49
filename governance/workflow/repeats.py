"""Whether what somebody files is what they filed already: a command whose answer was lost is given again.

The log says what was filed, and of the texts only salted commitments; with the salts, which lie beside the texts, the
new words are held against them.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from governance.digests import load_json
from governance.errors import IntegrityError
from governance.ledger.database import Session
from governance.ledger.lookup import newest_events, open_requests_by
from governance.ledger.private import commitment, opened
from governance.ledger.tables import Model, Request
from governance.states import Basis
from governance.unlearning.targets import Target
from governance.workflow.transition import subject


class Text(NamedTuple):
    """A private text as it is filed."""

    kind: str
    content: bytes
    name: str | None = None


class Filing(NamedTuple):
    """What somebody asks for.

    Attributes:
        due: by when; a duration if it counts from the filing.
        texts: in the order in which they are kept.
    """

    targets: Sequence[Target]
    basis: Basis
    due: datetime | timedelta
    retention: str
    texts: Sequence[Text]


def find_same(session: Session, actor: str, model: Model, filing: Filing) -> Request | None:
    """The actor's newest request with exactly this content whose deadline still runs; None if there is none.

    A request whose texts were erased, or cannot be read here, is taken for another one.
    """
    first = filing.targets[0]
    for request in open_requests_by(
        session, actor, model, filing.basis.value, filing.retention, first.label, first.domain
    ):
        event = next(newest_events(session, subject(request), "request.filed"), None)
        said = load_json(event.payload) if event else None
        if said and _asks(said["request"], filing) and _says(request, said["texts"], filing.texts):
            return request
    return None


def _asks(said: dict[str, Any], filing: Filing) -> bool:
    targets = {(target["class"], target["domain"]) for target in said["targets"]}
    due = datetime.fromisoformat(said["due_at"])
    since = due - datetime.fromisoformat(said["filed_at"])
    return (
        targets == {(target.label, target.domain) for target in filing.targets}
        and said["basis"] == filing.basis
        and said["retention"] == filing.retention
        and (since if isinstance(filing.due, timedelta) else due) == filing.due
    )


def _says(request: Request, said: list[dict[str, Any]], texts: Sequence[Text]) -> bool:
    kept = {text.commitment: text for text in request.texts}
    if [facts["kind"] for facts in said] != [text.kind for text in texts]:
        return False
    try:
        for facts, text in zip(said, texts, strict=True):
            found = opened(kept[facts["commitment"]])
            if found is None:
                return False
            if commitment(found.salt, text.kind, text.content, text.name) != facts["commitment"]:
                return False
    except (IntegrityError, KeyError):
        return False
    return True
