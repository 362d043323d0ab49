"""Looking at a workspace from outside."""

from dataclasses import replace
from typing import Any

from sqlalchemy import text

from governance.audit.verify import verify
from governance.digests import load_json
from governance.ledger.database import Ledger
from governance.ledger.events import stream
from governance.ledger.lookup import alias_version, find_model, find_request, find_version
from governance.ledger.rules import current
from governance.ledger.tables import Base, Report
from governance.policy import Gates
from governance.workflow import policies


def dump(ledger: Ledger) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table but the record of refusals: what "changes nothing" means."""
    with ledger.connect() as connection:
        rows = {
            table: [tuple(row) for row in connection.execute(text(f"SELECT * FROM {table}"))]
            for table in sorted(Base.metadata.tables)
        }
    rows["events"] = [row for row in rows["events"] if not row[3].endswith(".refused")]
    return rows


def refusals(ledger: Ledger) -> list[tuple[str, str, str]]:
    """Actor, subject and words of every recorded refusal."""
    with ledger.read() as session:
        return [
            (event.actor, event.subject, load_json(event.payload)["problem"])
            for event in stream(session)
            if event.action.endswith(".refused")
        ]


def actions(ledger: Ledger) -> list[str]:
    """Actions of all events, in order."""
    with ledger.connect() as connection:
        rows = connection.execute(text("SELECT action FROM events ORDER BY seq"))
        return [row[0] for row in rows]


def state(ledger: Ledger, number: int) -> str:
    """State of a request."""
    with ledger.read() as session:
        return find_request(session, number).state


def champion(ledger: Ledger) -> int | None:
    """Number of the version that is served."""
    with ledger.read() as session:
        version = alias_version(session, find_model(session, "shop"), "champion")
        return None if version is None else version.number


def active(ledger: Ledger, number: int) -> list[int]:
    """Active set of a version."""
    with ledger.read() as session:
        version = find_version(session, find_model(session, "shop"), number)
        return [member.request_id for member in version.members]


def version_report(ledger: Ledger, number: int) -> dict[str, Any]:
    """First report of a version."""
    with ledger.read() as session:
        version = find_version(session, find_model(session, "shop"), number)
        return load_json(version.reports[0].content)


def report(ledger: Ledger, report_id: int) -> dict[str, Any]:
    """Content of a report."""
    with ledger.read() as session:
        return load_json(session.get_one(Report, report_id).content)


def gates(ledger: Ledger, limits: Gates) -> None:
    """Let the policy in force have these gates."""
    with ledger.read() as session:
        rules, _ = current(session)
    if rules.gates != limits:
        policies.adopt(ledger, "ada", replace(rules, gates=limits), "a test wants it")


def holds(ledger: Ledger) -> bool:
    """Whether the ledger verifies."""
    return verify(ledger).ok
