"""Recording data sets."""

from pathlib import Path

from governance.datasets import DatasetRole, Manifest, scan
from governance.ledger.database import Ledger
from governance.ledger.events import append
from governance.ledger.facts import dataset_facts
from governance.ledger.lookup import check_free
from governance.ledger.names import check_name
from governance.ledger.tables import Dataset
from governance.ledger.types import now
from governance.progress import Meter, silent
from governance.workflow.refusals import recorded
from governance.workflow.transition import require


@recorded("add", "dataset", "name")
def add(
    ledger: Ledger,
    actor: str,
    name: str,
    location: Path,
    role: DatasetRole = DatasetRole.EVAL,
    skip_unreadable: bool = False,
    meter: Meter = silent,
) -> Manifest:
    """Record a data set: digests of all its images, each of which must decode.

    Raises:
        InvalidInputError: the name is taken, there are no images, or one cannot be read.
        NotFoundError: the place does not exist.
    """
    check_name("data set", name)
    location = location.absolute()
    with ledger.read() as session:
        require(session, actor, "dataset.add")
        check_free(session, Dataset, "data set", name)
    manifest = scan(location, skip_unreadable, meter, role is not DatasetRole.REFERENCE)
    with ledger.write() as session:
        require(session, actor, "dataset.add")
        check_free(session, Dataset, "data set", name)
        dataset = Dataset(
            name=name,
            role=role.value,
            location=str(location),
            digest=manifest.digest,
            images=len(manifest.items),
            skipped=len(manifest.skipped),
            manifest=manifest.to_json(),
            added_at=now(),
        )
        session.add(dataset)
        payload = {"dataset": dataset_facts(dataset)}
        append(session, actor, "dataset.added", f"dataset:{name}", payload)
    return manifest
