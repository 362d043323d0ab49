"""The tables of a bundle for spreadsheets."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from governance.audit.bundle_contents import Contents
from governance.ledger.events import Entry
from governance.unlearning.gates import describe
from governance.unlearning.targets import Target, describe_all


def requests_csv(contents: Contents) -> bytes:
    """One line a request."""
    header = ["request", "model", "forget", "basis", "state", "filed_by", "filed_at", "due_at",
              "held", "redacted"]  # fmt: skip
    rows = []
    for row in contents.requests:
        facts = row["facts"]
        targets = [Target.from_dict(target) for target in facts["targets"]]
        rows.append(
            [row["id"], facts["model"], describe_all(targets), facts["basis"], row["state"],
             facts["filed_by"], facts["filed_at"], facts["due_at"], row["held"], row["redacted"]]
        )  # fmt: skip
    return b"".join(_lines([header, *rows]))


def decisions_csv(contents: Contents) -> bytes:
    """One line a decision."""
    names = ["ruling", "actor", "decided_at", "break_glass", "projector_digest", "report_digest",
             "policy_digest"]  # fmt: skip
    rows = [[row["request"], *(row["facts"][name] for name in names)] for row in contents.decisions]
    return b"".join(_lines([["request", *names], *rows]))


def overrides_csv(contents: Contents) -> bytes:
    """One line an approval or promotion in spite of gates that failed."""
    header = ["subject", "actor", "overridden_at", "reason", "gates", "about"]
    rows = []
    for row in contents.overrides:
        facts = row["facts"]
        gates = "; ".join(describe(gate) for gate in facts["gates"])
        rows.append(
            [
                row["subject"],
                facts["actor"],
                facts["overridden_at"],
                facts["reason"],
                gates,
                facts["about"],
            ]
        )
    return b"".join(_lines([header, *rows]))


def events_csv(events: Iterable[Entry]) -> Iterator[bytes]:
    """One line an event, without its payload."""
    names = ("seq", "at", "actor", "action", "subject", "digest")
    yield from _lines([names])
    for event in events:
        yield from _lines([[getattr(event, name) for name in names]])


def _lines(rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    for row in rows:
        out = io.StringIO()
        csv.writer(out, lineterminator="\r\n").writerow([_plain(cell) for cell in row])
        yield out.getvalue().encode()


def _plain(cell: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t") else cell
