"""Proofs that a stranger checks with the tree's rules alone, made without reading the log."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from governance.audit import proofs
from governance.errors import IntegrityError, InvalidInputError, NotFoundError
from governance.evidence import note as notes
from governance.evidence.merkle import leaf_hash, verify_consistency, verify_inclusion
from governance.ledger import tree
from governance.ledger.checkpoints import take
from governance.ledger.database import Ledger
from governance.ledger.events import append
from tests.databases import Databases, make_template
from tests.heads import found, populate
from tests.ledger.tampering import tamper

EVENTS = 3000


def furnish(ledger: Ledger) -> None:
    """Fill a ledger to `EVENTS` events, with checkpoints on the first 300 and on all but the last."""
    populate(ledger)
    with ledger.write() as session:
        for number in range(6, EVENTS + 1):
            if number in (301, EVENTS):
                take(session, "otto")
            else:
                append(session, "otto", "report.exported", f"report:{number}", {})


@pytest.fixture(scope="session")
def long_template(databases: Databases, migrated: str) -> str:
    """A template with what `furnish` makes."""
    return make_template(databases, furnish, migrated)


@pytest.fixture
def long(copy_ledger: Callable[[str], Ledger], long_template: str) -> Ledger:
    """A ledger with what `furnish` makes."""
    return copy_ledger(long_template)


def check_inclusion(proof: dict[str, Any]) -> None:
    digest = sha256(proof["entry"].encode()).digest()
    hashes = [bytes.fromhex(value) for value in proof["hashes"]]
    root = bytes.fromhex(proof["root"])
    verify_inclusion(proof["index"], proof["size"], leaf_hash(digest), hashes, root)
    signed, _ = notes.parse(proof["checkpoint"])
    assert (signed.origin, signed.size, signed.root) == (proof["origin"], proof["size"], root)


@pytest.mark.parametrize("seq", [1, 2, 255, 256, 257, 300, 1500, 2560, EVENTS - 1])
def test_an_event_is_proven_with_few_reads(
    long: Ledger, monkeypatch: pytest.MonkeyPatch, seq: int
) -> None:
    read = [0]
    stored = tree._stored

    def counting(*args: Any) -> Any:
        rows = stored(*args)
        read[0] += len(rows)
        return rows

    monkeypatch.setattr(tree, "_stored", counting)
    with long.read() as session:
        proof = proofs.inclusion(session, seq)
        check_inclusion(proof)
        assert proof["size"] == EVENTS - 1
        assert len(proof["hashes"]) <= 12
        # Some hundred hashes for the proof, and as many for each of two comparisons of the root.
        assert read[0] <= 4 * 256
        if seq <= 300:
            check_inclusion(proofs.inclusion(session, seq, 300))
            note = proofs.inclusion(session, seq, 300)["checkpoint"]
            check_inclusion(proofs.inclusion(session, seq, note))


def test_another_entry_is_not_proven(long: Ledger) -> None:
    with long.read() as session:
        proof = proofs.inclusion(session, 77)
    proof["entry"] = proof["entry"].replace("report:77", "report:78")
    with pytest.raises(IntegrityError):
        check_inclusion(proof)


@pytest.mark.parametrize(("old", "new"), [(1, 2), (255, 256), (300, 2999), (2999, 3000), (5, 5)])
def test_the_log_only_grew(long: Ledger, old: int, new: int) -> None:
    with long.read() as session:
        proof = proofs.consistency(session, old, new)
    sides = [bytes.fromhex(proof[side]["root"]) for side in ("old", "new")]
    hashes = [bytes.fromhex(value) for value in proof["hashes"]]
    verify_consistency(old, new, *sides, hashes)
    assert (proof["old"]["checkpoint"] is not None) == (old in (300, 2999))
    if old != new:
        with pytest.raises(IntegrityError):
            verify_consistency(old, new, sides[1], sides[1], hashes)


def test_what_cannot_be_proven(long: Ledger, ledger: Ledger) -> None:
    other = found(ledger)
    with other.write() as session:
        foreign = take(session, "otto").note
    with long.read() as session:
        for call, error, message in (
            (lambda: proofs.inclusion(session, EVENTS + 1), NotFoundError, "no event 3001"),
            (lambda: proofs.inclusion(session, EVENTS), InvalidInputError, "came after"),
            (lambda: proofs.inclusion(session, 301, 300), InvalidInputError, "came after"),
            (lambda: proofs.inclusion(session, 5, 299), NotFoundError, "on 299 events"),
            (lambda: proofs.inclusion(session, 5, foreign), InvalidInputError, "another log"),
            (lambda: proofs.inclusion(session, 5, "nonsense"), InvalidInputError, "blank line"),
            (lambda: proofs.consistency(session, 5, EVENTS + 1), InvalidInputError, "has 3000"),
            (lambda: proofs.consistency(session, 6, 5), InvalidInputError, "5"),
        ):
            with pytest.raises(error, match=message):
                call()


def test_a_rewritten_log_proves_nothing_below_the_head_that_was_signed(long: Ledger) -> None:
    other = "sha256:" + "7" * 64
    tamper(long, ("UPDATE events SET digest = ? WHERE seq = 290", [other]))
    with long.read() as session, pytest.raises(IntegrityError, match="the first 300 events"):
        proofs.inclusion(session, 5, 300)


def test_without_a_checkpoint_there_is_no_proof(ledger: Ledger) -> None:
    populate(ledger)
    with ledger.read() as session, pytest.raises(NotFoundError, match="no checkpoint yet"):
        proofs.inclusion(session, 1)
