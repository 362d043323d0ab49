"""What a report is made of, from a real workspace."""

from governance.ledger.lookup import find_model, find_request, find_version
from governance.reports.document import request_document, version_document
from governance.reports.html import render
from governance.unlearning.recipe import Recipe
from governance.workflow import prepare, requests, versions
from tests.workflow.shop import Shop


def test_a_version_reports_the_projector_it_holds_not_a_newer_one(shop: Shop) -> None:
    mug = shop.approved("mug")
    versions.apply(shop.tools, "mona", [mug])
    versions.drop(shop.tools, "mona", mug, "appeal")
    prepare.prepare(shop.tools, "mona", mug, None, Recipe.of("redirect", 0.5))
    requests.approve(shop.ledger, "dmitri", mug, "the weaker one")
    with shop.ledger.read() as session:
        version = find_version(session, find_model(session, "shop"), 2)
        document = version_document(session, version)
    (request,) = document["requests"]
    assert request["projector"]["recipe"]["hyperparameters"]["strength"] == 1
    assert [decision["comment"] for decision in request["decisions"]] == [None]
    assert [entry["request"] for entry in document["version"]["residuals"]] == [mug]
    assert "version 2" in render(document)


def test_a_request_reports_every_measurement_of_its_newest_projector(shop: Shop) -> None:
    mug = shop.prepared("mug")
    prepare.prepare(shop.tools, "mona", mug, None, Recipe.of("nullspace"))
    prepare.evaluate_request(shop.tools, "otto", mug, "eval")
    with shop.ledger.read() as session:
        document = request_document(session, find_request(session, mug))
    assert len(document["reports"]) == 2
    assert {report["projector_digest"] for report in document["reports"]} == {
        document["requests"][0]["projector"]["digest"]
    }
    assert render(document).count("Data set eval") >= 2


def test_the_base_version_knows_when_it_was_registered(shop: Shop) -> None:
    with shop.ledger.read() as session:
        version = find_version(session, find_model(session, "shop"), 1)
        document = version_document(session, version)
    assert [event["action"] for event in document["history"]] == ["model.registered"]
    assert document["reports"] == []
    assert "unedited base model" in render(document)
