"""The audit knows versions that MLflow got again, and who may say so."""

from pathlib import Path
from typing import Any

import pytest

from governance.audit import verify_bundle as verifier
from governance.audit.bundle_contents import Scope
from governance.audit.verify import verify
from governance.ledger.checkpoints import take
from governance.ledger.database import Ledger
from governance.ledger.events import append
from governance.ledger.lookup import find_model, find_version
from tests.audit.bundle_case import bundle
from tests.workflow.shop import Shop

pytestmark = pytest.mark.only("sqlite")


@pytest.mark.parametrize(
    ("actor", "changes", "problem"),
    [
        ("mona", {}, None),
        ("otto", {}, "otto had no role for doctor.repair"),
        ("mona", {"version_digest": "sha256:0"}, "version.restored makes no sense there"),
        ("mona", {"run_id": None}, "version.restored makes no sense there"),
        ("mona", {"registry_version": 3}, "version.restored makes no sense there"),
    ],
)
def test_a_version_that_mlflow_got_again(
    shop: Shop, actor: str, changes: dict[str, Any], problem: str | None
) -> None:
    with shop.ledger.write() as session:
        digest = find_version(session, find_model(session, "shop"), 1).digest
        payload = {"version_digest": digest, "run_id": "a run", "registry_version": "7"}
        append(session, actor, "version.restored", "version:shop/1", payload | changes)
    found = [fault.problem for fault in verify(shop.ledger).faults]
    assert found == ([] if problem is None else [problem])


@pytest.mark.parametrize(
    "changes", [{}, {"version_digest": "sha256:0"}, {"run_id": None}, {"registry_version": 3}]
)
def test_the_verifier_in_a_bundle_knows_it_too(
    trail: Ledger, tmp_path: Path, changes: dict[str, Any]
) -> None:
    with trail.write() as session:
        digest = find_version(session, find_model(session, "shop"), 1).digest
        payload = {"version_digest": digest, "run_id": "a run", "registry_version": "7"}
        append(session, "mona", "version.restored", "version:shop/1", payload | changes)
        take(session, "mona")
    outcome = verifier.verify(bundle(trail, Scope(), tmp_path / "bundle.zip"))
    if changes:
        assert outcome.first_bad is not None
        assert "version.restored makes no sense there" in outcome.to_text()
    else:
        assert outcome.first_bad is None
        assert "version.restored" not in outcome.to_text()


def test_a_version_that_is_on_record_nowhere(shop: Shop) -> None:
    with shop.ledger.write() as session:
        payload = {"version_digest": "sha256:0", "run_id": "a run", "registry_version": "7"}
        append(session, "mona", "version.restored", "version:shop/5", payload)
    (fault,) = verify(shop.ledger).faults
    assert fault.problem == "version.restored makes no sense there"
