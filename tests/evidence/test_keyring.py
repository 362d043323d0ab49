"""Where keys are found: by file name, by environment, in memory, and no more of them than needed."""

from pathlib import Path

import pytest

from governance.errors import IntegrityError, InvalidInputError, NotFoundError, RefusedError
from governance.evidence import keyring as module
from governance.evidence.keyring import Keyring, Keys, MemoryKeyring
from governance.evidence.keys import SigningKey, short_id, write_key

FIRST, SECOND, OTHER = (SigningKey.from_seed(bytes([number]) * 32) for number in (1, 2, 3))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the key files that were read."""
    names: list[str] = []
    read = module.read_key

    def counting(path: Path, *rest: object) -> SigningKey:
        names.append(path.name)
        return read(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "read_key", counting)
    return names


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_keys_are_written_under_the_actor_and_the_key_id(tmp_path: Path) -> None:
    ring = Keyring(tmp_path / "keys", environ={})
    path = ring.add("ada", FIRST)
    assert path == tmp_path / "keys" / f"ada-{short_id(FIRST)}.pem"
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(InvalidInputError, match="never overwritten"):
        ring.add("ada", FIRST)


@pytest.mark.parametrize("actor", ["../ada", "a/b", "/ada", "a\0b"])
def test_an_actor_cannot_leave_the_directory(tmp_path: Path, actor: str) -> None:
    with pytest.raises(InvalidInputError, match=r"cannot be part of a file name$"):
        Keyring(tmp_path / "keys", environ={}).add(actor, FIRST)
    assert names(tmp_path) == []
    assert list(Keyring(tmp_path, environ={}).keys_of(actor)) == []
    with pytest.raises(NotFoundError):
        Keyring(environ={}).add("ada", FIRST)


def test_the_signer_is_the_key_valid_in_the_ledger_and_no_other_file_is_opened(
    tmp_path: Path, opened: list[str]
) -> None:
    ring = Keyring(tmp_path, environ={})
    ring.add("ada", FIRST, "locked, and nobody can say the passphrase")
    ring.add("ada", SECOND)
    ring.add("bob", OTHER)
    valid = [SECOND.key_id, OTHER.key_id]
    for _ in range(3):
        assert ring.signer("ada", valid) == SECOND
    assert opened == [f"ada-{short_id(SECOND)}.pem"]
    assert ring.signer("ada", [OTHER.key_id]) is None
    assert ring.signer("ada", []) is None
    assert ring.signer("eve", valid) is None
    assert len(opened) == 1


def test_actors_whose_names_begin_alike_are_kept_apart(tmp_path: Path) -> None:
    ring = Keyring(tmp_path, environ={})
    longer = f"ada-{short_id(FIRST)}"
    for actor, key in (("ada", FIRST), (longer, SECOND), ("ada-lovelace", OTHER)):
        ring.add(actor, key)
    for actor, key in (("ada", FIRST), (longer, SECOND), ("ada-lovelace", OTHER)):
        assert list(ring.keys_of(actor)) == [key]
    assert list(ring.keys_of("ad")) == []
    assert list(ring.keys_of("")) == []


def test_other_files_in_the_directory_are_let_be(tmp_path: Path) -> None:
    ring = Keyring(tmp_path, environ={})
    ring.add("ada", FIRST)
    for name in ("ada.pem", "ada-XYZ.pem", f"ada-{short_id(SECOND)}.pem.bak", "notes.txt"):
        (tmp_path / name).write_text("x", encoding="utf-8")
    assert list(ring.keys_of("ada")) == [FIRST]


def test_a_file_that_holds_another_key_is_a_fault(tmp_path: Path) -> None:
    write_key(tmp_path / f"ada-{short_id(FIRST)}.pem", SECOND)
    ring = Keyring(tmp_path, environ={})
    for valid in ([FIRST.key_id], [FIRST.key_id, SECOND.key_id]):
        with pytest.raises(IntegrityError, match=r"not the one it is named after$"):
            ring.signer("ada", valid)
    with pytest.raises(IntegrityError):
        list(ring.keys_of("ada"))


def test_only_the_first_digits_agreeing_is_not_enough(tmp_path: Path) -> None:
    ring = Keyring(tmp_path, environ={})
    ring.add("ada", FIRST)
    assert ring.signer("ada", [FIRST.key_id[:-1] + "g"]) is None


def test_a_key_file_open_to_others_stops_the_signer(tmp_path: Path) -> None:
    ring = Keyring(tmp_path, environ={})
    ring.add("ada", FIRST).chmod(0o644)
    with pytest.raises(RefusedError, match="chmod 600"):
        ring.signer("ada", [FIRST.key_id])


def test_the_environment_comes_first_and_speaks_for_the_acting_person_only(tmp_path: Path) -> None:
    write_key(tmp_path / "elsewhere.pem", SECOND)
    environ = {
        "GOVERNANCE_KEY": FIRST.to_pem().decode(),
        "GOVERNANCE_KEY_FILE": str(tmp_path / "elsewhere.pem"),
    }
    ring = Keyring(tmp_path / "keys", acting="ada", environ=environ)
    ring.add("ada", OTHER)
    ring.add("bob", OTHER)
    assert list(ring.keys_of("ada")) == [FIRST, SECOND, OTHER]
    assert list(ring.keys_of("bob")) == [OTHER]
    for key in (FIRST, SECOND, OTHER):
        assert ring.signer("ada", [key.key_id]) == key
    assert ring.signer("bob", [FIRST.key_id, SECOND.key_id]) is None
    assert list(Keyring(environ=environ).keys_of("anybody")) == [FIRST, SECOND]


def test_the_environment_can_hold_the_passphrase(tmp_path: Path) -> None:
    environ = {
        "GOVERNANCE_KEY_PASSPHRASE": "sesame",
        "GOVERNANCE_KEY": FIRST.to_pem("sesame").decode(),
    }
    ring = Keyring(tmp_path, environ=environ)
    ring.add("ada", SECOND, "sesame")
    assert list(ring.keys_of("ada")) == [FIRST, SECOND]
    with pytest.raises(InvalidInputError, match=r"^GOVERNANCE_KEY is encrypted"):
        list(Keyring(environ=environ | {"GOVERNANCE_KEY_PASSPHRASE": ""}).keys_of("ada"))


def test_a_passphrase_is_asked_for_once_a_key(tmp_path: Path) -> None:
    asked: list[str] = []

    def ask(what: str) -> str:
        asked.append(what)
        return "sesame"

    environ = {"GOVERNANCE_KEY": FIRST.to_pem("sesame").decode()}
    ring = Keyring(tmp_path, ask=ask, environ=environ)
    path = ring.add("ada", SECOND, "sesame")
    for _ in range(2):
        assert list(ring.keys_of("ada")) == [FIRST, SECOND]
    assert asked == ["GOVERNANCE_KEY", str(path)]


def test_what_the_environment_names_must_be_there(tmp_path: Path) -> None:
    ring = Keyring(environ={"GOVERNANCE_KEY_FILE": str(tmp_path / "none.pem")})
    with pytest.raises(NotFoundError, match=r"none\.pem$"):
        ring.signer("ada", [FIRST.key_id])
    with pytest.raises(InvalidInputError, match=r"^GOVERNANCE_KEY is not a private key"):
        list(Keyring(environ={"GOVERNANCE_KEY": "x"}).keys_of("ada"))


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(Keyring().keys_of("ada")) == []
    monkeypatch.setenv("GOVERNANCE_KEY", FIRST.to_pem().decode())
    assert list(Keyring().keys_of("ada")) == [FIRST]


def test_keys_in_memory() -> None:
    ring = MemoryKeyring({"ada": [FIRST]})
    ring.add("ada", SECOND)
    ring.add("bob", OTHER)
    keys: Keys = ring
    assert list(keys.keys_of("ada")) == [FIRST, SECOND]
    assert keys.signer("ada", {SECOND.key_id, OTHER.key_id}) == SECOND
    assert keys.signer("ada", {OTHER.key_id}) is None
    assert list(keys.keys_of("eve")) == []
    on_disk: Keys = Keyring(environ={})
    assert on_disk.signer("ada", {FIRST.key_id}) is None
