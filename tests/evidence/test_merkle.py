"""The tree: the vectors of the reference code, and every small tree against the definition in RFC 6962."""

from collections.abc import Sequence
from functools import partial
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from governance.errors import IntegrityError, InvalidInputError
from governance.evidence.merkle import (
    EMPTY_ROOT,
    Frontier,
    Subtree,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_from_inclusion,
    subtree,
    verify_consistency,
    verify_inclusion,
)
from tests.evidence.vectors import CONSISTENCY, INCLUSION, LEAVES, ROOTS

LARGEST = 70
DATA = [f"entry {number}".encode() for number in range(LARGEST)]
HASHES = [leaf_hash(data) for data in DATA]


def split(width: int) -> int:
    half = 1
    while half * 2 < width:
        half *= 2
    return half


def defined_root(data: Sequence[bytes]) -> bytes:
    """MTH, RFC 6962, section 2.1."""
    if not data:
        return sha256(b"").digest()
    if len(data) == 1:
        return sha256(b"\x00" + data[0]).digest()
    k = split(len(data))
    return sha256(b"\x01" + defined_root(data[:k]) + defined_root(data[k:])).digest()


def defined_path(m: int, data: Sequence[bytes]) -> list[bytes]:
    """PATH, RFC 6962, section 2.1.1."""
    if len(data) == 1:
        return []
    k = split(len(data))
    if m < k:
        return [*defined_path(m, data[:k]), defined_root(data[k:])]
    return [*defined_path(m - k, data[k:]), defined_root(data[:k])]


def defined_subproof(m: int, data: Sequence[bytes], whole: bool) -> list[bytes]:
    """SUBPROOF, RFC 6962, section 2.1.2."""
    if m == len(data):
        return [] if whole else [defined_root(data)]
    k = split(len(data))
    if m <= k:
        return [*defined_subproof(m, data[:k], whole), defined_root(data[k:])]
    return [*defined_subproof(m - k, data[k:], False), defined_root(data[:k])]


DEFINED_ROOTS = [defined_root(DATA[:size]) for size in range(LARGEST + 1)]


class Store:
    """What a ledger keeps of a tree: leaves, and the subtrees that appends report."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.rows: dict[int, dict[int, bytes]] = {0: dict(enumerate(leaves))}
        self.widest = 0

    def keep(self, completed: Sequence[Subtree]) -> None:
        for level, position, value in completed:
            assert position not in self.rows.setdefault(level, {})
            self.rows[level][position] = value

    def fetch(self, level: int, start: int, stop: int) -> list[bytes]:
        self.widest = max(self.widest, stop - start)
        row = self.rows.get(level, {})
        return [row[position] for position in range(start, stop) if position in row]


def nodes_of(leaves: Sequence[bytes]) -> partial[bytes]:
    return partial(subtree, fetch=Store(leaves).fetch)


def flipped(value: bytes, bit: int) -> bytes:
    return (int.from_bytes(value, "big") ^ 1 << bit).to_bytes(len(value), "big")


def test_roots_of_the_reference_leaves() -> None:
    frontier = Frontier()
    assert frontier.root() == EMPTY_ROOT == sha256(b"").digest()
    for size, (data, root) in enumerate(zip(LEAVES, ROOTS, strict=True), 1):
        assert frontier.append(leaf_hash(data)) == []
        assert (frontier.size, frontier.root()) == (size, root)


@pytest.mark.parametrize(("index", "size", "proof"), INCLUSION)
def test_inclusion_proofs_of_the_reference_leaves(index: int, size: int, proof: list[str]) -> None:
    hashes = [leaf_hash(data) for data in LEAVES]
    expected = [bytes.fromhex(value) for value in proof]
    assert inclusion_proof(index, size, nodes_of(hashes)) == expected
    assert root_from_inclusion(index, size, hashes[index], expected) == ROOTS[size - 1]
    verify_inclusion(index, size, hashes[index], expected, ROOTS[size - 1])


@pytest.mark.parametrize(("old", "new", "proof"), CONSISTENCY)
def test_consistency_proofs_of_the_reference_leaves(old: int, new: int, proof: list[str]) -> None:
    hashes = [leaf_hash(data) for data in LEAVES]
    expected = [bytes.fromhex(value) for value in proof]
    assert consistency_proof(old, new, nodes_of(hashes)) == expected
    verify_consistency(old, new, ROOTS[old - 1], ROOTS[new - 1], expected)


def test_roots_are_those_of_the_definition() -> None:
    frontier = Frontier()
    for size, root in enumerate(DEFINED_ROOTS):
        assert frontier.root() == root
        if size < LARGEST:
            frontier.append(HASHES[size])


def test_every_inclusion_proof_is_that_of_the_definition_and_holds_only_there() -> None:
    nodes = nodes_of(HASHES)
    for size in range(1, LARGEST + 1):
        for index in range(size):
            proof = inclusion_proof(index, size, nodes)
            assert proof == defined_path(index, DATA[:size])
            verify_inclusion(index, size, HASHES[index], proof, DEFINED_ROOTS[size])
            for wrong in ([*proof, HASHES[0]], [HASHES[0], *proof], proof[:-1], proof[1:]):
                if wrong != proof:
                    with pytest.raises(IntegrityError, match=r"hashes instead of \d+$"):
                        verify_inclusion(index, size, HASHES[index], wrong, DEFINED_ROOTS[size])
            for other in {index - 1, index + 1, index ^ 2}:
                with pytest.raises(IntegrityError):
                    verify_inclusion(other, size, HASHES[index], proof, DEFINED_ROOTS[size])


def test_every_consistency_proof_is_that_of_the_definition_and_holds_only_there() -> None:
    nodes = nodes_of(HASHES)
    for new in range(LARGEST + 1):
        for old in range(new + 1):
            proof = consistency_proof(old, new, nodes)
            assert proof == (defined_subproof(old, DATA[:new], True) if old else [])
            roots = DEFINED_ROOTS[old], DEFINED_ROOTS[new]
            verify_consistency(old, new, *roots, proof)
            for wrong in ([*proof, HASHES[0]], [HASHES[0], *proof], proof[:-1], proof[1:]):
                if wrong != proof:
                    with pytest.raises(IntegrityError, match=r"hashes instead of \d+$"):
                        verify_consistency(old, new, *roots, wrong)
            if old != new:
                for sizes in ((old - 1, new), (old + 1, new), (new, old)):
                    with pytest.raises(IntegrityError):
                        verify_consistency(*sizes, *roots, proof)
                with pytest.raises(IntegrityError):
                    verify_consistency(old, new, roots[1], roots[0], proof)


@pytest.mark.parametrize(("index", "size"), [(0, 2), (5, 8), (6, 7), (40, 70), (69, 70)])
def test_no_bit_of_an_inclusion_proof_can_change(index: int, size: int) -> None:
    proof = inclusion_proof(index, size, nodes_of(HASHES))
    leaf, root = HASHES[index], DEFINED_ROOTS[size]
    for bit in range(256):
        for place, value in enumerate(proof):
            wrong = [*proof[:place], flipped(value, bit), *proof[place + 1 :]]
            with pytest.raises(IntegrityError, match="leads to another root"):
                verify_inclusion(index, size, leaf, wrong, root)
        with pytest.raises(IntegrityError):
            verify_inclusion(index, size, flipped(leaf, bit), proof, root)
        with pytest.raises(IntegrityError):
            verify_inclusion(index, size, leaf, proof, flipped(root, bit))


@pytest.mark.parametrize(("old", "new"), [(1, 2), (6, 8), (6, 7), (64, 70), (33, 70)])
def test_no_bit_of_a_consistency_proof_can_change(old: int, new: int) -> None:
    proof = consistency_proof(old, new, nodes_of(HASHES))
    roots = DEFINED_ROOTS[old], DEFINED_ROOTS[new]
    for bit in range(256):
        for place, value in enumerate(proof):
            wrong = [*proof[:place], flipped(value, bit), *proof[place + 1 :]]
            with pytest.raises(IntegrityError, match="leads to another root of the"):
                verify_consistency(old, new, *roots, wrong)
        with pytest.raises(IntegrityError):
            verify_consistency(old, new, flipped(roots[0], bit), roots[1], proof)
        with pytest.raises(IntegrityError):
            verify_consistency(old, new, roots[0], flipped(roots[1], bit), proof)


def test_the_border_between_two_hashes_cannot_be_moved() -> None:
    left, right = HASHES[:2]
    both, root = left + right, DEFINED_ROOTS[2]
    assert node_hash(both[:31], both[31:]) == root
    with pytest.raises(IntegrityError, match=r"not 32 bytes long$"):
        verify_inclusion(0, 2, both[:31], [both[31:]], root)
    with pytest.raises(IntegrityError, match=r"not 32 bytes long$"):
        verify_consistency(1, 2, both[:31], root, [both[31:]])


def test_empty_and_equal_trees_are_consistent_only_with_their_own_roots() -> None:
    verify_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
    verify_consistency(0, 3, EMPTY_ROOT, DEFINED_ROOTS[3], [])
    wrong = DEFINED_ROOTS[5]
    for old, new, roots in (
        (0, 0, (EMPTY_ROOT, wrong)),
        (0, 0, (wrong, EMPTY_ROOT)),
        (0, 0, (wrong, wrong)),
        (0, 3, (wrong, DEFINED_ROOTS[3])),
        (3, 3, (DEFINED_ROOTS[3], wrong)),
    ):
        with pytest.raises(IntegrityError):
            verify_consistency(old, new, *roots, [])


def test_proofs_of_what_is_not_there_are_refused() -> None:
    for index, size in ((0, 0), (1, 1), (-1, 3), (3, 3)):
        with pytest.raises(InvalidInputError, match="has no leaf"):
            inclusion_proof(index, size, nodes_of(HASHES))
    for old, new in ((-1, 3), (4, 3)):
        with pytest.raises(InvalidInputError, match="cannot begin with"):
            consistency_proof(old, new, nodes_of(HASHES))
    with pytest.raises(
        IntegrityError, match=r"^the tree lacks nodes of level 0: 3 of 8 are stored"
    ):
        subtree(3, 0, Store(HASHES[:3]).fetch)
    with pytest.raises(
        IntegrityError, match=r"^the tree lacks nodes of level 0: 3 of 5 are stored"
    ):
        Frontier.resume(5, Store(HASHES[:3]).fetch)


BIG = [leaf_hash(number.to_bytes(4, "big")) for number in range(66_500)]


@pytest.fixture(scope="module")
def big() -> Store:
    """A tree large enough for stored subtrees of two levels."""
    store = Store(BIG)
    frontier = Frontier()
    store.keep(frontier.extend(BIG))
    assert frontier.size == len(BIG)
    return store


def test_completed_subtrees_are_reported_once_each_with_their_hash(big: Store) -> None:
    assert {level: sorted(row) for level, row in big.rows.items() if level} == {
        8: list(range(len(BIG) >> 8)),
        16: [0],
    }
    assert big.rows[8][3] == defined_root(
        [number.to_bytes(4, "big") for number in range(768, 1024)]
    )
    first = Frontier()
    first.extend(BIG[: 1 << 16])
    assert big.rows[16][0] == first.root()


def test_one_by_one_and_in_parts_give_the_same_tree(big: Store) -> None:
    single, parts, store, at = Frontier(), Frontier(), Store(BIG), 0
    for leaf in BIG:
        store.keep(single.append(leaf))
    assert store.rows == big.rows
    completed: list[Subtree] = []
    for step in (1, 254, 1, 0, 256, 257, 511, 3, 1000, 64_000, 217):
        completed += parts.extend(iter(BIG[at : at + step]))
        at += step
    assert (at, parts.size) == (len(BIG), len(BIG))
    assert single.root() == parts.root()
    again = Store(BIG)
    again.keep(completed)
    assert again.rows == big.rows
    assert completed.index(Subtree(8, 255, big.rows[8][255])) + 1 == completed.index(
        Subtree(16, 0, big.rows[16][0])
    )


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65_535, 65_536, 65_537, 66_048, 66_500])
def test_a_stored_tree_is_resumed_and_goes_on(big: Store, size: int) -> None:
    frontier, whole = Frontier.resume(size, big.fetch), Frontier()
    whole.extend(BIG[:size])
    assert (frontier.size, frontier.root()) == (size, whole.root())
    copy = frontier.copy()
    rest = BIG[size : size + 300]
    assert copy.extend(rest) == whole.extend(rest)
    assert copy.root() == whole.root()
    whole = Frontier()
    whole.extend(BIG[:size])
    assert (frontier.size, frontier.root()) == (size, whole.root())


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_proofs_from_stored_subtrees_hold(big: Store, data: st.DataObject) -> None:
    nodes = partial(subtree, fetch=big.fetch)
    new = data.draw(st.integers(1, len(BIG)))
    old, index = data.draw(st.integers(0, new)), data.draw(st.integers(0, new - 1))
    roots = [Frontier.resume(size, big.fetch).root() for size in (old, new)]
    verify_consistency(old, new, roots[0], roots[1], consistency_proof(old, new, nodes))
    verify_inclusion(index, new, BIG[index], inclusion_proof(index, new, nodes), roots[1])
    assert big.widest <= 255


@given(
    st.integers(-3, 2**70),
    st.integers(-3, 2**70),
    st.lists(st.binary(min_size=32, max_size=32) | st.binary(max_size=40), max_size=70),
    st.binary(min_size=32, max_size=32) | st.binary(max_size=40),
)
@settings(max_examples=300, deadline=None)
def test_arbitrary_proofs_are_refused_with_our_error(
    first: int, second: int, proof: list[bytes], root: bytes
) -> None:
    with pytest.raises(IntegrityError):
        verify_inclusion(first, second, HASHES[0], proof, root)
    with pytest.raises(IntegrityError):
        verify_consistency(first, second, root, HASHES[0], proof)


def test_leaves_and_nodes_are_told_apart() -> None:
    left, right = HASHES[:2]
    assert node_hash(left, right) != leaf_hash(left + right)
