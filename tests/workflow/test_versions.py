"""Versions: composition, resurrection guard, drop, interruption, evaluation, export."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from governance.digests import digest_mapping
from governance.errors import (
    ConflictError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)
from governance.ledger import signers
from governance.ledger.lookup import find_model, find_request, find_version
from governance.policy import Gates
from governance.unlearning import composition
from governance.unlearning.projector import digest_tensor
from governance.unlearning.recipe import Recipe
from governance.workflow import departures, prepare, publish, release, requests, versions
from tests.policies import OPEN
from tests.workflow.helpers import (
    actions,
    active,
    champion,
    dump,
    gates,
    holds,
    report,
    state,
    version_report,
)
from tests.workflow.shop import Shop

LIMITS = Gates(max_forget_accuracy=0.4, max_retain_drop=0.05)


def promote(shop: Shop, number: int) -> None:
    gates(shop.ledger, LIMITS)
    release.promote(shop.ledger, shop.registry, "mona", "shop", number)


def digest(shop: Shop, number: int) -> str:
    with shop.ledger.read() as session:
        return find_version(session, find_model(session, "shop"), number).digest


def forget(content: dict[str, Any], request: int) -> tuple[float, float]:
    entry = next(entry for entry in content["requests"] if entry["request"] == request)
    return entry["before"], entry["after"]


def test_two_requests_compose_and_either_can_be_dropped_again(shop: Shop) -> None:
    mug, cat = shop.approved("mug"), shop.approved("cat", "sketch")
    assert versions.apply(shop.tools, "mona", [mug]) == ("shop", 2)
    assert state(shop.ledger, mug) == "applied"
    promote(shop, 2)
    assert state(shop.ledger, mug) == "released"
    versions.apply(shop.tools, "mona", [cat])
    promote(shop, 3)
    both = version_report(shop.ledger, 3)
    assert active(shop.ledger, 3) == [mug, cat]
    assert forget(both, mug)[0] > 0.8
    assert forget(both, mug)[1] <= 0.05
    assert forget(both, cat)[1] < forget(both, cat)[0]
    figures = prepare.flat_metrics(both)
    for entry in both["requests"]:
        for when in ("before", "after"):
            counted = entry["confusion"][when]
            assert sum(answer["n"] for answer in counted) == entry["confusion"]["n"]
            assert sum(answer["correct"] for answer in counted) == entry["counts"][when]["correct"]
        assert 0 < figures[f"request_{entry['request']}_taker_share_after"] <= 1

    assert versions.drop(shop.tools, "mona", mug, "injunction lifted") == ("shop", 4)
    assert active(shop.ledger, 4) == [cat]
    assert state(shop.ledger, mug) == "reinstated"
    assert state(shop.ledger, cat) == "released"
    assert champion(shop.ledger) == 4
    back = version_report(shop.ledger, 4)
    assert forget(back, mug)[1] >= forget(back, mug)[0] - 0.1
    assert forget(back, cat)[1] < forget(back, cat)[0]
    assert holds(shop.ledger)


def test_the_composed_version_does_not_depend_on_the_order(make_shop: Callable[[], Shop]) -> None:
    digests = []
    for order in ((0, 1), (1, 0)):
        shop = make_shop()
        numbers = [shop.approved("mug"), shop.approved("cat", "sketch")]
        for position in order:
            versions.apply(shop.tools, "mona", [numbers[position]])
        digests.append(digest(shop, 3))
    together = make_shop()
    numbers = [together.approved("mug"), together.approved("cat", "sketch")]
    versions.apply(together.tools, "mona", numbers)
    assert active(together.ledger, 2) == numbers
    assert digests[0] == digests[1] == digest(together, 2)


def test_dropping_gives_what_was_there_before_the_request(shop: Shop) -> None:
    mug, cat = shop.approved("mug"), shop.approved("cat", "sketch")
    versions.apply(shop.tools, "mona", [mug])
    versions.apply(shop.tools, "mona", [cat])
    versions.drop(shop.tools, "mona", cat, "settled")
    assert digest(shop, 4) == digest(shop, 2)
    versions.drop(shop.tools, "mona", mug, "settled")
    assert digest(shop, 5) == digest(shop, 1)  # nothing active: the base model


def test_a_dropped_request_can_be_applied_again(shop: Shop) -> None:
    mug = shop.approved("mug")
    versions.apply(shop.tools, "mona", [mug])
    versions.drop(shop.tools, "mona", mug, "appeal")
    versions.apply(shop.tools, "mona", [mug])
    assert state(shop.ledger, mug) == "applied"
    assert digest(shop, 4) == digest(shop, 2)
    assert holds(shop.ledger)


def test_what_is_not_approved_or_applied_already_is_refused(shop: Shop) -> None:
    mug = shop.prepared("mug")
    before = dump(shop.ledger)
    with pytest.raises(RefusedError, match="it is prepared and cannot be applied"):
        versions.apply(shop.tools, "mona", [mug])
    with pytest.raises(NotFoundError, match="no request 77"):
        versions.apply(shop.tools, "mona", [77])
    with pytest.raises(RefusedError, match="cannot be reinstated"):
        versions.drop(shop.tools, "mona", mug, "x")
    assert dump(shop.ledger) == before
    done = shop.approved("cat")
    versions.apply(shop.tools, "mona", [done])
    before = dump(shop.ledger)
    with pytest.raises(RefusedError, match="it is applied and cannot be applied"):
        versions.apply(shop.tools, "mona", [done])
    assert dump(shop.ledger) == before


def test_together_they_must_leave_something(shop: Shop) -> None:
    gates(shop.ledger, OPEN)
    domains = ("photo", "painting", "cartoon", "sketch")
    gates(shop.ledger, OPEN)
    numbers = [shop.approved(None, domain) for domain in domains]
    before = dump(shop.ledger)
    with pytest.raises(InvalidInputError, match="everything"):
        versions.apply(shop.tools, "mona", numbers)
    assert dump(shop.ledger) == before


def test_a_composition_that_would_bring_a_request_back_is_refused(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    mug, cat = shop.approved("mug"), shop.approved("cat")
    versions.apply(shop.tools, "mona", [mug])
    before = dump(shop.ledger)
    monkeypatch.setattr(composition.Composition, "residual", lambda *args: 0.8)
    with pytest.raises(RefusedError, match=f"request {mug} would come back"):
        versions.apply(shop.tools, "mona", [cat])
    assert dump(shop.ledger) == before


def test_dropping_does_not_release_what_was_never_promoted(shop: Shop) -> None:
    mug, cat = shop.approved("mug"), shop.approved("cat")
    versions.apply(shop.tools, "mona", [mug])
    promote(shop, 2)
    versions.apply(shop.tools, "mona", [cat])
    with pytest.raises(RefusedError, match=f"request {cat} is applied but not released"):
        versions.drop(shop.tools, "mona", mug, "x")
    versions.drop(shop.tools, "mona", cat, "not wanted")  # not served: the champion stays
    assert champion(shop.ledger) == 2
    versions.drop(shop.tools, "mona", mug, "x")
    assert champion(shop.ledger) == 5


@pytest.mark.parametrize("method", ["log_run", "register", "set_alias"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("problem", [UnavailableError("MLflow is down"), KeyboardInterrupt()])
def test_an_interrupted_apply_leaves_the_request_as_it_was_and_converges(
    shop: Shop, when: str, method: str, problem: BaseException
) -> None:
    mug = shop.approved("mug")
    shop.registry.fail(when, method, problem)
    with pytest.raises(type(problem)):
        versions.apply(shop.tools, "mona", [mug])
    assert state(shop.ledger, mug) == "approved"
    assert actions(shop.ledger)[-1] == "version.intended"
    assert holds(shop.ledger)
    versions.apply(shop.tools, "mona", [mug])
    assert state(shop.ledger, mug) == "applied"
    assert actions(shop.ledger).count("version.intended") == 1
    assert len(shop.registry.versions["shop"]) == 2
    assert shop.registry.aliases("shop") == {"champion": "1", "candidate": "2"}
    assert holds(shop.ledger)


def test_a_failing_outcome_is_rolled_back_whole_and_converges(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    mug = shop.approved("mug")
    with monkeypatch.context() as broken:

        def fail(*args: object) -> None:
            raise KeyboardInterrupt

        broken.setattr(publish, "take_alias", fail)
        with pytest.raises(KeyboardInterrupt):
            versions.apply(shop.tools, "mona", [mug])
    assert state(shop.ledger, mug) == "approved"
    assert "version.registered" not in actions(shop.ledger)
    versions.apply(shop.tools, "mona", [mug])
    assert len(shop.registry.versions["shop"]) == 2
    assert holds(shop.ledger)


def test_a_version_made_meanwhile_is_a_conflict(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    mug, cat = shop.approved("mug"), shop.approved("cat")
    original, nested = publish._intend, []

    def race(*args: Any) -> str:
        if not nested:
            nested.append(True)
            versions.apply(shop.tools, "mona", [cat])
        return original(*args)

    monkeypatch.setattr(publish, "_intend", race)
    with pytest.raises(ConflictError, match="version 2 of 'shop' was made meanwhile"):
        versions.apply(shop.tools, "mona", [mug])
    assert state(shop.ledger, mug) == "approved"
    versions.apply(shop.tools, "mona", [mug])
    assert active(shop.ledger, 3) == [mug, cat]
    assert holds(shop.ledger)


def test_the_loser_of_a_race_leaves_the_winners_alias_in_mlflow(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    mug, cat = shop.approved("mug"), shop.approved("cat")
    register, nested = shop.registry.register, []

    def race(*args: Any, **kwargs: Any) -> Any:
        if not nested:
            nested.append(True)
            versions.apply(shop.tools, "mona", [cat])
        return register(*args, **kwargs)

    monkeypatch.setattr(shop.registry, "register", race)
    with pytest.raises(ConflictError):
        versions.apply(shop.tools, "mona", [mug])
    with shop.ledger.read() as session:
        winner = find_version(session, find_model(session, "shop"), 2)
    assert active(shop.ledger, 2) == [cat]
    assert shop.registry.aliases("shop")["candidate"] == winner.registry_version


@pytest.mark.parametrize("event", ["withdrawn", "prepared again", "rolled back", "promoted"])
def test_what_changed_while_a_version_was_built_refuses_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, event: str
) -> None:
    mug, cat = shop.approved("mug"), shop.approved("cat")
    versions.apply(shop.tools, "mona", [mug])
    if event == "rolled back":
        promote(shop, 2)
    register, nested = shop.registry.register, []

    def race(*args: Any, **kwargs: Any) -> Any:
        if not nested:
            nested.append(True)
            if event == "withdrawn":
                requests.withdraw(shop.ledger, "carla", cat, "settled")
            elif event == "prepared again":
                prepare.prepare(shop.tools, "mona", cat, None, Recipe.of("redirect", 0.5))
                requests.approve(shop.ledger, "dmitri", cat)
            elif event == "rolled back":
                release.roll_back(shop.ledger, shop.registry, "mona", None, 1, "appeal")
            else:
                promote(shop, 2)
        return register(*args, **kwargs)

    monkeypatch.setattr(shop.registry, "register", race)
    with pytest.raises((ConflictError, RefusedError)):
        versions.apply(shop.tools, "mona", [cat])
    assert shop.registry.aliases("shop")["candidate"] == "2"  # what the ledger says
    assert holds(shop.ledger)


def test_a_first_candidate_that_was_refused_leaves_no_alias(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    mug = shop.approved("mug")
    register = shop.registry.register

    def withdraw(*args: Any, **kwargs: Any) -> Any:
        requests.withdraw(shop.ledger, "carla", mug, "settled")
        return register(*args, **kwargs)

    monkeypatch.setattr(shop.registry, "register", withdraw)
    with pytest.raises(RefusedError):
        versions.apply(shop.tools, "mona", [mug])
    assert shop.registry.aliases("shop") == {"champion": "1"}


def test_an_export_that_cannot_be_recorded_does_not_leave_the_house(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    append = departures.append

    def broken(session: Any, actor: str, action: str, *rest: Any) -> Any:
        if action == departures.EXPORTED:
            raise OSError("disk full")
        return append(session, actor, action, *rest)

    monkeypatch.setattr(departures, "append", broken)
    with pytest.raises(OSError, match="disk full"):
        versions.export(shop.tools, "otto", None, 1, tmp_path / "out", tmp_path / "departures")
    assert list(tmp_path.glob("out*")) == []


def test_any_version_can_be_evaluated_again(shop: Shop) -> None:
    mug = shop.approved("mug")
    versions.apply(shop.tools, "mona", [mug])
    report_id = versions.evaluate_version(shop.tools, "otto", None, 2, "eval")
    again = report(shop.ledger, report_id)
    assert again == version_report(shop.ledger, 2)
    base = report(shop.ledger, versions.evaluate_version(shop.tools, "otto", None, 1, "eval"))
    assert base["active_requests"] == []
    assert base["overall"] is None
    assert again["overall"]["harmonic"] > 0.9
    assert base["after"]["forget_accuracy"] is None
    assert base["after"]["retain_accuracy"] == base["before"]["retain_accuracy"]
    assert holds(shop.ledger)


def test_an_exported_version_is_what_was_recorded(shop: Shop, tmp_path: Path) -> None:
    import open_clip
    import torch
    from PIL import Image

    from governance.ledger import arrays

    mug = shop.approved("mug")
    versions.apply(shop.tools, "mona", [mug])
    dest = tmp_path / "out" / "model"
    versions.export(shop.tools, "otto", None, 2, dest, tmp_path / "departures")
    edited, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{dest}")
    with shop.ledger.read() as session:
        model = find_model(session, "shop")
        projector = arrays.load_projector(session, find_version(session, model, 2))
        base = versions.base_model(model)
    clip = shop.tools.encoder.model(base)
    picture = Image.effect_noise((64, 64), 80).convert("RGB")
    batch = preprocess(picture).unsqueeze(0)
    with torch.inference_mode():
        expected = projector.apply(clip.module.encode_image(batch, normalize=False).double())
        actual = edited.eval().encode_image(batch, normalize=False).double()
    assert torch.allclose(actual, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(RefusedError, match=r"holds an export of version 2 already \(event \d+\)"):
        versions.export(shop.tools, "otto", None, 2, dest, tmp_path / "departures")
    with pytest.raises(InvalidInputError, match="not empty"):
        versions.export(shop.tools, "otto", None, 1, dest, tmp_path / "departures")
    assert actions(shop.ledger)[-3:] == [
        "version.export_intended", "version.exported", "version.refused"
    ]  # fmt: skip


@pytest.mark.parametrize("number", [1, 2])
def test_an_export_at_another_precision_says_so_in_log_and_file(
    shop: Shop, tmp_path: Path, number: int
) -> None:
    from safetensors import safe_open

    mug = shop.approved("mug")
    versions.apply(shop.tools, "mona", [mug])
    name, dest, exported = versions.export(
        shop.tools, "otto", None, number, tmp_path / "out", tmp_path / "departures", "bf16"
    )
    with safe_open(dest / "open_clip_model.safetensors", "pt") as file:
        stored = {key: digest_tensor(file.get_tensor(key)) for key in file.keys()}  # noqa: SIM118
        notes = json.loads(file.metadata()["governance"])
    assert exported["exported_weights_digest"] == digest_mapping(stored)
    assert [c["precision"] for c in exported["certificates"]] == ["bf16"] * (number - 1)
    with shop.ledger.read() as session:
        recorded = find_version(session, find_model(session, name), number).weights_digest
    with shop.ledger.connect() as connection:
        last = connection.execute(text("SELECT payload FROM events ORDER BY seq DESC LIMIT 1"))
        payload = json.loads(last.scalar_one())
    assert recorded != exported["exported_weights_digest"]
    for found in (payload, notes):
        assert found["precision"] == "bf16"
        assert found["exported_weights_digest"] == exported["exported_weights_digest"]
        assert found["certificates"] == exported["certificates"]
    assert payload["weights_digest"] == notes["weights"] == recorded
    assert holds(shop.ledger)


def test_an_approval_of_another_projector_does_not_count(shop: Shop) -> None:
    mug = shop.approved("mug")
    with shop.ledger.read() as session, session.no_autoflush:
        request = find_request(session, mug)
        request.decisions[-1].projector_digest = "sha256:" + "1" * 64
        with pytest.raises(IntegrityError, match="another projector"):
            versions._check_approval(request)


def test_artifacts_that_mlflow_keeps_wrongly_are_not_recorded(shop: Shop) -> None:
    """What is read back is not what was signed: no version, no alias, and the next try begins anew."""
    mug = shop.approved("mug")
    fetch = shop.registry.fetch

    def damaged(run_id: str, dest: Path) -> None:
        fetch(run_id, dest)
        (dest / "served.py").write_text("")

    shop.registry.fetch = damaged  # type: ignore[method-assign]
    with pytest.raises(IntegrityError, match=r"artifacts of shop/2 do not hold.*served\.py"):
        versions.apply(shop.tools, "mona", [mug])
    assert state(shop.ledger, mug) == "approved"
    assert actions(shop.ledger)[-1] in ("version.abandoned", "version.apply.refused")
    assert "version.abandoned" in actions(shop.ledger)
    assert shop.registry.aliases("shop") == {"champion": "1"}
    shop.registry.fetch = fetch  # type: ignore[method-assign]
    assert versions.apply(shop.tools, "mona", [mug]) == ("shop", 2)
    assert shop.registry.aliases("shop")["candidate"] == "3"
    assert holds(shop.ledger)


def test_who_has_no_key_cannot_make_a_version(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    mug = shop.approved("mug")

    def without(*args: Any) -> Any:
        with monkeypatch.context() as lost:
            lost.setattr(signers, "signer_of", lambda *_: None)
            return signers.signing_key(*args)

    monkeypatch.setattr(
        publish, "signing_key", without
    )  # it is lost after everything else was allowed
    calls = list(shop.registry.calls)
    with pytest.raises(RefusedError, match="'mona' has no signing key here"):
        versions.apply(shop.tools, "mona", [mug])
    assert shop.registry.calls == calls
