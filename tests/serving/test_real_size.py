"""What a version costs on a model of real size, with random weights: bytes in MLflow and in the ledger."""

from pathlib import Path

import pytest

from bench.real_size import write_weights
from governance.clip.encoder import Encoder
from governance.clip.source import Source
from governance.demo.scenes import write_dataset
from governance.ledger.database import Ledger
from governance.ledger.tables import Array, Event, ModelVersion, Report
from governance.registry import Registry
from governance.states import Basis
from governance.unlearning.labels import LabelSpace
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target
from governance.workflow import datasets, models, prepare, requests, versions
from governance.workflow.packages import identity_of, signed_artifacts
from governance.workflow.tools import Tools
from tests.workflow.fixtures import PEOPLE
from tests.workflow.shop import Shop


@pytest.mark.slow
@pytest.mark.only("sqlite")
def test_a_version_is_a_hundredth_of_the_model(ledger: Ledger, tmp_path: Path) -> None:
    from governance.workflow import actors

    weights = write_weights(tmp_path / "weights.safetensors")
    size = weights.stat().st_size
    assert size > 600e6
    registry = Registry(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "artifacts")
    tools = Tools(ledger, registry, Encoder(tmp_path / "cache"))
    actors.found(ledger, "ada")
    for name, role in PEOPLE.items():
        actors.add(ledger, "ada", name, [role])
    labels = LabelSpace(("mug", "cat", "dog"))
    models.register(tools, "mona", "shop", Source("ViT-B-32", str(weights)), labels)
    images = tmp_path / "images"
    write_dataset(images, per_pair=1, seed=1)
    for path in images.glob("*/*"):
        if path.name not in labels.classes or path.parent.name != "photo":
            for image in path.iterdir():
                image.unlink()
            path.rmdir()
    for path in images.iterdir():
        if not any(path.iterdir()):
            path.rmdir()
    datasets.add(ledger, "mona", "eval", images / "photo")
    number, _ = requests.file(
        ledger, "carla", "shop", [Target("mug", None)], Basis.BIAS, "a reason"
    )
    shop = Shop(tools, registry)  # type: ignore[arg-type]
    prepare.prepare(shop.tools, "mona", number, "eval", Recipe.of("redirect"))
    requests.approve(ledger, "dmitri", number)
    before = _stored(ledger)
    versions.apply(tools, "mona", [number])
    with ledger.read() as session:
        version = session.query(ModelVersion).filter_by(number=2).one()
        run_id, identity = version.run_id, identity_of(version)
    signed = signed_artifacts(registry, run_id, identity).signed
    (place,) = [p.parent for p in (tmp_path / "artifacts").rglob("MLmodel") if run_id in str(p)]
    artifacts = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    assert artifacts >= sum(file.size for file in signed.files.values()) > 1_500_000
    assert artifacts + _stored(ledger) - before <= size / 100
    weights.unlink()  # 600 MB that pytest would keep


def _stored(ledger: Ledger) -> int:
    """Bytes that the ledger holds of versions: arrays, recipes, reports and events."""
    with ledger.read() as session:
        return (
            sum(len(row.data) for row in session.query(Array))
            + sum(len(str(row.recipe)) for row in session.query(ModelVersion))
            + sum(len(row.content) for row in session.query(Report))
            + sum(len(row.payload) for row in session.query(Event))
        )
