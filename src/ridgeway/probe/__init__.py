"""The door to an endpoint, as its clients see it: is it the released one, and does it answer as it was trained to?

``request`` holds what is asked for, ``connection`` talks HTTP, ``identity`` and ``answers`` make findings out of what
comes back, ``load`` measures under load. Golden rows are persons' data: they are sent only to an endpoint that has
proven what it is, and no value of them enters a finding.
"""

from __future__ import annotations

from ridgeway.probe.probing import probe
from ridgeway.probe.request import Budget, Expected, Golden, ProbeRequest

__all__ = ["Budget", "Expected", "Golden", "ProbeRequest", "probe"]
