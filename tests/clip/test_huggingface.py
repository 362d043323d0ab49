"""Models with text towers of Hugging Face load from wherever they lie, and so do their exports."""

import json
import shutil
import sys
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from governance.clip.certify import Precision
from governance.clip.encode import encode_texts
from governance.clip.export import export_directory
from governance.clip.fold import check_fold, fold, unedited
from governance.clip.load import ClipModel, load_model, no_grad_features
from governance.clip.paths import find_image_path, find_text_path
from governance.clip.source import CONFIG_NAME, WEIGHTS_NAME, Source, parse_source
from governance.errors import InvalidInputError, NotFoundError, UnavailableError
from tests.clip.conftest import PREPROCESS, TOWERS
from tests.clip.test_certify import projector

pytest.importorskip("transformers")

PROMPTS = ["a photo of a mug", "a cat"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "photo", "of", "mug", "cat"]
TEXT_FILES = {"config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"}


def write_text_tower(place: Path, width: int = 24) -> None:
    """A BERT of one layer with ten words."""
    from transformers import BertConfig, BertTokenizerFast

    place.mkdir(parents=True, exist_ok=True)
    BertConfig(
        vocab_size=len(WORDS),
        hidden_size=width,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        pad_token_id=0,
    ).save_pretrained(place)
    (place / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    BertTokenizerFast(str(place / "vocab.txt")).save_pretrained(place)


@pytest.fixture(scope="module")
def text_tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do not change what is in it."""
    place = tmp_path_factory.mktemp("bert")
    write_text_tower(place)
    return place


def write_model(
    place: Path,
    text_tower: Path,
    model_name: str,
    tokenizer_name: str,
    projection: str | None = "linear",
) -> Path:
    """A model with random weights whose configuration names its text tower as given."""
    place.mkdir(parents=True, exist_ok=True)
    text = {
        "hf_model_name": model_name,
        "hf_tokenizer_name": tokenizer_name,
        "hf_proj_type": projection,
        "hf_pooler_type": "mean_pooler",
        "context_length": 12,
    }
    vision = {"image_size": 32, **TOWERS["vit"]}
    torch.manual_seed(3)
    built = text | {"hf_model_name": str(text_tower), "hf_model_pretrained": False}
    module = open_clip.CustomTextCLIP(32, vision, built)
    config = {"embed_dim": 32, "vision_cfg": vision, "text_cfg": text, "custom_text": True}
    written = {"model_cfg": config, "preprocess_cfg": PREPROCESS}
    (place / CONFIG_NAME).write_text(json.dumps(written))
    save_file(module.state_dict(), place / WEIGHTS_NAME)
    return place


@pytest.fixture
def flat(text_tower: Path, tmp_path: Path) -> Path:
    """A model whose text files lie beside its weights."""
    shutil.copytree(text_tower, tmp_path / "flat")
    return write_model(tmp_path / "flat", text_tower, ".", ".")


def load(place: Path) -> ClipModel:
    return load_model(Source(f"local-dir:{place}"))


def content(place: Path) -> dict[str, bytes]:
    return {p.relative_to(place).as_posix(): p.read_bytes() for p in place.rglob("*.*")}


def images() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(9))


def test_names_are_relative_to_the_directory_wherever_one_stands(
    flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(flat)
    monkeypatch.chdir(tmp_path)
    write_text_tower(tmp_path)  # a decoy: stock open_clip would take this one
    (tmp_path / "config.json").write_text("{}")
    model = load(flat)
    assert content(flat) == before
    assert model.tokenize(PROMPTS)[0].tolist() == [2, 5, 6, 7, 5, 8, 3, 0, 0, 0, 0, 0]
    assert encode_texts(model, PROMPTS).shape == (2, 32)
    assert model.files.keys() >= TEXT_FILES


@pytest.mark.parametrize("layout", ["folder", "absolute", "bare"])
def test_the_layout_of_the_directory_does_not_matter(
    flat: Path, text_tower: Path, tmp_path: Path, layout: str
) -> None:
    place = tmp_path / layout
    shutil.copytree(text_tower, place / "text")
    if layout == "folder":
        write_model(place, text_tower, "./text", "./text")
    elif layout == "absolute":
        write_model(place, text_tower, str(place / "text"), str(place / "text"))
    else:  # could be a name on the hub; the folder is nearer
        write_model(place, text_tower, "text", "text")
    model, expected = load(place), load(flat)
    assert torch.equal(encode_texts(model, PROMPTS), encode_texts(expected, PROMPTS))
    assert (model.config_digest == expected.config_digest) == (layout != "bare")
    export_directory(model, unedited(), tmp_path / "out", {})
    exported = load(tmp_path / "out")
    assert exported.config_digest == model.config_digest
    assert torch.equal(encode_texts(exported, PROMPTS), encode_texts(expected, PROMPTS))


@pytest.mark.parametrize("projection", ["linear", "mlp"])
@pytest.mark.parametrize("precision", Precision)
def test_both_towers_are_edited_and_the_export_can_be_moved(
    flat: Path,
    text_tower: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    projection: str,
    precision: Precision,
) -> None:
    write_model(flat, text_tower, ".", ".", projection)
    model = load(flat)
    assert find_text_path(model).name == {"linear": "text.proj", "mlp": "text.proj.2"}[projection]
    one, two = projector(32, 1), projector(32, 2)
    found = fold(model, one, two, precision)
    assert [c.side for c in found.certificates] == ["image", "text"]
    hint = export_directory(model, found, tmp_path / "out", {})
    assert hint == f"load it as local-dir:. with {tmp_path / 'out'} as working directory"
    (tmp_path / "elsewhere").mkdir()
    moved = (tmp_path / "out").rename(tmp_path / "elsewhere" / "model")
    shutil.rmtree(flat)
    assert content(moved).keys() >= TEXT_FILES | {CONFIG_NAME, WEIGHTS_NAME}

    again = load(moved)
    assert again.config_digest == model.config_digest
    monkeypatch.chdir(moved)  # as the hint says
    stock, _ = open_clip.create_model_from_pretrained("local-dir:.")
    tokens = open_clip.get_tokenizer("local-dir:.")(PROMPTS)
    assert torch.equal(tokens, model.tokenize(PROMPTS))
    texts = encode_texts(model, PROMPTS).double() @ two.dense()
    pictures = no_grad_features(model.module, images()).double() @ one.dense()
    allowed = {"fp32": 1e-5, "fp16": 5e-3, "bf16": 5e-2}[precision]  # all weights are rounded
    for module in (stock.eval(), again.module):
        with torch.inference_mode():
            found_texts = module.encode_text(tokens, normalize=False).double()
        assert (found_texts - texts).abs().max() <= allowed * texts.abs().max()
        found_pictures = no_grad_features(module, images()).double()
        assert (found_pictures - pictures).abs().max() <= allowed * pictures.abs().max()


def test_the_text_files_are_part_of_the_configuration_digest(flat: Path) -> None:
    before = load(flat)
    config = json.loads((flat / "config.json").read_text())
    config["num_attention_heads"] = 4  # same weights, other features
    (flat / "config.json").write_text(json.dumps(config))
    after = load(flat)
    assert after.weights_digest == before.weights_digest
    assert not torch.equal(encode_texts(after, PROMPTS), encode_texts(before, PROMPTS))
    assert after.config_digest != before.config_digest


def test_what_a_relative_name_means_must_be_there(flat: Path, text_tower: Path) -> None:
    write_model(flat, text_tower, "./text", ".")
    with pytest.raises(
        NotFoundError, match=r"names its text tower '\./text', and .* does not hold"
    ):
        load(flat)
    write_model(flat, text_tower, ".", "../nowhere")
    with pytest.raises(NotFoundError, match=r"names its tokenizer '\.\./nowhere'"):
        load(flat)


def test_a_name_on_the_hub_is_left_to_transformers(flat: Path, text_tower: Path) -> None:
    write_model(flat, text_tower, "no/such-tower", ".")
    with pytest.raises(UnavailableError, match="could not be downloaded"):
        load(flat)


def test_a_tower_from_the_hub_keeps_its_name_and_gets_a_folder(
    flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if `model` had come from the hub: it brings no files of its own."""
    from dataclasses import replace

    local = load(flat)
    config = json.loads(json.dumps(local.config))
    config["model_cfg"]["text_cfg"] |= {
        "hf_model_name": "org/bert",
        "hf_tokenizer_name": "org/bert",
    }
    model = replace(local, config=config, files={})
    hint = export_directory(model, unedited(), tmp_path / "out", {})
    assert "org/bert on the hub" in hint
    assert (tmp_path / "out" / "org" / "bert" / "config.json").is_file()
    again = load(tmp_path / "out")
    assert again.config["model_cfg"]["text_cfg"]["hf_model_name"] == "org/bert"
    assert torch.equal(encode_texts(again, PROMPTS), encode_texts(local, PROMPTS))
    monkeypatch.chdir(tmp_path / "out")
    stock, _ = open_clip.create_model_from_pretrained("local-dir:.")
    tokens = open_clip.get_tokenizer("local-dir:.")(PROMPTS)
    with torch.inference_mode():
        assert torch.equal(stock.eval().encode_text(tokens), encode_texts(local, PROMPTS))


def test_without_transformers_the_extra_is_named(
    flat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InvalidInputError, match=r"pip install 'clip-governance\[hf\]'") as caught:
        load(flat)
    assert "\n" not in str(caught.value)


@pytest.mark.benchmark
def test_the_benchmark_model_is_edited_on_both_sides(
    benchmark_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(p.stat().st_mtime_ns for p in (benchmark_dir / "clip_real").iterdir())
    model = load_model(parse_source(str(benchmark_dir / "clip_real"), None))
    one, two = projector(384, 1), projector(384, 2)
    for certificate in check_fold(model, [find_image_path(model), find_text_path(model)]):
        assert certificate.error <= certificate.tolerance
    export_directory(model, fold(model, one, two), tmp_path / "out", {})
    monkeypatch.chdir(tmp_path / "out")
    stock, _ = open_clip.create_model_from_pretrained("local-dir:.")
    batch = torch.randn(4, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    expected = no_grad_features(model.module, batch).double() @ one.dense()
    actual = no_grad_features(stock.eval(), batch).double()
    assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max()
    again = load(tmp_path / "out")
    assert again.config_digest == model.config_digest
    expected = encode_texts(model, PROMPTS).double() @ two.dense()
    assert (encode_texts(again, PROMPTS) - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert before == sorted(p.stat().st_mtime_ns for p in (benchmark_dir / "clip_real").iterdir())
