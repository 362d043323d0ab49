"""A workspace as the workflow sees it: people, the embedded model, a data set, and a registry in memory."""

import copy
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from governance.clip.encoder import Encoder
from governance.clip.source import parse_source
from governance.demo import LABELS_FILE, MODEL_DIR
from governance.ledger.database import Ledger
from governance.unlearning import assessment
from governance.unlearning.labels import parse_labels
from governance.unlearning.metrics.relearning import Recovery, relearn
from governance.workflow import actors, datasets, models
from governance.workflow.tools import Tools
from tests.databases import Databases, make_template
from tests.fakes import FakeRegistry
from tests.workflow.shop import PEOPLE, Shop


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """Loads the embedded model and encodes the data set once for all tests."""
    return Encoder(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def furnished(
    databases: Databases, migrated: str, encoder: Encoder, images: Path
) -> tuple[str, FakeRegistry]:
    """A template with people, model and data set, and the registry that goes with it."""
    registry = FakeRegistry()

    def furnish(ledger: Ledger) -> None:
        tools = Tools(ledger, registry, encoder)
        actors.found(ledger, "ada")
        for name, role in PEOPLE.items():
            actors.add(ledger, "ada", name, [role])
        labels = parse_labels(LABELS_FILE.read_text(), toml=True)
        source = parse_source(f"local-dir:{MODEL_DIR}", None)
        models.register(tools, "mona", "shop", source, labels)
        datasets.add(ledger, "mona", "eval", images)

    return make_template(databases, furnish, migrated), registry


_RECOVERIES: dict[tuple[object, ...], Recovery | None] = {}


def _relearn_once(*args: Any, **kwargs: Any) -> Recovery | None:
    """`relearn`, but the same attack on the same embeddings, to the last byte, is mounted once for all tests."""
    given = [*args, *(part for item in sorted(kwargs.items()) for part in item)]
    key = tuple(
        (g.dtype, g.shape, sha256(g.contiguous().numpy().tobytes()).digest())
        if isinstance(g, Tensor)
        else g
        for g in given
    )
    if key not in _RECOVERIES:
        _RECOVERIES[key] = relearn(*args, **kwargs)
    return _RECOVERIES[key]


@pytest.fixture
def known_attacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the time of a preparation goes into attacks that a hundred tests of the workflow have in common."""
    monkeypatch.setattr(assessment, "relearn", _relearn_once)


@pytest.fixture
def make_shop(
    copy_ledger: Callable[[str], Ledger],
    furnished: tuple[str, FakeRegistry],
    encoder: Encoder,
    known_attacks: None,
) -> Callable[[], Shop]:
    """Fresh copies of the furnished workspace."""
    template, registry = furnished

    def make() -> Shop:
        own = copy.deepcopy(registry)
        return Shop(Tools(copy_ledger(template), own, encoder), own)

    return make


@pytest.fixture
def shop(make_shop: Callable[[], Shop]) -> Shop:
    """A furnished workspace."""
    return make_shop()
