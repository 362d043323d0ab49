"""``governance version verify`` and ``check-export``, and the documented check without this package."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from governance.evidence.artifact import SIGNATURE_NAME, read_signature
from governance.evidence.keys import SigningKey
from tests.cli.conftest import Cli

DOCUMENT = Path(__file__).parents[2] / "docs" / "exported-models.md"


@pytest.fixture(scope="session")
def exported_home(furnished_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace, with version 1 exported by mona to `out` beside it."""
    from governance.cli.main import run

    home = tmp_path_factory.mktemp("exported") / "home"
    shutil.copytree(furnished_home, home)
    for old in (home / "governance.toml",):
        text = old.read_text()
        old.write_text(text.replace(str(furnished_home), str(home)))
    line = ["version", "export", "1", "-o", str(home.parent / "out"), "--actor", "mona"]
    assert run([*line, "--home", str(home)]) == 0
    return home


@pytest.fixture
def place(exported_home: Path, tmp_path: Path) -> Path:
    """A copy of the exported directory."""
    return Path(shutil.copytree(exported_home.parent / "out", tmp_path / "model"))


def test_an_exported_directory_against_the_ledger(
    cli: Cli, exported_home: Path, place: Path
) -> None:
    found = cli("version", "verify", 1, place, "--home", exported_home)
    assert "holds shop/1, exported by mona." in found.out
    record = cli("version", "verify", 1, place, "--home", exported_home, "--json").json
    assert record["ok"] is True
    assert record["exported_by"] == "mona"
    assert record["facts"]["version"] == 1
    assert record["files"].keys() == {
        "README.md",
        "open_clip_config.json",
        "open_clip_model.safetensors",
    }
    (place / "open_clip_config.json").write_text("{}")
    broken = cli("version", "verify", 1, place, "--home", exported_home, expect=6)
    assert broken.out == ""
    assert "'open_clip_config.json' was changed" in broken.err
    cli("version", "verify", 1, place / "nowhere", "--home", exported_home, expect=4)


def test_a_version_in_ledger_and_mlflow(cli: Cli, exported_home: Path) -> None:
    found = cli("version", "verify", 1, "--home", exported_home, "--actor", "mona")
    assert "shop version 1 is as recorded." in found.out


def test_a_directory_and_a_key_without_any_workspace(
    cli: Cli, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    key = read_signature(place).key
    (tmp_path / "mona.pub").write_bytes(key.to_pem())
    for name in (key.key_id, key.to_base64(), "mona.pub"):
        found = cli("version", "check-export", place, "--trust-key", name)
        assert "holds shop/1, every file is as it was signed." in found.out
        assert key.key_id in found.out
    other = SigningKey.generate().key_id
    assert "not with" in cli("version", "check-export", place, "--trust-key", other, expect=6).err
    cli("version", "check-export", place, "--trust-key", "nobody", expect=2)
    cli("version", "check-export", place, expect=2)
    (place / "extra").write_bytes(b"")
    broken = cli("version", "check-export", place, "--trust-key", key.key_id, expect=6)
    assert "'extra' was not there" in broken.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "mona.pub"]


def test_registering_demands_the_key(cli: Cli, exported_home: Path, place: Path) -> None:
    other = SigningKey.generate().key_id
    line = ["model", "register", "again", "--open-clip", place, "--domain", "photo"]
    labels = place.parent / "labels.txt"
    labels.write_text("mug\nlamp\n")
    line += ["--labels", labels, "--actor", "mona", "--home", exported_home]
    assert "not with" in cli(*line, "--trust-key", other, expect=6).err


def test_verifying_a_directory_loads_no_model(exported_home: Path, place: Path) -> None:
    key_id = read_signature(place).key.key_id
    code = (
        "import sys; from governance.cli.main import run\n"
        f"assert run(['version', 'verify', '1', {str(place)!r}, '--home', {str(exported_home)!r}]) == 0\n"
        f"assert run(['version', 'check-export', {str(place)!r}, '--trust-key', {key_id!r}]) == 0\n"
        "assert not {'torch', 'mlflow', 'open_clip'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)


def test_the_documented_check_with_cryptography_alone(place: Path, tmp_path: Path) -> None:
    (program,) = blocks("python")
    (tmp_path / "check.py").write_text(program)
    key_id = read_signature(place).key.key_id

    def check(*args: object) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-I", str(tmp_path / "check.py"), *map(str, args)]
        return subprocess.run(line, capture_output=True, text=True, check=False)

    good = check(place, key_id)
    assert good.returncode == 0, good.stderr
    assert "shop/1" in good.stdout
    assert check(place, "sha256:" + "0" * 64).returncode != 0
    for name in ("open_clip_config.json", SIGNATURE_NAME):
        content = (place / name).read_bytes()
        middle = len(content) // 2
        changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        (place / name).write_bytes(changed)
        assert check(place, key_id).returncode != 0
        (place / name).write_bytes(content)
    (place / "extra").write_bytes(b"")
    assert "extra" in check(place, key_id).stderr


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_documented_check_with_openssl(place: Path, tmp_path: Path) -> None:
    (script,) = blocks("sh")
    (tmp_path / "key.pem").write_bytes(read_signature(place).key.to_pem())

    def check() -> subprocess.CompletedProcess[str]:
        line = ["sh", "-euc", script]
        env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "DIR": str(place)}
        return subprocess.run(
            line, capture_output=True, text=True, check=False, env=env, cwd=tmp_path
        )

    good = check()
    assert good.returncode == 0, good.stdout + good.stderr
    assert "Signature Verified Successfully" in good.stdout
    assert good.stdout.count(": OK") == 3
    (tmp_path / "key.pem").write_bytes(SigningKey.generate().public.to_pem())
    assert check().returncode != 0
    (tmp_path / "key.pem").write_bytes(read_signature(place).key.to_pem())
    (place / "open_clip_config.json").write_text("{}")
    assert check().returncode != 0
