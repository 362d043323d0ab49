"""Everything that is measured of one edit on cached embeddings, beside the unedited model and a random control.

The protocol is fixed before anything is measured and is part of the result, so that an auditor can recompute every
figure from the stored embeddings, prompts and factors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from governance.unlearning.bank import PromptBank
from governance.unlearning.cohort import Cohort, Protocol, gather, view_features
from governance.unlearning.evaluation import (
    Predictions,
    Proportion,
    Samples,
    predict,
)
from governance.unlearning.intervals import wilson
from governance.unlearning.metrics.control import random_control
from governance.unlearning.metrics.inference import Auc, probe
from governance.unlearning.metrics.inversion import invert
from governance.unlearning.metrics.paraphrase import mean_case, reword, worst_case
from governance.unlearning.metrics.relearning import Attack, relearn
from governance.unlearning.metrics.retrieval import image_ranks, recall, text_ranks
from governance.unlearning.metrics.scores import (
    adaptive_score,
    alignment,
    harmonic_score,
    jensen_shannon,
    linear_cka,
    probabilities,
    representation_score,
    turning,
)
from governance.unlearning.projector import Projector, identity
from governance.unlearning.targets import Target

NOT_EVALUATED = {
    "u_lira": "needs shadow models retrained without the forget set; it is not imitated",
    "penultimate_features": "the features before the projection are the same as before the edit",
}
"""What a reader may look for and will not find."""


def assess(
    samples: Samples,
    bank: PromptBank,
    targets: Sequence[Target],
    projector: Projector,
    logit_scale: float,
    protocol: Protocol | None = None,
    guard: Sequence[str] = (),
    edited: PromptBank | None = None,
    predictions: tuple[Predictions, Predictions] | None = None,
) -> dict[str, Any]:
    """Measure an edit in every way that cached embeddings allow.

    Args:
        samples: embedded images with at least one to forget and one to retain.
        bank: prompts; without paraphrases that part is left out.
        targets: what is to be forgotten.
        projector: the edit.
        logit_scale: of the model, for probabilities.
        protocol: what to do; the default one if None.
        guard: classes that the fit never mentioned. Their images are counted apart from the retain set.
        edited: prompts after the edit, if the text tower is edited too.
        predictions: of the unedited model and of the edit, if they are known already.

    Returns:
        ``protocol`` (seed, draws, prompts, control), ``sets`` (images of each), ``neighbours``, then ``before``,
        ``after`` and ``control`` with the same figures (docs/design.md defines each), and ``not_evaluated``.
        Fractions are rounded to six digits; a figure that the data set cannot give is None.

    Raises:
        InvalidInputError: the data set does not fit the label space.
    """
    protocol = protocol or Protocol()
    cohort = gather(samples, bank, targets, logit_scale, protocol, guard)
    control = random_control(bank.dimension, projector.rank, protocol.seed)
    plain = identity(bank.dimension)
    original = view_features(samples, plain)
    reread = cohort if edited is None else replace(cohort, bank=edited)
    base, after = predictions or (
        predict(samples, bank, None),
        predict(samples, reread.bank, projector),
    )
    result: dict[str, Any] = {
        "protocol": {
            **protocol.to_dict(),
            "classes": len(bank.labels.classes),
            "score_template": bank.labels.score_template,
            "held_out_templates": list(bank.labels.held_out_templates),
            "synonyms": cohort.synonyms,
            "logit_scale": logit_scale,
            "gallery": "class and domain prompts" if cohort.paired else "class prompts",
            "gallery_size": len(bank.labels.classes)
            * (len(bank.labels.domains) if cohort.paired else 1),
            "control": {"rank": projector.rank, "digest": control.digest},
        },
        "sets": {
            name: int(mask.sum())
            for name, mask in (
                ("forget", cohort.forget),
                ("retain", cohort.retain),
                ("guard", cohort.guard),
                ("neighbours", cohort.beside),
            )
        },
        "neighbours": [
            {"class": label, "domain": domain, "cosine": cosine}
            for row, cosine in cohort.neighbours.items()
            for label, domain in [bank.pairs[row]]
        ],
        "not_evaluated": dict(NOT_EVALUATED),
    }
    edits = (("before", plain, cohort, base), ("after", projector, reread, after),
             ("control", control, cohort, predict(samples, bank, control)))  # fmt: skip
    for name, edit, view, found in edits:
        features = original if name == "before" else view_features(samples, edit)
        result[name] = _view(view, original, features, found, base)
        result[name]["drift"] = _drift(cohort, view, original, features)
        result[name]["inversion"] = _inversion(cohort, original, edit)
    rounded: dict[str, Any] = _rounded(result)
    return rounded


def overall(
    samples: Samples,
    bank: PromptBank,
    targets: Sequence[Target],
    projector: Projector,
    logit_scale: float,
    predictions: tuple[Predictions, Predictions],
    edited: PromptBank | None = None,
) -> dict[str, Any] | None:
    """The cheap figures of a version as a whole: H, AUS, CKA, RUS, neighbours and drift.

    Args:
        samples: embedded images.
        bank: prompts.
        targets: of all active requests.
        projector: the version's matrix.
        logit_scale: of the model.
        predictions: of the unedited model and of the version.
        edited: prompts of the version, if its text tower is edited too.

    Returns:
        The same keys as a view of `assess`; None if no image is to be forgotten or none retained.
    """
    cohort = gather(samples, bank, targets, logit_scale, Protocol())
    if not cohort.forget.any() or not cohort.retain.any():
        return None
    before, after = predictions
    reread = cohort if edited is None else replace(cohort, bank=edited)
    original = view_features(samples, identity(bank.dimension))
    features = view_features(samples, projector)
    figures: dict[str, Any] = _rounded(
        {
            **_totals(cohort, after, before),
            **_representation(cohort, original, features),
            "neighbours": _share(after.plain, cohort.beside),
            "drift": _drift(cohort, reread, original, features),
            "turning": turning(original, features),
        }
    )
    return figures


def attacks(
    samples: Samples,
    bank: PromptBank,
    targets: Sequence[Target],
    projector: Projector,
    logit_scale: float,
    edited: PromptBank | None = None,
) -> dict[str, Any]:
    """What attacks find of one request in a version.

    Args:
        samples: embedded images with at least one to forget.
        bank: prompts.
        targets: of the request.
        projector: the version's matrix.
        logit_scale: of the model.
        edited: prompts of the version, if its text tower is edited too.

    Returns:
        ``paraphrase``, ``relearning``, ``probe_auc`` and ``inversion``, as in a view of `assess`.
    """
    cohort = gather(samples, bank, targets, logit_scale, Protocol())
    reread = cohort if edited is None else replace(cohort, bank=edited)
    features = view_features(samples, projector)
    found: dict[str, Any] = _rounded(
        {
            "paraphrase": _paraphrase(reread, features),
            "relearning": _relearning(reread, features),
            "probe_auc": _probe(reread, features),
            "inversion": _inversion(
                cohort, view_features(samples, identity(bank.dimension)), projector
            ),
        }
    )
    return found


def _view(
    cohort: Cohort,
    original: Tensor,
    features: Tensor,
    predictions: Predictions,
    base: Predictions,
) -> dict[str, Any]:
    """Every figure of one version."""
    top5 = predictions.top5
    texts = cohort.texts
    return {
        "zero_shot": _sets(cohort, predictions.plain),
        "top5": None if top5 is None else _sets(cohort, top5),
        **_totals(cohort, predictions, base),
        "alignment": {
            name: alignment(features[mask], texts, cohort.truth[mask]) if mask.any() else None
            for name, mask in (("forget", cohort.forget), ("retain", cohort.retain))
        },
        "neighbours": _share(predictions.plain, cohort.beside),
        "paraphrase": _paraphrase(cohort, features),
        "retrieval": _retrieval(cohort, features),
        "relearning": _relearning(cohort, features),
        "probe_auc": _probe(cohort, features),
        "membership_auc": _membership(cohort, features),
        **_representation(cohort, original, features),
        "turning": turning(original, features),
    }


def _share(hits: Tensor, mask: Tensor) -> dict[str, Any] | None:
    """Share of a set with its interval, None for an empty set."""
    count = int(mask.sum())
    return _interval(int(hits[mask].sum()), count) if count else None


def _interval(correct: int, n: int) -> dict[str, Any]:
    share = Proportion(correct, n)
    return {"value": share.value, **share.to_dict()}


def _sets(cohort: Cohort, hits: Tensor) -> dict[str, Any]:
    return {
        "forget": _share(hits, cohort.forget),
        "retain": _share(hits, cohort.retain),
        "guard": _share(hits, cohort.guard),
    }


def _totals(cohort: Cohort, predictions: Predictions, base: Predictions) -> dict[str, Any]:
    """H and AUS from the accuracies with plain prompts."""
    forget, retain, retain_base = (
        float(hits[mask].double().mean())
        for hits, mask in (
            (predictions.plain, cohort.forget),
            (predictions.plain, cohort.retain),
            (base.plain, cohort.retain),
        )
    )
    return {
        "harmonic": harmonic_score(forget, retain),
        "aus": adaptive_score(forget, retain, retain_base),
    }


def _paraphrase(cohort: Cohort, features: Tensor) -> dict[str, Any] | None:
    bank = cohort.bank
    if not len(bank.paraphrases):
        return None
    number = {label: index for index, label in enumerate(bank.labels.classes)}
    pairs = bank.labels.paraphrases
    reworded = reword(
        features[cohort.forget],
        cohort.texts,
        cohort.truth[cohort.forget],
        bank.paraphrases.to(torch.float32),
        [number[label] for label, _ in pairs],
    )
    if not reworded:
        return None
    prompts: dict[int, list[str]] = {}
    for label, prompt in pairs:
        prompts.setdefault(number[label], []).append(prompt)
    return {
        "max": _interval(*worst_case(reworded)),
        "mean": mean_case(reworded),
        "prompts": sum(len(entry.hits) for entry in reworded),
        "best": {
            bank.labels.classes[entry.label]: prompts[entry.label][
                entry.hits.index(max(entry.hits))
            ]
            for entry in reworded
        },
    }


def _retrieval(cohort: Cohort, features: Tensor) -> dict[str, Any]:
    """Recall at each k, both ways, for each set; a prompt belongs to the set of its images."""
    first = len(cohort.bank.labels.classes) if cohort.paired else 0
    gallery = (cohort.bank.domain_scores if first else cohort.bank.plain_scores).to(torch.float32)
    own = cohort.own - first
    asked = torch.unique(own)
    by_image = image_ranks(features, gallery, own)
    by_text = text_ranks(features, gallery, own, asked)
    result: dict[str, Any] = {"image_to_text": {}, "text_to_image": {}}
    taken = torch.zeros(len(asked), dtype=torch.bool)
    for name, mask in (
        ("forget", cohort.forget), ("guard", cohort.guard), ("retain", cohort.retain),
    ):  # fmt: skip
        queries = torch.isin(asked, own[mask]) & ~taken
        taken |= queries
        for way, ranks in (("image_to_text", by_image[mask]), ("text_to_image", by_text[queries])):
            result[way][name] = {
                "n": len(ranks),
                **{f"r{k}": recall(ranks, k) / len(ranks) for k in cohort.protocol.recall},
            } if len(ranks) else None  # fmt: skip
    return result


def _relearning(cohort: Cohort, features: Tensor) -> list[dict[str, Any]]:
    """Every attack of the protocol; those for which there are too few images are left out."""
    protocol = cohort.protocol
    chosen = torch.cat([cohort.some(cohort.forget), cohort.some(cohort.retain)])
    part, truth, forget = features[chosen], cohort.truth[chosen], cohort.forget[chosen]
    results = []
    for shots in protocol.shots:
        for attack in (
            *(Attack(shots, mix) for mix in protocol.mixes),
            *(Attack(shots, mix, scaled=True) for mix in protocol.scaled),
            Attack(shots, None),
        ):
            found = relearn(
                part, cohort.texts, truth, forget, attack, protocol.draws, protocol.seed
            )
            if found is not None:
                low, high = wilson(found.recovered, found.n)
                results.append(
                    {
                        "shots": shots,
                        "mix": attack.mix,
                        "scaled": attack.scaled,
                        "recovered": found.recovered,
                        "low": low,
                        "high": high,
                        "lowest_draw": found.lowest,
                        "highest_draw": found.highest,
                        "false_alarms": found.false_alarms,
                        "n": found.n,
                        "classes": len(found.attacked),
                    }
                )
    return results


def _probe(cohort: Cohort, features: Tensor) -> dict[str, Any] | None:
    """Linear probe: forget images against retain images."""
    chosen = torch.cat([cohort.some(cohort.forget), cohort.some(cohort.retain)])
    return _auc(
        probe(features[chosen], cohort.forget[chosen], cohort.protocol.folds, cohort.protocol.seed)
    )


def _membership(cohort: Cohort, features: Tensor) -> dict[str, Any] | None:
    """Class membership: forget images against neighbour images, from what the model says of the neighbour classes."""
    pairs = cohort.bank.pairs
    near = {pairs[row][0] for row in cohort.neighbours}
    classes = cohort.bank.labels.classes
    columns = [i for i, number in enumerate(cohort.kept_classes) if classes[number] in near]
    chosen = torch.cat([cohort.some(cohort.forget), cohort.some(cohort.beside)])
    if not columns or len(cohort.kept_classes) < 2:
        return None
    said = probabilities(features[chosen], cohort.texts[cohort.kept_classes], cohort.logit_scale)
    logs = said[:, columns].clamp_min(1e-12).log()
    return _auc(probe(logs, cohort.forget[chosen], cohort.protocol.folds, cohort.protocol.seed))


def _auc(found: Auc | None) -> dict[str, Any] | None:
    if found is None:
        return None
    low, high = found.interval
    return {
        "value": found.value,
        "low": low,
        "high": high,
        "positives": found.positives,
        "negatives": found.negatives,
    }


def _inversion(cohort: Cohort, original: Tensor, edit: Projector) -> dict[str, Any] | None:
    """What inverting the edit restores of the forgotten images; None for an edit that does nothing."""
    if not edit.rank:
        return None
    moment = original.double().T @ original.double() / len(original)
    chosen = cohort.some(cohort.forget)
    found = invert(original[chosen], edit, moment)
    texts, truth = cohort.bank.plain_scores, cohort.truth[chosen]

    def share(rows: Tensor) -> dict[str, Any]:
        return _interval(int(((rows @ texts.T).argmax(dim=1) == truth).sum()), len(truth))

    return {
        "plain": share(found.plain),
        "informed": share(found.informed),
        "smallest_singular_values": list(found.smallest),
    }


def _representation(cohort: Cohort, original: Tensor, features: Tensor) -> dict[str, Any]:
    forget, retain = (
        linear_cka(original[mask], features[mask]) for mask in (cohort.forget, cohort.retain)
    )
    return {
        "cka": {"forget": forget, "retain": retain},
        "rus": representation_score(forget, retain),
    }


def _drift(cohort: Cohort, after: Cohort, original: Tensor, features: Tensor) -> float | None:
    """Mean Jensen–Shannon divergence on neighbour images, over the classes that are not forgotten everywhere."""
    chosen = cohort.some(cohort.beside)
    if not len(chosen) or len(cohort.kept_classes) < 2:
        return None
    was, now = (
        probabilities(side[chosen], view.texts[cohort.kept_classes], cohort.logit_scale)
        for side, view in ((original, cohort), (features, after))
    )
    return float(jensen_shannon(was, now).mean())


def _rounded(value: Any) -> Any:
    """Six digits are more than any data set supports, and hide the last bits in which machines differ."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, Mapping):
        return {key: _rounded(entry) for key, entry in value.items()}
    return [_rounded(entry) for entry in value] if isinstance(value, list) else value
