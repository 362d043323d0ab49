"""Two people doing the same thing at the same moment: both saw it undone, one does it, the other meets a conflict."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from governance.clip.encoder import Encoder
from governance.errors import ConflictError, GovernanceError
from governance.ledger.database import Ledger, Session
from governance.ledger.intents import open_intents
from governance.states import Basis, Role
from governance.unlearning.targets import Target
from governance.workflow import actors, release, requests, versions
from governance.workflow.tools import Tools
from tests.keys import KEYS
from tests.workflow.helpers import actions, active, champion, holds, state
from tests.workflow.shop import Shop


class Meeting(Ledger):
    """A ledger on which nobody writes before everybody has looked."""

    def __init__(self, url: str, everybody: threading.Barrier) -> None:
        super().__init__(url, KEYS)
        self._everybody = everybody
        self._met = False

    @contextmanager
    def write(self) -> Iterator[Session]:
        if not self._met:
            self._met = True
            self._everybody.wait(timeout=60)
        with super().write() as session:
            yield session


def at_once(ledger: Ledger, *deeds: Callable[[Ledger], object]) -> list[GovernanceError]:
    """Do things at the same moment, each with its own connection; what went wrong."""
    everybody, problems = threading.Barrier(len(deeds)), []

    def work(deed: Callable[[Ledger], object]) -> None:
        own = Meeting(ledger.url, everybody)
        try:
            deed(own)
        except GovernanceError as problem:
            problems.append(problem)
        finally:
            own.dispose()

    threads = [threading.Thread(target=work, args=(deed,)) for deed in deeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return problems


@pytest.fixture
def approvers(shop: Shop) -> Shop:
    actors.add(shop.ledger, "ada", "delia", [Role.APPROVER])
    actors.add(shop.ledger, "ada", "max", [Role.MLOPS])
    return shop


def lost(problems: list[GovernanceError]) -> None:
    (problem,) = problems
    assert isinstance(problem, ConflictError)
    assert problem.exit_code == 5


def test_two_approvers(approvers: Shop) -> None:
    number = approvers.prepared("mug")
    lost(
        at_once(
            approvers.ledger,
            lambda ledger: requests.approve(ledger, "dmitri", number),
            lambda ledger: requests.approve(ledger, "delia", number),
        )
    )
    assert state(approvers.ledger, number) == "approved"
    assert actions(approvers.ledger).count("request.approved") == 1
    assert holds(approvers.ledger)


def test_one_approves_and_one_rejects(approvers: Shop) -> None:
    number = approvers.prepared("mug")
    lost(
        at_once(
            approvers.ledger,
            lambda ledger: requests.approve(ledger, "dmitri", number),
            lambda ledger: requests.reject(ledger, "delia", number),
        )
    )
    assert state(approvers.ledger, number) in ("approved", "rejected")
    assert holds(approvers.ledger)


def test_two_applying_the_same_request(approvers: Shop) -> None:
    shop, number = approvers, approvers.approved("mug")

    def apply(actor: str) -> Callable[[Ledger], object]:
        return lambda ledger: versions.apply(
            Tools(ledger, shop.registry, Encoder(shop.tools.encoder._directory)),  # type: ignore[arg-type]
            actor,
            [number],
        )

    lost(at_once(shop.ledger, apply("mona"), apply("max")))
    assert state(shop.ledger, number) == "applied"
    assert active(shop.ledger, 2) == [number]
    assert actions(shop.ledger).count("version.registered") == 1
    assert holds(shop.ledger)


@pytest.mark.parametrize("numbers", [(2, 2), (2, 3)])
def test_two_promoting(approvers: Shop, numbers: tuple[int, int]) -> None:
    shop = approvers
    for label in ("mug", "cat"):
        versions.apply(shop.tools, "mona", [shop.approved(label)])

    def promote(actor: str, number: int) -> Callable[[Ledger], object]:
        return lambda ledger: release.promote(
            ledger,
            shop.registry,  # type: ignore[arg-type]
            actor,
            None,
            number,
        )

    lost(at_once(shop.ledger, promote("mona", numbers[0]), promote("max", numbers[1])))
    served = champion(shop.ledger)
    assert served in numbers
    assert shop.registry.aliases("shop")["champion"] == str(served)
    assert holds(shop.ledger)
    with shop.ledger.read() as session:
        assert open_intents(session) == []


def test_the_same_request_filed_twice(shop: Shop) -> None:
    found: list[requests.Filed] = []

    def file(ledger: Ledger) -> None:
        target = [Target("mug", None)]
        found.append(requests.file(ledger, "carla", "shop", target, Basis.BIAS, "a reason"))

    assert at_once(shop.ledger, file, file) == []
    assert sorted(found) == [(1, False), (1, True)]
    assert actions(shop.ledger).count("request.filed") == 1
    assert holds(shop.ledger)
