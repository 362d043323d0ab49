"""Make the bundle of a released format that the tests keep: ``python -m tests.audit.make_bundle``.

Only when a format is new: bundles that were released stay as they are.
"""

import tempfile
from pathlib import Path

from governance.audit.bundle_contents import Scope
from governance.audit.verify_bundle import FORMAT
from governance.ledger.database import Ledger
from governance.ledger.migrate import upgrade
from tests.audit.bundle_case import build, bundle
from tests.keys import KEYS


def main() -> None:
    """Write it if it is not there."""
    path = Path(__file__).parent / "bundles" / f"format-{FORMAT}.zip"
    if path.exists():
        raise SystemExit(f"{path} is there; released bundles are not made anew")
    with tempfile.TemporaryDirectory() as place:
        ledger = Ledger(f"sqlite:///{place}/ledger.db", KEYS)
        upgrade(ledger)
        build(ledger)
        bundle(ledger, Scope(), path, texts=True)
        ledger.dispose()


if __name__ == "__main__":
    main()
