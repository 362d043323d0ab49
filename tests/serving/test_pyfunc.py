"""MLflow loads and serves a version, in process and over HTTP, or refuses to."""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from governance.cli.main import run
from governance.errors import IntegrityError
from governance.evidence.artifact import read_signature, verify_directory
from governance.serving.contents import CHANGED, UNSIGNED
from governance.serving.trust import IMAGE_ROOT, TRUST_KEY

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow's type hints warn of themselves
    import mlflow
    import mlflow.pyfunc
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc.scoring_server import invocations

ROOT = Path(__file__).parents[2]
URI = "models:/shop@champion"


@contextmanager
def addressed(home: Path) -> Iterator[None]:
    """MLflow at the workspace's store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlflow.db'}")
        yield


@pytest.fixture
def champion(served_home: Path) -> Iterator[Any]:
    with addressed(served_home):
        yield mlflow.pyfunc.load_model(URI)


def test_the_champion_from_the_registry(
    champion: Any, images: Path, kept: dict[int, Path], served_home: Path
) -> None:
    cat = images / "photo" / "cat" / "000.png"
    found = champion.predict({"path": [str(cat), str(images / "photo" / "mug" / "000.png")]})
    assert list(found.columns) == ["labels", "scores"]
    assert found["labels"][0][0] == "cat"
    assert found["labels"][1][0] != "mug"
    (row,) = champion.predict([{"image": cat.read_bytes()}], params={"mode": "embed"}).to_dict("records")  # fmt: skip
    assert len(row["embedding"]) == 128
    (row,) = champion.predict(
        [{"path": str(cat)}], params={"labels": ["dog", "cat"], "top_k": 1}
    ).to_dict("records")
    assert row["labels"] == ["cat"]
    assert champion.predict(champion.input_example).shape == (1, 2)
    # MLflow loads it in place: what it leaves there is known, and the version is still as it was signed.
    verify_directory(kept[2], besides=UNSIGNED)
    assert run(["version", "verify", "2", "--home", str(served_home)]) == 0
    # The signature says what goes in and out.
    signature = champion.metadata.signature
    assert [column.name for column in signature.inputs] == ["image", "path", "text"]
    assert {param.name for param in signature.params} == {"mode", "top_k", "labels"}


def test_requirements_are_pinned_and_name_no_index(kept: dict[int, Path]) -> None:
    lines = (kept[2] / "requirements.txt").read_text().splitlines()
    names = {line.partition("==")[0] for line in lines}
    assert {"mlflow", "clip-governance", "open_clip_torch", "torch"} <= names
    for line in lines:
        name, pinned, version = line.partition("==")
        assert name
        assert pinned
        assert version
        assert "+" not in version
        assert "/" not in line


@pytest.mark.parametrize(
    ("rows", "code", "words"),
    [
        ([{"path": "/nowhere"}], "RESOURCE_DOES_NOT_EXIST", "no file '/nowhere'"),
        ([{"image": b"junk"}], "INVALID_PARAMETER_VALUE", "row 1 holds no image"),
        (["a.png"], "INVALID_PARAMETER_VALUE", "there is no row"),
        ([{"text": "a cat"}], "INVALID_PARAMETER_VALUE", "only images are classified"),
    ],
)
def test_bad_input_in_process(champion: Any, rows: list[Any], code: str, words: str) -> None:
    with pytest.raises(MlflowException, match=words) as caught:
        champion.predict(rows)
    assert caught.value.error_code == code
    assert "\n" not in caught.value.message


def test_every_format_of_a_request(champion: Any, images: Path) -> None:
    image = base64.b64encode((images / "photo" / "cat" / "000.png").read_bytes()).decode()
    answers = []
    for body in (
        {"dataframe_records": [{"image": image}]},
        {"dataframe_split": {"columns": ["image"], "data": [[image]]}},
        {"inputs": {"image": [image]}},
        {"inputs": [{"image": image}]},
        {"instances": [{"image": image}]},
    ):
        schema = champion.metadata.get_input_schema()
        done = invocations(json.dumps(body), "application/json", champion, schema)
        assert done.status == 200
        answers.append(json.loads(done.response)["predictions"])
    assert answers[0][0]["labels"][0] == "cat"
    assert all(answer == answers[0] for answer in answers)


def test_a_server_reads_files_only_where_it_is_allowed_to(
    served_home: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(images / "photo" / "cat" / "000.png")
    with addressed(served_home):
        plain = mlflow.pyfunc.load_model(URI)
        monkeypatch.setenv(IMAGE_ROOT, str(images))
        confined = mlflow.pyfunc.load_model(URI)
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
    with pytest.raises(MlflowException, match="this server reads no files"):
        plain.predict([{"path": path}])
    assert len(confined.predict([{"path": path}])) == 1
    with pytest.raises(MlflowException, match="leads out of"):
        confined.predict([{"path": "/etc/hosts"}])


def test_loading_fails_closed_with_one_line(
    served_home: Path, tmp_path: Path, kept: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Path(shutil.copytree(kept[2], tmp_path / "version"))
    content = (place / CHANGED).read_bytes()
    (place / CHANGED).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(IntegrityError, match=r"this version is not served: .*changed after") as got:
        mlflow.pyfunc.load_model(str(place))
    assert "\n" not in str(got.value)
    monkeypatch.setenv(TRUST_KEY, "sha256:" + "0" * 64)
    with (
        addressed(served_home),
        pytest.raises(IntegrityError, match=f"not served: .*{TRUST_KEY} does not name"),
    ):
        mlflow.pyfunc.load_model(URI)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(home: Path, log: Path, **environ: str) -> Iterator[str]:
    """`mlflow models serve` on the champion; address of its invocations."""
    port = _free_port()
    env = os.environ | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlflow.db'}",
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        **environ,
    }
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        URI,
        "--env-manager",
        "local",
    ]
    with log.open("wb") as out:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env=env, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    try:
        for _ in range(600):
            if server.poll() is not None:
                break
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5)
                break
            except OSError:
                time.sleep(0.2)
        else:
            raise TimeoutError(log.read_text())
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        if server.poll() is None:
            os.killpg(server.pid, 15)
        server.wait(30)


def post(url: str, body: Any) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.mark.slow
def test_a_real_server_answers_real_requests(
    served_home: Path, kept: dict[int, Path], images: Path, tmp_path: Path
) -> None:
    key = read_signature(kept[2]).key.key_id
    image = base64.b64encode((images / "photo" / "cat" / "000.png").read_bytes()).decode()
    with serving(served_home, tmp_path / "log", **{IMAGE_ROOT: str(images), TRUST_KEY: key}) as url:
        code, found = post(url, {"dataframe_records": [{"image": image}]})
        assert code == 200, found
        assert found["predictions"][0]["labels"][0] == "cat"
        paths = [{"path": f"photo/{label}/000.png"} for label in ("cat", "mug")]
        code, again = post(url, {"dataframe_records": paths})
        assert code == 200, again
        assert again["predictions"][0]["labels"] == found["predictions"][0]["labels"]
        assert again["predictions"][1]["labels"][0] != "mug"
        for row in ({"image": image}, {"path": "photo/cat/000.png"}, {"text": "a photo of a cat"}):
            code, found = post(url, {"dataframe_records": [row], "params": {"mode": "embed"}})
            assert code == 200, found
            assert len(found["predictions"][0]["embedding"]) == 128
        for body in (
            {"dataframe_records": [{"image": base64.b64encode(b"junk").decode()}]},
            {"dataframe_records": [{"image": "%%%"}]},
            {"dataframe_records": [{"path": "../../etc/passwd"}]},
            {"dataframe_records": [{"path": "photo/nothing.png"}]},
            {"dataframe_records": [{"image": image}], "params": {"mode": "guess"}},
            {"dataframe_records": [{"image": image}], "params": {"top_k": 0}},
            {"dataframe_records": [{"nothing": 1}]},
            {"dataframe_records": []},
        ):
            code, found = post(url, body)
            assert 400 <= code < 500, (body, found)
            assert "\n" not in found["message"], (body, found)
            assert "Traceback" not in json.dumps(found)
        assert post(url, b"{")[0] == 400  # MLflow's own words
        code, found = post(url, {"dataframe_records": [{"image": image}]})
        assert code == 200  # still there


@pytest.mark.slow
def test_a_server_does_not_start_with_another_key(served_home: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with (
        serving(served_home, log, **{TRUST_KEY: "sha256:" + "0" * 64}) as url,
        pytest.raises(OSError, match="refused"),
    ):
        urllib.request.urlopen(url, timeout=5)
    lines = [
        line for line in log.read_text().splitlines() if "IntegrityError: this version" in line
    ]
    assert lines
    assert all(f"which {TRUST_KEY} does not name" in line for line in lines)
