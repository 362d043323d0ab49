"""Whatever is called a bundle: a clear error or a finding, never a traceback."""

import io
import json
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from governance.audit import verify_bundle as verifier
from tests.audit.bundle_case import members_of, write
from tests.audit.forgery import remade

quiet = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def outcome_of(path: Path) -> str:
    """What a person is told."""
    try:
        outcome = verifier.verify(path)
    except (verifier.Unreadable, verifier.Missing) as error:
        return f"{type(error).__name__}: {error}"
    assert outcome.to_text()
    assert json.dumps(outcome.to_dict())
    return "holds" if outcome.ok else f"bad: {outcome.first_bad}"


@quiet
@given(st.binary(max_size=400))
def test_bytes_that_are_no_bundle(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(data)
    assert outcome_of(path).startswith("Unreadable")


@quiet
@given(st.data())
def test_a_bundle_file_with_some_bytes_changed(
    bundles: dict[str, Path], tmp_path: Path, data: st.DataObject
) -> None:
    content = bytearray(bundles["version"].read_bytes())
    # The directory of the file lies at its end, and is where readers go wrong.
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(1, 6000) | st.integers(1, len(content)))
        content[-place] = data.draw(st.integers(0, 255))
    path = tmp_path / "x.zip"
    path.write_bytes(content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))])
    outcome_of(path)


TABLES = (
    "requests.json", "decisions.json", "projectors.json", "versions.json", "models.json",
    "datasets.json", "policy.json", "keys.json", "arrays.json", "proofs.json", "texts.json",
    "attestations/shop-3-recipe.dsse.json",
)  # fmt: skip


@quiet
@given(st.sampled_from(TABLES), anything)
def test_a_table_that_holds_anything(
    bundles: dict[str, Path], tmp_path: Path, name: str, value: object
) -> None:
    text = json.dumps(value).encode()
    members = members_of(bundles["texts"])
    told = outcome_of(write(tmp_path / "x.zip", remade({**members, name: text})))
    assert told.startswith("bad") or (name == "texts.json" and value == [])


def replace_somewhere(value: Any, data: st.DataObject) -> Any:
    """The value with one part of it replaced by anything."""
    if not value or not isinstance(value, dict | list) or data.draw(st.integers(0, 4)) == 0:
        return data.draw(anything)
    if isinstance(value, dict):
        name = data.draw(st.sampled_from(sorted(value)))
        return {**value, name: replace_somewhere(value[name], data)}
    place = data.draw(st.integers(0, len(value) - 1))
    return [*value[:place], replace_somewhere(value[place], data), *value[place + 1 :]]


@settings(quiet, max_examples=80)
@given(st.data())
def test_a_part_of_a_table_that_holds_anything(
    bundles: dict[str, Path], tmp_path: Path, data: st.DataObject
) -> None:
    members = members_of(bundles["texts"])
    name = data.draw(st.sampled_from(TABLES))
    before = json.loads(members[name])
    after = replace_somewhere(before, data)
    forged = remade({**members, name: json.dumps(after).encode()})
    told = outcome_of(write(tmp_path / "x.zip", forged))
    if name != "texts.json" and name.endswith("s.json") and json.dumps(after) != json.dumps(before):
        assert told.startswith("bad") or after == before


@settings(quiet, max_examples=60)
@given(st.data())
def test_a_manifest_that_holds_anything(
    bundles: dict[str, Path], tmp_path: Path, data: st.DataObject
) -> None:
    members = members_of(bundles["version"])
    after = replace_somewhere(json.loads(members["manifest.json"]), data)
    text = json.dumps(after).encode()
    assume(text != members["manifest.json"])
    told = outcome_of(write(tmp_path / "x.zip", {**members, "manifest.json": text}))
    assert told.startswith(("bad", "Unreadable"))


@settings(quiet, max_examples=60)
@given(st.data())
def test_an_event_that_holds_anything(
    bundles: dict[str, Path], tmp_path: Path, data: st.DataObject
) -> None:
    members = members_of(bundles["all"])
    lines = members["events.jsonl"].splitlines()
    place = data.draw(st.integers(0, len(lines) - 1))
    try:
        line = verifier.canonical(replace_somewhere(json.loads(lines[place]), data)).encode()
    except verifier.MALFORMED:
        return
    assume(line != lines[place])  # "anything" may be what was there
    lines[place] = line
    forged = remade({**members, "events.jsonl": b"".join(line + b"\n" for line in lines)})
    assert outcome_of(write(tmp_path / "x.zip", forged)).startswith("bad")


@settings(quiet, max_examples=60)
@given(st.data())
def test_a_payload_that_holds_anything(
    bundles: dict[str, Path], tmp_path: Path, data: st.DataObject
) -> None:
    """Chain and manifest are made anew, so that the event is really read."""
    from tests.audit.forgery import Events, rewrite

    def change(events: Events) -> None:
        place = data.draw(st.integers(0, len(events) - 1))
        made = replace_somewhere(events[place]["payload"], data)
        events[place]["payload"] = json.loads(json.dumps(made))

    try:
        forged = rewrite(members_of(bundles["all"]), change)
    except ValueError:  # something that canonical JSON cannot express
        return
    outcome_of(write(tmp_path / "x.zip", forged))


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../up.txt", "a/../../b", "a//b", ".hidden", "a\\b", "a/./b", "c:x", "ä", "a b", ""],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", b"{}")
        info = zipfile.ZipInfo("x")
        info.filename = name
        archive.writestr(info, b"x")
    assert outcome_of(path).startswith("Unreadable")


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", b"{}")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("manifest.json", b"{}")
    assert outcome_of(path) == "Unreadable: 'manifest.json' is there twice"


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", bytes(10_000_000))
    assert path.stat().st_size < 20_000
    assert "is compressed, which bundles never are" in outcome_of(path)


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("manifest.json", bytes(100_000))
        first = archive.infolist()[0]
        for number in range(10):
            copy = zipfile.ZipInfo(f"copy-{number}")
            copy.header_offset, copy.CRC = first.header_offset, first.CRC
            copy.file_size = copy.compress_size = first.file_size
            archive.filelist.append(copy)
            archive.NameToInfo[copy.filename] = copy
        archive._didModify = True  # type: ignore[attr-defined]
    path = tmp_path / "x.zip"
    path.write_bytes(out.getvalue())
    assert "they overlap" in outcome_of(path)


def test_links_in_a_directory_are_refused(bundles: dict[str, Path], tmp_path: Path) -> None:
    place = tmp_path / "case"
    with zipfile.ZipFile(bundles["version"]) as archive:
        archive.extractall(place)
    (place / "requests.csv").unlink()
    (place / "requests.csv").symlink_to("/etc/hostname")
    assert outcome_of(place) == "Unreadable: 'requests.csv' is a link or no plain file"


def test_a_missing_file_and_another_format(bundles: dict[str, Path], tmp_path: Path) -> None:
    assert outcome_of(tmp_path / "none.zip").startswith("Missing")
    assert outcome_of(tmp_path).endswith("it holds no manifest.json")
    members = members_of(bundles["version"])
    later = json.loads(members["manifest.json"]) | {"format": 2}
    path = write(tmp_path / "x.zip", {**members, "manifest.json": json.dumps(later).encode()})
    assert "has format 2; this verifier reads 1" in outcome_of(path)


@pytest.mark.parametrize(
    ("name", "problem", "skipped"),
    [
        ("manifest.dsse.json", "manifest.dsse.json is no signed statement", [11]),
        ("requests.json", "requests.json cannot be read as JSON", [10, 11, 12]),
    ],
)
def test_one_unreadable_file_is_one_problem(
    bundles: dict[str, Path], tmp_path: Path, name: str, problem: str, skipped: list[int]
) -> None:
    members = members_of(bundles["texts"])
    made = remade({**members, name: b"not JSON"})
    made[name] = b"{}" if name == "manifest.dsse.json" else b"not JSON"
    outcome = verifier.verify(write(tmp_path / "x.zip", made))
    assert sum(len(step.problems) for step in outcome.steps) == 1
    assert problem in str(outcome.first_bad)
    assert [step.number for step in outcome.steps if step.skipped][2:] == skipped


def test_of_many_problems_ten_are_printed() -> None:
    step = verifier.Step(1, "x")
    for number in range(30):
        step.fail(f"problem {number}")
    outcome = verifier.Outcome()
    outcome.steps.append(step)
    assert outcome.to_text().count("PROBLEM") == 10
    assert "and 20 more problems" in outcome.to_text()
    assert len(outcome.to_dict()["steps"][0]["problems"]) == 30


def test_names_in_a_bundle_do_not_steer_the_terminal() -> None:
    step = verifier.Step(1, "x")
    step.fail("\x1b[2Jcleared\u202egnirts")
    outcome = verifier.Outcome()
    outcome.steps.append(step)
    assert "\x1b" not in outcome.to_text()
    assert "\u202e" not in outcome.to_text()


def test_a_file_is_not_opened_for_writing(bundles: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(bundles["version"].read_bytes())
    path.chmod(stat.S_IRUSR)
    assert outcome_of(path) == "holds"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.zip"]
