"""The door to whoever is told without asking: messages kept in an outbox, and sent, signed, to one webhook.

What is told is written first, into ``.ridgeway/notifications/``, so that no crash loses it. Sending follows the
published scheme of Standard Webhooks: a message keeps its id for ever, and a receiver that gets it twice can tell.
"""

from __future__ import annotations

from ridgeway.notifications.delivery import Round, deliver_pending, deliver_quickly
from ridgeway.notifications.message import Message, Person, Told, message
from ridgeway.notifications.outbox import Kept, Outbox
from ridgeway.notifications.receiver import Receiver, configured

__all__ = [
    "Kept",
    "Message",
    "Outbox",
    "Person",
    "Receiver",
    "Round",
    "Told",
    "configured",
    "deliver_pending",
    "deliver_quickly",
    "message",
]
