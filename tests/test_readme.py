"""The README's shell blocks run in order in an empty directory, its Python blocks after them.

Weights cannot be downloaded here, so ViT-B-32 gets random ones through the hub's own cache directory: the commands,
and the code that loads a pretrained tag, are the real ones.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
_REPOSITORY = "models--laion--CLIP-ViT-B-32-laion2B-s34B-b79K"
_REVISION = "0" * 40


def blocks(language: str) -> list[str]:
    """Fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.S | re.M)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A hub cache that holds random weights under the tag that the README names."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    home = tmp_path_factory.mktemp("hub")
    snapshot = home / "hub" / _REPOSITORY / "snapshots" / _REVISION
    snapshot.mkdir(parents=True)
    refs = home / "hub" / _REPOSITORY / "refs"
    refs.mkdir()
    (refs / "main").write_text(_REVISION)
    torch.manual_seed(0)
    state = open_clip.create_model("ViT-B-32").state_dict()
    save_file(
        {name: tensor.contiguous() for name, tensor in state.items()},
        snapshot / "open_clip_model.safetensors",
    )
    yield home
    shutil.rmtree(home)  # 600 MB that pytest would keep


def test_the_set_up_commands_exist() -> None:
    for line in blocks("bash")[0].splitlines():
        subprocess.run([*line.split(), "--dry-run"], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.slow
def test_the_blocks_run_in_order(hub: Path, images: Path, tmp_path: Path) -> None:
    place = tmp_path / "empty"
    stand_ins = {"dog": "cat", "cat": "car", "horse": "fish"}
    for domain in ("photo", "sketch"):
        for label, rendered in stand_ins.items():
            shutil.copytree(images / domain / rendered, place / "images" / domain / label)
    script = "set -euo pipefail\n" + "\n".join(blocks("bash")[1:])
    # The offered Python must be the one whose `governance` runs.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "HF_HOME": str(hub), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=place, env=env, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Recognisable again: dog in sketch" in done.stdout
    assert (place / "report.html").is_file()
    for code in blocks("python"):
        subprocess.run(
            [sys.executable, "-c", code], cwd=place, env=env, check=True, capture_output=True
        )
    shutil.rmtree(place)


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link
