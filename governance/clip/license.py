"""What a base model's publisher says of it: its name on the hub, its licence."""

from collections.abc import Callable
from pathlib import Path

import open_clip

from governance.clip.source import HUB_PREFIX, Source, check_license

CARD_NAME = "README.md"


def hub_repository(source: Source) -> str | None:
    """``org/repo`` of a model that is on the hub, None for others."""
    if source.name.startswith(HUB_PREFIX):
        return source.name.removeprefix(HUB_PREFIX).partition("@")[0]
    if source.pretrained is None:
        return None
    tag = open_clip.get_pretrained_cfg(source.name, source.pretrained) or {}
    return str(tag.get("hf_hub") or "").strip("/") or None


def find_license(source: Source) -> str | None:
    """The licence that the model card beside the weights names; nothing is downloaded."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.repocard import metadata_load

    repository = hub_repository(source)
    if source.directory is not None:
        card: object = source.directory / CARD_NAME
    elif repository is not None:
        card = try_to_load_from_cache(repository, CARD_NAME)
    else:
        card = None
    if not isinstance(card, str | Path) or not Path(card).is_file():
        return None
    load: Callable[[Path], dict[str, object] | None] = metadata_load
    try:
        name = (load(Path(card)) or {}).get("license")
        return check_license(name) if isinstance(name, str) else None
    except Exception:  # whatever the reader of other people's cards raises: they say nothing then
        return None
