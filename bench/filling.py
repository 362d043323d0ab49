"""Ledgers of any size: what the verbs record, many steps to a transaction, and logs lengthened in batches."""

import tempfile
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select
from torch import Tensor

from governance.clip.encoder import Encoder
from governance.clip.source import parse_source
from governance.demo import LABELS_FILE
from governance.demo.scenes import write_dataset
from governance.digests import canonical_json, digest_bytes, digest_json, load_json
from governance.evidence.keyring import MemoryKeyring
from governance.evidence.keys import SigningKey
from governance.evidence.merkle import Frontier
from governance.ledger.database import Ledger, Session
from governance.ledger.events import Entry, append, entries, entry, head, signed_bytes
from governance.ledger.facts import projector_facts, report_facts, version_facts
from governance.ledger.identity import factors_digest, text_digests, version_digest
from governance.ledger.intents import VERSION
from governance.ledger.judgement import judge_version
from governance.ledger.lookup import (
    find_dataset,
    find_model,
    find_request,
    find_version,
    newest_version,
)
from governance.ledger.names import subject_of
from governance.ledger.rules import production
from governance.ledger.tables import (
    ActorKey,
    Event,
    ModelVersion,
    ProjectorRecord,
    Request,
    TreeNode,
    VersionMember,
)
from governance.ledger.tree import leaf
from governance.ledger.types import now
from governance.policy import CANDIDATE, Gates, Policy
from governance.registry import Artifacts, RegisteredVersion
from governance.states import Action, Basis, Role
from governance.unlearning.labels import parse_labels
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target
from governance.workflow import (
    actors,
    datasets,
    models,
    prepare,
    release,
    requests,
    versions,
)
from governance.workflow.aliases import take_alias
from governance.workflow.gates import serving
from governance.workflow.measure import EvalSet, read_eval_set, store_report
from governance.workflow.tools import Tools
from governance.workflow.transition import advance

BATCH = 5000
"""Events that are inserted together."""

WINDOW = 8
"""Requests that are active at once; a version adds the next one or drops the oldest."""

STEPS = 200
"""Requests, or versions, that are made in one transaction."""

SOON_S = 2
"""Seconds after which the short deadlines are over."""

PEOPLE = {"carla": Role.COMPLIANCE, "dmitri": Role.APPROVER, "mona": Role.MLOPS}
MODEL = "shop"
_BASES = tuple(Basis)


class Together(Ledger):
    """A ledger whose verbs share one transaction until it is settled: thousands of steps for some commits."""

    def __init__(self, url: str, keys: MemoryKeyring) -> None:
        super().__init__(url, keys)
        self._stack = ExitStack()
        self._shared: Session | None = None

    @contextmanager
    def write(self) -> Iterator[Session]:
        """The transaction that is open."""
        if self._shared is None:
            self._shared = self._stack.enter_context(super().write())
        yield self._shared
        self._shared.flush()
        self._shared.expire_all()  # as for the next verb's own session

    def read(self) -> Any:
        """The same: it sees what was written and not yet settled."""
        return self.write()

    def settle(self) -> None:
        """Commit."""
        self._shared = None
        self._stack.close()
        self._stack = ExitStack()


@dataclass
class Shelf:
    """As much of MLflow as the verbs ask for, in memory: what is measured is the ledger."""

    aliased: dict[str, str] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def log_run(self, model: str, key: str, name: str, artifacts: Artifacts) -> str:
        """See `governance.registry.Registry.log_run`."""
        run_id = digest_json([model, key])[7:39]
        with tempfile.TemporaryDirectory() as directory:
            artifacts.write(Path(directory))
            files = {path.name: path.read_bytes() for path in Path(directory).iterdir()}
        self.files[run_id] = files
        return run_id

    def fetch(self, run_id: str, dest: Path) -> None:
        """See `governance.registry.Registry.fetch`."""
        for name, data in self.files[run_id].items():
            (dest / name).write_bytes(data)

    def register(
        self, model: str, key: str, number: int, name: str, artifacts: Artifacts
    ) -> RegisteredVersion:
        """See `governance.registry.Registry.register`."""
        self.tags[str(number)] = dict(artifacts.tags)
        return RegisteredVersion(self.log_run(model, key, name, artifacts), str(number))

    def set_alias(self, model: str, alias: str, version: str) -> None:
        """See `governance.registry.Registry.set_alias`."""
        self.aliased[alias] = version

    def delete_alias(self, model: str, alias: str) -> None:
        """See `governance.registry.Registry.delete_alias`."""
        self.aliased.pop(alias, None)

    def aliases(self, model: str) -> dict[str, str]:
        """See `governance.registry.Registry.aliases`."""
        return dict(self.aliased)

    def all_tags(self, model: str) -> dict[str, dict[str, str]]:
        """See `governance.registry.Registry.all_tags`."""
        return self.tags

    def tag_version(self, model: str, version: str, tag: str, value: str) -> None:
        """See `governance.registry.Registry.tag_version`."""
        self.tags.setdefault(version, {})[tag] = value

    def version_tags(self, model: str, version: str) -> dict[str, str]:
        """See `governance.registry.Registry.version_tags`."""
        return dict(self.tags.get(version, {}))

    def tensors(self, run_id: str, name: str) -> dict[str, Tensor]:
        """See `governance.registry.Registry.tensors`."""
        return {}


@dataclass(frozen=True)
class Sizes:
    """How much a ledger holds."""

    requests: int
    versions: int
    events: int


def furnish(ledger: Ledger, place: Path) -> Tools:
    """People, the embedded model, one image of each class in each domain, and a policy whose gates let all pass.

    Args:
        ledger: at head, and empty.
        place: where images and cached embeddings go.
    """
    tools = Tools(ledger, Shelf(), Encoder(place / "cache"))  # type: ignore[arg-type]
    policy = Policy(gates=Gates(1.0, 1.0, 1.0, max_prompts_lost=1.0))
    actors.found(ledger, "ada", policy)
    for name, role in PEOPLE.items():
        actors.add(ledger, "ada", name, [role])
    labels = parse_labels(LABELS_FILE.read_text(encoding="utf-8"), toml=True)
    models.register(tools, "mona", MODEL, parse_source("demo", None), labels)
    if not (place / "images").is_dir():
        write_dataset(place / "images", per_pair=1, seed=0)
    datasets.add(ledger, "mona", "eval", place / "images")
    return tools


def fill(url: str, keys: MemoryKeyring, place: Path, sizes: Sizes) -> None:
    """Furnish an empty ledger and fill it to some size, as the verbs would.

    Two requests are prepared, applied and promoted in earnest; what all others hold is theirs under other numbers. A
    tenth of the requests stays filed, a tenth prepared; most are rejected. The rest of the log are refusals.
    """
    ledger = Together(url, keys)
    tools = furnish(ledger, place)
    _Filling(ledger, tools, sizes).run()
    ledger.settle()
    refusal = {"attempt": "approve", "problem": "four eyes: 'carla' filed it"}
    lengthen(
        Ledger(url, keys),
        sizes.events,
        canonical_json(refusal),
        lambda seq: ("request.refused", f"request:{1 + seq % sizes.requests}", False),
    )


class _Filling:
    """The state of a ledger that is being filled."""

    def __init__(self, ledger: Together, tools: Tools, sizes: Sizes) -> None:
        self._ledger, self._tools, self._sizes = ledger, tools, sizes
        self._filed = 0
        self._active: deque[int] = deque()
        self._labels: tuple[str, ...] = ()
        self._on: EvalSet

    def run(self) -> None:
        with self._ledger.read() as session:
            labels = find_model(session, MODEL).labels["classes"]
            self._on = read_eval_set(find_dataset(session, None))
        self._labels = tuple(labels[:2])
        for number in (self._file(), self._file()):
            prepare.prepare(self._tools, "mona", number, None, Recipe())
            requests.approve(self._ledger, "dmitri", number)
            self._active.append(number)
        versions.apply(self._tools, "mona", list(self._active))
        self._promote(2)
        self._ledger.settle()
        for number in range(3, self._sizes.versions + 1):
            if len(self._active) < WINDOW or number % 2:
                self._add(number)
            else:
                self._drop(number)
            share = (number - 2) / (self._sizes.versions - 2)
            while self._filed < share * self._sizes.requests:
                self._other()
            if number % STEPS == 0:
                self._ledger.settle()

    def _file(self, soon: bool = False) -> int:
        target = Target(self._labels[self._filed % 2], None)
        basis = _BASES[self._filed % len(_BASES)]
        due = now() + timedelta(seconds=SOON_S) if soon else None
        self._filed += 1
        case = f"case {self._filed}"
        filed = requests.file(
            self._ledger, "carla", MODEL, [target], basis, "a reason", case, due, again=True
        )
        return filed.number

    def _other(self) -> None:
        """A request that no version holds."""
        kind = self._filed % 20
        number = self._file(soon=kind == 0)
        if kind < 2:
            return
        if kind < 4:
            self._prepare(number)
        else:
            requests.reject(self._ledger, "dmitri", number, "no ground")

    def _prepare(self, number: int) -> None:
        """What `workflow.prepare` records, with the figures of the first request of the same target."""
        with self._ledger.write() as session:
            request = find_request(session, number)
            like = session.get_one(Request, 1 + (number - 1) % 2).projectors[0]
            values = {c.key: getattr(like, c.key) for c in ProjectorRecord.__table__.columns}
            record = ProjectorRecord(
                **{**values, "id": None, "request_id": number, "prepared_at": now()}
            )
            session.add(record)
            session.flush()
            content = load_json(like.report.content) | {"request": number}
            report = store_report(session, "prepare", self._on, content, projector_id=record.id)
            payload = {
                "method": record.recipe["hyperparameters"]["method"],
                "strength": record.recipe["hyperparameters"]["strength"],
                "projector": projector_facts(record),
                "report": report_facts(report),
            }
            advance(session, request, Action.PREPARE, "mona", payload)

    def _add(self, number: int) -> None:
        """A version with one request more, served at once."""
        request = self._file()
        self._prepare(request)
        requests.approve(self._ledger, "dmitri", request)
        self._active.append(request)
        self._make(number, request, Action.APPLY)
        self._promote(number)

    def _drop(self, number: int) -> None:
        """A version without the oldest request, which is then withdrawn."""
        request = self._active.popleft()
        self._make(number, request, Action.REINSTATE, serve=True)
        requests.withdraw(self._ledger, "carla", request, "asked for by mistake")

    def _make(self, number: int, moved: int, action: Action, serve: bool = False) -> None:
        """What `workflow.publish` records, with matrix and figures of version 2, which forgets the same."""
        with self._ledger.write() as session:
            model = find_model(session, MODEL)
            like = find_version(session, model, 2)
            members = [find_request(session, request) for request in self._active]
            projectors = [member.projectors[-1] for member in members]
            active = [{"request": p.request_id, "projector_digest": p.digest} for p in projectors]
            digest = version_digest(
                model.weights_digest,
                model.labels_digest,
                factors_digest(like.factor_a, like.factor_b),
                [projector.digest for projector in projectors],
                text_digests(like.recipe),
            )
            subject = subject_of(MODEL, number)
            intended = {"version_digest": digest, "active_requests": list(self._active)}
            intent = append(session, "mona", VERSION, subject, intended).digest
            values = {c.key: getattr(like, c.key) for c in ModelVersion.__table__.columns}
            changed = {
                "id": None,
                "number": number,
                "parent": newest_version(session, model).number,
                "digest": digest,
                "recipe": like.recipe | {"active": active, "problem": {}},
                "created_at": now(),
                "registry_version": str(number),
            }
            version = ModelVersion(**(values | changed))
            version.members = [
                VersionMember(request_id=p.request_id, projector_id=p.id) for p in projectors
            ]
            session.add(version)
            session.flush()
            first = like.reports[0]
            content = load_json(first.content)
            content |= {
                "version": number,
                "active_requests": list(self._active),
                "requests": [
                    content["requests"][(request - 1) % 2] | {"request": request}
                    for request in self._active
                ],
            }
            report = store_report(session, "version", self._on, content, version_id=version.id)
            registered = {
                "intent": intent,
                "version": version_facts(version),
                "reports": [report_facts(report)],
            }
            append(session, "mona", "version.registered", subject, registered)
            step = {"version": number, "version_digest": digest}
            if action is Action.REINSTATE:
                step["reason"] = "asked for by mistake"
            advance(session, find_request(session, moved), action, "mona", step)
            take_alias(session, "mona", model, CANDIDATE, version, {})
            if serve:
                judged = serving(version, judge_version(session, version), None)
                take_alias(session, "mona", model, production(session), version, judged)

    def _promote(self, number: int) -> None:
        release.promote(self._ledger, self._tools.registry, "mona", None, number)


def lengthen(
    ledger: Ledger, size: int, payload: str, kind: Callable[[int], tuple[str, str, bool]]
) -> None:
    """Lengthen the log to `size` events as `append` would, in batches, all by ada.

    Args:
        ledger: whose log.
        size: events in the end.
        payload: of each of them, canonical JSON.
        kind: action and subject of an event by its number, and whether it is signed.
    """
    with ledger.write() as session:
        key_id = session.scalars(select(ActorKey.key_id).order_by(ActorKey.id)).first()
        key: SigningKey | None = None
        if ledger.keys is not None and key_id is not None:
            key = ledger.keys.signer("ada", [key_id])
        seq, prev, at = head(session)
        frontier, leaves = Frontier(), []
        for chunk in entries(session):
            leaves += [leaf(found.digest) for found in chunk]
        frontier.extend(leaves)
        while seq < size:
            rows, hashes = [], []
            first = seq + 1
            for seq in range(first, min(seq + BATCH, size) + 1):  # noqa: B020
                action, subject, signs = kind(seq)
                signer, signature = (key_id, None) if signs else (None, None)
                if signs and key is not None:
                    said = signed_bytes(action, "ada", at, signer, payload, prev, seq, subject)
                    signature = b64encode(key.sign(said)).decode()
                text = entry(action, "ada", at, signer, payload, prev, seq, signature, subject)
                digest = digest_bytes(text.encode())
                rows.append(
                    Entry(seq, at, "ada", action, subject, payload, prev, signer, signature, digest)
                )
                hashes.append(leaf(digest))
                prev = digest
            session.execute(insert(Event), [row._asdict() for row in rows])
            nodes = frontier.extend(hashes)
            if nodes:
                session.execute(
                    insert(TreeNode),
                    [
                        {"level": n.level, "position": n.position, "hash": n.hash.hex()}
                        for n in nodes
                    ],
                )


@dataclass
class Clock:
    """Seconds that transactions were open."""

    seconds: float = 0.0


class Clocked(Ledger):
    """A ledger that counts the time in its transactions, from the first statement to the commit."""

    def __init__(self, url: str, keys: MemoryKeyring) -> None:
        super().__init__(url, keys)
        self.clock = Clock()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """See `Ledger.read`."""
        with self._counted(), super().read() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """See `Ledger.write`."""
        with self._counted(), super().write() as session:
            yield session

    @contextmanager
    def _counted(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.clock.seconds += time.perf_counter() - began
