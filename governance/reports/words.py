"""Words that the terminal and the HTML report share."""

from collections.abc import Mapping, Sequence
from typing import Any


def describe_capacity(used: Mapping[str, Any]) -> str:
    """What an edit uses of the space, and the damage that text alone predicts."""
    return (
        f"rank {used['rank']} of {used['dimension']}, condition {used['condition']:.2g}; predicted from text: "
        f"{used['lost_rows']} of {used['retained_rows']} retained prompts lost, drift {used['drift']:.3f}"
    )


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
