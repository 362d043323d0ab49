"""What MLflow holds otherwise than the ledger: versions, their runs and files, tags, aliases, and strangers' work."""

from collections.abc import Iterator
from functools import partial

from governance.audit.mirror import Difference, Mirror
from governance.errors import IntegrityError, InvalidInputError
from governance.ledger.database import Session
from governance.ledger.intents import is_intent
from governance.ledger.lookup import every
from governance.ledger.tables import ModelVersion
from governance.ledger.whereabouts import Place, moved, place_among
from governance.registry import ABANDONED_TAG, KEY_TAG
from governance.workflow.aliases import mirror
from governance.workflow.problems import Problem, Workplace
from governance.workflow.publish import mark_abandoned
from governance.workflow.restore import damaged_in, recorded_signature, restore


def holdings(place: Workplace, session: Session, found: Mirror) -> Iterator[Problem]:
    """Everything in MLflow that is not as the ledger says, versions before the aliases that lead to them.

    Raises:
        UnavailableError: MLflow cannot be used.
    """
    differences = list(found.check(session))
    for difference in differences:
        if difference.lost is not None:
            remedy = "register it again, with the files that the ledger knows"
            cure = partial(_restore, place, difference.model, difference.lost)
            yield Problem(difference.where, difference.problem, remedy, cure)
    yield from _versions(place, session, found)
    for difference in differences:
        if difference.alias is not None:
            remedy = "set the alias to what the ledger says"
            cure = partial(_set_alias, place, difference.model, difference.alias)
            yield Problem(difference.where, difference.problem, remedy, cure)
        elif difference.tag is not None:
            remedy = "set the tag to what the ledger says"
            cure = partial(_set_tag, place, difference)
            yield Problem(difference.where, difference.problem, remedy, cure)
    yield from _strangers(place, session, found)


def _versions(place: Workplace, session: Session, found: Mirror) -> Iterator[Problem]:
    """Where MLflow takes each version's files from, and whether they are those on record."""
    again, present = moved(session), sum(len(versions) for versions in found.tags.values())
    with place.meter("checking versions in MLflow", present) as advance:
        for version in every(session, ModelVersion, chunk=50):
            at = place_among(again, version)
            if at.registry_version in found.tags[version.model.name]:
                yield from _version(place, session, version, at)
                advance(1)
    if place.quick and present:
        place.looked.unchecked.append("the files of versions in MLflow, which --quick leaves out")


def _version(
    place: Workplace, session: Session, version: ModelVersion, at: Place
) -> Iterator[Problem]:
    model, number = version.model.name, version.number
    where = f"MLflow: version {number} of {model}"
    cure = partial(_restore, place, model, number)
    source = place.registry.source_of(model, at.registry_version)
    if source.run_id != at.run_id:
        problem = f"its files are not those of run {at.run_id}, in which they were recorded"
        yield Problem(
            where, problem, "register it again, with the files that the ledger knows", cure
        )
        return
    if source.deleted:
        yield Problem(where, f"its run {at.run_id} was deleted", "bring the run back", cure)
    if place.quick:
        return
    try:
        recorded = recorded_signature(session, version)
        wrong = damaged_in(place.registry, at.run_id, recorded)
    except (IntegrityError, InvalidInputError) as error:
        advice = "put its files back from a backup of MLflow's artifacts; see `governance version verify`"
        yield Problem(where, f"its files cannot be checked: {error}", advice=advice)
        return
    place.looked.versions += 1
    place.looked.files += len(recorded.signed.files) + 1
    if wrong:
        problem = "; ".join(f"{name} {what}" for name, what in wrong.items())
        aside = _aside(model, number)
        remedy = f"put back what the ledger knows, and keep in {aside} what is there instead"
        yield Problem(where, problem, remedy, cure)


def _aside(model: str, number: int) -> str:
    return f"aside/{model}-{number}"


def _restore(place: Workplace, model: str, number: int, actor: str) -> None:
    aside = place.settings.home / _aside(model, number)
    restore(place.ledger, place.registry, place.encoder, actor, model, number, aside)


def _set_alias(place: Workplace, model: str, alias: str, actor: str) -> None:
    mirror(place.ledger, place.registry, model, [alias])


def _set_tag(place: Workplace, found: Difference, actor: str) -> None:
    if found.version is not None and found.tag is not None:
        place.registry.tag_version(found.model, found.version, found.tag, found.said)


def _strangers(place: Workplace, session: Session, found: Mirror) -> Iterator[Problem]:
    """Versions in MLflow that the ledger does not hold."""
    again, known, bases = moved(session), set(), {}
    for row in every(session, ModelVersion):
        known.add((row.model.name, place_among(again, row).registry_version))
        if row.parent is None:
            bases[row.model.name] = row.digest  # what the base model's version in MLflow goes by
    for model, versions in found.tags.items():
        for version, tags in versions.items():
            if (model, version) in known:
                continue
            key = tags.get(KEY_TAG)
            ours = key is not None and (key == bases.get(model) or is_intent(session, key))
            if ours and tags.get(ABANDONED_TAG) == key:
                continue
            where = f"MLflow: its version {version} of {model}"
            if ours:
                problem = "an intent that came to nothing, or a doubled try, left it"
                cure = partial(_mark, place, model)
                yield Problem(where, problem, f"mark it with the tag {ABANDONED_TAG}", cure)
            else:
                yield Problem(where, "the ledger does not know it; somebody else registered it")


def _mark(place: Workplace, model: str, actor: str) -> None:
    mark_abandoned(place.ledger, place.registry, model)
