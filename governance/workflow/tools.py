"""The adapters that the longer verbs work with."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from governance.progress import Meter, silent

if TYPE_CHECKING:
    from governance.clip.encoder import Encoder
    from governance.ledger.database import Ledger
    from governance.registry import Registry


@dataclass(frozen=True)
class Tools:
    """Ledger, MLflow and models of one workspace."""

    ledger: "Ledger"
    registry: "Registry"
    encoder: "Encoder"
    meter: Meter = silent
