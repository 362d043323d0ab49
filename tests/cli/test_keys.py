"""Keys as people handle them: made at home or in the workspace, encrypted, rotated, lost."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from governance.evidence.keys import SigningKey, is_encrypted, read_key, short_id, write_key
from tests.cli.conftest import Cli


def key_files(home: Path, actor: str) -> list[Path]:
    return sorted((home / "keys").glob(f"{actor}-*.pem"))


def keys_of(cli: Cli, name: str) -> list[str]:
    return next(r["keys"] for r in cli("actor", "list", "--json").json if r["name"] == name)


def test_a_pair_made_at_home_needs_no_workspace(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli("actor", "new-key", "-o", "mine.pem")
    key = read_key(tmp_path / "mine.pem")
    assert result.out == key.public.to_base64() + "\n"
    assert stat.S_IMODE((tmp_path / "mine.pem").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["mine.pem"]
    assert "never overwritten" in cli("actor", "new-key", "-o", "mine.pem", expect=2).err
    record = cli("actor", "new-key", "-o", "other.pem", "--json").json
    assert record == {
        "public_key": read_key(tmp_path / "other.pem").public.to_base64(),
        "key_id": read_key(tmp_path / "other.pem").key_id,
        "file": str(tmp_path / "other.pem"),
    }


@pytest.mark.parametrize("form", ["base64", "file"])
def test_an_actor_is_added_with_the_key_they_made(
    peopled: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    public = cli("actor", "new-key", "-o", tmp_path / "mine.pem").out
    (tmp_path / "mine.pub").write_text(public)
    given = public.strip() if form == "base64" else tmp_path / "mine.pub"
    record = cli("actor", "add", "olga", "--role", "auditor", "--public-key", given, "--json").json
    assert keys_of(cli, "olga") == [record["key_id"]]
    assert key_files(peopled, "olga") == []
    assert short_id(read_key(tmp_path / "mine.pem")) in cli("actor", "list").out
    assert "no signing key here" in cli("audit", "checkpoint", "--actor", "olga", expect=3).err
    monkeypatch.setenv("GOVERNANCE_KEY_FILE", str(tmp_path / "mine.pem"))
    cli("audit", "checkpoint", "--actor", "olga")
    assert cli("audit", "verify", "--json").json["ok"] is True


def test_somebody_with_a_home_of_their_own_works_on_a_shared_ledger(
    peopled: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = cli("actor", "new-key", "-o", tmp_path / "olga.pem").out.strip()
    cli("actor", "add", "olga", "--role", "auditor", "--public-key", public)
    monkeypatch.setenv("GOVERNANCE_HOME", str(tmp_path / "hers"))
    url = f"sqlite:///{peopled / 'ledger.db'}"
    said = cli("init", "--admin", "olga", "--database", url).out
    assert "The ledger knows olga; a private key that lies elsewhere is named by" in said
    assert not (tmp_path / "hers" / "keys").exists()
    assert "no signing key here" in cli("audit", "checkpoint", expect=3).err
    monkeypatch.setenv("GOVERNANCE_KEY_FILE", str(tmp_path / "olga.pem"))
    note = cli("audit", "checkpoint").out
    assert "/olga " in note
    # She cannot act as somebody else: her key is not theirs.
    assert "no signing key here" in cli("audit", "checkpoint", "--actor", "ada", expect=3).err
    assert cli("audit", "verify", "--json").json["ok"] is True
    monkeypatch.setenv("GOVERNANCE_HOME", str(peopled))
    monkeypatch.delenv("GOVERNANCE_KEY_FILE")
    cli("audit", "checkpoint")
    assert len(list((peopled / "checkpoints").iterdir())) == 2  # hers as well
    assert cli("audit", "verify", "--json").json["ok"] is True


def test_rotation_replaces_the_key_file(peopled: Path, cli: Cli) -> None:
    cli("audit", "checkpoint", "--actor", "otto")
    (old,) = key_files(peopled, "otto")
    secret = old.read_bytes()
    record = cli(
        "actor", "rotate-key", "otto", "--reason", "new laptop", "--actor", "otto", "--json"
    ).json
    (new,) = key_files(peopled, "otto")
    assert new != old
    assert keys_of(cli, "otto") == [record["key_id"]]
    cli("audit", "checkpoint", "--actor", "otto")
    assert cli("audit", "verify", "--json").json["ok"] is True
    new.unlink()
    old.write_bytes(secret)
    old.chmod(0o600)
    assert "no signing key here" in cli("audit", "checkpoint", "--actor", "otto", expect=3).err
    cli("actor", "rotate-key", "otto", "--reason", "lost", "--actor", "ada")  # an admin helps
    cli("audit", "checkpoint", "--actor", "otto")
    assert cli("audit", "verify", "--json").json["ok"] is True


def test_who_may_not_rotate_leaves_no_key_behind(peopled: Path, cli: Cli) -> None:
    before = key_files(peopled, "otto")
    error = cli("actor", "rotate-key", "otto", "--reason", "x", "--actor", "carla", expect=3).err
    assert "actor.manage needs admin" in error
    assert key_files(peopled, "otto") == before


def test_rotation_to_a_key_made_at_home(
    peopled: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = cli("actor", "new-key", "-o", tmp_path / "new.pem").out.strip()
    line = ("actor", "rotate-key", "otto", "--reason", "mine now", "--public-key", public)
    cli(*line, "--actor", "otto")
    assert key_files(peopled, "otto") == []
    assert "knows this public key already" in cli(*line, "--actor", "ada", expect=2).err
    monkeypatch.setenv("GOVERNANCE_KEY_FILE", str(tmp_path / "new.pem"))
    cli("audit", "checkpoint", "--actor", "otto")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is neither a public key in base64 nor a file that holds one"),
        ("AAAA", "has 32 bytes, not 3"),
        ("-----BEGIN PRIVATE KEY-----\n", "holds a private key, which stays with its owner"),
        ("\u00e9", "is neither a public key"),
        ("", "has 32 bytes, not 0"),
        ("A" * 43 + "=", "small order"),
    ],
)
def test_a_public_key_that_is_none(
    peopled: Path, cli: Cli, tmp_path: Path, content: str | None, message: str
) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_text(content)
    result = cli("actor", "add", "olga", "--role", "auditor", "--public-key", path, expect=2)
    assert message in result.err
    assert len(result.err.splitlines()) == 1


def test_keys_are_encrypted_and_opened_with_a_passphrase(
    peopled: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = ("actor", "add", "olga", "--role", "auditor", "--encrypt-key")
    assert "set GOVERNANCE_NEW_KEY_PASSPHRASE" in cli(*add, expect=2).err
    monkeypatch.setenv("GOVERNANCE_NEW_KEY_PASSPHRASE", "")
    assert "must not be empty" in cli(*add, expect=2).err
    assert key_files(peopled, "olga") == []
    monkeypatch.setenv("GOVERNANCE_NEW_KEY_PASSPHRASE", "correct horse")
    cli(*add)
    cli("actor", "new-key", "-o", tmp_path / "mine.pem", "--encrypt")
    cli("actor", "rotate-key", "otto", "--reason", "x", "--encrypt-key")
    for path in (*key_files(peopled, "olga"), *key_files(peopled, "otto"), tmp_path / "mine.pem"):
        assert is_encrypted(path.read_bytes())
    take = ("audit", "checkpoint", "--actor", "olga")
    assert "its passphrase is needed" in cli(*take, expect=2).err
    monkeypatch.setenv("GOVERNANCE_KEY_PASSPHRASE", "battery staple")
    assert "the passphrase is wrong" in cli(*take, expect=2).err
    monkeypatch.setenv("GOVERNANCE_KEY_PASSPHRASE", "correct horse")
    assert "correct horse" not in cli(*take).out
    rotate = ("actor", "rotate-key", "otto", "--reason", "x", "--encrypt-key", "--public-key", "x")
    assert "exclude each other" in cli(*rotate, expect=2).err


def test_a_new_passphrase_is_asked_for_twice_and_not_shown(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from governance.cli import keys

    asked: list[dict[str, object]] = []

    def prompt(text: str, **options: object) -> str:
        asked.append(options)
        return "correct horse"

    monkeypatch.setattr(keys.sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(keys.click, "prompt", prompt)
    result = cli("actor", "new-key", "-o", tmp_path / "mine.pem", "--encrypt")
    assert asked == [{"hide_input": True, "confirmation_prompt": True, "err": True}]
    assert "correct horse" not in result.out + result.err
    read_key(tmp_path / "mine.pem", "correct horse")


def _open_to_others(home: Path) -> None:
    key_files(home, "otto")[0].chmod(0o640)


def _missing(home: Path) -> None:
    key_files(home, "otto")[0].unlink()


def _damaged(home: Path) -> None:
    key_files(home, "otto")[0].write_text("-----BEGIN PRIVATE KEY-----\nx\n")


def _swapped(home: Path) -> None:
    path = key_files(home, "otto")[0]
    path.unlink()
    write_key(path, SigningKey.generate())


@pytest.mark.parametrize(
    ("harm", "code", "message"),
    [
        (_open_to_others, 3, "is open to others (mode 0640); make it private: chmod 600"),
        (_missing, 3, "actor 'otto' has no signing key here"),
        (_damaged, 2, "cannot be read: it is damaged"),
        (_swapped, 6, "not the one it is named after"),
    ],
)
def test_a_key_that_cannot_be_used(
    peopled: Path, cli: Cli, harm: Callable[[Path], None], code: int, message: str
) -> None:
    harm(peopled)
    result = cli("audit", "checkpoint", "--actor", "otto", expect=code)
    assert message in result.err
    assert (len(result.err.splitlines()), result.out) == (1, "")


def test_a_key_file_that_the_environment_names_wrongly(
    peopled: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOVERNANCE_KEY_FILE", str(tmp_path / "no.pem"))
    assert "there is no key file" in cli("audit", "checkpoint", expect=4).err
    write_key(tmp_path / "no.pem", SigningKey.generate(), None)
    assert "no signing key here" not in cli("audit", "checkpoint").err  # that in the workspace does
