"""The first publication: `ridgeway up` on a project of which nothing is published yet publishes its HEAD."""

from __future__ import annotations

import logging
from pathlib import Path

from ridgeway.errors import RidgewayError
from ridgeway.services.state import folder

log = logging.getLogger("ridgeway.publish")


def main(root: str) -> int:
    """Publishes HEAD if nothing of the project is published yet, and leaves word of it.

    Args:
        root: The project's root.
    """
    said, code = _publish(Path(root))
    (folder(Path(root)) / "publisher.said").write_text(said, encoding="utf-8")
    return code


def _publish(root: Path) -> tuple[str, int]:
    from ridgeway.actions.publication import ensure_published
    from ridgeway.project import open_project

    try:
        published = ensure_published(open_project(root))
    except RidgewayError as error:
        log.warning("%s", error)
        problem = f"{error.summary}{f': {error.problem}' if error.problem else ''}"
        return f"nothing is published: {problem}; mend it, then: ridgeway publish", error.exit_code
    if published is None:
        return "what is published stays; another commit by: ridgeway publish", 0
    return published.sentence, 0
