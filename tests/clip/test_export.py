"""What is exported loads with stock open_clip, and is all there or not there."""

import json
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from governance.clip import export
from governance.clip.certify import Precision
from governance.clip.encoder import weights_digest_with
from governance.clip.export import export_directory
from governance.clip.fold import Fold, fold, unedited
from governance.clip.load import ClipModel, load_model, no_grad_features
from governance.clip.source import CONFIG_NAME, WEIGHTS_NAME, Source, parse_source
from governance.digests import digest_mapping
from governance.errors import InvalidInputError
from governance.unlearning.projector import digest_tensor
from tests.clip.test_certify import KINDS, projector

NOTES = {"version": 2, "model": "shop", "digest": "sha256:00"}
PROMPTS = ["a photo of a mug", "Zoë's café – 1,000 cats", ""]


def edited(model: ClipModel, precision: Precision = Precision.FP32) -> Fold:
    return fold(model, projector(model.dimension, 11), precision=precision)


@pytest.mark.parametrize("kind", KINDS)
def test_stock_open_clip_loads_the_edited_model(
    loaded: Callable[[str], ClipModel], kind: str, tmp_path: Path
) -> None:
    model, dest = loaded(kind), tmp_path / "out"
    export_directory(model, edited(model), dest, NOTES)
    stock, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{dest}")
    stock.eval()
    assert (
        stock.state_dict().keys() == model.module.state_dict().keys() | edited(model).tensors.keys()
    )

    image = Image.effect_noise((200, 180), 80).convert("RGB")
    assert torch.equal(preprocess(image), model.preprocess(image))
    images = torch.stack([preprocess(image), preprocess(image.rotate(90))])
    expected = (
        no_grad_features(model.module, images).double() @ projector(model.dimension, 11).dense()
    )
    features = no_grad_features(stock, images).double()
    assert (features - expected).abs().max() <= 1e-5 * expected.abs().max()

    tokens = open_clip.get_tokenizer(f"local-dir:{dest}")(PROMPTS)
    assert torch.equal(tokens, model.tokenize(PROMPTS))
    with torch.inference_mode():
        assert torch.equal(stock.encode_text(tokens), model.module.encode_text(tokens))


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_can_be_edited_again(
    loaded: Callable[[str], ClipModel], kind: str, tmp_path: Path
) -> None:
    model = loaded(kind)
    one, two = projector(model.dimension, 11), projector(model.dimension, 12)
    export_directory(model, fold(model, one, one), tmp_path / "one", NOTES)
    again = load_model(Source(f"local-dir:{tmp_path}/one"))
    found = fold(again, two, two)
    assert found.config == {}  # what had no projection has one now
    export_directory(again, found, tmp_path / "two", NOTES)
    twice = load_model(Source(f"local-dir:{tmp_path}/two"))
    images = torch.randn(2, 3, *model.image_size, generator=torch.Generator().manual_seed(1))
    expected = no_grad_features(model.module, images).double() @ one.dense() @ two.dense()
    actual = no_grad_features(twice.module, images).double()
    assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("kind", ["vit", "timm-bias", "siglip"])
@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16])
def test_a_coarser_export_serves_at_its_precision(
    loaded: Callable[[str], ClipModel], kind: str, precision: Precision, tmp_path: Path
) -> None:
    model, dest = loaded(kind), tmp_path / "out"
    found = edited(model, precision)
    export_directory(model, found, dest, NOTES)
    stored = load_file(dest / WEIGHTS_NAME)
    assert {t.dtype for t in stored.values() if t.is_floating_point()} == {precision.dtype}
    digests = {name: digest_tensor(tensor) for name, tensor in stored.items()}
    assert weights_digest_with(model, found) == digest_mapping(digests)
    assert weights_digest_with(model, found) != weights_digest_with(model, edited(model))

    name = f"local-dir:{dest}"
    stock, _ = open_clip.create_model_from_pretrained(name, precision=f"pure_{precision}")
    assert {t.dtype for t in stock.parameters()} == {precision.dtype}
    export_directory(model, unedited(precision), tmp_path / "base", NOTES)
    base, _ = open_clip.create_model_from_pretrained(
        f"local-dir:{tmp_path}/base", precision=f"pure_{precision}"
    )
    images = torch.randn(2, 3, *model.image_size, generator=torch.Generator().manual_seed(1))
    images = images.to(precision.dtype)
    before = no_grad_features(base.eval(), images).double()
    expected = before @ projector(model.dimension, 11).dense()
    actual = no_grad_features(stock.eval(), images).double()
    assert (actual - expected).abs().max() <= precision.tolerance * expected.abs().max()


def test_the_export_can_be_registered_again(vit: ClipModel, tmp_path: Path) -> None:
    changed = edited(vit)
    export_directory(vit, changed, tmp_path / "out", NOTES)
    again = load_model(parse_source(str(tmp_path / "out"), None))
    assert again.weights_digest == weights_digest_with(vit, changed)
    assert again.weights_digest != vit.weights_digest
    assert again.config_digest == vit.config_digest
    assert again.config == vit.config


def test_an_export_without_changes_is_the_base_model(vit: ClipModel, tmp_path: Path) -> None:
    export_directory(vit, unedited(), tmp_path / "out", NOTES)
    assert load_model(Source(f"local-dir:{tmp_path}/out")).weights_digest == vit.weights_digest


def test_overrides_travel_with_the_export(vit: ClipModel, tmp_path: Path) -> None:
    quick = load_model(Source(vit.source.name, quick_gelu=True))
    export_directory(quick, unedited(), tmp_path / "out", NOTES)
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
    export_directory(vit, unedited(), tmp_path / "out", NOTES)
    with safe_open(tmp_path / "out" / WEIGHTS_NAME, "pt") as file:
        metadata = file.metadata()
    assert metadata.keys() == {"governance"}
    assert json.loads(metadata["governance"]) == NOTES


def test_exporting_changes_neither_model_nor_configuration(vit: ClipModel, tmp_path: Path) -> None:
    before = json.dumps(vit.config)
    export_directory(vit, edited(vit), tmp_path / "out", NOTES)
    assert json.dumps(vit.config) == before
    export_directory(vit, unedited(), tmp_path / "again", NOTES)
    assert load_model(Source(f"local-dir:{tmp_path}/again")).weights_digest == vit.weights_digest


def test_an_empty_directory_and_missing_parents_are_no_obstacle(
    vit: ClipModel, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for dest in (tmp_path / "empty", tmp_path / "some" / "where"):
        export_directory(vit, unedited(), dest, NOTES)
        assert {p.name for p in dest.iterdir()} == {CONFIG_NAME, WEIGHTS_NAME}
        assert dest.stat().st_mode & 0o777 == 0o755


def test_what_is_in_the_way_stays_as_it_is(vit: ClipModel, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for dest in (tmp_path / "full", tmp_path / "file"):
        with pytest.raises(InvalidInputError, match="exists and is not empty"):
            export_directory(vit, unedited(), dest, NOTES)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "full"]
    assert [p.read_text() for p in (tmp_path / "full").iterdir()] == ["mine"]


@pytest.mark.parametrize("problem", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["save_file", "write_text_files"])
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
            export_directory(vit, unedited(), tmp_path / "out", NOTES)
    assert list(tmp_path.iterdir()) == []
    export_directory(vit, unedited(), tmp_path / "out", NOTES)
    assert (tmp_path / "out" / WEIGHTS_NAME).is_file()
