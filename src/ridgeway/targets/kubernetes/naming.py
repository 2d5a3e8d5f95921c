"""What our objects in a cluster are called and marked with."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

FIELD_MANAGER = "ridgeway"
PREFIX = "ridgeway.dev/"
DEPLOYMENT = PREFIX + "deployment"
"""Annotation: what was last asked for, as JSON."""
SINCE = PREFIX + "since"
"""Annotation: when what runs took its place."""
RELEASE = PREFIX + "release"
MODEL = PREFIX + "model"
GAP_SECONDS = PREFIX + "gap-seconds"
"""Annotation: the gap that was announced for the roll-out under way."""
CERTIFICATE = PREFIX + "certificate"
"""Annotation of the certificate's Secret: digest of the PEM file."""
FROZEN = PREFIX + "frozen"
"""Annotation of the Lease: why nothing may be rolled out."""
TOUCHED = PREFIX + "secrets-changed"
"""Annotation of pods: makes the kubelet look at their Secrets at once."""
COMPONENT = "scoring"
_LONGEST = 52  # Pods get up to 11 characters more, and a label's value may have 63.


@dataclass(frozen=True, slots=True)
class Place:
    """Where an endpoint's objects are.

    Example:
        >>> Place("prod", "diabetes_v2", "production").object_name
        'diabetes-v2-production'
    """

    namespace: str
    name: str
    """The endpoint's."""
    target: str

    @property
    def object_name(self) -> str:
        """Of every object: endpoint and target, so that QA and production may share a namespace."""
        text = f"{self.name}-{self.target}".replace("_", "-").lower().strip("-")
        if len(text) <= _LONGEST:
            return text
        return f"{text[: _LONGEST - 9].rstrip('-')}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    @property
    def selector(self) -> dict[str, str]:
        """Labels of the endpoint's pods, and of nothing else; never changed, since a Deployment's cannot be."""
        return {
            "app.kubernetes.io/name": self.name,
            "app.kubernetes.io/instance": self.object_name,
            "app.kubernetes.io/component": COMPONENT,
        }

    @property
    def labels(self) -> dict[str, str]:
        """Labels of every object of the endpoint."""
        return {**self.selector, "app.kubernetes.io/part-of": self.name, "app.kubernetes.io/managed-by": FIELD_MANAGER}

    @property
    def query(self) -> str:
        """Finds every object of the endpoint."""
        return f"app.kubernetes.io/instance={self.object_name},app.kubernetes.io/managed-by={FIELD_MANAGER}"

    @property
    def pod_query(self) -> str:
        """Finds the endpoint's pods."""
        return ",".join(f"{key}={value}" for key, value in self.selector.items())

    @property
    def keys_secret(self) -> str:
        """Name of the Secret with the keys."""
        return f"{self.object_name}-keys"

    @property
    def tls_secret(self) -> str:
        """Name of the Secret with the certificate."""
        return f"{self.object_name}-tls"
