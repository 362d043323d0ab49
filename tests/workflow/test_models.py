"""Registering a base model."""

import json
import shutil
from pathlib import Path

import pytest

from governance.clip.fold import check_fold
from governance.clip.load import load_model
from governance.clip.paths import FoldPath
from governance.clip.source import Source, parse_source
from governance.demo import MODEL_DIR
from governance.demo.encoder import load_labels
from governance.errors import IntegrityError, InvalidInputError
from governance.registry import Artifacts
from governance.workflow import models
from governance.workflow.tools import Tools
from tests.workflow.helpers import dump, holds
from tests.workflow.shop import Shop


def register(shop: Shop, name: str, place: Path = MODEL_DIR) -> None:
    models.register(
        shop.tools, "mona", name, parse_source(f"local-dir:{place}", None), load_labels()
    )


def test_a_name_that_mlflow_serves_for_somebody_else_is_refused(shop: Shop) -> None:
    theirs = shop.registry.register("taken", "key", 1, "theirs", Artifacts())
    shop.registry.set_alias("taken", "champion", theirs.version)
    before = dump(shop.ledger)
    with pytest.raises(InvalidInputError, match="MLflow serves version 1 of a model 'taken'"):
        register(shop, "taken")
    assert dump(shop.ledger) == before
    assert shop.registry.aliases("taken")["champion"] == theirs.version


def test_an_interrupted_registration_can_be_repeated(shop: Shop) -> None:
    shop.registry.fail("after", "set_alias", KeyboardInterrupt())
    before = dump(shop.ledger)
    with pytest.raises(KeyboardInterrupt):
        register(shop, "second")
    assert dump(shop.ledger) == before
    register(shop, "second")
    assert len(shop.registry.versions["second"]) == 1
    assert holds(shop.ledger)


def test_a_configuration_that_changed_is_found(shop: Shop, tmp_path: Path) -> None:
    place = tmp_path / "model"
    shutil.copytree(MODEL_DIR, place)
    register(shop, "mine", place)
    path = place / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["preprocess_cfg"]["mean"] = [0.1, 0.1, 0.1]
    path.write_text(json.dumps(config))
    fresh = type(shop.tools.encoder)(tmp_path / "cache")
    tools = Tools(shop.ledger, shop.registry, fresh)
    with pytest.raises(IntegrityError, match=r"configuration .* changed since"):
        models.check(tools, "mine")


def test_the_registration_probe_refuses_a_layer_that_is_not_the_last() -> None:
    clip = load_model(parse_source(f"local-dir:{MODEL_DIR}", None))
    right = check_fold(clip, [FoldPath("visual.attnpool.c_proj", is_linear=True)])
    assert [c.error <= c.tolerance for c in right] == [True] * 3
    with pytest.raises(IntegrityError, match="differs from the edit"):
        check_fold(clip, [FoldPath("visual.layer2.0.bn3.weight", is_linear=False)])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Source("ViT-B-32", "openai"), "add --quick-gelu"),
        (Source("ViT-B-32", "laion2b_s34b_b79k", quick_gelu=True), "configuration ViT-B-32 and"),
    ],
)
def test_weights_of_another_activation_are_refused_before_they_are_fetched(
    source: Source, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        load_model(source)
