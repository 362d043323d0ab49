"""Settings: who wins when several places name the same thing, and files that cannot be used."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from governance.errors import InvalidInputError, NotFoundError
from governance.settings import (
    CONFIG_NAME,
    Settings,
    config_text,
    home_path,
    load_settings,
    new_settings,
)

# Field of Settings, argument of load_settings, variable, key of the file, value by default.
SOURCES = [
    ("database_url", "database_url", "GOVERNANCE_DATABASE_URL", "database", "ledger.db"),
    ("tracking_uri", "tracking_uri", "MLFLOW_TRACKING_URI", "tracking_uri", "mlflow.db"),
    ("actor", "actor", "GOVERNANCE_ACTOR", "actor", None),
]


def workspace(home: Path, text: str = "format = 1\n") -> Path:
    home.mkdir(exist_ok=True)
    (home / CONFIG_NAME).write_text(text, encoding="utf-8")
    return home


@pytest.mark.parametrize(("name", "flag", "variable", "key", "default"), SOURCES)
def test_flag_wins_over_environment_over_file_over_default(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    flag: str,
    variable: str,
    key: str,
    default: str | None,
) -> None:
    by_default = default and f"sqlite:///{(tmp_path / default).as_posix()}"
    assert getattr(load_settings(workspace(tmp_path)), name) == by_default

    workspace(tmp_path, f'format = 1\n{key} = "from-file"\n')
    assert getattr(load_settings(tmp_path), name) == "from-file"

    monkeypatch.setenv(variable, "from-environment")
    assert getattr(load_settings(tmp_path), name) == "from-environment"
    assert getattr(load_settings(tmp_path, **{flag: "from-flag"}), name) == "from-flag"

    monkeypatch.setenv(variable, "")  # empty is unset
    assert getattr(load_settings(tmp_path), name) == "from-file"
    others = {other for other, *_ in SOURCES} - {name}
    plain = load_settings(workspace(tmp_path))
    assert all(getattr(load_settings(tmp_path), o) == getattr(plain, o) for o in others)


def test_home_comes_from_the_flag_then_the_environment_then_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert home_path(None) == tmp_path / ".governance"
    monkeypatch.setenv("GOVERNANCE_HOME", "elsewhere")
    assert home_path(None) == tmp_path / "elsewhere"
    assert home_path("given") == home_path(Path("given")) == tmp_path / "given"


def test_places_inside_the_home(tmp_path: Path) -> None:
    settings = load_settings(workspace(tmp_path))
    assert settings.home == tmp_path
    assert settings.cache_dir == tmp_path / "cache"
    assert settings.artifact_dir == tmp_path / "mlartifacts"


@pytest.mark.parametrize("made", [True, False])
def test_a_place_that_is_no_workspace_is_not_found_and_says_how_to_make_one(
    tmp_path: Path, made: bool
) -> None:
    home = tmp_path / "home"
    if made:
        home.mkdir()
    with pytest.raises(NotFoundError) as caught:
        load_settings(home)
    assert str(home) in str(caught.value)
    assert "governance init" in str(caught.value)
    assert "--home" in str(caught.value)


MALFORMED = {
    "not TOML": ("format = ", "cannot be read"),
    "unknown key": ("format = 1\nzeta = 1\nactors = 2", "unknown key: actors, zeta"),
    "no format": ('actor = "ada"', "has format None; this program reads format 1"),
    "an older format": ("format = 0", "has format 0; this program reads format 1"),
    "a newer format": ("format = 2", "has format 2; this program reads format 1"),
    "format a string": ('format = "1"', "has format '1'; this program reads format 1"),
    "actor a number": ("format = 1\nactor = 7", "actor must be a string"),
    "database a list": ('format = 1\ndatabase = ["x"]', "database must be a string"),
    "tracking_uri a table": ("format = 1\n[tracking_uri]", "tracking_uri must be a string"),
    "gates, which the policy holds": ("format = 1\n[gates]\n", "an unknown key: gates"),
}


@pytest.mark.parametrize(("text", "message"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_file_is_refused_with_its_place_and_the_reason(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        load_settings(workspace(tmp_path, text))
    assert message in str(caught.value)
    assert str(tmp_path / CONFIG_NAME) in str(caught.value)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / CONFIG_NAME).write_bytes(b'format = 1\nactor = "\xff"')
    with pytest.raises(InvalidInputError, match="cannot be read"):
        load_settings(tmp_path)


def test_the_file_of_a_new_workspace_says_what_the_program_does_by_default(tmp_path: Path) -> None:
    settings = load_settings(workspace(tmp_path, config_text("ada", None, None)))
    assert settings == new_settings(tmp_path, None, None, "ada")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(actor=TEXT, database=st.none() | TEXT, tracking=st.none() | TEXT)
@effort(max_examples=60, deadline=None)
def test_the_file_of_a_new_workspace_is_read_back_whatever_it_names(
    tmp_path_factory: pytest.TempPathFactory,
    actor: str,
    database: str | None,
    tracking: str | None,
) -> None:
    home = workspace(
        tmp_path_factory.getbasetemp() / "named", config_text(actor, database, tracking)
    )
    expected = new_settings(home, database, tracking, actor)
    assert load_settings(home) == expected


def test_new_settings_follow_the_same_precedence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = new_settings(tmp_path, None, None, "ada")
    ledger, mlflow = (f"sqlite:///{tmp_path / name}" for name in ("ledger.db", "mlflow.db"))
    assert plain == Settings(tmp_path, ledger, mlflow, "ada")
    monkeypatch.setenv("GOVERNANCE_DATABASE_URL", "from-environment")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "from-environment")
    named = new_settings(tmp_path, None, None, "ada")
    assert (named.database_url, named.tracking_uri) == ("from-environment", "from-environment")
    flagged = new_settings(tmp_path, "from-flag", "from-flag", "ada")
    assert (flagged.database_url, flagged.tracking_uri) == ("from-flag", "from-flag")


def test_the_anchor_is_a_directory_and_a_command(tmp_path: Path) -> None:
    text = 'format = 1\n[anchor]\ndirectory = "out"\ncommand = ["send", "a b"]\n'
    found = load_settings(workspace(tmp_path, text))
    assert found.anchor_directory == tmp_path / "out"
    assert found.anchor_command == ("send", "a b")
    found = load_settings(workspace(tmp_path, 'format = 1\n[anchor]\ndirectory = "/out"\n'))
    assert (found.anchor_directory, found.anchor_command) == (Path("/out"), ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("anchor = 1", "must be a table"),
        ("[anchor]\nplace = 'x'", "unknown key: anchor.place"),
        ("[anchor]\ndirectory = ''", "must be the name of a directory"),
        ("[anchor]\ndirectory = 3", "must be the name of a directory"),
        ("[anchor]\ncommand = 'send'", "must be a list of the program and its arguments"),
        ("[anchor]\ncommand = ['send', 1]", "must be a list of the program and its arguments"),
    ],
)
def test_an_anchor_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        load_settings(workspace(tmp_path, f"format = 1\n{text}\n"))
