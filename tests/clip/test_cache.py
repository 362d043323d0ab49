"""Embeddings on disk are whole, or treated as absent."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from governance.clip import cache
from governance.clip.cache import EmbeddingCache
from governance.digests import digest_bytes

FEATURES = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
MODEL, DATASET, PREPROCESS = (digest_bytes(name) for name in (b"model", b"data", b"preprocess"))


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path / "embeddings")


@pytest.fixture
def path(store: EmbeddingCache) -> Path:
    return store.path(MODEL, DATASET, PREPROCESS)


def test_what_was_put_is_there_bit_for_bit(store: EmbeddingCache, path: Path) -> None:
    assert store.get(path, 4, 3) is None
    assert not path.parent.exists()
    store.put(path, FEATURES)
    found = store.get(path, 4, 3)
    assert found is not None
    assert torch.equal(found, FEATURES)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_view_can_be_put(store: EmbeddingCache, path: Path) -> None:
    store.put(path, FEATURES.T)
    found = store.get(path, 3, 4)
    assert found is not None
    assert torch.equal(found, FEATURES.T)


def test_every_part_of_the_key_counts(store: EmbeddingCache, path: Path) -> None:
    other = digest_bytes(b"other")
    keys = [
        (MODEL, DATASET, PREPROCESS),
        (other, DATASET, PREPROCESS),
        (MODEL, other, PREPROCESS),
        (MODEL, DATASET, other),
        (DATASET, MODEL, PREPROCESS),
    ]
    assert len({store.path(*key) for key in keys}) == len(keys)
    assert store.path(*keys[0]) == path


@pytest.mark.parametrize(("count", "dimension"), [(3, 3), (4, 2), (3, 4), (12, 1)])
def test_another_shape_is_treated_as_absent(
    store: EmbeddingCache, path: Path, count: int, dimension: int
) -> None:
    store.put(path, FEATURES)
    assert store.get(path, count, dimension) is None


def test_another_tensor_is_treated_as_absent(store: EmbeddingCache, path: Path) -> None:
    path.parent.mkdir()
    save_file({"other": FEATURES}, path)
    assert store.get(path, 4, 3) is None


@pytest.mark.parametrize("length", [0, 5, 20, -1])
def test_a_truncated_file_is_treated_as_absent(
    store: EmbeddingCache, path: Path, length: int
) -> None:
    store.put(path, FEATURES)
    path.write_bytes(path.read_bytes()[:length])
    assert store.get(path, 4, 3) is None
    store.put(path, FEATURES)
    assert store.get(path, 4, 3) is not None


def test_garbage_and_directories_are_treated_as_absent(store: EmbeddingCache, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(os.urandom(500))
    assert store.get(path, 4, 3) is None
    path.unlink()
    path.mkdir()
    assert store.get(path, 4, 3) is None


@pytest.mark.parametrize("damage", ["flipped bit", "other precision"])
def test_features_that_are_not_those_put_are_treated_as_absent(
    store: EmbeddingCache, path: Path, damage: str
) -> None:
    store.put(path, FEATURES)
    if damage == "flipped bit":
        data = bytearray(path.read_bytes())
        data[-1] ^= 0x40
        path.write_bytes(data)
    else:
        save_file({"features": FEATURES.half()}, path)
    assert store.get(path, 4, 3) is None


@pytest.mark.parametrize("problem", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["save_file", "replace"])
@pytest.mark.parametrize("earlier", [False, True])
def test_an_interrupted_put_leaves_what_was_there(
    store: EmbeddingCache,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    problem: BaseException,
    earlier: bool,
) -> None:
    if earlier:
        store.put(path, FEATURES)

    def fail(*args: object, **kwargs: object) -> None:
        if step == "save_file":
            Path(str(args[1])).write_bytes(b"half of it")
        raise problem

    with monkeypatch.context() as broken:
        broken.setattr(cache if step == "save_file" else os, step, fail)
        with pytest.raises(type(problem)):
            store.put(path, FEATURES + 1)
    found = store.get(path, 4, 3)
    assert (found is not None) == earlier
    assert found is None or torch.equal(found, FEATURES)
    assert len(list(path.parent.iterdir())) == (1 if earlier else 0)
