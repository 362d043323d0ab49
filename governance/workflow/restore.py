"""A version in MLflow held against the ledger, and put back as it was recorded.

The log holds the signature of a version's files and every file that does not follow from ledger and base model; so all
of them can be made again, byte for byte, and nothing is signed anew. What cannot be made again stays missing: a file
that is another than was signed is never put in its place.
"""

import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from governance.digests import load_json
from governance.errors import IntegrityError
from governance.evidence.artifact import (
    ADDED,
    MISSING,
    SIGNATURE_NAME,
    SignedModel,
    differences,
    read_bundle,
)
from governance.evidence.artifact import (
    CHANGED as ALTERED,
)
from governance.ledger import arrays
from governance.ledger.database import Ledger, Session
from governance.ledger.events import append
from governance.ledger.lookup import find_model, find_version
from governance.ledger.names import subject_of
from governance.ledger.rules import production
from governance.ledger.tables import ModelVersion
from governance.ledger.whereabouts import RESTORED, Place, place_of
from governance.policy import CANDIDATE
from governance.registry import ABANDONED_TAG, Artifacts, RegisteredVersion, Registry
from governance.serving.contents import CHANGED, UNSIGNED, Identity
from governance.unlearning.bank import PromptBank
from governance.unlearning.projector import Projector
from governance.workflow.aliases import mirror
from governance.workflow.models import base_params
from governance.workflow.packages import (
    derived,
    identity_of,
    is_derived,
    registration,
    signed_artifacts,
    version_tags,
)
from governance.workflow.publish import run_metrics, run_params
from governance.workflow.transition import require

if TYPE_CHECKING:
    from torch import Tensor

    from governance.clip.encoder import Encoder


@dataclass(frozen=True)
class Signature:
    """What the log says of a version's files.

    Attributes:
        signed: what their signature says.
        texts: files that do not follow from ledger and base model, the signature's own among them, by name.
    """

    signed: SignedModel
    texts: Mapping[str, str]


def recorded_signature(session: Session, version: ModelVersion) -> Signature:
    """What the log says of a version's files.

    Raises:
        IntegrityError: it says nothing, or something that does not hold.
    """
    found = registration(session, version).get("artifacts", {})
    texts: dict[str, str] = found.get("texts", {})
    if SIGNATURE_NAME not in texts:
        raise IntegrityError("the log does not say which files belong to it")
    signed = read_bundle(texts[SIGNATURE_NAME].encode())
    if (signed.statement_digest, signed.key.key_id) != (found["statement_digest"], found["key_id"]):
        raise IntegrityError("the log holds another signature of its files than it names")
    return Signature(signed, texts)


def damaged(directory: Path, recorded: Signature) -> dict[str, str]:
    """Files of a version that are not as the log says, by name: what is wrong with each. Each is read once."""
    found = dict(differences(directory, recorded.signed, besides=UNSIGNED))
    path = directory / SIGNATURE_NAME
    if not path.is_file():
        found[SIGNATURE_NAME] = MISSING
    elif path.read_bytes() != recorded.texts[SIGNATURE_NAME].encode():
        found[SIGNATURE_NAME] = ALTERED
    return dict(sorted(found.items()))


def damaged_in(registry: Registry, run_id: str, recorded: Signature) -> dict[str, str]:
    """`damaged`, of the files of a run in MLflow.

    Raises:
        UnavailableError: MLflow cannot be used.
        IntegrityError: there is a symbolic link among them.
    """
    with tempfile.TemporaryDirectory() as directory:
        registry.fetch(run_id, Path(directory))
        return damaged(Path(directory), recorded)


@dataclass(frozen=True)
class Remembered:
    """What ledger and log hold of a version, which is enough to make its files again with the base model at hand.

    Attributes:
        identity: which version it is.
        place: where MLflow has it, as far as the ledger knows.
        key: what MLflow's run and version are found by.
        recorded: signature and texts.
        bank, projector, text, recipe: what it is made from.
        reports: contents of those that it was made with, by name of the data set.
        parent: number of the version before, None for the base model.
        params: of its run in MLflow.
    """

    identity: Identity
    place: Place
    key: str
    recorded: Signature
    bank: PromptBank
    projector: Projector
    text: Projector | None
    recipe: Mapping[str, Any]
    reports: Mapping[str, dict[str, Any]]
    parent: int | None
    params: Mapping[str, Any]

    def write(self, directory: Path, names: Collection[str], encoder: "Encoder") -> None:
        """Make files again.

        Args:
            directory: where they go.
            names: of those that are wanted.
            encoder: opens the base model, if a file needs it.

        Raises:
            NotFoundError: the base model's files are missing.
            IntegrityError: the base model changed, or what is made is not what was signed.
        """
        wanted = [name for name in names if is_derived(name)]
        if wanted:
            changed = self._changed(encoder) if CHANGED in wanted else {}
            made = derived(
                self.identity,
                self.bank,
                self.projector,
                self.text,
                changed,
                self.recipe,
                self.reports,
            )
            Artifacts(
                records={name: made.records[name] for name in wanted if name in made.records},
                tensors={name: made.tensors[name] for name in wanted if name in made.tensors},
            ).write(directory)
        for name in names:
            if name in self.recorded.texts:
                (directory / name).write_bytes(self.recorded.texts[name].encode())
        found = damaged(directory, self.recorded)
        for name in sorted(names):
            if name in found:
                raise IntegrityError(
                    f"{name} cannot be made again here: it comes out otherwise than it was signed, as "
                    "on a machine with other numerics; put it back from a backup of MLflow's artifacts"
                )

    def _changed(self, encoder: "Encoder") -> "Mapping[str, Tensor]":
        from governance.clip.fold import fold

        if self.parent is None:
            return {}  # the base model itself
        return fold(encoder.model(self.identity.base), self.projector, self.text).tensors


def remembered(session: Session, version: ModelVersion) -> Remembered:
    """What ledger and log hold of a version.

    Raises:
        IntegrityError: too little, or something that does not hold.
    """
    said, model, identity = registration(session, version), version.model, identity_of(version)
    first = {report["digest"] for report in said.get("reports", [])}
    parent = version.parent
    return Remembered(
        identity=identity,
        place=place_of(session, version),
        key=version.digest if parent is None else said["intent"],
        recorded=recorded_signature(session, version),
        bank=arrays.load_bank(session, model),
        projector=arrays.load_projector(session, version),
        text=arrays.load_text(session, version),
        recipe=version.recipe,
        reports={
            report.dataset.name: load_json(report.content)
            for report in version.reports
            if report.digest in first
        },
        parent=parent,
        params=base_params(identity, model.fold_path)
        if parent is None
        else run_params(identity, parent),
    )


def restore(
    ledger: Ledger,
    registry: Registry,
    encoder: "Callable[[], Encoder]",
    actor: str,
    model: str,
    number: int,
    aside: Path,
) -> None:
    """Let MLflow hold a version as it was recorded; repeatable, and nothing if it does.

    A version that was deleted there is registered again. MLflow gives it another number then, which an event says. The
    run is brought back, its files are put back, and what was in their place is kept in the workspace.

    Args:
        ledger: what was recorded.
        registry: MLflow.
        encoder: opens the base model, which is asked for if a file needs it.
        actor: who does it.
        model: name of the model.
        number: of the version.
        aside: directory for files that do not belong there.

    Raises:
        UnavailableError: MLflow or the ledger cannot be used.
        IntegrityError: a file cannot be made again as it was signed.
        NotFoundError: the base model's files are missing.
        RefusedError: the actor may not repair.
    """
    with ledger.read() as session:
        require(session, actor, "doctor.repair")
        kept = remembered(session, find_version(session, find_model(session, model), number))
    # 1. The run and the version are there, or made again; then its files are.
    place = _registered(registry, encoder, kept)
    _put_back(registry, encoder, kept, place.run_id, aside)
    signed = signed_artifacts(registry, place.run_id, kept.identity).signed
    if signed.statement_digest != kept.recorded.signed.statement_digest:
        raise IntegrityError(
            f"MLflow's files of {kept.identity.name} do not become those on record"
        )
    if place == kept.place:
        return
    # 2. The ledger knows where it is before an alias goes there.
    with ledger.write() as session:
        require(session, actor, "doctor.repair")
        payload = {
            "version_digest": kept.identity.digest,
            "run_id": place.run_id,
            "registry_version": place.registry_version,
            "before": kept.place._asdict(),
        }
        append(session, actor, RESTORED, subject_of(model, number), payload)
        names = [CANDIDATE, production(session)]
    mirror(ledger, registry, model, names)


def _registered(registry: Registry, encoder: "Callable[[], Encoder]", kept: Remembered) -> Place:
    """Where MLflow has the version, which it gets again if it does not."""
    model, place = kept.identity.model, kept.place
    there = registry.revive(place.run_id)
    tags = registry.all_tags(model)
    if there and place.registry_version in tags:
        source = registry.source_of(model, place.registry_version)
        if source.run_id == place.run_id:
            return place
    with tempfile.TemporaryDirectory() as made:
        if not there:
            names = [*kept.recorded.signed.files, SIGNATURE_NAME]
            kept.write(Path(made), names, encoder())
        artifacts = Artifacts(
            tags=version_tags(kept.identity),
            params=kept.params,
            metrics={}
            if kept.parent is None
            else run_metrics(kept.projector, list(kept.reports.values())),
            finish=lambda directory: shutil.copytree(made, directory, dirs_exist_ok=True),
        )
        while True:
            found = _register(registry, kept, artifacts)
            if registry.source_of(model, found.version).run_id == found.run_id:
                return Place(found.run_id, found.version)
            # It goes by this name and has the files of something else.
            registry.tag_version(model, found.version, ABANDONED_TAG, kept.key)


def _register(registry: Registry, kept: Remembered, artifacts: Artifacts) -> RegisteredVersion:
    identity = kept.identity
    name = "base model" if kept.parent is None else f"version {identity.number}"
    return registry.register(identity.model, kept.key, identity.number, name, artifacts)


def _put_back(
    registry: Registry,
    encoder: "Callable[[], Encoder]",
    kept: Remembered,
    run_id: str,
    aside: Path,
) -> None:
    """Let the run have the files on record; what lies there instead is copied aside first."""
    with tempfile.TemporaryDirectory() as place:
        found = Path(place) / "found"
        found.mkdir()
        registry.fetch(run_id, found)
        wrong = damaged(found, kept.recorded)
        for name in (name for name, problem in wrong.items() if problem != MISSING):
            target = _free(aside / name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(found / name, target)
        gone = [name for name, problem in wrong.items() if problem == ADDED]
        wanted = wrong.keys() - set(gone)
        # What needs no base model comes first, so that it comes back without one.
        for names in (wanted - {CHANGED}, wanted & {CHANGED}):
            if not names and not gone:
                continue
            with tempfile.TemporaryDirectory() as made:
                kept.write(Path(made), names, encoder())
                registry.replace_files(run_id, Path(made), gone)
            gone = []


def _free(path: Path) -> Path:
    """A name that nothing has, beginning with the given one."""
    free, count = path, 1
    while free.exists():
        count += 1
        free = path.with_name(f"{path.name}.{count}")
    return free
