"""Bad input: one clear line on stderr, the documented exit code, and nothing changed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from governance.demo import LABELS_FILE, MODEL_DIR
from governance.ledger.database import Ledger
from tests.cli.conftest import Cli
from tests.workflow.helpers import dump

FILE = ("request", "file", "--basis", "bias", "--reason", "r", "--actor", "carla")


@pytest.fixture
def refused(cli: Cli) -> Callable[..., str]:
    """Run a command that must fail and change nothing in GOVERNANCE_HOME, and return its one line."""

    def call(*args: object, code: int) -> str:
        ledger = Ledger(f"sqlite:///{os.environ['GOVERNANCE_HOME']}/ledger.db")
        before = dump(ledger)
        result = cli(*args, expect=code)
        assert dump(ledger) == before
        ledger.dispose()
        lines = result.err.strip().splitlines()
        assert len(lines) == 1
        assert lines[0].startswith("Error: ")
        assert result.out == ""
        return lines[0]

    return call


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ((*FILE, "--forget", "unicorn"), 2, "class 'unicorn' is not in the model's label space: boat"),
        ((*FILE, "--forget", "mug", "--domain", "fresco"), 2, "domain 'fresco' is not in the model"),
        (FILE, 2, "nothing to forget: name a class with --forget"),
        (
            (*FILE, "--domain", "photo", "--domain", "painting", "--domain", "cartoon",
             "--domain", "sketch"),
            2, "would forget everything",
        ),
        (("request", "file", "--forget", "mug", "--reason", "r"), 2, "Missing option '--basis'"),
        ((*FILE, "--forget", "mug", "--due", "2001-01-01"), 2, "not in the future"),
        ((*FILE, "--forget", "mug", "--due", "soon"), 2, "'soon' does not match"),
        (("request", "show", "99"), 4, "there is no request 99; see: governance request list"),
        (("version", "show", "99"), 4, "model 'shop' has no version 99"),
        (("version", "show", "1", "--model", "nope"), 4, "there is no model 'nope'"),
        (("request", "list", "--actor", "x", "--state", "lost"), 2, "'lost' is not one of"),
        (("version", "rollback", "--to", "1", "--drop", "1", "--reason", "x"), 2, "exclude"),
        (("version", "rollback", "--reason", "x"), 3, "name one with --to"),
        (("actor", "add", "two words", "--role", "admin"), 2, "cannot name an actor"),
        (("dataset", "add", "eval", "."), 2, "there is a data set 'eval' already"),
        (("dataset", "add", "x", "/no/such/place"), 4, "/no/such/place does not exist"),
        (("model", "register", "shop", "--open-clip", "demo"), 2, "there is a model 'shop' already"),
        (("model", "register", "m", "--open-clip", "ViT-B-32"), 2, "--labels FILE"),
        (
            ("model", "register", "m", "--open-clip", "ViT-B-32", "--labels", LABELS_FILE), 2,
            "name them with --pretrained TAG|FILE",
        ),
        (
            ("model", "register", "m", "--open-clip", "local-dir:/no/such", "--labels", LABELS_FILE),
            4, "the model directory /no/such does not exist",
        ),
        (
            ("model", "register", "m", "--open-clip", "NoSuch", "--pretrained", "openai",
             "--labels", LABELS_FILE),
            2, "open_clip has no configuration 'NoSuch'",
        ),
        (("nonsense",), 2, "No such command 'nonsense'. (see: governance --help)"),
        (("request", "show", "99999999999999999999"), 2, "is not in the range 1<=x<=2147483647"),
        ((*FILE, "--forget", "mug", "--subject-ref", "a\x1b[2Jb"), 2, "holds the control character"),
        ((*FILE, "--forget", "mug", "--actor", ""), 2, "must not be empty"),
        (("request", "show", "-1"), 2, "No such option '-1'"),
        (("request", "withdraw", "1", "--reason", "\udcff"), 2, "is not valid UTF-8"),
        (("request", "approve", "one"), 2, "'one' is not a valid integer range. (see: governance request"),
    ],
)  # fmt: skip
def test_bad_input(
    home: Path, refused: Callable[..., str], args: tuple[object, ...], code: int, message: str
) -> None:
    assert message in refused(*args, code=code)


@pytest.mark.parametrize("strength", ["0", "-0.5", "1.01", "nan"])
def test_strength_outside_its_range(
    filed: Path, refused: Callable[..., str], strength: str
) -> None:
    line = refused("request", "prepare", "1", "--strength", strength, code=2)
    assert "strength must lie in (0, 1]" in line


@pytest.mark.parametrize(
    "weights", [("--method", "ccup", "--mu", "1e-300"), ("--lambda-retain", "1e308")]
)
def test_weights_that_cannot_be_solved_for(
    filed: Path, refused: Callable[..., str], weights: tuple[str, ...]
) -> None:
    line = refused("request", "prepare", "1", *weights, code=2)
    assert "too far apart to solve for" in line or "hardly move" in line


def test_a_home_that_cannot_be_made(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    error = cli("init", "--home", tmp_path / "file" / "home", "--admin", "ada", expect=2).err
    assert "cannot be made: Not a directory" in error


def test_a_failing_step_of_the_demo_fails_the_demo(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from governance.cli import demo

    monkeypatch.setattr(demo, "_STEPS", (("A step.", ("governance request list",)),))
    assert "is not a workspace" in cli("demo", "--keep", tmp_path / "kept", expect=4).err


def test_a_reader_that_goes_away_is_no_error(prepared: Path) -> None:
    command = (
        f"{sys.executable} -m governance audit log --json | head -c 1; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[", "")


def test_approving_ones_own_request(prepared: Path, refused: Callable[..., str]) -> None:
    line = refused("request", "approve", "1", "--actor", "mona", code=3)
    assert "'mona' has the role mlops; request.decide needs" in line
    assert "four eyes" not in line


def test_an_admin_who_prepared_cannot_approve(
    filed: Path, cli: Cli, refused: Callable[..., str]
) -> None:
    cli("request", "prepare", "1", "--actor", "ada")
    assert "four eyes: 'ada' prepared" in refused(
        "request", "approve", "1", "--actor", "ada", code=3
    )


def test_applying_twice(prepared: Path, cli: Cli, refused: Callable[..., str]) -> None:
    cli("request", "approve", "1", "--actor", "dmitri")
    cli("request", "apply", "1", "--actor", "mona")
    line = refused("request", "apply", "1", "--actor", "mona", code=3)
    assert "request 1: it is applied and cannot be applied; it can be" in line


def test_a_class_without_images(
    filed: Path, cli: Cli, refused: Callable[..., str], images: Path, tmp_path: Path
) -> None:
    shutil.copytree(images / "photo" / "car", tmp_path / "few" / "photo" / "car")
    cli("dataset", "add", "few", tmp_path / "few")
    line = refused("request", "prepare", "1", "--dataset", "few", code=2)
    assert "the data set has no image of 'mug everywhere'" in line


def test_a_data_set_with_classes_the_model_does_not_know(
    filed: Path, cli: Cli, refused: Callable[..., str], images: Path, tmp_path: Path
) -> None:
    for place in ("photo/mug", "photo/car"):
        shutil.copytree(images / place, tmp_path / "odd" / place)
    shutil.copytree(images / "photo/car", tmp_path / "odd/photo/zebra")
    cli("dataset", "add", "odd", tmp_path / "odd")
    assert "'zebra'" in refused("request", "prepare", "1", "--dataset", "odd", code=2)


def test_an_empty_data_set(home: Path, refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    line = refused("dataset", "add", "x", tmp_path / "empty", code=2)
    assert "holds no images; expected domain/class/*.jpg" in line


def test_an_unreadable_image_is_named_skipped_on_demand_and_counted(
    filed: Path, cli: Cli, refused: Callable[..., str], images: Path, tmp_path: Path
) -> None:
    place = tmp_path / "damaged"
    for pair in ("photo/mug", "photo/car"):
        shutil.copytree(images / pair, place / pair)
    victim = place / "photo/mug/002.png"
    victim.write_bytes(victim.read_bytes()[:200])
    (place / "photo/car/001.png").write_text("not an image")
    line = refused("dataset", "add", "damaged", place, code=2)
    assert "photo/car/001.png cannot be read" in line
    assert "--skip-unreadable" in line
    record = cli("dataset", "add", "damaged", place, "--skip-unreadable", "--json").json
    assert record["skipped"] == ["photo/car/001.png", "photo/mug/002.png"]
    report = cli("request", "prepare", "1", "--dataset", "damaged", "--json").json["report"]
    assert report["dataset"]["skipped"] == ["photo/car/001.png", "photo/mug/002.png"]
    assert report["dataset"]["images"] == 10


def test_a_directory_that_is_no_workspace(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for args in (["request", "list"], ["request", "prepare", "1"]):
        error = cli(*args, expect=4).err
        assert f"{tmp_path / '.governance'} is not a workspace" in error
        assert "governance init" in error
    assert list(tmp_path.iterdir()) == []


def test_a_workspace_is_made_only_once(home: Path, refused: Callable[..., str]) -> None:
    assert "is a workspace already" in refused("init", code=3)


@pytest.mark.parametrize(
    ("revision", "message"),
    [("0000", "run `governance db upgrade`"), ("9999", "newer version of this program")],
)
def test_a_ledger_at_another_revision(
    home: Path, refused: Callable[..., str], revision: str, message: str
) -> None:
    ledger = Ledger(f"sqlite:///{home / 'ledger.db'}")
    with ledger.engine.begin() as connection:
        connection.execute(
            text("UPDATE governance_alembic_version SET version_num = :r"), {"r": revision}
        )
    ledger.dispose()
    for args in (("request", "list"), ("db", "check"), (*FILE, "--forget", "mug")):
        line = refused(*args, code=7)
        assert f"is at revision {revision}, this program needs" in line
        assert message in line


def test_a_ledger_that_is_gone(home: Path, cli: Cli) -> None:
    (home / "ledger.db").unlink()
    assert "holds no ledger" in cli("request", "list", expect=7).err


@pytest.fixture
def own_model(home: Path, cli: Cli, tmp_path: Path) -> Path:
    """A registered model whose files the test can damage, and a request on it."""
    place = tmp_path / "own"
    shutil.copytree(MODEL_DIR, place)
    cli("model", "register", "own", "--open-clip", place, "--labels", LABELS_FILE)
    cli(*FILE, "--model", "own", "--forget", "mug")
    return place


def test_weights_that_are_missing(own_model: Path, refused: Callable[..., str]) -> None:
    (own_model / "open_clip_model.safetensors").unlink()
    shutil.rmtree(own_model.parent / "home" / "cache", ignore_errors=True)
    line = refused("request", "prepare", "1", code=4)
    assert f"the weights file {own_model / 'open_clip_model.safetensors'} is missing" in line
    refused("model", "check", "own", code=4)


def test_weights_that_changed(own_model: Path, refused: Callable[..., str]) -> None:
    from safetensors.torch import load_file, save_file

    path = own_model / "open_clip_model.safetensors"
    tensors = load_file(path)
    tensors["logit_scale"] += 1
    save_file(tensors, path)
    line = refused("request", "prepare", "1", code=6)
    assert "changed since the model was registered" in line


def test_weights_that_are_truncated(own_model: Path, refused: Callable[..., str]) -> None:
    path = own_model / "open_clip_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    assert "cannot be loaded" in refused("request", "prepare", "1", code=2)


def test_an_unusable_database_or_mlflow(home: Path, cli: Cli) -> None:
    assert "cannot be used" in cli("request", "list", "--database", "nonsense", expect=7).err
    args = ("version", "promote", "1", "--tracking-uri", "sqlite:////no/such/dir/mlflow.db")
    assert cli(*args, expect=None).code in (3, 7)


def test_errors_do_not_disturb_json_on_stdout(home: Path, cli: Cli) -> None:
    result = cli("request", "show", "99", "--json", expect=4)
    assert result.out == ""
    assert json.loads(cli("request", "list", "--json").out) == []


def test_an_interrupted_encoding_changes_nothing_and_can_be_repeated(
    own_model: Path, cli: Cli, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from governance.clip import encode

    original, batches = encode.no_grad_features, []

    def interrupt(*args: object) -> object:
        batches.append(args)
        if len(batches) == 2:
            raise KeyboardInterrupt
        return original(*args)

    home = own_model.parent / "home"
    shutil.rmtree(home / "cache", ignore_errors=True)
    ledger = Ledger(f"sqlite:///{home / 'ledger.db'}")
    before = dump(ledger)
    with monkeypatch.context() as patch:
        patch.setattr(encode, "no_grad_features", interrupt)
        result = cli("request", "prepare", "1", expect=130)
    assert "Interrupted" in result.err
    assert dump(ledger) == before
    ledger.dispose()
    assert not list((home / "cache").rglob("*")) or not list(
        (home / "cache").rglob("*.safetensors")
    )
    cli("request", "prepare", "1")


def test_a_group_without_a_command_shows_its_help(cli: Cli) -> None:
    for args in ([], ["request"]):
        assert "Commands:\n" in cli(*args, expect=2).err


def test_an_mlflow_server_that_is_down_is_one_line(prepared: Path, cli: Cli) -> None:
    cli("request", "approve", "1", "--actor", "dmitri")
    code = (
        "from governance.cli.main import run; "
        "raise SystemExit(run(['request', 'apply', '1', '--tracking-uri', 'http://127.0.0.1:9']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 7
    assert done.stderr == "Error: MLflow at http://127.0.0.1:9 cannot be reached\n"
    assert done.stdout == ""
    assert cli("request", "show", "1", "--json").json["state"] == "approved"
