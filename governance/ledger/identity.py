"""What the digest of a record is made of; written by the workflow, recomputed by the audit."""

from collections.abc import Mapping, Sequence
from typing import Any

from governance.digests import digest_json, digest_mapping


def factors_digest(factor_a: str, factor_b: str) -> str:
    """Digest of P from the digests of its factors, equal to `Projector.digest`."""
    return digest_mapping({"a": factor_a, "b": factor_b})


def projector_digest(recipe: Mapping[str, Any], factors: str) -> str:
    """Digest of a request's projector: how it was made and what came out."""
    return digest_json({"recipe": dict(recipe), "factors": factors})


def prototype_digests(recipe: Mapping[str, Any]) -> list[str]:
    """Arrays that a projector's recipe refers to: prototypes with their scatter, mean and moment of a reference."""
    parts = [*recipe["prototypes"], recipe.get("reference") or {}]
    names = ("rows", "scatter", "mean", "moment")
    return [part[name] for part in parts for name in names if name in part]


def text_digests(recipe: Mapping[str, Any]) -> list[str]:
    """The two factors of the text side that a recipe refers to, none if only images are edited."""
    factors = recipe.get("text_factors")
    return [] if factors is None else [factors["a"], factors["b"]]


def edited_sides(recipe: Mapping[str, Any]) -> list[str]:
    """Towers that a projector, or a version with requests, edits: ``image``, or ``image`` and ``text``."""
    return named_sides(bool(text_digests(recipe)))


def named_sides(text: bool) -> list[str]:
    """Edited towers in the words of records, reports and exports; the image tower always is one."""
    return ["image", "text"] if text else ["image"]


def version_digest(
    weights_digest: str,
    labels_digest: str,
    factors: str,
    projectors: Sequence[str],
    text_factors: Sequence[str] = (),
) -> str:
    """Digest of what a version is: base weights, label space, composed factors of each side, approved projectors.

    Two versions with the same content have the same digest, whenever and in whatever order they were made.
    """
    return digest_json(
        {
            "base_weights": weights_digest,
            "labels": labels_digest,
            "factors": factors,
            "text_factors": list(text_factors),
            "projectors": sorted(projectors),
        }
    )
