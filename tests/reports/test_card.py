"""Model cards: Hugging Face reads them, and nothing personal is in them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from governance.clip.license import find_license, hub_repository
from governance.clip.source import Source, check_license
from governance.errors import InvalidInputError
from governance.reports.card import CardRequest, model_card
from governance.workflow import requests, versions
from tests.workflow.shop import Shop

SIDE = {"n": 4, "correct": 3, "low": 0.3, "high": 0.95}
REPORT = {
    "dataset": {"name": "eval"},
    "before": {"forget_accuracy": 0.75, "retain_accuracy": 1.0, "counts": {"forget": SIDE, "retain": SIDE}},
    "after": {"forget_accuracy": 0.0, "retain_accuracy": None, "counts": {"forget": SIDE, "retain": None}},
}  # fmt: skip
DIGEST = "sha256:" + "a" * 64


def card(license_: str | None = None, repository: str | None = None, scope: str = "dog") -> str:
    facts = {
        "model": "shop", "version": 2, "version_digest": DIGEST, "weights_digest": DIGEST,
        "base_weights_digest": DIGEST, "labels_digest": DIGEST, "active_requests": [7],
        "sides": ["image"], "source": Source("ViT-B-32", "tag", license=license_).to_dict(),
    }  # fmt: skip
    request = CardRequest(
        7, scope, "redirect", 0.9, "Suppressed in zero-shot use.", True, ("retain drop",)
    )
    return model_card(facts, "ViT-B-32 (tag)", repository, [request], [REPORT], "Load it.")


def test_hugging_face_reads_the_front_matter() -> None:
    data = ModelCard(card("mit", "laion/CLIP")).data
    assert data.license == "mit"
    assert data.base_model == "laion/CLIP"
    assert data.library_name == "open_clip"
    assert data.tags == ["clip", "machine-unlearning"]
    results = data.eval_results or []
    values = {found.metric_name: found.metric_value for found in results}
    assert values == {
        "accuracy on what is to be forgotten, before": 0.75,
        "accuracy on what is to be forgotten, after": 0.0,
        "accuracy on what is to be kept, before": 1.0,
    }


def test_what_a_card_says() -> None:
    text = card()
    assert ModelCard(text).data.license == "unknown"
    assert "The licence of the base model is unknown" in text
    for words in ("| 7 | dog | redirect | 0.9 |", "Break glass", "a gate of the policy failed: 7 (retain drop).",
                  "75.0% (30.0% to 95.0%, 4 images)",
                  "no image", "It deletes nothing", "on its own: Suppressed", "Load it.", DIGEST):  # fmt: skip
        assert words in text


def test_names_have_no_meaning_in_markdown() -> None:
    text = card(scope="<script>|`x`[a](b)\n")
    assert "<script>" not in text
    assert "|`x`" not in text
    assert ModelCard(card(license_='a"\n---\n')).data.license == 'a"\n---\n'


def test_a_licence_from_the_models_own_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source(f"local-dir:{tmp_path}")
    assert find_license(source) is None
    for content, found in (
        ("---\nlicense: mit\n---\nA model.", "mit"),
        ("---\nlicense: [a, b]\n---\n", None),
        ("---\n: : :\n\t---\n---\n", None),
        ("no front matter", None),
    ):
        (tmp_path / "README.md").write_text(content)
        assert find_license(source) == found
    cached = tmp_path / "cached.md"
    cached.write_text("---\nlicense: apache-2.0\n---\n")
    asked = []

    def look(repository: str, name: str) -> str:
        asked.append((repository, name))
        return str(cached)

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", look)
    assert find_license(Source("ViT-B-32", "laion2b_s34b_b79k")) == "apache-2.0"
    assert asked == [("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "README.md")]
    assert hub_repository(Source("hf-hub:org/repo@main")) == "org/repo"
    assert hub_repository(Source("demo")) is None
    assert hub_repository(Source("ViT-B-32", "/a/file.pt")) is None


def test_names_of_licences() -> None:
    assert check_license(" mit ") == "mit"
    for bad in ("", "  ", "a\nb", "x" * 101):
        with pytest.raises(InvalidInputError, match="cannot be the name of a licence"):
            check_license(bad)


@pytest.mark.only("sqlite")
def test_nothing_personal_is_in_the_artifacts_or_the_export(shop: Shop, tmp_path: Path) -> None:
    from governance.states import Basis
    from governance.unlearning.recipe import Recipe
    from governance.unlearning.targets import Target
    from governance.workflow import prepare

    words = ("Jane Roe wants it", "case 4711", "agreed with Jane")
    number, _ = requests.file(
        shop.ledger,
        "carla",
        "shop",
        [Target("mug", None)],
        Basis("gdpr-17-1-d"),
        words[0],
        words[1],
    )
    prepare.prepare(shop.tools, "mona", number, "eval", Recipe.of("redirect"))
    requests.approve(shop.ledger, "dmitri", number, words[2])
    versions.apply(shop.tools, "mona", [number])
    versions.export(shop.tools, "otto", None, 2, tmp_path / "out", tmp_path / "departures")
    with shop.ledger.read() as session:
        from governance.ledger.lookup import find_model, find_version

        run = find_version(session, find_model(session, "shop"), 2).run_id
    files: dict[str, bytes] = dict(shop.registry.runs[run].files)
    files |= {f"out/{path.name}": path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert {"README.md", "out/README.md", "governance.sig"} <= files.keys()
    people = ("carla", "dmitri", "mona", "otto", "ada")
    for name, content in files.items():
        text = content.decode("utf-8", "replace")
        for secret in words:
            assert secret not in text, name
        if name.endswith("README.md"):
            assert not any(re.search(rf"\b{person}\b", text) for person in people), name
            assert "gdpr" not in text
            assert str(tmp_path) not in text
            data: Any = ModelCard(text).data
            assert data.license == "unknown"
    assert "mug everywhere" in files["README.md"].decode()
    json.loads(files["labels.json"])
