"""What an installed wheel holds and can do, and that the constraints carry no address."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_wheel_can_make_a_workspace_in_any_directory(tmp_path: Path) -> None:
    subprocess.run(
        [
            sys.executable,
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "--outdir",
            str(tmp_path),
            ".",
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < 8_000_000
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    for expected in (
        "governance/migrations/versions/0001_ledger.py",
        "governance/demo/model/open_clip_model.safetensors",
        "governance/demo/labels.toml",
        "governance/reports/templates/report.html.j2",
        "governance/py.typed",
    ):
        assert expected in names
    assert not any(name.startswith(("tests/", "migrations/")) for name in names)
    place = tmp_path / "elsewhere"
    place.mkdir()
    env = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    code = (
        "import governance, sys; from governance.cli.main import run; "
        "assert 'site' in governance.__file__, governance.__file__; "
        "sys.exit(run(['init', '--admin', 'ada']) or run(['db', 'check']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (place / ".governance" / "ledger.db").is_file()


def test_constraints_are_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(line.count("==") == 1 and "/" not in line and "@" not in line for line in pins)
    names = {line.partition("==")[0].lower().replace("_", "-") for line in pins}
    assert {"torch", "torchvision", "open-clip-torch", "mlflow", "sqlalchemy"} <= names


def test_every_declared_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    declared = [
        *project["dependencies"],
        *extras["bench"],
        *extras["fast"],
        *extras["hf"],
        *extras["postgresql"],
        *extras["dev"][1:],
    ]
    assert extras["dev"][0] == "clip-governance[bench,fast,hf,postgresql]"
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-")
    for requirement in declared:
        name = requirement.partition(">=")[0].partition("[")[0].lower().replace("_", "-")
        assert f"\n{name}==" in text, f"{name} is not in constraints.txt"
