"""What is exported loads with stock open_clip, and is all there or not there."""

import json
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor

from governance.clip import export
from governance.clip.encoder import weights_digest_with
from governance.clip.export import export_directory
from governance.clip.fold import find_fold_path, fold
from governance.clip.load import ClipModel, load_model, no_grad_features
from governance.clip.source import CONFIG_NAME, WEIGHTS_NAME, Source, parse_source
from governance.errors import InvalidInputError
from governance.unlearning.projector import Projector

KINDS = ["vit", "resnet", "timm-linear", "timm-mlp", "trunk-head", "trunk-head-fc"]
NOTES = {"version": 2, "model": "shop", "digest": "sha256:00"}
PROMPTS = ["a photo of a mug", "Zoë's café – 1,000 cats", ""]


def projector() -> Projector:
    generator = torch.Generator().manual_seed(11)
    a, b = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) / 6
        for shape in ((32, 3), (3, 32))
    )
    return Projector(a, b, 1.0)


def edited(model: ClipModel) -> dict[str, Tensor]:
    return fold(model, find_fold_path(model), projector())


@pytest.mark.parametrize("kind", KINDS)
def test_stock_open_clip_loads_the_edited_model(
    loaded: Callable[[str], ClipModel], kind: str, tmp_path: Path
) -> None:
    model, dest = loaded(kind), tmp_path / "out"
    export_directory(model, edited(model), dest, NOTES)
    stock, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{dest}")
    stock.eval()
    assert stock.state_dict().keys() == model.module.state_dict().keys()

    image = Image.effect_noise((50, 40), 80).convert("RGB")
    assert torch.equal(preprocess(image), model.preprocess(image))
    images = torch.stack([preprocess(image), preprocess(image.rotate(90))])
    expected = no_grad_features(model.module, images).double() @ projector().dense()
    features = no_grad_features(stock, images).double()
    assert (features - expected).abs().max() <= 1e-5 * expected.abs().max()

    tokens = open_clip.get_tokenizer(f"local-dir:{dest}")(PROMPTS)
    assert torch.equal(tokens, model.tokenize(PROMPTS))
    with torch.inference_mode():
        assert torch.equal(stock.encode_text(tokens), model.module.encode_text(tokens))


def test_the_export_can_be_registered_again(vit: ClipModel, tmp_path: Path) -> None:
    changed = edited(vit)
    export_directory(vit, changed, tmp_path / "out", NOTES)
    again = load_model(parse_source(str(tmp_path / "out"), None))
    assert again.weights_digest == weights_digest_with(vit, changed)
    assert again.weights_digest != vit.weights_digest
    assert again.config_digest == vit.config_digest
    assert again.config == vit.config


def test_an_export_without_changes_is_the_base_model(vit: ClipModel, tmp_path: Path) -> None:
    export_directory(vit, {}, tmp_path / "out", NOTES)
    assert load_model(Source(f"local-dir:{tmp_path}/out")).weights_digest == vit.weights_digest


def test_overrides_travel_with_the_export(vit: ClipModel, tmp_path: Path) -> None:
    quick = load_model(Source(vit.source.name, quick_gelu=True))
    export_directory(quick, {}, tmp_path / "out", NOTES)
    stock, _ = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path}/out")
    stock.eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert torch.equal(no_grad_features(stock, images), no_grad_features(quick.module, images))
    assert not torch.equal(no_grad_features(stock, images), no_grad_features(vit.module, images))


def test_the_same_input_gives_the_same_bytes(vit: ClipModel, tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        notes = NOTES if name == "one" else dict(reversed(NOTES.items()))
        export_directory(vit, edited(vit), tmp_path / name, notes)
        files.append({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()})
    assert files[0] == files[1]
    assert files[0].keys() == {CONFIG_NAME, WEIGHTS_NAME}


def test_notes_are_one_key_of_json(vit: ClipModel, tmp_path: Path) -> None:
    export_directory(vit, {}, tmp_path / "out", NOTES)
    with safe_open(tmp_path / "out" / WEIGHTS_NAME, "pt") as file:
        metadata = file.metadata()
    assert metadata.keys() == {"governance"}
    assert json.loads(metadata["governance"]) == NOTES


def test_exporting_changes_neither_model_nor_configuration(vit: ClipModel, tmp_path: Path) -> None:
    before = json.dumps(vit.config)
    export_directory(vit, edited(vit), tmp_path / "out", NOTES)
    assert json.dumps(vit.config) == before
    export_directory(vit, {}, tmp_path / "again", NOTES)
    assert load_model(Source(f"local-dir:{tmp_path}/again")).weights_digest == vit.weights_digest


def test_an_empty_directory_and_missing_parents_are_no_obstacle(
    vit: ClipModel, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for dest in (tmp_path / "empty", tmp_path / "some" / "where"):
        export_directory(vit, {}, dest, NOTES)
        assert {p.name for p in dest.iterdir()} == {CONFIG_NAME, WEIGHTS_NAME}
        assert dest.stat().st_mode & 0o777 == 0o755


def test_what_is_in_the_way_stays_as_it_is(vit: ClipModel, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for dest in (tmp_path / "full", tmp_path / "file"):
        with pytest.raises(InvalidInputError, match="exists and is not empty"):
            export_directory(vit, {}, dest, NOTES)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "full"]
    assert [p.read_text() for p in (tmp_path / "full").iterdir()] == ["mine"]


@pytest.mark.parametrize("problem", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["save_file", "_with_tokenizer"])
def test_a_failing_export_leaves_nothing(
    vit: ClipModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    problem: BaseException,
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        if step == "save_file":
            Path(str(args[1])).write_bytes(b"half of it")
        raise problem

    with monkeypatch.context() as broken:
        broken.setattr(export, step, fail)
        with pytest.raises(type(problem)):
            export_directory(vit, {}, tmp_path / "out", NOTES)
    assert list(tmp_path.iterdir()) == []
    export_directory(vit, {}, tmp_path / "out", NOTES)
    assert (tmp_path / "out" / WEIGHTS_NAME).is_file()
