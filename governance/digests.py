"""One way to turn records and arrays into digests, used by the ledger, the engine and the adapters.

Records are serialised as RFC 8785 canonical JSON, so that a digest can be recomputed in any language. Every
digest is written ``sha256:<64 hex digits>``.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import rfc8785


def canonical_json(value: Any) -> str:
    """`value` as RFC 8785 canonical JSON text.

    Raises:
        ValueError: `value` holds something JSON cannot express (NaN, an integer of 2^53 or more, bytes).
    """
    return rfc8785.dumps(value).decode()


def digest_bytes(data: bytes) -> str:
    """Digest of raw bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def digest_json(value: Any) -> str:
    """Digest of the canonical JSON form of `value`."""
    return digest_bytes(canonical_json(value).encode())


def digest_array(dtype: str, shape: tuple[int, ...], data: bytes) -> str:
    """Digest of an array: one line of canonical JSON naming dtype and shape, then its little-endian bytes.

    Args:
        dtype: NumPy name such as ``float64``.
        shape: dimensions, row-major.
        data: ``prod(shape)`` elements, C order, little-endian.
    """
    header = canonical_json({"dtype": dtype, "shape": list(shape)}).encode() + b"\n"
    return digest_bytes(header + data)


def digest_mapping(digests: Mapping[str, str]) -> str:
    """Digest of named digests, independent of their order (a state dict, a directory)."""
    return digest_json(dict(digests))


def short(digest: str) -> str:
    """First twelve hex digits, for people."""
    return digest.removeprefix("sha256:")[:12]


def load_json(text: str) -> Any:
    """Inverse of `canonical_json`."""
    return json.loads(text)
