"""The texts of a repository's files, read when they are asked for. The only module here that touches the disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ridgeway.ci.azure.problems import Place, refuse


class Folder(Mapping[str, str]):
    """Files below a folder by path, with slashes; what is outside of it, or no file, is not there.

    Args:
        root: The repository's root.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def __getitem__(self, path: str) -> str:
        """The text of a file.

        Raises:
            KeyError: It is no file below the root.
            PipelineError: It is no UTF-8 text.
        """
        found = (self.root / path).resolve()
        if not found.is_relative_to(self.root) or not found.is_file():
            raise KeyError(path)
        data = found.read_bytes()
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            column = error.start - data.rfind(b"\n", 0, error.start)
            problem = f"the byte {data[error.start]:#04x} is no UTF-8"
            raise refuse(Place(path, line, column), "not a text file", problem=problem) from None

    def __iter__(self) -> Iterator[str]:
        """The paths of all YAML files."""
        for found in sorted([*self.root.rglob("*.yml"), *self.root.rglob("*.yaml")]):
            yield found.relative_to(self.root).as_posix()

    def __len__(self) -> int:
        return sum(1 for _ in self)
