"""Matrices in the ledger: tensors in, content-addressed bytes, tensors out."""

import math

import numpy as np
import torch
from sqlalchemy.orm import Session
from torch import Tensor

from governance.digests import digest_array
from governance.errors import IntegrityError
from governance.ledger.identity import prototype_digests, text_digests
from governance.ledger.tables import Array, Model, ModelVersion, ProjectorRecord
from governance.unlearning.bank import PromptBank
from governance.unlearning.composition import Edit
from governance.unlearning.labels import LabelSpace
from governance.unlearning.projector import Projector, digest_tensor


def store(session: Session, tensor: Tensor) -> str:
    """Keep a float64 tensor and return its digest; equal tensors are kept once."""
    digest = digest_tensor(tensor)
    if session.get(Array, digest) is None:
        array = tensor.detach().cpu().contiguous().numpy()
        session.add(
            Array(
                digest=digest, dtype=str(array.dtype), shape=list(array.shape), data=array.tobytes()
            )
        )
        session.flush()
    return digest


def load(session: Session, digest: str) -> Tensor:
    """The tensor of that digest, checked bit for bit.

    Raises:
        IntegrityError: it is missing or its bytes have another digest.
    """
    row = session.get(Array, digest)
    if row is None:
        raise IntegrityError(f"the ledger lacks the array {digest}")
    if digest_array(row.dtype, tuple(row.shape), row.data) != digest:
        raise IntegrityError(f"the array {digest} in the ledger was altered")
    values = np.frombuffer(row.data, dtype=np.dtype(row.dtype)).reshape(row.shape)
    return torch.from_numpy(values.copy())


def load_bank(session: Session, model: Model) -> PromptBank:
    """Prompt bank of a registered model."""
    return PromptBank(
        LabelSpace.from_dict(model.labels),
        load(session, model.bank_rows),
        load(session, model.bank_scores),
        load(session, model.bank_paraphrases),
    )


def load_edit(session: Session, record: ProjectorRecord) -> Edit:
    """Targets, hyperparameters and prototypes of a request's projector."""
    rows = {digest: load(session, digest) for digest in prototype_digests(record.recipe)}
    return Edit.from_dict(record.recipe, rows)


def store_text(session: Session, text: Projector | None) -> None:
    """Keep the factors of a text side."""
    if text is not None:
        store(session, text.a)
        store(session, text.b)


def load_text(session: Session, record: ProjectorRecord | ModelVersion) -> Projector | None:
    """Factors of the text side of a request's projector or of a version, None if only images are edited."""
    digests = text_digests(record.recipe)
    if not digests:
        return None
    a, b = (load(session, digest) for digest in digests)
    return Projector(a, b, math.nan)  # the condition of the fit is recorded for the image side only


def load_projector(session: Session, record: ProjectorRecord | ModelVersion) -> Projector:
    """Factors of a request's projector or of a version's composed matrix."""
    if isinstance(record, ProjectorRecord):
        condition = record.condition
    else:
        condition = record.recipe.get("condition", 1.0)  # the base model has no edit
    return Projector(
        load(session, record.factor_a), load(session, record.factor_b), float(condition)
    )
