"""Requests that edit both towers, from preparation to the exported directory."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from governance.clip.load import no_grad_features
from governance.clip.source import WEIGHTS_NAME
from governance.demo import MODEL_DIR
from governance.digests import load_json
from governance.ledger import arrays
from governance.ledger.identity import text_digests, version_digest
from governance.ledger.lookup import find_model, find_request, find_version
from governance.reports.document import request_document, version_document
from governance.reports.html import render
from governance.unlearning.assessment import assess
from governance.unlearning.bank import PromptBank
from governance.unlearning.composition import Edit, compose
from governance.unlearning.evaluation import Samples, forget_share, predict, summarise
from governance.unlearning.projector import Projector, digest_tensor
from governance.unlearning.recipe import Recipe
from governance.unlearning.targets import Target
from governance.workflow import prepare, requests, versions
from governance.workflow.models import base_model
from tests.policies import OPEN
from tests.workflow.helpers import gates, holds, report, version_report
from tests.workflow.shop import Shop

MUG, CAT = Target("mug", None), Target("cat", None)
SKETCHED = Target("cat", "sketch")
"""Forgotten with another matrix on each side: only the images' one overshoots."""
BOTH = Recipe.of("redirect", both_sides=True)
PROMPTS = ["a photo of a mug", "a sketch of a cat", "a kitten"]


def bank_of(shop: Shop) -> PromptBank:
    with shop.ledger.read() as session:
        return arrays.load_bank(session, find_model(session, "shop"))


def samples_of(shop: Shop) -> Samples:
    from governance.ledger.lookup import find_dataset
    from governance.workflow.measure import embed, read_eval_set

    with shop.ledger.read() as session:
        dataset = read_eval_set(find_dataset(session, "eval"))
        base = base_model(find_model(session, "shop"))
    return embed(shop.tools, base, dataset)


def sides_of_version(shop: Shop, number: int) -> tuple[Projector, Projector | None]:
    with shop.ledger.read() as session:
        version = find_version(session, find_model(session, "shop"), number)
        return arrays.load_projector(session, version), arrays.load_text(session, version)


def stock(place: Path) -> nn.Module:
    """The model as open_clip alone loads it."""
    module, _ = open_clip.create_model_from_pretrained(f"local-dir:{place}")
    return module.eval()


def texts(module: nn.Module) -> Tensor:
    tokens = open_clip.get_tokenizer(f"local-dir:{MODEL_DIR}")(PROMPTS)
    with torch.inference_mode():
        features: Tensor = module.encode_text(tokens, normalize=False)  # type: ignore[operator]
    return features


def images() -> Tensor:
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(2))


def difference(actual: Tensor, expected: Tensor) -> float:
    return float((actual.double() - expected).abs().max() / expected.abs().max())


def test_the_exported_towers_are_each_multiplied_by_its_own_matrix(
    shop: Shop, tmp_path: Path
) -> None:
    number = shop.approved("cat", "sketch", both_sides=True)
    versions.apply(shop.tools, "mona", [number])
    versions.export(shop.tools, "mona", None, 2, tmp_path / "out", tmp_path / "departures")
    base, edited = stock(MODEL_DIR), stock(tmp_path / "out")
    composition = compose(bank_of(shop), [Edit((SKETCHED,), BOTH)])
    assert composition.text is not None
    p, q = composition.projector.dense(), composition.text.dense()
    wanted = no_grad_features(base, images()).double() @ p
    assert difference(no_grad_features(edited, images()), wanted) <= 1e-5
    assert difference(texts(edited), texts(base).double() @ q) <= 1e-5
    assert difference(texts(edited), texts(base).double() @ p) > 1e-2  # another matrix than P
    assert difference(texts(edited), texts(base).double()) > 1e-2
    with safe_open(tmp_path / "out" / WEIGHTS_NAME, "pt") as stored:
        assert load_json(stored.metadata()["governance"])["sides"] == ["image", "text"]
    assert holds(shop.ledger)


def test_an_export_of_a_request_of_images_only_leaves_the_text_tower(
    shop: Shop, tmp_path: Path
) -> None:
    versions.apply(shop.tools, "mona", [shop.approved("mug")])
    versions.export(shop.tools, "mona", None, 2, tmp_path / "out", tmp_path / "departures")
    assert torch.equal(texts(stock(tmp_path / "out")), texts(stock(MODEL_DIR)))
    assert sides_of_version(shop, 2)[1] is None


def test_figures_after_the_edit_are_read_with_the_edited_prompts(shop: Shop) -> None:
    number = shop.file("mug")
    _, report_id = prepare.prepare(shop.tools, "mona", number, "eval", BOTH)
    content = report(shop.ledger, report_id)
    bank, samples = bank_of(shop), samples_of(shop)
    composition = compose(bank, [Edit((MUG,), BOTH)])
    edited = bank.edited(composition.text)
    assert content["sides"] == ["image", "text"]
    assert content["before"] == summarise(samples, predict(samples, bank, None), [MUG])
    assert content["after"] == summarise(
        samples, predict(samples, edited, composition.projector), [MUG]
    )
    read = assess(
        samples, bank, [MUG], composition.projector, content["assessment"]["protocol"]["logit_scale"],
        edited=edited,
    )  # fmt: skip
    assert content["assessment"] == read
    assert content["after"] != summarise(
        samples, predict(samples, bank, composition.projector), [MUG]
    )
    assert content["before"]["forget_accuracy"] > 0.8
    assert content["after"]["forget_accuracy"] < 0.5
    assert content["after"]["retain_accuracy"] >= content["before"]["retain_accuracy"] - 0.05
    assert content["residual"] == composition.residual(Edit((MUG,), BOTH))


def test_evaluating_again_reads_the_text_side_from_the_ledger(shop: Shop) -> None:
    gates(shop.ledger, OPEN)
    number = shop.approved("mug", both_sides=True)
    again = report(shop.ledger, prepare.evaluate_request(shop.tools, "otto", number, "eval"))
    first = _first_report(shop, number)
    assert again == {key: value for key, value in first.items() if key != "residual"}
    versions.apply(shop.tools, "mona", [number])
    measured = report(shop.ledger, versions.evaluate_version(shop.tools, "otto", None, 2, "eval"))
    assert measured == version_report(shop.ledger, 2)
    assert measured["sides"] == ["image", "text"]
    assert measured["after"]["counts"]["forget"] == first["after"]["counts"]["forget"]


def _first_report(shop: Shop, number: int) -> dict[str, Any]:
    with shop.ledger.read() as session:
        projector = find_request(session, number).projector
        assert projector is not None
        return load_json(projector.report.content)  # type: ignore[no-any-return]


def test_factors_of_the_text_side_are_in_recipes_and_in_mlflow(shop: Shop) -> None:
    number = shop.approved("cat", "sketch", both_sides=True)
    versions.apply(shop.tools, "mona", [number])
    text = compose(bank_of(shop), [Edit((SKETCHED,), BOTH)]).text
    assert text is not None
    digests = [digest_tensor(text.a), digest_tensor(text.b)]
    with shop.ledger.read() as session:
        projector = find_request(session, number).projector
        version = find_version(session, find_model(session, "shop"), 2)
        assert projector is not None
        runs = [shop.registry.runs[record.run_id] for record in (projector, version)]
        for record in (projector, version):
            assert text_digests(record.recipe) == digests
            stored = arrays.load_text(session, record)
            assert stored is not None
            assert stored.digest == text.digest
        model = version.model
        identity = (
            model.weights_digest,
            model.labels_digest,
            arrays.load_projector(session, version).digest,
            [projector.digest],
        )
        assert version.digest == version_digest(*identity, digests)
        assert version.digest != version_digest(*identity)
        assert version.digest != version_digest(*identity, digests[::-1])
    for run in runs:
        tensors = run.artifacts.tensors["factors.safetensors"]
        assert torch.equal(tensors["text_a"], text.a)
        assert torch.equal(tensors["text_b"], text.b)
        assert not torch.equal(tensors["b"], text.b)


def test_beside_a_request_of_images_only_and_without_the_one_of_both_sides(
    shop: Shop, tmp_path: Path
) -> None:
    gates(shop.ledger, OPEN)
    cat = shop.approved("cat")
    versions.apply(shop.tools, "mona", [cat])
    mug = shop.file("mug")
    _, report_id = prepare.prepare(shop.tools, "mona", mug, "eval", BOTH)
    edits = [Edit((CAT,), Recipe.of("redirect")), Edit((MUG,), BOTH)]
    bank, samples = bank_of(shop), samples_of(shop)
    together = compose(bank, edits)
    predictions = predict(samples, bank.edited(together.text), together.projector)
    composed = report(shop.ledger, report_id)["composed"]
    assert (
        composed["retain_accuracy"]
        == summarise(samples, predictions, [CAT, MUG])["retain_accuracy"]
    )
    unread = predict(samples, bank, together.projector)
    shares = [forget_share(samples, found, [MUG]).value for found in (predictions, unread)]
    assert composed["forget_accuracy"] == shares[0] != shares[1]
    requests.approve(shop.ledger, "dmitri", mug)
    versions.apply(shop.tools, "mona", [mug])
    projector, text = sides_of_version(shop, 3)
    assert together.text is not None
    assert text is not None
    assert (projector.digest, text.digest) == (together.projector.digest, together.text.digest)
    assert version_report(shop.ledger, 3)["sides"] == ["image", "text"]

    versions.drop(shop.tools, "mona", mug, "settled")
    versions.export(shop.tools, "mona", None, 4, tmp_path / "out", tmp_path / "departures")
    assert torch.equal(texts(stock(tmp_path / "out")), texts(stock(MODEL_DIR)))
    assert version_report(shop.ledger, 4)["sides"] == ["image"]
    assert _digest(shop, 4) == _digest(shop, 2)
    assert holds(shop.ledger)


def _digest(shop: Shop, number: int) -> str:
    with shop.ledger.read() as session:
        return find_version(session, find_model(session, "shop"), number).digest


@pytest.mark.parametrize("both_sides", [True, False])
def test_reports_say_which_towers_were_edited(shop: Shop, both_sides: bool) -> None:
    gates(shop.ledger, OPEN)
    number = shop.approved("mug", both_sides=both_sides)
    versions.apply(shop.tools, "mona", [number])
    with shop.ledger.read() as session:
        on_request = request_document(session, find_request(session, number))
        on_version = version_document(
            session, find_version(session, find_model(session, "shop"), 2)
        )
        base = version_document(session, find_version(session, find_model(session, "shop"), 1))
    sides = ["image", "text"] if both_sides else ["image"]
    assert on_request["requests"][0]["projector"]["sides"] == sides
    assert on_version["version"]["sides"] == sides
    assert base["version"]["sides"] == []
    for document in (on_request, on_version):
        assert document["reports"][0]["sides"] == sides
        page = render(document)
        assert ("<dd>image tower and text tower</dd>" in page) is both_sides
        assert ("<dd>image tower only</dd>" in page) is not both_sides
        assert ("one at the end of its text part are changed" in page) is both_sides
        assert ("Its text part stays as it was." in page) is not both_sides
        assert "no image of what is to be forgotten was used to make it" in page
    assert "<dt>Edited</dt>" not in render(base)


def test_the_recipe_says_so_and_another_side_is_another_projector(shop: Shop) -> None:
    number = shop.prepared("mug", both_sides=True)
    prepare.prepare(shop.tools, "mona", number, "eval", Recipe.of("redirect"))
    with shop.ledger.read() as session:
        first, second = find_request(session, number).projectors
        assert first.recipe["hyperparameters"] == asdict(BOTH)
        assert second.recipe["text_factors"] is None
        assert (first.factor_a, first.factor_b) == (second.factor_a, second.factor_b)
        assert first.digest != second.digest
