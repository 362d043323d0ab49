"""A version is loaded whole and as it was signed, or not at all."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from governance.clip.load import load_model, no_grad_features
from governance.clip.source import DEMO, WEIGHTS_NAME, Source
from governance.demo import MODEL_DIR
from governance.digests import digest_json, digest_mapping
from governance.errors import GovernanceError, IntegrityError, InvalidInputError, NotFoundError
from governance.evidence.artifact import SIGNATURE_NAME, read_signature, sign_directory
from governance.evidence.keys import SigningKey
from governance.serving.contents import (
    CHANGED,
    CLASSIFIER,
    FACTORS,
    LABELS,
    UNSIGNED,
    read_factors,
)
from governance.serving.load import Served, load_version
from governance.serving.trust import BASE_MODEL, TRUST_KEY, TRUST_VERSION, Outside
from governance.unlearning.projector import digest_tensor

SOMEBODY = SigningKey.from_seed(b"s" * 32)


def sign_again(directory: Path, **changes: Any) -> None:
    """What somebody with a key of their own can do."""
    old = read_signature(directory)
    facts = {name: value for name, value in old.facts.items() if name != "signer"}
    sign_directory(directory, old.name, facts | changes, SOMEBODY)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def rewrite(path: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    tensors = {name: change(tensor) for name, tensor in load_file(path).items()}
    save_file(tensors, path)


def test_the_features_are_the_base_models_edited(served: Served, directory: Path) -> None:
    base = load_model(Source(DEMO))
    projector, text = read_factors(load_file(directory / FACTORS))
    assert text is None
    size = base.image_size
    pixels = torch.randn(3, 3, *size, generator=torch.Generator().manual_seed(5))
    before, after = (no_grad_features(m.module, pixels) for m in (base, served.model))
    assert torch.allclose(after, projector.apply(before), atol=1e-5)
    assert not torch.allclose(after, before, atol=1e-3)
    assert served.name == "shop/2"
    assert served.signed.facts["weights_digest"] == served.model.weights_digest


def test_the_base_model_is_served_too(kept: dict[int, Path]) -> None:
    found = load_version(kept[1], Outside())
    assert found.model.weights_digest == found.signed.facts["base_weights_digest"]


def test_one_changed_byte_of_any_file(directory: Path) -> None:
    names = sorted({path.name for path in directory.iterdir()} - set(UNSIGNED))
    assert {"MLmodel", "served.py", "README.md", FACTORS, CHANGED, SIGNATURE_NAME} <= set(names)
    for name in names:
        content = (directory / name).read_bytes()
        flip(directory / name)
        with pytest.raises(IntegrityError, match=name):
            load_version(directory, Outside())
        (directory / name).write_bytes(content)
    load_version(directory, Outside())


@pytest.mark.parametrize("name", ["served.py", CHANGED, CLASSIFIER])
def test_a_missing_file(directory: Path, name: str) -> None:
    (directory / name).unlink()
    with pytest.raises(IntegrityError, match=f"{name}' is missing"):
        load_version(directory, Outside())


def test_an_added_file_and_what_mlflow_adds(directory: Path) -> None:
    (directory / "registered_model_meta").write_text("model_name: shop\n")
    (directory / "__pycache__").mkdir()
    (directory / "__pycache__" / "served.pyc").write_bytes(b"")
    load_version(directory, Outside())
    (directory / "more.py").write_text("")
    with pytest.raises(IntegrityError, match=r"'more\.py' was not there"):
        load_version(directory, Outside())


def test_without_a_signature(directory: Path) -> None:
    (directory / SIGNATURE_NAME).unlink()
    with pytest.raises(NotFoundError, match="is not signed"):
        load_version(directory, Outside())


def test_only_pinned_keys_and_versions(directory: Path) -> None:
    signed = read_signature(directory)
    own, other = signed.key.key_id, SOMEBODY.key_id
    digest = str(signed.facts["version_digest"])
    for good in (
        {TRUST_KEY: own},
        {TRUST_KEY: f"{other}, {signed.key.to_base64()}"},
        {TRUST_KEY: own, TRUST_VERSION: digest},
        {TRUST_KEY: "", TRUST_VERSION: ""},
    ):
        load_version(directory, Outside.read(good))
    with pytest.raises(IntegrityError, match=f"signed with key {own}, which {TRUST_KEY} does not"):
        load_version(directory, Outside.read({TRUST_KEY: other}))
    with pytest.raises(IntegrityError, match="shop/2 with another version digest"):
        load_version(directory, Outside.read({TRUST_VERSION: "sha256:" + "0" * 64}))
    with pytest.raises(InvalidInputError, match="names no public key"):
        Outside.read({TRUST_KEY: f"{own},nonsense"})


def test_who_signs_anew_is_found_by_a_pinned_key_only(directory: Path) -> None:
    own = read_signature(directory).key.key_id
    (directory / "README.md").write_text("Nothing was unlearned.\n")
    sign_again(directory)
    load_version(directory, Outside())
    with pytest.raises(IntegrityError, match=SOMEBODY.key_id):
        load_version(directory, Outside.read({TRUST_KEY: own}))


def test_a_signed_lie_about_the_edit(directory: Path) -> None:
    """Changed tensors and their digest fit together, and the factors are another edit: the batch shows it."""
    rewrite(directory / CHANGED, lambda tensor: tensor * 1.001)
    base = load_model(Source(DEMO))
    changed = {n: digest_tensor(t) for n, t in load_file(directory / CHANGED).items()}
    sign_again(directory, weights_digest=digest_mapping({**base.tensor_digests, **changed}))
    with pytest.raises(IntegrityError, match="the folded image tower differs from the edit"):
        load_version(directory, Outside())


def test_an_edit_that_was_left_out(directory: Path) -> None:
    base = load_model(Source(DEMO))
    save_file({}, directory / CHANGED)
    sign_again(directory, weights_digest=base.weights_digest)
    with pytest.raises(IntegrityError, match="its tensor is missing"):
        load_version(directory, Outside())


def test_a_tensor_that_no_edit_changes(directory: Path) -> None:
    base = load_model(Source(DEMO))
    tensors = load_file(directory / CHANGED)
    save_file(tensors | {"logit_scale": base.module.state_dict()["logit_scale"] + 1}, directory / CHANGED)  # fmt: skip
    sign_again(directory)
    with pytest.raises(IntegrityError, match="logit_scale changes, and no edit changes it"):
        load_version(directory, Outside())


@pytest.mark.parametrize(
    ("fact", "words"),
    [
        ("weights_digest", f"{CHANGED} gives other weights"),
        ("version_digest", f"{FACTORS} gives another version digest"),
        ("labels_digest", "another label space"),
        ("base_weights_digest", "another version digest"),
        ("base_config_digest", "the configuration of demo changed"),
    ],
)
def test_parts_that_do_not_belong_together(directory: Path, fact: str, words: str) -> None:
    sign_again(directory, **{fact: "sha256:" + "0" * 64})
    with pytest.raises(IntegrityError, match=words):
        load_version(directory, Outside())


def test_other_contents_signed_anew(directory: Path) -> None:
    content = json.loads((directory / LABELS).read_text())
    content["classes"] = content["classes"][:-1]
    (directory / LABELS).write_text(json.dumps(content))
    sign_again(directory)
    with pytest.raises(IntegrityError, match="another label space"):
        load_version(directory, Outside())
    sign_again(directory, labels_digest=digest_json(content))
    with pytest.raises(IntegrityError, match="another version digest"):
        load_version(directory, Outside())


@pytest.mark.parametrize("name", [CLASSIFIER, FACTORS, CHANGED])
def test_signed_files_that_cannot_be_read(directory: Path, name: str) -> None:
    (directory / name).write_bytes(b"no tensors")
    sign_again(directory)
    with pytest.raises(IntegrityError, match="is signed, but cannot be read"):
        load_version(directory, Outside())


def test_a_classifier_of_another_shape(directory: Path) -> None:
    rewrite(directory / CLASSIFIER, lambda rows: rows[:-1].contiguous())
    sign_again(directory)
    with pytest.raises(IntegrityError, match=f"{CLASSIFIER} does not fit the label space"):
        load_version(directory, Outside())


def test_the_base_model_can_lie_elsewhere(directory: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(MODEL_DIR, tmp_path / "base"))
    found = load_version(directory, Outside.read({BASE_MODEL: str(place)}))
    assert found.model.source.directory == place
    flip(place / WEIGHTS_NAME)
    with pytest.raises(GovernanceError) as caught:
        load_version(directory, Outside.read({BASE_MODEL: str(place)}))
    assert caught.value.exit_code in (2, 6)
    with pytest.raises(NotFoundError, match=f"{BASE_MODEL} names /nowhere, and there is no such"):
        load_version(directory, Outside.read({BASE_MODEL: "/nowhere"}))


def test_a_base_model_that_is_gone(directory: Path) -> None:
    sign_again(directory, source=Source("local-dir:/nowhere").to_dict())
    with pytest.raises(
        NotFoundError, match=f"/nowhere does not exist; say with {BASE_MODEL} where"
    ):
        load_version(directory, Outside())
    load_version(directory, Outside.read({BASE_MODEL: str(MODEL_DIR)}))
