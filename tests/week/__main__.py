"""Run the week and print it: ``python -m tests.week [--keep DIR]``."""

import argparse
import tempfile
import time
from pathlib import Path

from governance.demo.scenes import write_dataset
from tests.week.company import Company
from tests.week.script import week
from tests.zygote import Zygote


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m tests.week", description=__doc__)
    parser.add_argument("--keep", type=Path, help="new directory that the workspace is left in")
    parser.add_argument("--database", help="URL of an empty ledger at head (default: SQLite)")
    parser.add_argument("--tracking-uri", help="of an MLflow server (default: SQLite)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="governance-week-") as temporary:
        place = (given.keep or Path(temporary)).absolute()
        place.mkdir(parents=True, exist_ok=True)
        environ = {
            name: value
            for name, value in (
                ("GOVERNANCE_DATABASE_URL", given.database),
                ("MLFLOW_TRACKING_URI", given.tracking_uri),
            )
            if value
        }
        write_dataset(place / "images", per_pair=6, seed=4711)
        write_dataset(place / "complaints", per_pair=3, seed=99)
        begun = time.monotonic()
        with Zygote(Path(tempfile.mkdtemp(dir=temporary))) as zygote:
            house = Company(zygote, place / "home", environ)
            week(house, place / "images", place / "complaints")
        print(f"\n{house.commands} commands in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
