"""Certificates of reports, computed again from factors, prompts and recipes. Needs NumPy, and no torch."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from governance.audit.fault import Fault, readable
from governance.digests import digest_json, load_json
from governance.errors import IntegrityError
from governance.ledger.database import Session
from governance.ledger.lookup import report_owners
from governance.ledger.tables import Array, Model, ModelVersion, ProjectorRecord, Report
from governance.unlearning.labels import LabelSpace

if TYPE_CHECKING:
    from governance.unlearning.certificate import Prompts, Rows

SAMPLED = "certificates left out of the sample"
"""Among what was counted: those that were not computed again, because all of them would take over a minute."""

AFFORDABLE = 10**11
"""Multiplications that are done at most, about a minute on one slow processor."""

CLOSE = 2e-6
"""Certificates are rounded to six digits; the last one may differ between machines."""


def certificates(session: Session, seed: str, checked: Counter[str]) -> Iterator[Fault]:
    """Reports whose certificate is not what the factors give.

    Args:
        session: where to read.
        seed: of the sample, if there are too many: the newest head of the log, which nobody could know beforehand.
        checked: what was counted.
    """
    stated: dict[tuple[str, int], list[int]] = {}
    for number, projector, version in report_owners(session):
        owner = ("projector", projector) if version is None else ("version", version)
        if owner[1] is not None:
            stated.setdefault((owner[0], owner[1]), []).append(number)
    order = sorted(stated)
    random.Random(seed).shuffle(order)
    spent = 0
    for kind, owner_id in order:
        record: ProjectorRecord | ModelVersion | None = (
            session.get(ProjectorRecord, owner_id)
            if kind == "projector"
            else session.get(ModelVersion, owner_id)
        )
        if record is None or "blocks" not in (record.recipe.get("problem") or {}).get("image", ()):
            continue
        cost = _cost(session, record)
        if spent and spent + cost > AFFORDABLE:
            checked[SAMPLED] += 1
            continue
        spent += cost
        checked["certificates"] += 1
        for number in stated[kind, owner_id]:
            content = load_json(session.get_one(Report, number).content)
            name = f"report {number}"
            yield from readable(name, _differs(session, record, name, content.get("certificate")))
        session.expunge_all()


def _model(record: ProjectorRecord | ModelVersion) -> Model:
    if isinstance(record, ModelVersion):
        return record.model
    if record.request is None:
        raise IntegrityError("its request is missing")
    return record.request.model


def _cost(session: Session, record: ProjectorRecord | ModelVersion) -> int:
    shape, scores = (
        session.get_one(Array, d).shape for d in (record.factor_a, _model(record).bank_scores)
    )
    return int(2 * shape[0] * shape[1] * scores[0])


def _differs(
    session: Session,
    record: ProjectorRecord | ModelVersion,
    name: str,
    said: Mapping[str, Any] | None,
) -> Iterator[Fault]:
    from governance.unlearning.certificate import certificate

    if said is None:
        return
    model, recipe = _model(record), record.recipe
    found = certificate(
        prompts_of(session, model),
        recipe["problem"]["image"]["blocks"],
        _rows(session, record.factor_a),
        _rows(session, record.factor_b),
        _moment(session, recipe),
    )
    if not same(found, said):
        yield Fault(name, "its certificate is not what the factors and prompts give")


def prompts_of(session: Session, model: Model) -> "Prompts":
    """The prompts of a model, as certificates speak of them."""
    from governance.unlearning.certificate import Prompts

    labels = LabelSpace.from_dict(model.labels)
    paraphrases = _rows(session, model.bank_paraphrases)
    return Prompts(
        labels.classes, labels.domains, _rows(session, model.bank_scores), paraphrases,
        labels.paraphrases if len(paraphrases) else (),
    )  # fmt: skip


def _rows(session: Session, digest: str) -> "Rows":
    import numpy as np

    array = session.get_one(Array, digest)
    rows: Rows = np.frombuffer(array.data, dtype=np.dtype(array.dtype)).reshape(array.shape)
    return rows


def _moment(session: Session, recipe: Mapping[str, Any]) -> "Rows | None":
    """Second moment of the reference that the fit used: of several the first by identity, as `compose` takes it."""
    edits = recipe.get("active") or [recipe]
    references = [edit["reference"] for edit in edits if edit.get("reference")]
    if not references:
        return None
    first = min(references, key=lambda r: digest_json([r["mean"], r["moment"]]))
    return _rows(session, first["moment"])


def same(found: Any, said: Any) -> bool:
    """Whether two certificates say the same, as far as rounding goes."""
    if isinstance(found, Mapping):
        return (
            isinstance(said, Mapping)
            and found.keys() == said.keys()
            and all(same(found[key], said[key]) for key in found)
        )
    if isinstance(found, float) and isinstance(said, int | float) and not isinstance(said, bool):
        return abs(found - said) <= CLOSE
    return bool(found == said)
