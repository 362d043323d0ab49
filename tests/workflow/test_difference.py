"""What two versions have in common and what not."""

import pytest
import torch

from governance.errors import NotFoundError
from governance.ledger import arrays
from governance.ledger.lookup import find_model, find_version
from governance.reports.difference import drift, version_difference
from governance.unlearning.projector import Projector, identity, random_edit
from governance.workflow import versions
from tests.workflow.helpers import version_report
from tests.workflow.shop import Shop


def edit(seed: int, rank: int = 3) -> Projector:
    return random_edit(16, rank, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("one", "other"), [(edit(1), edit(2, 5)), (identity(16), edit(1))])
def test_drift_is_that_of_the_dense_matrices(one: Projector, other: Projector) -> None:
    for before, after in ((one, other), (other, one)):
        found = drift(before, after)
        dense = after.dense() - before.dense()
        assert found["frobenius"] == pytest.approx(float(torch.linalg.matrix_norm(dense)))
        assert found["largest"] == pytest.approx(float(torch.linalg.matrix_norm(dense, 2)))
        assert found["rank"] == int(torch.linalg.matrix_rank(dense))
        size = float(torch.linalg.matrix_norm(before.dense() - torch.eye(16)))
        wanted = None if before.digest == identity(16).digest else found["frobenius"] / size
        assert found["relative"] == (wanted and pytest.approx(wanted))


def test_the_same_edit_did_not_move() -> None:
    nothing = {"frobenius": 0.0, "largest": 0.0, "rank": 0}
    assert drift(edit(1), edit(1)) == {**nothing, "relative": 0.0}
    assert drift(identity(16), identity(16)) == {**nothing, "relative": None}


def test_requests_figures_and_matrices(shop: Shop) -> None:
    mug = shop.approved("mug")
    versions.apply(shop.tools, "mona", [mug])
    cat = shop.approved("cat", "sketch")
    versions.apply(shop.tools, "mona", [cat])
    versions.drop(shop.tools, "mona", mug, "they paid")
    with shop.ledger.read() as session:
        found = version_difference(session, None, 2, 4)
        back = version_difference(session, "shop", 4, 2)
        base = version_difference(session, None, 1, 2)
        model = find_model(session, None)
        two, four = (
            arrays.load_projector(session, find_version(session, model, number))
            for number in (2, 4)
        )
    (added,), (dropped,) = found["requests"]["added"], found["requests"]["dropped"]
    assert (added["request"], dropped["request"]) == (cat, mug)
    assert (back["requests"]["added"], back["requests"]["dropped"]) == (
        [{"request": mug, "scope": dropped["scope"], "to": dropped["from"]}],
        [{"request": cat, "scope": added["scope"], "from": added["to"]}],
    )
    assert found["drift"]["image"] == drift(two, four)
    assert found["drift"]["text"]["rank"] == 0
    (on,) = found["metrics"]
    figures = {entry["figure"]: entry for entry in on["figures"]}
    assert "overall.neighbours.value" in figures
    assert not {name.rpartition(".")[2] for name in figures} & {"n", "correct", "low", "high"}
    for name in ("forget_accuracy", "retain_accuracy"):
        was, became = (version_report(shop.ledger, number)["after"][name] for number in (2, 4))
        assert figures[name] == {
            "figure": name, "from": was, "to": became, "change": became - was,
        }  # fmt: skip
    assert figures["per_class.mug"]["from"] < 0.1
    assert figures["per_class.mug"]["to"] > 0.9
    assert figures[f"requests.{cat}"] | {"to": None} == {
        "figure": f"requests.{cat}", "from": None, "to": None, "change": None,
    }  # fmt: skip
    (on,) = base["metrics"]
    figures = {entry["figure"]: entry for entry in on["figures"]}
    assert figures["per_class.mug"]["from"] > 0.9
    assert figures["per_class.mug"]["change"] < -0.9
    with shop.ledger.read() as session, pytest.raises(NotFoundError, match="no version 9"):
        version_difference(session, None, 2, 9)
