"""How Prefect keeps our values as JSON: nouns as ``artifacts.to_json`` writes them, errors by their message."""

from __future__ import annotations

from typing import Any

from ridgeway import artifacts


def encode(value: Any) -> Any:
    """The JSON form of what JSON itself does not know; for Prefect's serializer.

    Raises:
        TypeError: Neither a noun nor an error.
    """
    if isinstance(value, BaseException):
        return {"error": f"{type(value).__module__}.{type(value).__qualname__}", "message": str(value)}
    if type(value).__name__ in artifacts.NOUNS:
        return artifacts.to_json(value)
    raise TypeError(
        f"a step returned {type(value).__module__}.{type(value).__qualname__}; a step's result is kept as JSON: "
        "return numbers, text, lists, dictionaries or a noun of ridgeway.artifacts"
    )


def decode(content: dict[str, Any]) -> Any:
    """The noun that ``encode`` wrote; any other mapping as it is.

    Example:
        >>> data = artifacts.Dataset("d", "sha256:0", 1, (), "d.csv")
        >>> decode(encode(data)) == data
        True
    """
    if content.get("schema") == artifacts.SCHEMA and content.get("kind") in artifacts.NOUNS:
        return artifacts.from_json(content)
    return content
