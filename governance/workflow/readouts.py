"""What leaves the house is part of the record."""

from governance.digests import digest_bytes
from governance.ledger.database import Ledger
from governance.ledger.events import append
from governance.workflow.refusals import recorded
from governance.workflow.transition import require


@recorded("report", None, "subject")
def record(ledger: Ledger, actor: str, subject: str, format_: str, content: bytes) -> None:
    """Record that a report is given out.

    Args:
        ledger: where it is recorded.
        actor: who takes it; any role may.
        subject: what it is about, ``request:1`` or ``version:shop/2``.
        format_: ``html`` or ``json``.
        content: exactly the bytes that leave. They must hold something random, since a digest of nothing but known
            text and a personal reference would let erased references be guessed.

    Raises:
        RefusedError: the actor is deactivated, or has no valid key at hand.
    """
    with ledger.write() as session:
        require(session, actor, "report.export")
        payload = {"format": format_, "digest": digest_bytes(content), "bytes": len(content)}
        append(session, actor, "report.exported", subject, payload)
