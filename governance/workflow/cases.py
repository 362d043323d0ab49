"""The file of a case: attachments, legal hold, and the erasure of everything in it that may be personal data."""

from collections.abc import Sequence

from governance.errors import NotFoundError, RefusedError
from governance.ledger.database import Ledger, Session
from governance.ledger.events import append
from governance.ledger.facts import text_facts
from governance.ledger.lookup import find_request
from governance.ledger.private import ATTACHMENT, erase, is_erased, is_locked, keep, opened
from governance.ledger.retention import due
from governance.ledger.rules import current
from governance.ledger.tables import PrivateText, Request
from governance.ledger.types import now
from governance.states import ENDED_STATES, Action, State
from governance.workflow.attachments import Attachment
from governance.workflow.refusals import recorded
from governance.workflow.transition import advance, check_reason, require, subject


def attach(ledger: Ledger, actor: str, request_id: int, name: str, content: bytes) -> int:
    """Put a file into the case, whatever its state; the log holds a salted commitment of it.

    Returns:
        Its number in the case, from 1.

    Raises:
        InvalidInputError: it is empty or larger than `governance.workflow.attachments.MAX_BYTES`.
        RefusedError: the case is redacted.
    """
    return attach_all(ledger, actor, request_id, [Attachment.of(name, content)])


@recorded("attach to", "request", "request_id")
def attach_all(ledger: Ledger, actor: str, request_id: int, files: Sequence[Attachment]) -> int:
    """Put several files into the case, all or none.

    Returns:
        Number of the last one in the case.

    Raises:
        RefusedError: the case is redacted.
    """
    with ledger.write() as session:
        require(session, actor, "request.attach")
        request = find_request(session, request_id)
        if request.redacted:
            raise RefusedError(f"request {request.id} is redacted; nothing is added to its file")
        kept = [keep(session, request, ATTACHMENT, file.content, file.name) for file in files]
        session.flush()
        advance(session, request, Action.ATTACH, actor, {"texts": [text_facts(t) for t in kept]})
        return len(attachments(request))


@recorded("read an attachment of", "request", "request_id")
def read_attachment(ledger: Ledger, actor: str, request_id: int, number: int) -> tuple[str, bytes]:
    """Give out a file of the case; that it was given out is recorded before.

    Args:
        ledger: where it lies.
        actor: who takes it.
        request_id: the case.
        number: of the file in the case, from 1.

    Returns:
        Its name and content.

    Raises:
        NotFoundError: there is no such file, or it was erased.
        RefusedError: it is encrypted and the data key is not here.
    """
    with ledger.write() as session:
        require(session, actor, "attachment.export")
        request = find_request(session, request_id)
        found = attachments(request)
        if not 1 <= number <= len(found):
            raise NotFoundError(f"request {request.id} has no attachment {number}")
        text = found[number - 1]
        if is_erased(text):
            raise NotFoundError(f"attachment {number} of request {request.id} was erased")
        if is_locked(text):
            raise RefusedError(
                f"attachment {number} of request {request.id} is encrypted, and the data key is not here"
            )
        what = opened(text)
        assert what is not None  # neither erased nor locked
        payload = {"attachment": number, "commitment": text.commitment}
        append(session, actor, "attachment.exported", subject(request), payload)
        return what.name or "", what.content


@recorded("hold", "request", "request_id")
def hold(ledger: Ledger, actor: str, request_id: int, reason: str) -> None:
    """Put the case on legal hold: it cannot be redacted until the hold is lifted.

    Args:
        ledger: where it is recorded.
        actor: who does it.
        request_id: the case.
        reason: why; it stays in the log for ever, so no personal data.

    Raises:
        RefusedError: it is on hold, or redacted, so that there is nothing to hold.
    """
    check_reason(reason)
    with ledger.write() as session:
        require(session, actor, "request.hold")
        request = find_request(session, request_id)
        if request.held:
            raise RefusedError(f"request {request.id} is on hold already")
        if not _left(request):
            raise RefusedError(f"request {request.id} is redacted; there is nothing left to hold")
        advance(session, request, Action.HOLD, actor, {"reason": reason})
        request.held = True


@recorded("lift the hold of", "request", "request_id")
def lift(ledger: Ledger, actor: str, request_id: int, reason: str) -> None:
    """Lift the legal hold of a case.

    Args:
        ledger: where it is recorded.
        actor: who does it.
        request_id: the case.
        reason: why; it stays in the log for ever, so no personal data.

    Raises:
        RefusedError: it is not on hold.
    """
    check_reason(reason)
    with ledger.write() as session:
        require(session, actor, "request.hold")
        request = find_request(session, request_id)
        if not request.held:
            raise RefusedError(f"request {request.id} is not on hold")
        advance(session, request, Action.LIFT, actor, {"reason": reason})
        request.held = False


@recorded("redact", "request", "request_id")
def redact(ledger: Ledger, actor: str, request_id: int, reason: str) -> str | None:
    """Erase every private text of a request that has ended: reasons, subject reference, comments, attachments.

    The commitments stay, so the log and all proofs hold as before. An open request needs its texts, and so does a
    released one: end it first (`reject`, `withdraw`, `close`).

    Args:
        ledger: where they lie.
        actor: who does it.
        request_id: the case.
        reason: why; it stays in the log for ever, so no personal data.

    Returns:
        What is left to do so that the bytes are gone from the database's files too (`Ledger.scrub`); None if nothing.

    Raises:
        RefusedError: it has not ended, is on hold, or is redacted already.
    """
    check_reason(reason)
    with ledger.write() as session:
        require(session, actor, "request.redact")
        _redact(session, find_request(session, request_id), actor, reason)
    return ledger.scrub()


@recorded("redact what is due", "policy")
def redact_due(ledger: Ledger, actor: str) -> tuple[list[int], str | None]:
    """Redact every request whose retention period is over and that is not on hold.

    Returns:
        Their numbers, and what `redact` returns.
    """
    with ledger.write() as session:
        require(session, actor, "request.redact")
        rules, _ = current(session)
        numbers = []
        for request, until in list(due(session, rules.retention, now())):
            _redact(
                session,
                request,
                actor,
                f"the retention period of the class {request.retention} ended on {until:%Y-%m-%d}",
            )
            numbers.append(request.id)
    return numbers, ledger.scrub() if numbers else None


def attachments(request: Request) -> list[PrivateText]:
    """The files of a case in their order, erased ones too."""
    return [text for text in request.texts if text.kind == ATTACHMENT]


def _redact(session: Session, request: Request, actor: str, reason: str) -> None:
    left = _left(request)
    if not left:
        raise RefusedError(f"request {request.id} is redacted already")
    if request.held:
        raise RefusedError(f"request {request.id} is on legal hold and cannot be redacted")
    if State(request.state) not in ENDED_STATES:
        ended = ", ".join(sorted(state.value for state in ENDED_STATES))
        raise RefusedError(
            f"request {request.id} is {request.state}; only what has ended ({ended}) can be redacted"
        )
    advance(session, request, Action.REDACT, actor, {"reason": reason, "erased": len(left)})
    for text in left:
        erase(text)
    request.redacted = True


def _left(request: Request) -> list[PrivateText]:
    return [text for text in request.texts if not is_erased(text)]
