"""Who asked for the flow run that this code is part of, as far as the server was told."""

from __future__ import annotations

import sys


def idempotency_key() -> str:
    """The key with which this flow run was asked for; empty outside of one, and for one without a key.

    Example:
        >>> idempotency_key()
        ''
    """
    if "prefect" not in sys.modules:  # then there is no flow run, and no reason to import it
        return ""
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    return str(context.flow_run.idempotency_key or "") if context and context.flow_run else ""
