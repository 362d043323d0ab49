"""Words that the terminal and the HTML report share."""

from collections.abc import Mapping, Sequence
from typing import Any


def describe_capacity(used: Mapping[str, Any]) -> str:
    """What an edit uses of the space, and how many texts no longer find themselves."""
    return (
        f"rank {used['rank']} of {used['dimension']}, condition {used['condition']:.2g}; {used['lost_rows']} of "
        f"{used['retained_rows']} retained prompts no longer find themselves"
    )


def describe_reversal(settings: Mapping[str, Any]) -> str:
    """Whether somebody with the factors can take the edit back."""
    if settings.get("irreversible"):
        return "irreversible: the matrix has no inverse; the report says what an attacker restores all the same"
    return "reversible: whoever holds the factors can restore edited vectors"


def describe_reference(reference: Mapping[str, Any]) -> str:
    """The unlabelled images that a fit used."""
    settings = reference["settings"]
    return (
        f"reference: mean and second moment of {settings['images']} images of {settings['dataset']}"
    )


def describe_assumption(recipe: Mapping[str, Any]) -> str | None:
    """What a fit that depends on the image took for images, where it saw none; nothing for other recipes."""
    blocks = (recipe.get("problem") or {}).get("image", {}).get("blocks", ())
    images = any("rows" in chosen for chosen in recipe["prototypes"])
    if images or recipe.get("reference") or all(block["side"] != "images" for block in blocks):
        return None
    return (
        "assumed: images of a domain lie where its prompts do; a data set with the role reference, or few-shot "
        "prototypes, would tell how far they lie from them"
    )


def describe_certificate(report: Mapping[str, Any]) -> list[str]:
    """What holds for every image, and what cannot be certified; nothing for a report that is older."""
    found = report.get("certificate")
    if found is None:
        return []
    lines = []
    forgotten, retained = found["forgotten"], found["retained"]
    if forgotten is not None:
        excess, margin = forgotten["excess"]["worst"], forgotten["margin"]["worst"]
        words = (
            f"for every image a forgotten prompt scores at most {excess:.4f} more than its anchor"
            if excess
            else "for every image a forgotten prompt scores exactly like its anchor"
        )
        lines.append(
            f"certified: {words}, whose best rival leads by {margin:.4f}"
            if excess <= margin
            else f"cannot certify: {words}, but the best retained prompt leads it by {margin:.4f} only"
        )
    images = report.get("certified_images")
    if images is not None:
        lines.append(
            f"by that bound alone {images['decided']} of {images['n']} images of it cannot be recognised"
        )
    if retained is not None:
        change = retained["change"]
        lines.append(
            f"for every image a retained prompt's score changes by at most {change['worst']:.4f} "
            f"(median prompt {change['median']:.4f})"
        )
    if found["depends_on_image"]:
        lines.append("not certified: what is forgotten in a domain depends on the image")
    estimate = found["estimate"]
    if estimate:
        parts = [f"{name} {value['median']:.4f}" for name, value in estimate.items()]
        lines.append(f"estimate from the reference images (no bound), median: {', '.join(parts)}")
    turning = report.get("turning")
    if turning is not None:
        lines.append(f"images turn by {turning:.4f} (1 less the mean cosine before and after)")
    return lines


def describe_prototypes(prototypes: Sequence[Mapping[str, Any]]) -> str:
    """What the fit saw."""
    words = []
    for chosen in prototypes:
        settings = chosen.get("settings", {})
        match chosen["kind"]:
            case "few-shot":
                words.append(f"few-shot from {settings['dataset']} ({settings['shots']} a pair)")
            case "synthesised":
                words.append(
                    f"synthesised ({settings['images']} a pair, {settings['steps']} steps)"
                )
            case kind:
                words.append(kind)
    return ", ".join(words)


def describe_approvals(approvals: Mapping[str, int]) -> str:
    """How many people approved, of how many the policy demands."""
    given, needed = approvals["given"], approvals["needed"]
    return f"{given} of {needed} approval{'' if needed == 1 else 's'} needed"
