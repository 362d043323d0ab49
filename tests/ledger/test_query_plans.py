"""No interactive command reads a table that grows from one end to the other."""

import pytest

from bench.filling import Sizes
from bench.plans import LARGE, Statements, accesses, plans, scans, watched
from bench.scale import reading
from governance.ledger.database import Ledger
from governance.ledger.intents import open_intents
from governance.ledger.tables import OPERATIONAL_TABLES, Base
from governance.states import Basis
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target
from governance.workflow import prepare, requests
from governance.workflow.tools import Tools
from tests.fakes import FakeRegistry
from tests.ledger.case import RandomEncoder, add_version

SIZES = Sizes(requests=6, versions=4, events=0)
"""Which request and version are looked at: 3 and 2."""

FEW = {"actors", "actor_keys", "aliases", "datasets", "models", "policies"}


def whole(ledger: Ledger, asked: Statements) -> list[str]:
    found = plans(ledger.engine, asked, settled=False)
    return [f"{line}\n{query}" for query, plan in found.items() for line in scans(query, plan)]


def test_every_table_is_either_small_or_watched() -> None:
    assert set(Base.metadata.tables) == {*LARGE, *FEW, *OPERATIONAL_TABLES}


def test_what_people_look_at_is_found_by_index(full: Ledger) -> None:
    for name, work in reading(full, SIZES).items():
        with watched(full.engine) as asked:
            work(50)
        assert asked.asked, name
        assert whole(full, asked) == [], name


def test_a_case_from_filing_to_release_is_found_by_index(full: Ledger) -> None:
    tools = Tools(full, FakeRegistry(), RandomEncoder())  # type: ignore[arg-type]
    with watched(full.engine) as asked:
        targets = [Target("mug", None)]
        number = requests.file(full, "carla", "shop", targets, Basis.BIAS, "new").number
        prepare.prepare(tools, "mona", number, "eval", Recipe())
        for person in ("dmitri", "eva"):
            requests.approve(full, person, number, "agreed")
        add_version(full, [1, 4, number], number=4, nominate=True)
        with full.read() as session:
            assert open_intents(session, "version:shop/4") == []
    assert len(asked.asked) > 50
    assert whole(full, asked) == []


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id FROM requests WHERE retention = 'standard'",
        "SELECT id FROM requests WHERE retention = 'standard' ORDER BY id LIMIT 3",
        "SELECT seq FROM events WHERE key_id IS NULL",
        "SELECT id FROM evaluation_reports ORDER BY created_at LIMIT 1",
    ],
)
def test_a_whole_table_is_noticed(full: Ledger, query: str) -> None:
    asked = Statements([(query, ())])
    assert len(whole(full, asked)) == 1


def test_the_first_rows_of_an_index_are_no_whole_table(full: Ledger) -> None:
    asked = Statements([("SELECT seq FROM events ORDER BY seq DESC LIMIT 1", ())])
    assert whole(full, asked) == []


@pytest.mark.only("sqlite")
def test_a_repeated_filing_is_looked_for_among_what_is_open(full: Ledger) -> None:
    with watched(full.engine) as asked:
        requests.file(full, "carla", "shop", [Target("mug", None)], Basis.BIAS, "because")
    found = [
        line
        for query, plan in plans(full.engine, asked).items()
        if "FROM request_targets" in query and "EXISTS" in query
        for line in accesses(plan)
    ]
    assert "ix_requests_model_id_state_id (model_id=? AND state=?)" in found[0]
