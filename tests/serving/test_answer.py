"""What a version answers to images and texts, and to what is neither."""

import base64
import io
from pathlib import Path

import pytest
import torch
from PIL import Image

from governance.clip.load import no_grad_features
from governance.errors import InvalidInputError, NotFoundError
from governance.serving import answer as answers
from governance.serving.answer import Row, answer
from governance.serving.load import Served


@pytest.fixture
def cat(images: Path) -> Path:
    return images / "photo" / "cat" / "000.png"


def test_labels_and_scores(served: Served, images: Path) -> None:
    rows: list[Row] = [{"path": str(path)} for path in sorted(images.glob("photo/*/00[0-2].png"))]
    found = answer(served, rows, top_k=3)
    assert len(found) == len(rows) == 30
    hits = 0
    for row, result in zip(rows, found, strict=True):
        assert len(result["labels"]) == len(result["scores"]) == 3
        assert result["scores"] == sorted(result["scores"], reverse=True)
        label = Path(row["path"]).parent.name
        hits += result["labels"][0] == label
        assert result["labels"][0] != "mug"
    assert hits >= 25  # 27 of the images are of what it still knows
    (whole,) = answer(served, rows[:1], top_k=100)
    assert sorted(whole["labels"]) == sorted(served.labels.classes)
    assert sum(whole["scores"]) == pytest.approx(1, abs=1e-5)


def test_bytes_base64_and_paths_are_the_same_image(served: Served, cat: Path) -> None:
    data = cat.read_bytes()
    rows: list[Row] = [{"path": str(cat)}, {"image": data}, {"image": base64.b64encode(data)}]
    found = answer(served, rows)
    assert found[0] == found[1] == found[2]


def test_other_labels(served: Served, cat: Path) -> None:
    (found,) = answer(served, [{"path": str(cat)}], labels=["dog", "cat"])
    assert found["labels"] == ["cat", "dog"]
    (own,) = answer(served, [{"path": str(cat)}], top_k=10, labels=served.labels.classes)
    (known,) = answer(served, [{"path": str(cat)}], top_k=10)
    assert own["labels"] == known["labels"]
    assert own["scores"] == pytest.approx(known["scores"], abs=1e-5)


def test_embeddings_of_images_and_texts(served: Served, cat: Path) -> None:
    rows: list[Row] = [
        {"text": "a photo of a cat"},
        {"path": str(cat)},
        {"text": "a photo of a dog"},
    ]
    found = torch.tensor([row["embedding"] for row in answer(served, rows, mode="embed")])
    assert found.shape == (3, served.model.dimension)
    assert torch.allclose(found.norm(dim=1), torch.ones(3), atol=1e-5)
    pixels = served.model.preprocess(Image.open(cat))[None]
    features = no_grad_features(served.model.module, pixels)[0]
    assert torch.allclose(found[1], features / features.norm(), atol=1e-5)
    assert found[1] @ found[0] > found[1] @ found[2]


def test_more_images_than_a_batch(
    served: Served, cat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[Row] = [{"path": str(cat)}] * 5
    together = answer(served, rows)
    monkeypatch.setattr(answers, "BATCH_SIZE", 2)
    apart = answer(served, rows)
    assert [r["labels"] for r in apart] == [r["labels"] for r in together]


BOMB = io.BytesIO()
Image.new("1", (30_000, 30_000)).save(BOMB, "PNG")


@pytest.mark.parametrize(
    ("rows", "given", "words"),
    [
        ([], {}, "there is no row"),
        ([{}], {}, "row 1 must have exactly one of 'image', 'path' and 'text', and has none"),
        ([{"image": b"", "text": "x"}], {}, "has 'image' and 'text'"),
        ([{"text": "a cat"}], {}, "row 1 is a text; only images are classified"),
        ([{"image": b"no image"}], {}, "row 1 holds no image that can be read"),
        ([{"image": b""}], {}, "row 1 holds no image"),
        ([{"image": "\N{SNOWMAN}"}], {}, "row 1 holds no image"),
        ([{"image": base64.b64encode(b"no image")}], {}, "row 1 holds no image"),
        ([{"image": BOMB.getvalue()}], {}, "row 1"),
        ([{"image": b"x"}], {"mode": "guess"}, "mode must be 'classify' or 'embed', not 'guess'"),
        ([{"image": b"x"}], {"top_k": 0}, "top_k must be at least 1"),
        ([{"image": b"x"}], {"labels": ["cat", " "]}, "cannot be a label"),
        ([{"image": b"x"}], {"labels": ["x" * 201]}, "cannot be a label"),
        ([{"image": b"x"}], {"labels": ["x"] * 1001}, "1001 labels are too many"),
        ([{"path": "/"}], {}, "row 1: the file '/' cannot be read"),
        ([{"path": "a\0b"}], {}, "cannot be read"),
    ],
)
def test_what_cannot_be_answered(served: Served, rows: list[Row], given: dict, words: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(InvalidInputError, match=words) as caught:
        answer(served, rows, **given)
    assert "\n" not in str(caught.value)


def test_half_an_image(served: Served, cat: Path) -> None:
    data = cat.read_bytes()
    with pytest.raises(InvalidInputError, match="row 2 holds no image"):
        answer(served, [{"image": data}, {"image": data[: len(data) // 2]}])


def test_a_file_that_is_not_there(served: Served) -> None:
    with pytest.raises(NotFoundError, match=r"row 1: there is no file 'nowhere\.png'"):
        answer(served, [{"path": "nowhere.png"}])


def test_paths_stay_inside_the_root(
    served: Served, images: Path, cat: Path, tmp_path: Path
) -> None:
    root = (images / "photo").resolve()
    inside = answer(served, [{"path": "cat/000.png"}, {"path": str(cat.resolve())}], root=root)
    assert inside[0] == inside[1]
    link = tmp_path / "root"
    link.mkdir()
    (link / "link.png").symlink_to(cat.resolve())
    for path, place in (("../sketch/cat/000.png", root), ("/etc/hosts", root), ("link.png", link)):
        with pytest.raises(InvalidInputError, match="leads out of GOVERNANCE_IMAGE_ROOT"):
            answer(served, [{"path": path}], root=place)
