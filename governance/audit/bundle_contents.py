"""What belongs into a bundle: the events of a scope, and the records that they announce."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from governance.audit import verify_bundle
from governance.digests import load_json
from governance.errors import IntegrityError, RefusedError
from governance.evidence.encoding import to_base64
from governance.ledger.database import Session
from governance.ledger.events import Entry, entries
from governance.ledger.identity import prototype_digests, text_digests
from governance.ledger.lookup import find_model, find_request, find_version
from governance.ledger.private import ATTACHMENT, is_erased, opened
from governance.ledger.rules import served_version
from governance.ledger.selection import (
    array_bytes,
    event_at,
    events_about,
    reports_of_request,
    reports_of_version,
    version_row,
)
from governance.ledger.tables import Array, ProjectorRecord

EVERYWHERE = (
    "actor.added",
    "actor.deactivated",
    "actor.key_rotated",
    "policy.adopted",
    "checkpoint.taken",
)
"""Events that every bundle holds: without them nobody knows whose keys were valid and which rules held."""


@dataclass(frozen=True)
class Scope:
    """What a bundle is about: one request, one version, or, with neither, the whole ledger."""

    request: int | None = None
    model: str | None = None
    version: int | None = None

    def __str__(self) -> str:
        if self.request is not None:
            return f"request {self.request}"
        return "all" if self.version is None else f"version {self.version}"

    @property
    def all(self) -> bool:
        """Whether it is the whole ledger."""
        return self.request is None and self.version is None

    def to_dict(self) -> dict[str, Any]:
        """What the manifest says of it."""
        if self.request is not None:
            return {"scope": "request", "request": self.request}
        if self.version is not None:
            return {"scope": "version", "model": self.model, "version": self.version}
        return {"scope": "all"}


class Announced(verify_bundle.Keys):
    """Keys as the events announce them, without the work of verifying signatures."""

    def _problem(self, event: verify_bundle.Event) -> str | None:
        return None


class Contents:
    """Everything that a bundle tells, read in one session.

    The tables hold exactly what the events announce, as the verifier will read them: it is the verifier's own code
    that says what they announce.

    Attributes:
        size: number of events of the log.
        head: digest of the last.
        at: its time.
        replay: what the events say.
        keys: whose keys they announce.
        subjects: of the selected events; None for all.
    """

    def __init__(self, session: Session, scope: Scope, size: int) -> None:
        """Select and replay the events of `scope` among the first `size`.

        Raises:
            NotFoundError: there is no such request, model or version.
        """
        self._session, self.size = session, size
        self.scope = scope
        self._selected = None if scope.all else self._select(scope)
        self.replay, self.keys = verify_bundle.Replay(scope.all), Announced()
        for entry in self.entries():
            event = _event(entry)
            self.keys.read(event)
            for _ in self.replay.read(event):
                pass  # what does not hold is for the verifier to say
        self.head, self.at = _last(session, size)

    def entries(self) -> Iterator[Entry]:
        """The events, in order; all of a ledger are read anew each time."""
        if self._selected is not None:
            yield from self._selected
            return
        for chunk in entries(self._session):
            yield from (entry for entry in chunk if entry.seq <= self.size)

    @property
    def partial(self) -> bool:
        """Whether events were selected, so that each needs a proof of its own."""
        return self._selected is not None

    @cached_property
    def requests(self) -> list[dict[str, Any]]:
        """The requests, with the states to which their events lead."""
        return [
            {
                "id": number,
                "facts": {**case.facts, "due_at": case.due_at},
                "state": case.state,
                "held": case.held,
                "redacted": case.redacted,
            }
            for number, case in sorted(self.replay.cases.items())
        ]

    @cached_property
    def decisions(self) -> list[dict[str, Any]]:
        """Every decision, in order."""
        return [{"request": n, "facts": facts} for n, facts in self.replay.said["decisions"]]

    @cached_property
    def overrides(self) -> list[dict[str, Any]]:
        """Every approval and promotion in spite of gates that failed, in order."""
        return [{"subject": name, "facts": facts} for name, facts in self.replay.said["overrides"]]

    @cached_property
    def projectors(self) -> list[dict[str, Any]]:
        """Every preparation, with its recipe."""
        made = []
        for number, facts in self.replay.said["projectors"]:
            row = self._projector(number, facts["digest"])
            made.append(
                {
                    "request": number,
                    "facts": facts,
                    "recipe": row.recipe,
                    "factor_a": row.factor_a,
                    "factor_b": row.factor_b,
                }
            )
        return made

    @cached_property
    def versions(self) -> list[dict[str, Any]]:
        """Every version, with its recipe."""
        made = []
        for model, facts in self.replay.said["versions"]:
            row = version_row(self._session, model, facts["number"])
            if row is None:
                raise _lost(f"version {facts['number']} of {model}")
            made.append(
                {
                    "model": model,
                    "facts": facts,
                    "recipe": row.recipe,
                    "factor_a": row.factor_a,
                    "factor_b": row.factor_b,
                }
            )
        return made

    def models(self) -> list[dict[str, Any]]:
        """Every model, with its label space."""
        return [
            {"facts": facts, "labels": find_model(self._session, name).labels}
            for name, facts in self.replay.said["models"]
        ]

    def datasets(self) -> list[dict[str, Any]]:
        """Every data set, by its digest only."""
        return [{"facts": facts} for _, facts in self.replay.said["datasets"]]

    def policy(self) -> dict[str, Any]:
        """Every policy that was adopted, and which is in force."""
        return {
            "in_force": self.replay.policy,
            "policies": dict(self.replay.said["policies"]),
        }

    def reports(self) -> dict[str, str]:
        """Digest → content of every report of which the events speak."""
        wanted = {facts["digest"] for _, facts in self.replay.said["reports"]}
        found: dict[str, str] = {}
        for owner in dict.fromkeys(owner for owner, _ in self.replay.said["reports"]):
            kind, _, name = owner.partition(":")
            model, _, number = name.rpartition("/")
            if kind == "request":
                rows = reports_of_request(self._session, int(number))
            else:
                rows = reports_of_version(self._session, model, int(number))
            found |= {row.digest: row.content for row in rows if row.digest in wanted}
        if found.keys() != wanted:
            raise _lost("a report")
        return found

    def arrays(self) -> dict[str, Array]:
        """Every matrix that the records refer to, by digest."""
        digests = set()
        for row in (*self.projectors, *self.versions):
            digests |= {row["factor_a"], row["factor_b"], *text_digests(row["recipe"])}
        for row in self.projectors:
            digests.update(prototype_digests(row["recipe"]))
        bank = ["bank_rows", "bank_scores"]
        if verify_bundle.synonyms_moved(row["recipe"] for row in self.projectors):
            bank.append("bank_paraphrases")
        for model in self.models():
            digests |= {model["facts"][name] for name in bank}
        found = {digest: array_bytes(self._session, digest) for digest in sorted(digests)}
        if None in found.values():
            raise _lost("an array")
        return {digest: row for digest, row in found.items() if row is not None}

    def texts(self) -> list[dict[str, Any]]:
        """The private texts that were not erased, with their salts.

        Raises:
            RefusedError: they are encrypted, and there is no data key here.
        """
        commitments = {commitment for _, (_, commitment) in self.replay.said["texts"]}
        found = []
        for number in sorted(self.replay.cases):
            for text in find_request(self._session, number).texts:
                if text.commitment not in commitments or is_erased(text):
                    continue
                kept = opened(text)
                if kept is None:
                    raise RefusedError(
                        "the private texts of this ledger are encrypted and the data key is not here; export without "
                        "--with-texts, or name the key with GOVERNANCE_DATA_KEY_FILE"
                    )
                words = None if text.kind == ATTACHMENT else kept.content.decode()
                found.append(
                    {
                        "request": number,
                        "kind": text.kind,
                        "name": kept.name,
                        "salt": kept.salt,
                        "content": to_base64(kept.content),
                        "words": words,
                        "commitment": text.commitment,
                    }
                )
        return found

    def _projector(self, number: int, digest: str) -> ProjectorRecord:
        for row in find_request(self._session, number).projectors:
            if row.digest == digest:
                return row
        raise _lost(f"a projector of request {number}")

    def _select(self, scope: Scope) -> list[Entry]:
        """Events on the requests and versions of the scope, and whatever these refer to."""
        session = self._session
        about = partial(events_about, session, size=self.size)
        if scope.request is not None:
            request = find_request(session, scope.request)
            model = request.model
            own = about(subjects=[f"request:{request.id}"], actions=())
            numbers = {said["version"] for e in own if "version" in (said := load_json(e.payload))}
            champion = served_version(session, model)
            if champion is not None and numbers:
                numbers.add(champion.number)
            requests = {request.id}
        else:
            model, requests = find_model(session, scope.model), set()
            numbers = {find_version(session, model, int(scope.version or 0)).number}
        versions = [find_version(session, model, number) for number in sorted(numbers)]
        requests |= {member.request_id for version in versions for member in version.members}
        reports = [
            *(
                report
                for number in sorted(requests)
                for report in reports_of_request(session, number)
            ),
            *(report for version in versions for report in version.reports),
        ]
        subjects = {
            f"model:{model.name}",
            *(f"version:{model.name}/{number}" for number in numbers),
            *(f"request:{number}" for number in requests),
            *(f"dataset:{report.dataset.name}" for report in reports),
        }
        return about(subjects=subjects, actions=EVERYWHERE)


def _event(entry: Entry) -> verify_bundle.Event:
    payload: Mapping[str, Any] = load_json(entry.payload)
    fields = entry._asdict() | {"payload": payload, "signed_bytes": b""}
    return verify_bundle.Event(**fields)


def _last(session: Session, size: int) -> tuple[str, str]:
    row = event_at(session, size)
    if row is None:
        raise IntegrityError(f"the log has no event {size}")
    return row.digest, row.at


def _lost(what: str) -> IntegrityError:
    return IntegrityError(
        f"{what} that the log knows is missing, so no bundle can be made; see: governance audit verify"
    )
