"""What verification finds as well: every column that the log speaks of, and rows that are gone."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from governance.audit.verify import verify
from governance.digests import canonical_json, digest_bytes
from governance.ledger.database import Ledger
from governance.ledger.events import append
from governance.ledger.identity import factors_digest, projector_digest, version_digest
from tests.ledger.case import WEIGHTS
from tests.ledger.tampering import dump, raw, tamper

Change = tuple[str, Sequence[Any]]
OTHER = digest_bytes(b"other")
CHANGES = {
    "ruling": "UPDATE decisions SET ruling = 'rejection' WHERE id = 1",
    "comment of a decision": "UPDATE decisions SET comment = 'never!' WHERE id = 1",
    "decision deleted": "DELETE FROM decisions WHERE id = 1",
    "decision twice": "INSERT INTO decisions SELECT 9, request_id, ruling, actor, comment, "
    "projector_digest, report_digest, decided_at FROM decisions WHERE id = 1",
    "target of a request": "UPDATE request_targets SET label = 'cat' WHERE request_id = 1",
    "target deleted": "DELETE FROM request_targets WHERE request_id = 1",
    "due date": "UPDATE requests SET due_at = '2099-01-01 00:00:00.000000' WHERE id = 3",
    "basis": "UPDATE requests SET basis = 'court-order' WHERE id = 1",
    "who filed": "UPDATE requests SET filed_by = 'zoe' WHERE id = 3",
    "who prepared": "UPDATE projectors SET prepared_by = 'zoe' WHERE id = 2",
    "tolerance": "UPDATE projectors SET tolerance = 99.0 WHERE id = 1",
    "projector deleted": "DELETE FROM projectors WHERE id = 2",
    "report deleted": "DELETE FROM evaluation_reports WHERE id = 1",
    "report of another projector": "UPDATE evaluation_reports SET projector_id = 2 WHERE id = 1",
    "array deleted": "DELETE FROM arrays WHERE digest = (SELECT factor_a FROM projectors LIMIT 1)",
    "bank swapped": "UPDATE models SET bank_rows = bank_scores",
    "paraphrases swapped": "UPDATE models SET bank_paraphrases = bank_rows",
    "source": "UPDATE models SET source = replace(source, '/models/', '/tmp/')",
    "preprocessing": f"UPDATE models SET config_digest = '{OTHER}'",
    "fold path": "UPDATE models SET fold_path = 'visual.head.proj'",
    "edited weights": f"UPDATE model_versions SET weights_digest = '{OTHER}' WHERE number = 2",
    "run of a version": "UPDATE model_versions SET run_id = 'run-1' WHERE number = 2",
    "request of a member": "UPDATE version_members SET request_id = 3",
    "version without an event": "INSERT INTO model_versions SELECT 9, model_id, 9, parent, digest, "
    "recipe, factor_a, factor_b, weights_digest, created_by, created_at, run_id, "
    "registry_version FROM model_versions WHERE number = 1",
    "version deleted": "DELETE FROM model_versions WHERE number = 1",
    "model deleted": "DELETE FROM models",
    "manifest": "UPDATE datasets SET manifest = replace(manifest, 'mug', 'cat')",
    "digest of a data set": f"UPDATE datasets SET digest = '{OTHER}'",
    "roles": """UPDATE actors SET roles = '["admin"]' WHERE name = 'carla'""",
    "deactivation": "UPDATE actors SET active = false WHERE name = 'dmitri'",
    "actor added": "INSERT INTO actors SELECT 99, 'eve', roles, active, added_at FROM actors LIMIT 1",
    "private row deleted": "DELETE FROM request_private WHERE request_id = 2",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_that_contradicts_the_log_is_found(cases: Ledger, change: str) -> None:
    before = dump(cases)
    tamper(cases, change)
    assert dump(cases) != before
    assert not verify(cases).ok


@pytest.mark.parametrize(
    ("action", "subject"),
    [
        ("request.forgotten", "request:3"),
        ("request.approved", "request:3"),
        ("model.registered", "model:ghost"),
        ("version.promoted", "version:shop/2"),
        ("request.filed", "request:3"),
    ],
)
def test_a_chained_event_that_makes_no_sense_is_a_fault_and_no_crash(
    cases: Ledger, action: str, subject: str
) -> None:
    with cases.write() as session:
        append(session, "eve", action, subject, {})
    seq = raw(cases, "SELECT MAX(seq) FROM events")[0][0]
    assert f"event {seq}" in [fault.where for fault in verify(cases).faults]


def forged_projector(ledger: Ledger) -> Change:
    """Projector 2 with another strength and the digest that goes with it."""
    recipe, a, b = raw(ledger, "SELECT recipe, factor_a, factor_b FROM projectors WHERE id = 2")[0]
    changed = json.loads(recipe)
    changed["hyperparameters"]["strength"] = 0.5
    digest = projector_digest(changed, factors_digest(a, b))
    return (
        "UPDATE projectors SET recipe = ?, digest = ? WHERE id = 2",
        [json.dumps(changed), digest],
    )


def forged_report(ledger: Ledger) -> Change:
    """Report 1 with other figures and the digest that goes with them."""
    content = canonical_json({"kind": "request", "after": {"forget_accuracy": 0.0}})
    digest = digest_bytes(content.encode())
    return "UPDATE evaluation_reports SET content = ?, digest = ? WHERE id = 1", [content, digest]


def forged_version(ledger: Ledger) -> Change:
    """Version 2 with the unedited model's factors and the digest that goes with them."""
    a, b = raw(ledger, "SELECT factor_a, factor_b FROM model_versions WHERE number = 1")[0]
    member = raw(ledger, "SELECT digest FROM projectors WHERE id = 1")[0][0]
    labels = raw(ledger, "SELECT labels_digest FROM models")[0][0]
    digest = version_digest(WEIGHTS, labels, factors_digest(a, b), [member])
    return (
        "UPDATE model_versions SET factor_a = ?, factor_b = ?, digest = ? WHERE number = 2",
        [a, b, digest],
    )


@pytest.mark.parametrize(
    ("forge", "where"),
    [
        (forged_projector, "projector 2 of request 3"),
        (forged_report, "report 1"),
        (forged_version, "version 2 of shop"),
    ],
)
def test_a_record_with_a_fitting_digest_contradicts_the_log(
    cases: Ledger, forge: Callable[[Ledger], Change], where: str
) -> None:
    tamper(cases, forge(cases))
    assert where in [fault.where for fault in verify(cases).faults]
