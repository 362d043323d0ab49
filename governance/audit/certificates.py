"""Certificates of reports, computed again from factors, prompts and recipes. Needs NumPy, and no torch."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from governance.audit.fault import Fault, readable
from governance.digests import digest_json, load_json
from governance.errors import IntegrityError
from governance.ledger.database import Session
from governance.ledger.lookup import (
    report_owners,
    some_arrays,
    some_projectors,
    some_reports,
    some_versions,
)
from governance.ledger.tables import Array, Model, ModelVersion, ProjectorRecord
from governance.unlearning.labels import LabelSpace

if TYPE_CHECKING:
    from governance.unlearning.certificate import Prompts, Rows

SAMPLED = "certificates left out of the sample"
"""Among what was counted: those that were not computed again, because all of them would take over a minute."""

AFFORDABLE = 10**11
"""Multiplications that are done at most, about a minute on one slow processor."""

CLOSE = 2e-6
"""Certificates are rounded to six digits; the last one may differ between machines."""


CHUNK = 10
"""Projectors or versions that are read at once."""


def certificates(session: Session, seed: str, checked: Counter[str]) -> Iterator[Fault]:
    """Reports whose certificate is not what the factors give.

    Args:
        session: where to read.
        seed: of the sample, if there are too many: the newest head of the log, which nobody could know beforehand.
        checked: what was counted.
    """
    stated: dict[tuple[bool, int], list[int]] = {}
    for number, projector, version in report_owners(session):
        owner = (False, projector) if version is None else (True, version)
        if owner[1] is not None:
            stated.setdefault((owner[0], owner[1]), []).append(number)
    spent = 0
    for versions, read in ((False, some_projectors), (True, some_versions)):
        order = sorted(number for kind, number in stated if kind is versions)
        random.Random(seed).shuffle(order)
        for start in range(0, len(order), CHUNK):
            chosen = order[start : start + CHUNK]
            if spent > AFFORDABLE:
                checked[SAMPLED] += len(chosen)
                continue
            records = [r for r in read(session, chosen) if _has_blocks(r)]
            arrays = some_arrays(session, {d for record in records for d in _needs(record)})
            numbers = {r.id: stated[versions, r.id] for r in records}
            contents = some_reports(session, {n for found in numbers.values() for n in found})
            for record in records:
                checked["certificates"] += 1
                said = {n: load_json(contents[n]).get("certificate") for n in numbers[record.id]}
                name = f"report {numbers[record.id][0]}"
                yield from readable(name, _differ(record, arrays, said))
                spent += _cost(record, arrays)
            session.expunge_all()


def _has_blocks(record: ProjectorRecord | ModelVersion) -> bool:
    return "blocks" in (record.recipe.get("problem") or {}).get("image", ())


def _model(record: ProjectorRecord | ModelVersion) -> Model:
    if isinstance(record, ModelVersion):
        return record.model
    if record.request is None:
        raise IntegrityError("its request is missing")
    return record.request.model


def _needs(record: ProjectorRecord | ModelVersion) -> list[str]:
    """Digests of the arrays that a certificate is computed from."""
    model, reference = _model(record), _reference(record.recipe)
    moment = [] if reference is None else [str(reference["moment"])]
    return [record.factor_a, record.factor_b, model.bank_scores, model.bank_paraphrases, *moment]


def _cost(record: ProjectorRecord | ModelVersion, arrays: Mapping[str, Array]) -> int:
    """Multiplications of one certificate."""
    shape, scores = (arrays[d].shape for d in (record.factor_a, _model(record).bank_scores))
    return int(2 * shape[0] * shape[1] * scores[0])


def _differ(
    record: ProjectorRecord | ModelVersion, arrays: Mapping[str, Array], said: Mapping[int, Any]
) -> Iterator[Fault]:
    from governance.unlearning.certificate import certificate

    if not any(said.values()):
        return
    model, reference = _model(record), _reference(record.recipe)
    found = certificate(
        _prompts(model, arrays),
        record.recipe["problem"]["image"]["blocks"],
        _rows(arrays[record.factor_a]),
        _rows(arrays[record.factor_b]),
        None if reference is None else _rows(arrays[reference["moment"]]),
    )
    for number, stated in said.items():
        if stated is not None and not same(found, stated):
            yield Fault(
                f"report {number}", "its certificate is not what the factors and prompts give"
            )


def _prompts(model: Model, arrays: Mapping[str, Array]) -> "Prompts":
    from governance.unlearning.certificate import Prompts

    labels = LabelSpace.from_dict(model.labels)
    scores, words = (_rows(arrays[d]) for d in (model.bank_scores, model.bank_paraphrases))
    return Prompts.of(labels, scores, words)


def _rows(array: Array) -> "Rows":
    import numpy as np

    rows: Rows = np.frombuffer(array.data, dtype=np.dtype(array.dtype)).reshape(array.shape)
    return rows


def _reference(recipe: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The reference that the fit used: of several the first by identity, as `compose` takes it."""
    edits = recipe.get("active") or [recipe]
    references: list[Mapping[str, Any]] = [e["reference"] for e in edits if e.get("reference")]
    return min(references, key=lambda r: digest_json([r["mean"], r["moment"]]), default=None)


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
