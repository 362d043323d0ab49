"""Who was told what is guarded, but no evidence: no audit reads it, and this says so."""

import pytest

from governance.audit.verify import verify
from governance.ledger.database import Ledger
from governance.ledger.tables import IMMUTABLE_TABLES, OPERATIONAL_TABLES, Base
from tests.ledger.tampering import REFUSED, dump, raw, tamper


@pytest.mark.parametrize("table", OPERATIONAL_TABLES)
def test_the_audit_does_not_read_it(full: Ledger, table: str) -> None:
    assert dump(full)[table]
    if table == "deliveries":
        tamper(full, "UPDATE deliveries SET state = 'delivered', subject = 'request:9'")
    elif table == "outboxes":
        tamper(full, "UPDATE outboxes SET event_cursor = 9999999")
    else:
        tamper(full, f"UPDATE {table} SET at = added_at FROM outboxes")
    assert verify(full).ok


@pytest.mark.parametrize("table", OPERATIONAL_TABLES)
def test_no_row_of_it_can_be_removed(full: Ledger, table: str) -> None:
    before = dump(full)
    with pytest.raises(REFUSED, match=r"append-only|never removed"):
        raw(full, f"DELETE FROM {table}")
    assert dump(full) == before


def test_what_was_tried_cannot_be_changed_and_every_table_is_on_one_side() -> None:
    assert set(OPERATIONAL_TABLES) < set(Base.metadata.tables)
    assert {"notices", "delivery_attempts"} == set(OPERATIONAL_TABLES) & set(IMMUTABLE_TABLES)
