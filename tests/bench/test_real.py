"""The part `real`: every file of the form is read, checked and measured, whatever optional arrays it has."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from bench import real_scoring
from bench.__main__ import main
from bench.output import Settings
from bench.real import Fitter, cases_of, generic_of, mean_certificate
from bench.real_data import bank_of, distinct_names, prototypes_of, read_all, read_real
from bench.real_scoring import RealScorer, neighbours_agree
from governance.errors import InvalidInputError
from governance.unlearning.labels import LabelSpace
from governance.unlearning.projector import random_edit
from governance.unlearning.targets import Target
from tests.bench.real_files import WIDTH, arrays, without, write

KEYS = {
    "data", "case", "classes", "method", "prototypes", "forget_before", "forget_after", "retain_before",
    "retain_after", "elsewhere_before", "elsewhere_after", "alt_forget_after", "cosine", "certificate",
    "neighbour_before", "neighbour_after",
}  # fmt: skip
OURS = {
    ("nullspace", "text"), ("ccup", "text"), ("redirect", "text"), ("redirect, irreversible", "text")
}  # fmt: skip
VISUAL = {(m, "few-shot") for m in ("multimodal", "redirect", "leace", "gradient ascent")}
BASE = {("base", None)}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    full = arrays(8, 6, domains=3, shots=4)
    full["class_name"] = np.array(["crane", "crane", " missile\n", "", "a", "b", "c", "d"])
    plain = without(arrays(70, 2), "text_alt")
    pairs = {name: arrays(5, 1)[name] for name in ("image", "text")}
    generic = {"image": arrays(9, 3)["image"]}
    place = tmp_path_factory.mktemp("benchmark")
    return write(place, full=full, plain=plain, pairs=pairs, generic=generic)


def run_real(directory: Path, out: Path, *more: str) -> tuple[int, str]:
    places = ["--benchmark", str(directory), "--out", str(out), "--cache", str(out)]
    done = CliRunner().invoke(main, ["real", *places, *more])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def records(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("out")
    code, output = run_real(directory, out, "--quick")
    assert code == 0, output
    found = json.loads((out / "real.json").read_text(encoding="utf-8"))
    assert isinstance(found, list)
    return found


def of(records: list[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    return [r for r in records if wanted.items() <= r.items()]


def test_every_record_has_every_key_and_shares_where_there_are_some(
    records: list[dict[str, Any]],
) -> None:
    shares = {key for key in KEYS if key.rpartition("_")[2] in ("before", "after")}
    for record in records:
        assert record.keys() >= KEYS
        ours = record["method"].startswith("redirect")
        assert (record["certificate"] is not None) == ours
        assert -1 <= record["cosine"] <= 1
        for key in shares:
            optional = key.startswith(("alt", "elsewhere"))
            assert (optional and record[key] is None) or 0 <= record[key] <= 1, key
        assert (record["alt_forget_after"] is not None) == (record["data"] == "full")
        in_domain = record["case"] == "class in one domain"
        assert (record["elsewhere_before"] is not None) == in_domain
        assert (record["elsewhere_after"] is not None) == in_domain


def test_each_case_has_the_methods_that_the_file_allows(records: list[dict[str, Any]]) -> None:
    def methods(**wanted: Any) -> set[tuple[str, str | None]]:
        return {(r["method"], r["prototypes"]) for r in of(records, **wanted)}

    assert {r["data"] for r in records} == {"full", "plain"}
    for case in ("one class", "many classes"):
        assert methods(data="full", case=case) == BASE | OURS | VISUAL
        assert methods(data="plain", case=case) == BASE | OURS
    domain = methods(data="full", case="class in one domain")
    assert domain == BASE | VISUAL | {("ccup", "few-shot")}
    assert not of(records, data="plain", case="class in one domain")
    assert {r["domain"] for r in of(records, case="class in one domain")} == {
        None, "style 0", "style 1",
    }  # fmt: skip


def test_the_unedited_model_is_the_same_before_and_after(records: list[dict[str, Any]]) -> None:
    base = of(records, method="base")
    assert len(base) == len({(r["data"], r["case"], r["classes"], r["domain"]) for r in records})
    for record in base:
        assert record["cosine"] == 1
        for name in ("forget", "retain", "elsewhere", "neighbour", "alt_forget"):
            assert record[f"{name}_before"] == record[f"{name}_after"]


def test_the_default_method_forgets_and_keeps(records: list[dict[str, Any]]) -> None:
    for record in of(records, data="full", case="one class", method="redirect"):
        assert record["forget_before"] > 0.9
        assert record["forget_after"] < 0.1
        assert record["alt_forget_after"] < 0.5
        assert record["retain_after"] > record["retain_before"] - 0.1
        assert record["cosine"] < 1


def test_certificates_are_of_texts_and_say_what_depends_on_the_image(
    records: list[dict[str, Any]],
) -> None:
    for record in of(records, case="one class", method="redirect", prototypes="text"):
        found = record["certificate"]
        assert 0 <= found["excess_median"] <= found["excess_worst"] < 0.1
        assert found["estimated_excess_median"] <= found["excess_worst"]
        assert 0 <= found["certified"] <= 1
        assert 0 < found["change_median"] <= found["change_worst"]
    for record in of(records, case="class in one domain", method="redirect"):
        assert "excess_median" not in record["certificate"]


def test_an_irreversible_edit_gives_less_back(records: list[dict[str, Any]]) -> None:
    inverted = [r for r in records if r["inverted_plain"] is not None]
    assert {r["method"] for r in inverted} == {"redirect", "redirect, irreversible"}
    for case in ("one class", "many classes"):
        plain, exact = (
            of(records, data="full", case=case, method=method, prototypes="text")[0]
            for method in ("redirect", "redirect, irreversible")
        )
        assert exact["smallest_singular_value"] < 1e-6 < plain["smallest_singular_value"]
        assert plain["inverted_plain"] > 0.9 * plain["forget_before"]


def test_the_tables_are_written(directory: Path, tmp_path: Path) -> None:
    assert run_real(directory, tmp_path, "--quick")[0] == 0
    text = (tmp_path / "real.md").read_text(encoding="utf-8")
    titles = [line.removeprefix("### ") for line in text.splitlines() if line.startswith("###")]
    assert titles == [
        "real: data", "real: one class", "real: many classes, full", "real: many classes, plain",
        "real: turning", "real: certificate", "real: inversion", "real: class in one domain",
    ]  # fmt: skip


def test_files_without_labels_alone_are_no_data(tmp_path: Path) -> None:
    write(tmp_path, generic={"image": arrays(9, 3)["image"]})
    code, output = run_real(tmp_path, tmp_path / "out")
    assert code == 0, output
    assert json.loads((tmp_path / "out" / "real.json").read_text(encoding="utf-8")) == []


def test_a_benchmark_without_real_embeddings_is_said(tmp_path: Path) -> None:
    code, output = run_real(tmp_path, tmp_path / "out")
    assert code == 1
    assert "real: left out: this part needs the shared benchmark's real/*.npz" in output


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "a label short": (lambda a: a | {"label": a["label"][1:]}, "`label` has 15 images, but `image` has 16"),
    "a text short": (lambda a: a | {"text": a["text"][1:]}, "`text` has 3 classes, but `class_name` has 4"),
    "another width": (lambda a: a | {"text_alt": a["text"][:, 1:]}, "`text_alt` has 63 columns, but `image` has 64"),
    "a flat image": (lambda a: a | {"image": a["image"].ravel()}, "`image` has the shape (1024,)"),
    "no image": (lambda a: without(a, "image"), "it has no array `image`"),
    "nothing in it": (lambda a: {"image": a["image"][:0]}, "`image` has the shape (0, 64)"),
    "a shot short": (lambda a: a | {"shot_label": a["shot_label"][1:]}, "`shot_label` has 7 shots"),
    "an unknown class": (lambda a: a | {"label": a["label"] + 1}, "`label` holds 1 to 4, but `class_name` has 4"),
    "labels by name": (lambda a: a | {"label": a["class_name"][a["label"]]}, "`label` holds <U7 instead of whole"),
    "integer rows": (lambda a: a | {"text": np.ones_like(a["text"], int)}, "`text` holds int64 instead of floating"),
    "not a number": (lambda a: a | {"text": a["text"] * np.nan}, "`text` holds numbers that are not finite"),
    "no direction": (lambda a: a | {"text": a["text"] * 0}, "`text` holds a row of zeros"),
    "one class": (
        lambda a: a | {"class_name": a["class_name"][:1], "text": a["text"][:1], "label": a["label"] * 0}
        | {"text_alt": a["text"][:1], "shot_label": a["shot_label"] * 0},
        "it needs at least two classes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_file_that_contradicts_itself_is_named_in_one_line(what: str, tmp_path: Path) -> None:
    change, message = BROKEN[what]
    write(tmp_path, good=arrays(5, 2), odd=change(arrays(4, 4, shots=2)))
    code, output = run_real(tmp_path, tmp_path / "out", "--quick")
    assert code == 1
    (line,) = output.splitlines()
    assert line.startswith(f"real: left out: {tmp_path / 'real' / 'odd.npz'}: ")
    assert message in line
    assert not (tmp_path / "out" / "real.json").exists()


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 half of one"])
def test_a_file_that_is_no_archive_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "odd.npz"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"odd\.npz: it cannot be read as an archive"):
        read_real(path)


def test_half_an_archive_and_a_single_array_are_named(tmp_path: Path) -> None:
    whole = write(tmp_path, half=arrays(4, 4)) / "real" / "half.npz"
    whole.write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(InvalidInputError, match=r"half\.npz: it cannot be read as an archive"):
        read_real(whole)
    with (tmp_path / "single.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(InvalidInputError, match=r"single\.npz: it is one array"):
        read_real(tmp_path / "single.npz")


def test_unknown_arrays_and_halves_of_optional_ones_are_left_alone(tmp_path: Path) -> None:
    content = arrays(4, 2, domains=2, shots=2)
    known = without(content, "shot_label", "domain_name") | {"licence": np.array("none")}
    write(tmp_path, some=known, nameless=without(content, "class_name"))
    nameless, some = read_all(tmp_path)
    assert some.classes is not None
    assert (some.shots, some.domains) == (None, None)
    assert (nameless.classes, nameless.only_images) == (None, False)


def test_names_are_made_distinct_and_printable() -> None:
    names = ["crane", "missile", "crane", " a\tb\n", "", b"crab", "x" * 300]
    found = distinct_names(names, "class")
    assert found[:6] == ("crane (0)", "missile", "crane (2)", "a b", "class", "crab")
    assert LabelSpace(found).classes == found
    assert len(set(distinct_names(["a", "a", "a (0)"], "class"))) == 3
    assert LabelSpace(distinct_names(["x" * 300, "x" * 301], "class"))


def test_a_bank_repeats_the_plain_texts_for_each_domain(directory: Path) -> None:
    data = read_real(directory / "real" / "full.npz")
    plain, domains = bank_of(data, False), bank_of(data, True)
    assert torch.equal(domains.rows, plain.rows.repeat(4, 1))
    assert torch.equal(domains.plain_scores, data.labels.text)
    (shots,) = prototypes_of(data, False)
    assert shots.pairs == tuple((name, None) for name in data.labels.names)
    (shots,) = prototypes_of(data, True)
    assert set(shots.pairs) == set(domains.pairs[8:])
    assert prototypes_of(read_real(directory / "real" / "plain.npz"), False) == ()


def test_turning_is_measured_on_the_files_that_are_only_images(directory: Path) -> None:
    everything = {data.name: data for data in read_all(directory)}
    generic = everything["generic"].image
    assert torch.equal(generic_of(everything["full"], everything.values()), generic)
    twice = [*everything.values(), everything["generic"]]
    assert len(generic_of(everything["full"], twice)) == 2 * len(generic)
    rest = [data for name, data in everything.items() if name != "generic"]
    own = everything["full"]
    assert torch.equal(generic_of(own, rest), own.image)


def test_a_large_label_space_is_sampled_and_at_most_half_of_it_forgotten(directory: Path) -> None:
    settings = Settings(directory, directory, directory)
    full, plain = (read_real(directory / "real" / f"{name}.npz") for name in ("full", "plain"))
    one, *many = cases_of(plain, settings)
    chosen = np.random.default_rng(7).choice(70, 60, replace=False)
    assert [choice.targets[0].label for choice in one.choices] == [f"thing {c}" for c in chosen]
    assert [case.classes for case in many] == [2, 5, 10, 20]
    for case in many:
        assert len(case.choices) == 10
        assert all(int(c.forget.sum()) == 2 * case.classes for c in case.choices)
        assert all(len(c.targets) == case.classes for c in case.choices)
    *_, domain = cases_of(full, settings)
    assert len(domain.choices) == 24
    for choice in domain.choices:
        assert choice.elsewhere is not None
        assert (int(choice.forget.sum()), int(choice.elsewhere.sum())) == (6, 12)


def test_classes_without_images_are_no_choice_and_those_without_shots_have_no_visual_fit(
    tmp_path: Path,
) -> None:
    content = arrays(5, 3, shots=2)
    for name, missing in (("", 0), ("shot_", 1)):
        rest = content[f"{name}label"] != missing
        content |= {f"{name}{kind}": content[f"{name}{kind}"][rest] for kind in ("image", "label")}
    data = read_all(write(tmp_path, some=content))[0]
    one, *_ = cases_of(data, Settings(tmp_path, tmp_path, tmp_path))
    assert [choice.targets[0].label for choice in one.choices] == [
        f"thing {n}" for n in range(1, 5)
    ]
    fitter = Fitter(data, False, data.image, 1)
    assert [fitter.seen(choice) for choice in one.choices] == [False, True, True, True]


def test_figures_are_those_of_the_dense_matrix(directory: Path) -> None:
    full, generic = (read_real(directory / "real" / f"{n}.npz") for n in ("full", "generic"))
    edit = random_edit(WIDTH, 3, torch.Generator().manual_seed(0))
    forget = full.labels.label == 2
    scorer = RealScorer(full, generic.image)
    found = scorer.score(forget, None, edit)
    image, label, text = full.image.numpy(), full.labels.label.numpy(), full.labels.text.numpy()
    assert full.labels.other_text is not None
    moved, lost = image @ edit.dense().numpy(), forget.numpy()
    right = (moved @ text.T).argmax(axis=1) == label
    reworded = (moved @ full.labels.other_text.numpy().T).argmax(axis=1) == label
    after = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    cosines = after @ after.T
    np.fill_diagonal(cosines, -2)
    near = label[cosines.argmax(axis=1)] == label
    turned = generic.image.numpy() @ edit.dense().numpy()
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    expected = {
        "forget_after": right[lost].mean(),
        "retain_after": right[~lost].mean(),
        "alt_forget_after": reworded[lost].mean(),
        "neighbour_after": near[~lost].mean(),
        "cosine": (turned * generic.image.numpy()).sum(axis=1).mean(),
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected)
    assert found["cosine"] < 0.999
    as_map = scorer.score(forget, None, edit.apply)
    assert as_map == pytest.approx(found)


def test_neighbours_are_looked_for_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.tensor([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1], [0.9, 0.2]])
    label = torch.tensor([0, 0, 1, 0, 1])
    expected = [True, True, False, False, False]
    everyone = torch.ones(5, dtype=torch.bool)
    for piece in (512, 2):
        monkeypatch.setattr(real_scoring, "PIECE", piece)
        assert neighbours_agree(rows, label, everyone).tolist() == expected
    assert neighbours_agree(rows, label, label == 0).tolist() == [True, True, False]
    assert len(neighbours_agree(rows, label, label == 7)) == 0


def test_certificates_of_several_choices_are_averaged() -> None:
    assert mean_certificate([None, None]) is None
    found = mean_certificate([{"bound": 1.0, "of": "text"}, None, {"bound": 2.0, "of": "text"}])
    assert found == {"bound": 1.5}


def test_what_is_forgotten_is_named_by_the_target(directory: Path) -> None:
    data = read_real(directory / "real" / "full.npz")
    assert data.labels.names[:4] == ("crane (0)", "crane (1)", "missile", "class")
    *_, case = cases_of(data, Settings(directory, directory, directory, quick=True))
    assert [choice.targets for choice in case.choices] == [
        (Target("a", "style 0"),),
        (Target("a", "style 1"),),
    ]
