"""Loading a signed directory: of every kind of model, whole or not at all."""

from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest

from governance.clip.export import export_directory
from governance.clip.fold import fold, unedited
from governance.clip.load import ClipModel, load_model
from governance.clip.source import CONFIG_NAME, WEIGHTS_NAME, Source
from governance.errors import IntegrityError
from governance.evidence.artifact import SIGNATURE_NAME, sign_directory
from governance.evidence.keys import SigningKey
from tests.clip.test_certify import projector

KEY = SigningKey.from_seed(b"k" * 32)


def seal(directory: Path) -> None:
    sign_directory(directory, "shop/2", {"version": 2}, KEY)


@pytest.fixture
def signed(vit: ClipModel, tmp_path: Path) -> Path:
    export_directory(vit, unedited(), tmp_path / "out", {}, seal)
    return tmp_path / "out"


def load(place: Path, trusted: str | None = None) -> ClipModel:
    return load_model(Source(f"local-dir:{place}"), trusted=trusted)


@pytest.mark.parametrize("kind", ["vit", "timm-bias", "siglip"])
def test_a_signed_export_loads_here_and_with_stock_open_clip(
    loaded: Callable[[str], ClipModel], kind: str, tmp_path: Path
) -> None:
    model, dest = loaded(kind), tmp_path / "out"
    export_directory(model, fold(model, projector(model.dimension, 11)), dest, {}, seal)
    assert {path.name for path in dest.iterdir()} == {CONFIG_NAME, WEIGHTS_NAME, SIGNATURE_NAME}
    open_clip.create_model_from_pretrained(f"local-dir:{dest}")
    again = load(dest, KEY.key_id)
    assert again.signed is not None
    assert again.signed.key == KEY.public


def test_the_signature_is_no_part_of_the_configuration(signed: Path, vit: ClipModel) -> None:
    assert load(signed).config_digest == vit.config_digest


@pytest.mark.parametrize("name", [CONFIG_NAME, WEIGHTS_NAME, SIGNATURE_NAME])
def test_a_changed_file_is_not_loaded(
    signed: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (signed / name).read_bytes()
    (signed / name).write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    monkeypatch.setattr(open_clip, "create_model_from_pretrained", None)  # it is not asked
    with pytest.raises(IntegrityError, match=name):
        load(signed)


def test_weights_that_open_clip_would_prefer_are_not_loaded(signed: Path) -> None:
    """Of several weight files open_clip takes the first of a list; a pickle among them would run code."""
    (signed / "open_clip_pytorch_model.bin").write_bytes(b"")
    with pytest.raises(IntegrityError, match=r"'open_clip_pytorch_model\.bin' was not there"):
        load(signed)


def test_a_missing_or_linked_file_is_not_loaded(signed: Path, tmp_path: Path) -> None:
    (signed / WEIGHTS_NAME).rename(tmp_path / "weights")
    with pytest.raises(IntegrityError, match=f"'{WEIGHTS_NAME}' is missing"):
        load(signed)
    (signed / WEIGHTS_NAME).symlink_to(tmp_path / "weights")
    with pytest.raises(IntegrityError, match=f"'{WEIGHTS_NAME}' is a symbolic link"):
        load(signed)


def test_only_a_trusted_key_if_one_is_named(signed: Path, vit: ClipModel) -> None:
    other = SigningKey.from_seed(b"o" * 32).key_id
    with pytest.raises(IntegrityError, match=f"signed with key {KEY.key_id}, not with {other}"):
        load(signed, other)
    assert vit.signed is None
    with pytest.raises(IntegrityError, match="is not signed"):
        load_model(vit.source, trusted=other)


def test_a_publishers_own_signature_is_left_to_its_own_tools(signed: Path) -> None:
    (signed / SIGNATURE_NAME).rename(signed / "model.sig")
    assert load(signed).signed is None


def test_a_failing_signature_leaves_nothing(vit: ClipModel, tmp_path: Path) -> None:
    def fail(directory: Path) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        export_directory(vit, unedited(), tmp_path / "out", {}, fail)
    assert list(tmp_path.iterdir()) == []
