"""Loading gives exactly the weights that were named, or an error that says what is wrong."""

import json
import logging
import shutil
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from governance.clip import load as load_module
from governance.clip.load import ClipModel, load_model
from governance.clip.source import CONFIG_NAME, WEIGHTS_NAME, Source
from governance.errors import IntegrityError, InvalidInputError, NotFoundError, UnavailableError


@pytest.fixture
def place(model_dir: Callable[[str], Path], tmp_path: Path) -> Path:
    """A model of one's own, to be changed."""
    return Path(shutil.copytree(model_dir("vit"), tmp_path / "model"))


def load(place: Path, expected: str | None = None) -> ClipModel:
    return load_model(Source(f"local-dir:{place}"), expected)


def edit_config(place: Path, **changes: Any) -> None:
    config = json.loads((place / CONFIG_NAME).read_text())
    (place / CONFIG_NAME).write_text(json.dumps(config | changes))


def test_a_model_knows_what_its_state_does_not_say(vit: ClipModel) -> None:
    assert vit.dimension == 32
    assert vit.image_size == (32, 32)
    assert vit.config["preprocess_cfg"]["mean"] == [0.5, 0.4, 0.3]
    assert vit.config["model_cfg"]["text_cfg"]["context_length"] == 8
    assert vit.logit_scale == pytest.approx(1 / 0.07, rel=1e-5)
    assert not vit.module.training
    assert {t.dtype for t in vit.module.state_dict().values()} == {torch.float32}
    assert vit.tokenize(["a mug", "a cat"]).shape == (2, 8)


def test_loading_is_what_stock_open_clip_loads(vit: ClipModel) -> None:
    stock, _ = open_clip.create_model_from_pretrained(vit.source.name)
    state = stock.state_dict()
    assert state.keys() == vit.module.state_dict().keys()
    assert all(torch.equal(state[n], t) for n, t in vit.module.state_dict().items())


def test_the_digest_does_not_depend_on_the_file(vit: ClipModel, place: Path) -> None:
    state = load_file(place / WEIGHTS_NAME)
    save_file(dict(reversed(state.items())), place / WEIGHTS_NAME, metadata={"note": "again"})
    assert load(place).weights_digest == vit.weights_digest
    (place / WEIGHTS_NAME).unlink()
    torch.save(state, place / "open_clip_pytorch_model.bin")
    assert load(place, vit.weights_digest).weights_digest == vit.weights_digest


@pytest.mark.parametrize("name", ["visual.proj", "text_projection", "logit_scale"])
def test_one_changed_weight_is_refused(vit: ClipModel, place: Path, name: str) -> None:
    state = load_file(place / WEIGHTS_NAME)
    state[name].view(-1)[-1] += 1e-3
    save_file(state, place / WEIGHTS_NAME)
    assert load(place).weights_digest != vit.weights_digest
    with pytest.raises(IntegrityError, match=f"weights of local-dir:{place} changed") as caught:
        load(place, vit.weights_digest)
    assert vit.weights_digest in str(caught.value)


def test_preprocessing_has_a_digest_of_its_own(vit: ClipModel, place: Path) -> None:
    assert load(place).config_digest == vit.config_digest
    edit_config(place, preprocess_cfg={"mean": [0.5, 0.4, 0.31]})
    changed = load(place)
    assert changed.config_digest != vit.config_digest
    assert changed.weights_digest == vit.weights_digest


def test_quick_gelu_is_part_of_the_configuration(vit: ClipModel) -> None:
    quick = load_model(Source(vit.source.name, quick_gelu=True))
    images = torch.randn(1, 3, 32, 32)
    assert quick.config["model_cfg"]["quick_gelu"] is True
    with torch.inference_mode():
        assert not torch.allclose(
            quick.module.encode_image(images), vit.module.encode_image(images)
        )


def test_missing_weights_are_refused_not_random(place: Path) -> None:
    (place / WEIGHTS_NAME).unlink()
    with pytest.raises(NotFoundError, match="is missing"):
        load(place)
    (place / "model.safetensors.partial").touch()
    with pytest.raises(NotFoundError, match="is missing"):
        load(place)


@pytest.mark.parametrize("size", [0, 7, 1000, 100_000])
def test_truncated_weights_cannot_be_used(place: Path, size: int) -> None:
    data = (place / WEIGHTS_NAME).read_bytes()
    (place / WEIGHTS_NAME).write_bytes(data[:size])
    with pytest.raises(InvalidInputError, match="cannot be loaded"):
        load(place)


@pytest.mark.parametrize("change", ["missing", "unexpected", "shape"])
def test_weights_of_another_architecture_cannot_be_used(place: Path, change: str) -> None:
    state = load_file(place / WEIGHTS_NAME)
    if change == "missing":
        del state["visual.proj"]
    elif change == "unexpected":
        state["visual.extra"] = torch.zeros(1)
    else:
        state["visual.proj"] = torch.zeros(32, 33)
    save_file(state, place / WEIGHTS_NAME)
    with pytest.raises(InvalidInputError, match="cannot be loaded"):
        load(place)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"model_cfg": {}}', '{"model_cfg": {"embed_dim": 32}}']
)
def test_a_malformed_configuration_cannot_be_used(place: Path, text: str) -> None:
    (place / CONFIG_NAME).write_text(text)
    with pytest.raises(InvalidInputError, match=f"local-dir:{place} cannot be loaded"):
        load(place)


def test_an_unknown_configuration_cannot_be_used() -> None:
    with pytest.raises(InvalidInputError, match="no configuration 'ViT-Z-99'"):
        load_model(Source("ViT-Z-99", "openai"))


def test_an_unknown_tag_cannot_be_used() -> None:
    with pytest.raises(InvalidInputError, match="'nosuchtag' is not a known tag"):
        load_model(Source("RN50", "nosuchtag"))


@pytest.mark.parametrize(
    "source", [Source("ViT-B-32", "laion2b_s34b_b79k"), Source("hf-hub:laion/no-such-repository")]
)
def test_weights_that_cannot_be_downloaded_are_unavailable(
    source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(UnavailableError, match="could not be downloaded"):
        load_model(source)
    assert not caplog.records  # open_clip logs what the error says


def test_a_local_problem_is_not_taken_for_a_failed_download(place: Path, tmp_path: Path) -> None:
    moved = place.rename(tmp_path / "downloads")
    (moved / CONFIG_NAME).write_text("{")
    with pytest.raises(InvalidInputError, match="cannot be loaded"):
        load(moved)


def test_a_tokenizer_that_cannot_be_made_is_explained(place: Path) -> None:
    config = json.loads((place / CONFIG_NAME).read_text())
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "no/such-tokenizer"
    (place / CONFIG_NAME).write_text(json.dumps(config))
    with pytest.raises((InvalidInputError, NotFoundError, UnavailableError)):
        load(place)


def test_loading_is_quiet_and_leaves_logging_as_it_was(
    vit: ClipModel, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    before = logging.root.manager.disable
    with warnings.catch_warnings(record=True) as shown, caplog.at_level(logging.INFO):
        load_model(vit.source)
    assert (shown, caplog.records) == ([], [])
    assert capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == before


def test_loading_in_two_threads_leaves_logging_as_it_was(
    vit: ClipModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = logging.root.manager.disable
    second_is_in, first_is_out = threading.Event(), threading.Event()
    create, order = load_module._create, iter(("first", "second"))

    def slow(*given: Any) -> Any:
        # Who let both in at once would see the first leave while the second has yet to.
        if next(order) == "first":
            thread.start()
            second_is_in.wait(0.3)
        else:
            second_is_in.set()
            first_is_out.wait(10)
        return create(*given)

    monkeypatch.setattr(load_module, "_create", slow)
    thread = threading.Thread(target=load_model, args=(vit.source,))
    load_model(vit.source)
    first_is_out.set()
    thread.join()
    assert logging.root.manager.disable == before


def test_a_directory_of_a_text_tower_alone_is_refused(place: Path) -> None:
    model_cfg = json.loads((place / CONFIG_NAME).read_text())["model_cfg"]
    del model_cfg["vision_cfg"]
    edit_config(place, model_cfg=model_cfg)
    with pytest.raises(InvalidInputError, match="no 'vision_cfg', so it has no image tower"):
        load(place)
