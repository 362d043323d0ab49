"""Data sets: which images belong to one, which are refused, and what the manifest binds."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from governance.datasets import Item, Manifest, choose_shots, files, root_of, scan
from governance.digests import digest_bytes
from governance.errors import InvalidInputError, NotFoundError


def picture(path: Path, shade: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (24, 24), (shade, 50, 200)).save(path)
    return path


def table(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


def places(manifest: Manifest) -> list[tuple[str, str, str | None]]:
    return [(item.path, item.label, item.domain) for item in manifest.items]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """domain/class/image, five images."""
    for number, name in enumerate(
        (
            "photo/dog/1.png",
            "photo/cat/1.jpg",
            "sketch/dog/2.PNG",
            "sketch/dog/1.bmp",
            "b/cat/x.gif",
        )
    ):
        picture(tmp_path / "tree" / name, 10 * number)
    return tmp_path / "tree"


def test_a_tree_of_domains_and_classes(tree: Path) -> None:
    manifest = scan(tree)
    assert places(manifest) == [
        ("b/cat/x.gif", "cat", "b"),
        ("photo/cat/1.jpg", "cat", "photo"),
        ("photo/dog/1.png", "dog", "photo"),
        ("sketch/dog/1.bmp", "dog", "sketch"),
        ("sketch/dog/2.PNG", "dog", "sketch"),
    ]
    assert manifest.skipped == ()
    assert manifest.counts() == Counter(
        {("dog", "sketch"): 2, ("dog", "photo"): 1, ("cat", "photo"): 1, ("cat", "b"): 1}
    )
    assert manifest.counts().total() == 5


def test_a_tree_of_classes_has_no_domain(tmp_path: Path) -> None:
    picture(tmp_path / "dog/2.png")
    picture(tmp_path / "cat/1.png")
    assert places(scan(tmp_path)) == [("cat/1.png", "cat", None), ("dog/2.png", "dog", None)]


def test_digests_are_those_of_the_files(tree: Path) -> None:
    manifest = scan(tree)
    for path, digest in files(tree, manifest.items):
        assert digest == digest_bytes(path.read_bytes())
    assert len({item.digest for item in manifest.items}) == 5


@pytest.mark.parametrize(
    "depths",
    [("dog/1.png", "photo/dog/1.png"), ("1.png",), ("a/b/c/1.png",), ("dog/1.png", "2.png")],
)
def test_other_and_mixed_depths_are_refused_and_name_an_image(
    tmp_path: Path, depths: tuple[str, ...]
) -> None:
    for name in depths:
        picture(tmp_path / name)
    with pytest.raises(
        InvalidInputError, match=r"\.png does not fit: .*domain/class/image"
    ) as caught:
        scan(tmp_path)
    assert any(str(tmp_path / name) in str(caught.value) for name in depths)


@pytest.mark.parametrize(
    "name",
    [".cache/dog/9.png", "photo/.thumbs/9.png", "photo/dog/._1.png", ".DS_Store", ".hidden.png"],
)
def test_hidden_files_are_ignored(tree: Path, name: str) -> None:
    before = scan(tree)
    picture(tree / "photo" / "dog" / "source.png").replace(_parent(tree / name))
    assert scan(tree) == before


@pytest.mark.parametrize("name", ["README.md", "photo/notes.txt", "photo/dog/1.json"])
def test_files_that_are_no_images_are_ignored(tree: Path, name: str) -> None:
    before = scan(tree)
    _parent(tree / name).write_text("words")
    assert scan(tree) == before


def test_a_directory_named_like_an_image_is_no_image(tree: Path) -> None:
    before = scan(tree)
    (tree / "photo" / "dog" / "folder.png").mkdir()
    assert scan(tree) == before


def _parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def damaged(path: Path, how: str) -> Path:
    """An image that cannot be decoded: cut short, empty, or something else altogether."""
    data = picture(path).read_bytes()
    path.write_bytes({"truncated": data[: len(data) // 2], "empty": b"", "text": b"hello"}[how])
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
@pytest.mark.parametrize("how", ["truncated", "empty", "text"])
def test_an_unreadable_image_is_refused_and_named(tree: Path, how: str, suffix: str) -> None:
    scan(tree)  # it is this image that is refused
    bad = damaged(tree / "photo" / "dog" / f"bad.{suffix}", how)
    with pytest.raises(InvalidInputError) as caught:
        scan(tree)
    assert str(bad) in str(caught.value)
    assert "--skip-unreadable" in str(caught.value)


def test_the_reason_of_an_unreadable_image_is_for_people(tree: Path) -> None:
    damaged(tree / "photo" / "dog" / "bad.png", "text")
    with pytest.raises(InvalidInputError) as caught:
        scan(tree)
    assert "object at 0x" not in str(caught.value)


def test_unreadable_images_are_skipped_on_demand_and_listed(tree: Path) -> None:
    whole = scan(tree)
    damaged(tree / "photo" / "dog" / "bad.png", "truncated")
    damaged(tree / "b" / "cat" / "bad.jpg", "empty")
    manifest = scan(tree, skip_unreadable=True)
    assert manifest.items == whole.items
    assert manifest.skipped == ("b/cat/bad.jpg", "photo/dog/bad.png")
    assert manifest.digest != whole.digest  # what was left out is part of the record


def test_nothing_but_unreadable_images_is_refused(tmp_path: Path) -> None:
    for name in ("1.png", "2.png"):
        damaged(tmp_path / "dog" / name, "truncated")
    with pytest.raises(InvalidInputError, match="none of the 2 images"):
        scan(tmp_path, skip_unreadable=True)


def test_an_empty_directory_is_refused_with_the_layouts(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"holds no images; expected domain/class/\*\.jpg"):
        scan(tmp_path)


def test_a_missing_place_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nowhere does not exist"):
        scan(tmp_path / "nowhere")
    with pytest.raises(NotFoundError, match="nowhere is gone"):
        files(tmp_path / "nowhere", [])


def test_progress_counts_every_image(tree: Path) -> None:
    seen: list[tuple[str, int]] = []

    @contextmanager
    def meter(what: str, total: int) -> Iterator[object]:
        seen.append((what, total))
        yield lambda more: seen.append(("done", more))

    scan(tree, meter=meter)  # type: ignore[arg-type]
    assert seen == [("checking images", 5), *[("done", 1)] * 5]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_csv_names_images_relative_to_itself(tree: Path, encoding: str) -> None:
    lines = ("path,class,domain", "sketch/dog/1.bmp,hünd,s", '"b/cat/x.gif",cat,')
    listing = table(tree / "list.csv", *lines, encoding=encoding)
    assert root_of(listing) == tree
    manifest = scan(listing)
    assert places(manifest) == [("b/cat/x.gif", "cat", None), ("sketch/dog/1.bmp", "hünd", "s")]
    assert [path for path, _ in files(listing, manifest.items)] == [
        tree / "b/cat/x.gif",
        tree / "sketch/dog/1.bmp",
    ]


def test_a_csv_needs_no_domain_and_any_order_of_columns(tree: Path) -> None:
    listing = table(tree / "list.csv", "class,path", "cat,b/cat/x.gif", "", "dog,photo/dog/1.png")
    assert places(scan(listing)) == [
        ("b/cat/x.gif", "cat", None),
        ("photo/dog/1.png", "dog", None),
    ]


CAT = "b/cat/x.gif,cat,b"
MALFORMED = {
    "no path column": (("file,class", CAT), "columns path, class and optionally domain"),
    "no class column": (("path,domain", CAT), "columns path, class and optionally domain"),
    "an unknown column": (("path,class,weight", CAT), "columns path, class and optionally domain"),
    "no header": ((CAT,), "columns path, class and optionally domain"),
    "nothing": (("",), "columns path, class and optionally domain"),
    "no rows": (("path,class,domain",), "holds no images"),
    "a path twice": (("path,class,domain", CAT, CAT), "line 3: b/cat/x.gif stands twice"),
    "an empty path": (("path,class,domain", CAT, ",dog,b"), "line 3: path and class are needed"),
    "an empty class": (("path,class,domain", "a.png,,b"), "line 2: path and class are needed"),
    "too few fields": (("path,class,domain", "a.png"), "line 2: path and class are needed"),
    "too many fields": (("path,class,domain", f"{CAT},more"), "line 2: "),
    "an open quote": (("path,class,domain", '"b/cat/x.gif,cat,b'), "cannot be read as CSV"),
}


@pytest.mark.parametrize(("lines", "message"), MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_csv_is_refused_with_the_place_and_the_reason(
    tree: Path, lines: tuple[str, ...], message: str
) -> None:
    listing = table(tree / "list.csv", *lines)
    with pytest.raises(InvalidInputError) as caught:
        scan(listing)
    assert message in str(caught.value)
    assert str(listing) in str(caught.value)


def test_a_csv_that_is_not_utf8_is_refused(tree: Path) -> None:
    listing = table(tree / "list.csv", "path,class", "b/cat/x.gif,hünd", encoding="latin-1")
    with pytest.raises(InvalidInputError, match=r"list\.csv cannot be read as CSV"):
        scan(listing)


def test_an_image_in_place_of_a_csv_is_refused(tree: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be read as CSV"):
        scan(tree / "photo/cat/1.jpg")


def test_a_csv_that_names_a_missing_image_is_refused_and_names_it(tree: Path) -> None:
    listing = table(tree / "list.csv", "path,class", "b/cat/x.gif,cat", "gone.png,dog")
    with pytest.raises(InvalidInputError, match=r"gone\.png cannot be read"):
        scan(listing)
    assert scan(listing, skip_unreadable=True).skipped == ("gone.png",)


def test_a_manifest_survives_its_json(tree: Path) -> None:
    damaged(tree / "photo" / "dog" / "bad.png", "truncated")
    manifest = scan(tree, skip_unreadable=True)
    again = Manifest.from_json(manifest.to_json())
    assert again == manifest
    assert again.digest == manifest.digest
    assert manifest.digest.startswith("sha256:")


def test_scanning_twice_gives_the_same_digest(tree: Path) -> None:
    assert scan(tree).digest == scan(tree).digest


@pytest.mark.parametrize("offset", [-1, -100])
def test_one_byte_of_one_image_changes_the_digest(tree: Path, offset: int) -> None:
    before = scan(tree)
    target = tree / "sketch/dog/1.bmp"
    data = bytearray(target.read_bytes())
    data[offset] ^= 1
    target.write_bytes(data)
    after = scan(tree)
    assert after.digest != before.digest
    assert [new.path for new, old in zip(after.items, before.items, strict=True) if new != old] == [
        "sketch/dog/1.bmp"
    ]


@pytest.mark.parametrize(
    "other",
    [
        Manifest((Item("b", "dog", None, "sha256:0"),)),
        Manifest((Item("a", "cat", None, "sha256:0"),)),
        Manifest((Item("a", "dog", "photo", "sha256:0"),)),
        Manifest((Item("a", "dog", None, "sha256:1"),)),
        Manifest((Item("a", "dog", None, "sha256:0"),), ("b",)),
    ],
)
def test_the_manifest_digest_binds_every_field(other: Manifest) -> None:
    assert other.digest != Manifest((Item("a", "dog", None, "sha256:0"),)).digest


def stock(**counts: int) -> list[Item]:
    """So many images of each class, in sketch."""
    return [
        Item(f"sketch/{label}/{n:03}.png", label, "sketch", f"sha256:{label}{n}")
        for label, count in counts.items()
        for n in range(count)
    ]


def drawn(items: list[Item], shots: int, seed: int, label: str = "dog") -> list[str]:
    return [item.path for item in choose_shots(items, shots, seed)[label, "sketch"]]


def test_shots_are_so_many_different_images_of_each_pair() -> None:
    items = [*stock(dog=20, cat=8), Item("x.png", "dog", None, "sha256:x")]
    assert set(choose_shots(items, 1, 0)) == {("dog", "sketch"), ("cat", "sketch"), ("dog", None)}
    chosen = choose_shots(stock(dog=20, cat=8), 8, 0)
    for (label, domain), found in chosen.items():
        assert len({item.path for item in found}) == 8
        assert {(item.label, item.domain) for item in found} == {(label, domain)}


def test_the_same_seed_draws_the_same_images_in_whatever_order_they_lie() -> None:
    items = stock(dog=20, cat=20)
    assert choose_shots(items, 5, 3) == choose_shots(items[::-1], 5, 3)
    assert list(choose_shots(items, 5, 3)) == list(choose_shots(items[::-1], 5, 3))
    assert len({tuple(drawn(items, 5, seed)) for seed in range(6)}) == 6


def test_what_is_drawn_of_a_pair_does_not_depend_on_the_others() -> None:
    alone, among = stock(dog=20), [*stock(cat=30, dog=20), *stock(horse=9)]
    assert drawn(alone, 5, 1) == drawn(among, 5, 1)
    places = {label: drawn(stock(dog=20, cat=20), 5, 1, label) for label in ("dog", "cat")}
    numbers = [[path[-7:] for path in paths] for paths in places.values()]
    assert numbers[0] != numbers[1]  # each pair has its own stream


@pytest.mark.parametrize(("shots", "fine"), [(3, True), (4, False)])
def test_too_few_images_name_the_poorest_pair_and_the_counts(shots: int, fine: bool) -> None:
    items = stock(dog=5, cat=3, horse=9)
    if fine:
        assert len(drawn(items, shots, 0, "cat")) == 3
        return
    with pytest.raises(InvalidInputError) as caught:
        choose_shots(items, shots, 0)
    assert "has 3 image(s) of cat in sketch, too few for 4 shots" in str(caught.value)
    assert "lower --shots or add images" in str(caught.value)


def test_a_pair_without_a_domain_is_named_by_its_class() -> None:
    with pytest.raises(InvalidInputError, match=r"1 image\(s\) of dog, too few for 2 shots"):
        choose_shots([Item("x.png", "dog", None, "sha256:x")], 2, 0)


@pytest.mark.parametrize("shots", [0, -1])
def test_no_shots_are_no_prototypes(shots: int) -> None:
    with pytest.raises(InvalidInputError, match=f"shots must be at least 1, not {shots}"):
        choose_shots(stock(dog=5), shots, 0)
