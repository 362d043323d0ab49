"""Images and prompts are embedded once, and only those that were recorded."""

import dataclasses
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from governance.clip import encode
from governance.clip.certify import Precision
from governance.clip.encode import encode_images, encode_texts
from governance.clip.encoder import BaseModel, Encoder, weights_digest_with
from governance.clip.fold import Fold, unedited
from governance.clip.load import ClipModel
from governance.clip.source import WEIGHTS_NAME, Source
from governance.datasets import Manifest, scan
from governance.errors import IntegrityError, NotFoundError
from governance.unlearning.projector import digest_tensor

MODES = ["RGB", "L", "RGBA", "P", "1"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five images of different modes and sizes, class/N.png."""
    root = tmp_path / "photos"
    for number, mode in enumerate(MODES):
        image = Image.effect_noise((30 + 7 * number, 40), 60 + number).convert("RGB").convert(mode)
        (root / "mug").mkdir(parents=True, exist_ok=True)
        image.save(root / "mug" / f"{number}.png")
    return root


@pytest.fixture
def manifest(photos: Path) -> Manifest:
    return scan(photos)


@pytest.fixture
def base(vit: ClipModel) -> BaseModel:
    return BaseModel(vit.source, vit.weights_digest, vit.config_digest, vit.dimension)


def listed(root: Path, manifest: Manifest) -> list[tuple[Path, str]]:
    return [(root / item.path, item.digest) for item in manifest.items]


def test_images_are_embedded_one_as_all(
    vit: ClipModel, photos: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, done = listed(photos, manifest), list[int]()
    together = encode_images(vit, files, done.append)
    assert (together.shape, together.dtype) == ((5, 32), torch.float32)
    assert done == [5]
    monkeypatch.setattr(encode, "BATCH_SIZE", 2)
    in_batches = encode_images(vit, files, done.append)
    assert done == [5, 2, 2, 1]
    assert torch.allclose(in_batches, together, atol=1e-5)
    with torch.inference_mode():
        for (path, _), row in zip(files, together, strict=True):
            with Image.open(path) as image:
                own = vit.module.encode_image(vit.preprocess(image)[None], normalize=False)
            assert torch.allclose(own[0], row, atol=1e-5)
    norms = together.norm(dim=1)
    assert not torch.allclose(norms, torch.ones(5), atol=1e-3)  # unnormalised


def test_prompts_are_embedded_one_as_all(vit: ClipModel) -> None:
    prompts = [f"{number} mugs" for number in range(300)]  # two batches
    together = encode_texts(vit, prompts)
    assert (together.shape, together.dtype) == ((300, 32), torch.float32)
    for number in (0, 255, 256, 299):
        assert torch.allclose(encode_texts(vit, [prompts[number]])[0], together[number], atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-4)
    assert not torch.allclose(together.norm(dim=1), torch.ones(300), atol=1e-3)


def test_a_changed_image_is_refused(vit: ClipModel, photos: Path, manifest: Manifest) -> None:
    victim = photos / "mug" / "3.png"
    victim.write_bytes(victim.read_bytes() + b"\0")
    with pytest.raises(IntegrityError, match=r"3\.png changed since its data set was added"):
        encode_images(vit, listed(photos, manifest), lambda done: None)


def test_a_missing_image_is_not_found(vit: ClipModel, photos: Path, manifest: Manifest) -> None:
    (photos / "mug" / "2.png").unlink()
    with pytest.raises(NotFoundError, match=r"2\.png cannot be read: No such file"):
        encode_images(vit, listed(photos, manifest), lambda done: None)


def test_a_data_set_is_encoded_once(
    base: BaseModel, photos: Path, manifest: Manifest, tmp_path: Path
) -> None:
    encoder = Encoder(tmp_path / "cache")
    first = encoder.features(base, manifest.digest, photos, manifest.items)
    assert encoder.images_encoded == 5
    assert torch.equal(encoder.features(base, manifest.digest, photos, manifest.items), first)
    assert encoder.images_encoded == 5


def test_another_encoder_finds_them_without_images_or_model(
    base: BaseModel, photos: Path, manifest: Manifest, tmp_path: Path
) -> None:
    first = Encoder(tmp_path / "cache").features(base, manifest.digest, photos, manifest.items)
    shutil.rmtree(photos)
    gone = BaseModel(
        Source("local-dir:/nowhere"), base.weights_digest, base.config_digest, base.dimension
    )
    second = Encoder(tmp_path / "cache")
    assert torch.equal(second.features(gone, manifest.digest, photos, manifest.items), first)
    assert second.images_encoded == 0


def test_another_data_set_is_not_found_in_the_cache(
    base: BaseModel, photos: Path, manifest: Manifest, tmp_path: Path
) -> None:
    Encoder(tmp_path / "cache").features(base, manifest.digest, photos, manifest.items)
    encoder = Encoder(tmp_path / "cache")
    encoder.features(base, "sha256:" + "1" * 64, photos, manifest.items)
    assert encoder.images_encoded == 5


@pytest.mark.parametrize("part", ["weights_digest", "config_digest"])
def test_another_model_is_not_found_in_the_cache_and_must_be_what_it_claims(
    base: BaseModel, photos: Path, manifest: Manifest, tmp_path: Path, part: str
) -> None:
    Encoder(tmp_path / "cache").features(base, manifest.digest, photos, manifest.items)
    encoder = Encoder(tmp_path / "cache")
    other = dataclasses.replace(base, **{part: "sha256:" + "1" * 64})
    with pytest.raises(IntegrityError, match="changed since the model was registered"):
        encoder.features(other, manifest.digest, photos, manifest.items)
    assert encoder.images_encoded == 0


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_damaged_cache_file_is_made_anew(
    base: BaseModel, photos: Path, manifest: Manifest, tmp_path: Path, damage: bytes | None
) -> None:
    first = Encoder(tmp_path / "cache").features(base, manifest.digest, photos, manifest.items)
    (file,) = (tmp_path / "cache").rglob("*.safetensors")
    whole = file.read_bytes()
    file.write_bytes(whole[:-8] if damage is None else damage)
    encoder = Encoder(tmp_path / "cache")
    again = encoder.features(base, manifest.digest, photos, manifest.items)
    assert encoder.images_encoded == 5
    assert torch.equal(again, first)
    assert file.read_bytes() == whole


def test_a_data_set_that_changed_is_not_cached(
    base: BaseModel, photos: Path, manifest: Manifest, tmp_path: Path
) -> None:
    victim = photos / "mug" / "4.png"
    content = victim.read_bytes()
    victim.write_bytes(content + b"\0")
    encoder = Encoder(tmp_path / "cache")
    with pytest.raises(IntegrityError):
        encoder.features(base, manifest.digest, photos, manifest.items)
    assert list((tmp_path / "cache").rglob("*.safetensors")) == []
    assert encoder.images_encoded == 0
    victim.write_bytes(content)
    encoder.features(base, manifest.digest, photos, manifest.items)
    assert encoder.images_encoded == 5


def test_a_data_set_that_moved_is_not_found(
    base: BaseModel, photos: Path, manifest: Manifest, tmp_path: Path
) -> None:
    photos.rename(tmp_path / "moved")
    with pytest.raises(NotFoundError, match="put it back"):
        Encoder(tmp_path / "cache").features(base, manifest.digest, photos, manifest.items)


def test_progress_is_told(
    base: BaseModel, photos: Path, manifest: Manifest, tmp_path: Path
) -> None:
    told: list[tuple[str, int] | int] = []

    @contextmanager
    def meter(what: str, total: int):  # type: ignore[no-untyped-def]
        told.append((what, total))
        yield told.append

    Encoder(tmp_path / "cache").features(base, manifest.digest, photos, manifest.items, meter)
    assert told == [("encoding images", 5), 5]


def test_a_model_is_loaded_once_and_with_its_registered_weights(
    model_dir: Callable[[str], Path], base: BaseModel, tmp_path: Path
) -> None:
    place = Path(shutil.copytree(model_dir("vit"), tmp_path / "model"))
    own = BaseModel(
        Source(f"local-dir:{place}"), base.weights_digest, base.config_digest, base.dimension
    )
    encoder = Encoder(tmp_path / "cache")
    model = encoder.model(own)
    state = load_file(place / WEIGHTS_NAME)
    state["visual.proj"][0, 0] += 1
    save_file(state, place / WEIGHTS_NAME)
    assert encoder.model(own) is model
    with pytest.raises(IntegrityError, match="changed since the model was registered"):
        Encoder(tmp_path / "cache").model(own)
    shutil.rmtree(place)
    with pytest.raises(NotFoundError, match="does not exist"):
        Encoder(tmp_path / "cache").model(own)


def test_a_model_that_is_loaded_already_can_be_adopted(vit: ClipModel, tmp_path: Path) -> None:
    encoder = Encoder(tmp_path / "cache")
    encoder.adopt(vit)
    nowhere = BaseModel(Source("local-dir:/nowhere"), vit.weights_digest, vit.config_digest, 32)
    assert encoder.model(nowhere) is vit


def test_the_digest_after_replacing_tensors(vit: ClipModel) -> None:
    state = vit.module.state_dict()

    def fold_of(**tensors: Tensor) -> Fold:
        return Fold(tensors, {}, Precision.FP32, ())

    def digest(tensors: dict[str, Tensor]) -> str:
        digests = {name: digest_tensor(tensor) for name, tensor in tensors.items()}
        return dataclasses.replace(vit, tensor_digests=digests).weights_digest

    assert weights_digest_with(vit, unedited()) == vit.weights_digest
    same = {"visual.proj": state["visual.proj"]}
    assert weights_digest_with(vit, fold_of(**same)) == vit.weights_digest
    for name in ("visual.proj", "visual.head.proj.weight"):  # one changed, one new
        changed = {name: state["visual.proj"] + 1}
        expected = digest(state | changed)
        assert weights_digest_with(vit, fold_of(**changed)) == expected != vit.weights_digest
    half = {name: tensor.half() for name, tensor in state.items()}
    assert weights_digest_with(vit, unedited(Precision.FP16)) == digest(half)
