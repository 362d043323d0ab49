"""What somebody deletes or changes in a real MLflow is put back, and the champion serves again."""

import json
import shutil
import warnings
from pathlib import Path

import pytest

from governance.cli.main import run
from governance.errors import IntegrityError
from governance.registry import ABANDONED_TAG, KEY_TAG
from tests.serving.conftest import make_home

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow's type hints warn of themselves
    import mlflow
    import mlflow.pyfunc
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
    from mlflow.tracking._tracking_service.utils import _get_store


class Place:
    """A workspace, what MLflow has of it, and what is expected to be found there."""

    def __init__(self, home: Path, images: Path) -> None:
        self.home, self.images = home, images
        self.uri = f"sqlite:///{home / 'mlflow.db'}"
        self.client = MlflowClient(self.uri, self.uri)

    def run(self, *line: str) -> int:
        """Exit code of a command of mona's."""
        return run([*line, "--actor", "mona", "--home", str(self.home)])

    def champion(self) -> tuple[str, str, Path]:
        """Number of the version that is served, its run and the directory of its files."""
        version = self.client.get_model_version_by_alias("shop", "champion")
        run_id = str(version.run_id)
        return str(version.version), run_id, self.files(run_id)

    def files(self, run_id: str) -> Path:
        """Where the files of a run lie."""
        return Path(self.client.get_run(run_id).info.artifact_uri.removeprefix("file://"))

    def answer(self) -> str:
        """What the champion calls a mug."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", self.uri)
            model = mlflow.pyfunc.load_model("models:/shop@champion")
        mug = self.images / "photo" / "mug" / "000.png"
        return str(model.predict({"path": [str(mug)]})["labels"][0][0])

    def mended(self, capsys: pytest.CaptureFixture[str], *said: str) -> None:
        """The doctor says what is wrong, repairs it, and everybody is content."""
        capsys.readouterr()
        assert self.run("doctor") == 6
        found = capsys.readouterr().out
        for words in said:
            assert words in found
        assert self.run("doctor", "--repair", "--json") == 0
        record = json.loads(capsys.readouterr().out)
        assert record["problems"] == []
        assert record["checked"]["versions"] == 2
        assert self.run("doctor") == 0
        assert "Nothing is wrong." in capsys.readouterr().out
        for number in ("1", "2"):
            assert self.run("version", "verify", number) == 0
        assert self.run("audit", "checkpoint") == 0
        assert self.run("audit", "verify") == 0
        assert self.answer() not in ("mug", "None")


@pytest.fixture(scope="module")
def damaged_home(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """The workspace that is damaged and mended in turn."""
    return make_home(tmp_path_factory.mktemp("damaged") / "home", images)


@pytest.fixture
def place(damaged_home: Path, images: Path) -> Place:
    return Place(damaged_home, images)


def test_files(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    _, run_id, files = place.champion()
    before = {path.name: path.read_bytes() for path in files.iterdir()}
    (files / "README.md").write_text("unlearned nothing")
    (files / "changed.safetensors").unlink()
    (files / "factors.safetensors").unlink()
    (files / "deep").mkdir()
    (files / "deep" / "more.py").write_text("import os")
    with pytest.raises(IntegrityError, match="was changed after it was signed"):
        place.answer()
    place.mended(
        capsys,
        "README.md was changed after it was signed",
        "changed.safetensors is missing",
        "deep/more.py was not there when it was signed",
    )
    (files / "registered_model_meta").unlink()  # what MLflow leaves there when it loads the model
    (files / "deep").rmdir()
    assert {path.name: path.read_bytes() for path in files.iterdir()} == before
    assert place.champion()[1] == run_id
    aside = place.home / "aside" / "shop-2"
    assert (aside / "README.md").read_text() == "unlearned nothing"
    assert (aside / "deep" / "more.py").read_text() == "import os"


def test_all_files(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(place.champion()[2])
    place.mended(capsys, "MLmodel is missing", "governance.sig is missing")


def test_a_deleted_version(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    number, run_id, _ = place.champion()
    place.client.delete_model_version("shop", number)
    with pytest.raises(MlflowException):
        place.answer()
    place.mended(capsys, "BAD MLflow: version 2 of shop: it is missing (--repair would register")
    assert place.champion()[:2] == (str(int(number) + 1), run_id)


def test_a_deleted_run(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    before = place.champion()
    place.client.delete_run(before[1])
    place.mended(capsys, f"its run {before[1]} was deleted (--repair would bring the run back)")
    assert place.champion() == before


def test_a_run_that_was_cleared_up(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    number, run_id, files = place.champion()
    tags = place.client.get_model_version("shop", number).tags
    metrics = place.client.get_run(run_id).data.metrics
    _get_store(place.uri)._hard_delete_run(run_id)
    shutil.rmtree(files)
    place.mended(capsys, f"its files are not those of run {run_id}")
    later, other, _ = place.champion()
    assert (later != number, other != run_id) == (True, True)
    assert place.client.get_run(other).data.metrics == pytest.approx(metrics)
    assert place.client.get_model_version("shop", number).tags[ABANDONED_TAG] == tags[KEY_TAG]


def test_a_deleted_model_and_experiment(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = place.client.get_run(place.champion()[1]).info.experiment_id
    place.client.delete_registered_model("shop")
    place.client.delete_experiment(experiment)
    place.mended(
        capsys,
        "BAD MLflow: version 1 of shop: it is missing",
        "BAD MLflow: version 2 of shop: it is missing",
        "BAD MLflow: alias champion of shop: it is at version none",
    )
    assert place.champion()[0] == "2"
    # Nothing is in the way of the next version.
    for line in (
        ["request", "file", "--forget", "cat", "--basis", "bias", "--reason", "r", "--actor", "carla"],
        ["request", "prepare", "2", "--actor", "mona"],
        ["request", "approve", "2", "--actor", "dmitri"],
        ["request", "apply", "2", "--actor", "mona"],
    ):  # fmt: skip
        assert run([*line, "--home", str(place.home)]) == 0
    assert place.run("doctor") == 0
