"""The verifier inside a bundle runs where nothing of ours is installed, and bundles of every released format hold."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from governance.audit import verify_bundle as verifier
from tests.audit.bundle_case import members_of

RELEASED = Path(__file__).parent / "bundles"
GUIDE = Path(__file__).parents[2] / "docs" / "audit.md"
PARTS = ("cryptography", "cffi", "_cffi_backend")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of packages that has only cryptography and what that needs."""
    place = tmp_path_factory.mktemp("site")
    for name in PARTS:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            continue  # newer releases need less
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (place / source.name).symlink_to(source)
    return place


def alone(bare: Path, place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the verifier with no package but cryptography, and no network to speak of."""
    code = (
        f"import runpy, sys; sys.path.append({str(bare)!r}); "
        "sys.argv = ['verify_bundle.py', *sys.argv[1:]]; "
        f"sys.path = [p for p in sys.path if 'site-packages' not in p]; "
        f"runpy.run_path({str(place / 'verify_bundle.py')!r}, run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", code, *arguments],
        cwd="/",
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def unpacked(bundles: dict[str, Path], tmp_path: Path) -> Path:
    """A bundle of the whole ledger in a directory of its own."""
    with zipfile.ZipFile(bundles["all"]) as archive:
        archive.extractall(tmp_path / "case")
    return tmp_path / "case"


def test_it_needs_only_cryptography(
    bare: Path, unpacked: Path, bundles: dict[str, Path], tmp_path: Path
) -> None:
    done = alone(bare, unpacked)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The bundle holds." in done.stdout
    assert "Could not be checked:" in done.stdout
    said = json.loads(alone(bare, unpacked, "--json", str(bundles["request"])).stdout)
    assert said["ok"] is True
    assert said["bundle"]["about"] == {"scope": "request", "request": 1}
    assert len(said["steps"]) == 12
    (unpacked / "requests.csv").write_text("nothing")
    done = alone(bare, unpacked)
    assert done.returncode == 6
    assert "PROBLEM: requests.csv was altered" in done.stdout
    assert alone(bare, unpacked, str(tmp_path / "none.zip")).returncode == 4
    assert alone(bare, unpacked, __file__).returncode == 2
    empty = tmp_path / "empty"
    empty.mkdir()
    done = alone(empty, unpacked, str(bundles["all"]))
    assert done.returncode == 2
    assert "pip install cryptography" in done.stderr


def test_our_own_packages_are_out_of_its_reach(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "verify_bundle.py").write_text("import numpy")
    assert "No module named 'numpy'" in alone(bare, tmp_path).stderr
    (tmp_path / "verify_bundle.py").write_text("import governance")
    assert "No module named 'governance'" in alone(bare, tmp_path).stderr


def test_a_bundle_holds_the_verifier_as_it_is(bundles: dict[str, Path]) -> None:
    mine = Path(verifier.__file__).read_bytes()
    assert all(members_of(path)["verify_bundle.py"] == mine for path in bundles.values())


def test_every_released_format_stays_verifiable() -> None:
    released = sorted(RELEASED.glob("format-*.zip"))
    formats = {int(re.findall(r"format-(\d+)", path.name)[0]) for path in released}
    assert formats == set(range(1, verifier.FORMAT + 1))
    for path in released:
        assert path.stat().st_size < 400_000
        outcome = verifier.verify(path)
        assert outcome.ok, outcome.first_bad
        assert sum(step.outcome == "holds" for step in outcome.steps) == 10


def test_a_released_bundle_verifies_with_the_verifier_it_brought(
    bare: Path, tmp_path: Path
) -> None:
    for path in RELEASED.glob("format-*.zip"):
        place = tmp_path / path.stem
        with zipfile.ZipFile(path) as archive:
            archive.extractall(place)
        assert alone(bare, place).returncode == 0


def test_the_documented_commands_run(bare: Path, bundles: dict[str, Path], tmp_path: Path) -> None:
    """All of docs/audit.md's first block but the two lines that make an environment from the network."""
    block = re.findall(r"^```bash\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.S | re.M)[0]
    lines = block.splitlines()
    assert lines[0] == "python3 -m venv check"
    assert lines[1] == "check/bin/pip install cryptography"
    shutil.copy(bundles["request"], tmp_path / "case.zip")
    (tmp_path / "check" / "bin").mkdir(parents=True)
    python = tmp_path / "check" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={bare} exec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(
        ["bash", "-euc", "\n".join(lines[2:])], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("The bundle holds.") == 2


def test_the_guide_names_every_step_and_member(bundles: dict[str, Path]) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    for step in verifier.verify(bundles["all"]).steps:
        assert f"{step.number}. **{step.title}.**" in text
    for name in members_of(bundles["texts"]):
        kind = f"{name.split('/')[0]}/" if "/" in name else name
        assert f"`{kind}" in text, name
    for kind in (
        verifier.BUNDLE_PREDICATE,
        verifier.RECIPE_PREDICATE,
        verifier.APPROVAL_PREDICATE,
        verifier.TEST_PREDICATE,
    ):
        assert kind in text
