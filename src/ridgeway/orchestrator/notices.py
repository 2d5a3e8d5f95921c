"""What others are told: events that automations and triggers wait for, and pages beside a run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


def emit(event: str, resource: str, payload: Mapping[str, Any]) -> None:
    """Sends an event to the server; ``run_flow`` sees to it that it has left before the process ends.

    Args:
        event: What happened, such as ``ridgeway.model.registered``.
        resource: The handle of what it happened to, such as ``models:/diabetes/7``.
        payload: Facts about it, as JSON knows them.
    """
    from prefect.events import emit_event

    emit_event(
        event=event,
        resource={"prefect.resource.id": resource, "prefect.resource.name": resource},
        payload=dict(payload),
    )


def show_markdown(key: str, markdown: str) -> None:
    """Puts a page beside the run on the server; a later one with the same key is its next version.

    Args:
        key: Its name; what is neither a small letter nor a digit becomes a dash.
        markdown: Its text.
    """
    from prefect.artifacts import create_markdown_artifact

    create_markdown_artifact(markdown=markdown, key=re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-"))
