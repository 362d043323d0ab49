"""Whatever stands in a file from outside, the answer is a value or one of our errors in one line, never a traceback.

Readers of keys, notes and envelopes are tested so in tests/evidence, bundles in tests/audit.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from governance.clip.source import parse_source
from governance.datasets import scan
from governance.errors import GovernanceError
from governance.policy import parse_policy, read_policy
from governance.settings import CONFIG_NAME, load_settings
from governance.unlearning.labels import parse_labels

BYTES = st.binary(max_size=200)
TEXT = st.text(max_size=200)
KEYS = st.sampled_from(
    [
        "format", "actor", "database", "tracking_uri", "anchor", "directory", "command", "gates",
        "quorum", "default", "scope", "basis", "retention", "days", "max_forget_accuracy",
        "max_retain_drop", "max_paraphrase", "roles", "policy.adopt",
        "release", "production", "class", "domain", "court-order", "classes", "domains", "templates",
        "domain_templates", "synonyms", "paraphrases",
    ]
)  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.sampled_from([1, "{}", ""])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | TEXT, inner, max_size=4),
    max_leaves=12,
)


def toml(value: Any) -> str:
    """`value` as TOML, as far as that can be written."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


TOML = st.dictionaries(KEYS, VALUES, max_size=5).map(
    lambda table: "".join(f"{key} = {toml(value)}\n" for key, value in table.items())
)
CSV = st.lists(
    st.lists(st.sampled_from(["path", "class", "domain", "a.png", "", '"', "\0", "é", ","]) | TEXT),
    max_size=6,
).map(lambda rows: "\n".join(",".join(row) for row in rows))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def survives(read: Callable[[], object]) -> None:
    problem = "nothing"
    try:
        read()
    except GovernanceError as error:
        problem = str(error)
    assert problem.strip()
    assert len(problem.splitlines()) == 1


@given(content=BYTES | TOML.map(lambda text: text.encode("utf-8", "replace")))
@effort(max_examples=200, deadline=None)
def test_a_configuration_file(place: Path, content: bytes) -> None:
    (place / CONFIG_NAME).write_bytes(content)
    survives(lambda: load_settings(place))


@given(content=BYTES | TOML.map(lambda text: text.encode("utf-8", "replace")))
@effort(max_examples=200, deadline=None)
def test_a_policy_file(place: Path, content: bytes) -> None:
    path = place / "policy.toml"
    path.write_bytes(content)
    survives(lambda: read_policy(path))


@given(content=VALUES)
@effort(max_examples=200, deadline=None)
def test_a_policy_of_any_values(content: Any) -> None:
    survives(lambda: parse_policy(content))


@given(content=TEXT | TOML, as_toml=st.booleans())
@effort(max_examples=300, deadline=None)
def test_a_label_file(content: str, as_toml: bool) -> None:
    survives(lambda: parse_labels(content, toml=as_toml))


@given(content=BYTES | CSV.map(lambda text: text.encode("utf-8", "replace")))
@effort(max_examples=200, deadline=None)
def test_a_csv_of_images(place: Path, content: bytes) -> None:
    path = place / "images.csv"
    path.write_bytes(content)
    survives(lambda: scan(path))


@given(content=BYTES)
@effort(max_examples=100, deadline=None)
def test_an_image(place: Path, content: bytes) -> None:
    folder = place / "set" / "mug"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.png").write_bytes(content)
    survives(lambda: scan(place / "set"))


@given(name=TEXT, pretrained=st.none() | TEXT)
@effort(max_examples=200, deadline=None)
def test_a_model_source(name: str, pretrained: str | None) -> None:
    survives(lambda: parse_source(name, pretrained))
