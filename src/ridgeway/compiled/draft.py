"""What a form of a model is before it has been proven: its files and what the server must know about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


class Unsupported(Exception):
    """This form cannot hold this estimator; the message says which part of it stands in the way."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A form of a model: its kind, files by name, the manifest's ``form`` record, the distributions it needs."""

    kind: str
    files: dict[str, bytes]
    form: dict[str, Any] = field(default_factory=dict)
    requires: tuple[str, ...] = ()
    probabilities: bool = True
    float32: bool = False


def array_bytes(array: Any) -> bytes:
    """An array as the bytes of an ``.npy`` file."""
    import io

    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()
