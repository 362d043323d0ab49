"""How a model is named."""

from collections.abc import Callable
from pathlib import Path

import pytest

from governance.clip.source import CONFIG_NAME, WEIGHTS_NAME, Source, parse_source
from governance.errors import InvalidInputError, NotFoundError


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with the files that a model has; their content does not matter here."""
    place = tmp_path / "model"
    place.mkdir()
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        (place / name).touch()
    return place


def test_a_path_and_local_dir_are_the_same_absolute_place(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.parent)
    monkeypatch.setenv("HOME", str(place.parent))
    expected = Source(f"local-dir:{place}")
    for name in (place, f"local-dir:{place}", "./model", "model", "local-dir:model", "~/model"):
        assert parse_source(str(name), None) == expected
    assert expected.directory == place
    assert expected.describe() == f"local-dir:{place}"


def test_a_built_in_configuration_needs_the_name_of_its_weights() -> None:
    source = parse_source("ViT-B-32", "laion2b_s34b_b79k", quick_gelu=True)
    assert source == Source("ViT-B-32", "laion2b_s34b_b79k", True)
    assert source.directory is None
    assert source.describe() == "ViT-B-32 (laion2b_s34b_b79k)"
    with pytest.raises(InvalidInputError, match="name them with --pretrained"):
        parse_source("ViT-B-32", None)


def test_weights_in_a_file_are_named_by_an_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights.pt").touch()
    monkeypatch.chdir(tmp_path)
    assert parse_source("RN50", "weights.pt").pretrained == str(tmp_path / "weights.pt")


@pytest.mark.parametrize("prefix", ["", "local-dir:"])
def test_a_directory_brings_its_own_weights(place: Path, prefix: str) -> None:
    with pytest.raises(InvalidInputError, match="brings its own weights"):
        parse_source(f"{prefix}{place}", "openai")


def test_a_hub_repository_brings_its_own_weights() -> None:
    assert parse_source("hf-hub:org/repo", None) == Source("hf-hub:org/repo")
    with pytest.raises(InvalidInputError, match="brings its own weights"):
        parse_source("hf-hub:org/repo", "openai")


@pytest.mark.parametrize("name", ["/nowhere/at-all", "local-dir:/nowhere/at-all", "./nowhere"])
def test_a_missing_directory_is_not_found(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFoundError, match=r"nowhere.* does not exist"):
        parse_source(name, None)


def test_a_file_is_not_a_model_directory(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").touch()
    with pytest.raises(NotFoundError, match="does not exist"):
        parse_source(str(tmp_path / "weights.pt"), None)


def test_a_missing_configuration_is_not_found(place: Path) -> None:
    (place / CONFIG_NAME).unlink()
    with pytest.raises(NotFoundError, match=f"it has no {CONFIG_NAME}"):
        parse_source(str(place), None)


def test_missing_weights_are_not_found(place: Path) -> None:
    (place / WEIGHTS_NAME).unlink()
    with pytest.raises(NotFoundError, match=f"{WEIGHTS_NAME} is missing"):
        parse_source(str(place), None)
    (place / "open_clip_pytorch_model.bin").touch()
    assert parse_source(str(place), None).directory == place


def test_a_source_survives_json(model_dir: Callable[[str], Path]) -> None:
    source = parse_source(str(model_dir("vit")), None, quick_gelu=True)
    assert Source(**source.to_dict()) == source
