"""Time to load a version as it is served, against loading its base model alone.

Loading means from files on disk into a model that answers; imports and the first read of the files are not counted.
"""

import shutil
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import open_clip

from bench.output import Section, Settings, table
from bench.real_size import CONFIGURATION, write_weights
from bench.timing import one_thread, seconds
from governance.clip.encode import encode_texts
from governance.clip.encoder import BaseModel, weights_digest_with
from governance.clip.fold import Fold, fold
from governance.clip.load import ClipModel, load_model
from governance.clip.source import DEMO, Source
from governance.digests import digest_json
from governance.evidence.keys import SigningKey
from governance.ledger.identity import version_digest
from governance.serving.contents import Identity
from governance.serving.load import load_version
from governance.serving.trust import Outside
from governance.unlearning.bank import build_bank
from governance.unlearning.composition import Composition, Edit, compose
from governance.unlearning.labels import LabelSpace
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target
from governance.workflow.packages import derived, package, served_card

LABELS = LabelSpace(("dog", "cat", "horse", "elephant", "giraffe", "guitar", "house"))


def run(settings: Settings) -> Section:
    """Load the embedded model and a model of real size, in each way."""
    entries: list[dict[str, Any]] = []
    with one_thread(), tempfile.TemporaryDirectory() as place:
        sources = {"embedded": Source(DEMO)}
        if not settings.quick:
            weights = write_weights(Path(place) / "weights.safetensors")
            sources[f"{CONFIGURATION}, random weights"] = Source(CONFIGURATION, str(weights))
        for name, source in sources.items():
            entries += _measure(name, source, Path(place) / digest_json(name)[7:19], settings)
    return Section("serving", {"serving": _table(entries)}, entries)


def _measure(name: str, source: Source, place: Path, settings: Settings) -> list[dict[str, Any]]:
    place.mkdir()
    base = load_model(source)
    identity, bytes_stored = write_version(base, place)
    del base
    expected = identity.base.weights_digest, identity.base.config_digest
    ways: dict[str, Callable[[], Any]] = {
        "base model, digests verified": partial(load_model, source, *expected),
        "version, everything verified": partial(load_version, place, Outside()),
        "version, `mlflow.pyfunc.load_model`": partial(_through_mlflow, place),
        "base model, stock open_clip, nothing verified": partial(_stock, source),
    }
    found = dict.fromkeys(ways, float("inf"))
    for way in ways.values():
        way()
    for _ in range(1 if settings.quick else 5):  # in turn, so that other work slows all of them
        for words, way in ways.items():
            found[words] = min(found[words], seconds(way, 1))
    shutil.rmtree(place)
    return [
        {"model": name, "way": words, "seconds": spent, "bytes": bytes_stored}
        for words, spent in found.items()
    ]


def write_version(base: ClipModel, place: Path) -> tuple[Identity, int]:
    """Write the artifacts of a version that forgets one class.

    Returns:
        Which version it is, and how many bytes there are.
    """
    bank = build_bank(LABELS, partial(encode_texts, base))
    edit = Edit((Target("dog", None),), Recipe.of("redirect"), ())
    composed = compose(bank, [edit])
    identity, folded = _identity(base, composed)
    recipe = {"active": list[int]()}
    files = derived(identity, bank, composed.projector, None, folded.tensors, recipe, {})
    card, key = served_card(identity, [], []), SigningKey.from_seed(b"b" * 32)
    artifacts = package(identity, files, card, base.needs_transformers, key)
    artifacts.write(place)
    return identity, sum(path.stat().st_size for path in place.iterdir())


def _identity(base: ClipModel, composed: Composition) -> tuple[Identity, Fold]:
    folded, labels = fold(base, composed.projector), digest_json(LABELS.to_dict())
    digest = version_digest(base.weights_digest, labels, composed.projector.digest, [])
    known = BaseModel(base.source, base.weights_digest, base.config_digest, base.dimension)
    weights = weights_digest_with(base, folded)
    identity = Identity(
        "shop", 2, digest, weights, known, labels, base.logit_scale, [1], [], text=False
    )
    return identity, folded


def _through_mlflow(place: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow's own type hints, at the first import
        import mlflow.pyfunc

    return mlflow.pyfunc.load_model(str(place), suppress_warnings=True)


def _stock(source: Source) -> Any:
    name = source.open_clip_name
    return open_clip.create_model_from_pretrained(name, pretrained=source.pretrained)


def _table(entries: list[dict[str, Any]]) -> str:
    rows = []
    for entry in entries:
        alone = next(e for e in entries if e["model"] == entry["model"])
        times = f"{entry['seconds'] / alone['seconds']:.2f} ×"
        rows.append([entry["model"], entry["way"], f"{entry['seconds']:.2f} s", times])
    return table(rows, ["model", "way", "processor time", "relative to the base model"])
