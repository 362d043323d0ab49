"""A workspace as the workflow sees it: people, the embedded model, a data set, and a registry in memory."""

import copy
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from governance.clip.encoder import Encoder
from governance.clip.source import parse_source
from governance.demo import LABELS_FILE, MODEL_DIR
from governance.ledger.database import Ledger
from governance.unlearning.labels import parse_labels
from governance.workflow import actors, datasets, models
from governance.workflow.tools import Tools
from tests.fakes import FakeRegistry
from tests.keys import KEYS
from tests.workflow.shop import PEOPLE, Shop


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """Loads the embedded model and encodes the data set once for all tests."""
    return Encoder(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def furnished(
    tmp_path_factory: pytest.TempPathFactory, migrated: Path, encoder: Encoder, images: Path
) -> tuple[Path, FakeRegistry]:
    """A ledger file with people, model and data set, and the registry that goes with it."""
    path = tmp_path_factory.mktemp("furnished") / "ledger.db"
    shutil.copy(migrated, path)
    registry = FakeRegistry()
    tools = Tools(Ledger(f"sqlite:///{path}", KEYS), registry, encoder)
    actors.found(tools.ledger, "ada")
    for name, role in PEOPLE.items():
        actors.add(tools.ledger, "ada", name, [role])
    labels = parse_labels(LABELS_FILE.read_text(), toml=True)
    source = parse_source(f"local-dir:{MODEL_DIR}", None)
    models.register(tools, "mona", "shop", source, labels)
    datasets.add(tools.ledger, "mona", "eval", images)
    tools.ledger.dispose()
    return path, registry


@pytest.fixture
def make_shop(
    furnished: tuple[Path, FakeRegistry], encoder: Encoder, tmp_path: Path
) -> Iterator[Callable[[], Shop]]:
    """Fresh copies of the furnished workspace."""
    path, registry = furnished
    made: list[Shop] = []

    def make() -> Shop:
        target = tmp_path / f"shop-{len(made)}.db"
        shutil.copy(path, target)
        own = copy.deepcopy(registry)
        made.append(Shop(Tools(Ledger(f"sqlite:///{target}", KEYS), own, encoder), own))
        return made[-1]

    yield make
    for shop in made:
        shop.ledger.dispose()


@pytest.fixture
def shop(make_shop: Callable[[], Shop]) -> Shop:
    """A furnished workspace."""
    return make_shop()
