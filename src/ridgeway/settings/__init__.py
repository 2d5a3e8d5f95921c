"""Every setting, declared once: type, default, meaning, and where its value came from.

Layers, later wins: defaults, ``ridgeway.toml``, ``operations.toml``, environment (``RIDGEWAY_TRAINING__SEED``),
``--set``. Unknown names are errors with a suggestion, in every layer. Nothing else in the project reads the
environment.
"""

from __future__ import annotations

from ridgeway.settings.environment import (
    CI_SYSTEMS,
    NOT_SETTINGS,
    PREFIX,
    QUIET_ENVIRONMENT,
    SERVER_PREFIX,
    ci_build,
    quiet_environment,
)
from ridgeway.settings.loading import (
    OPERATIONS_SECTIONS,
    Layer,
    Loaded,
    Row,
    Settings,
    known_paths,
    load,
    operations_file,
    rows,
)
from ridgeway.settings.operations_half import (
    AccessSection,
    ApprovalSection,
    FlowsSection,
    ImageSection,
    InstanceTypeSection,
    JobsSection,
    NotificationsSection,
    RegistrySection,
    RolloutSection,
    ServersSection,
    TargetSection,
    TlsSection,
)
from ridgeway.settings.project_half import (
    BuildSection,
    DataSection,
    ProbeSection,
    ProjectSection,
    ReleaseSection,
    RulesSection,
    ScheduleSection,
    TrainingSection,
    TriggersSection,
)
from ridgeway.settings.secrets import SECRETS, secret
from ridgeway.settings.section import Section

__all__ = [
    "CI_SYSTEMS",
    "NOT_SETTINGS",
    "OPERATIONS_SECTIONS",
    "PREFIX",
    "QUIET_ENVIRONMENT",
    "SECRETS",
    "SERVER_PREFIX",
    "AccessSection",
    "ApprovalSection",
    "BuildSection",
    "DataSection",
    "FlowsSection",
    "ImageSection",
    "InstanceTypeSection",
    "JobsSection",
    "Layer",
    "Loaded",
    "NotificationsSection",
    "ProbeSection",
    "ProjectSection",
    "RegistrySection",
    "ReleaseSection",
    "RolloutSection",
    "Row",
    "RulesSection",
    "ScheduleSection",
    "Section",
    "ServersSection",
    "Settings",
    "TargetSection",
    "TlsSection",
    "TrainingSection",
    "TriggersSection",
    "ci_build",
    "known_paths",
    "load",
    "operations_file",
    "quiet_environment",
    "rows",
    "secret",
]
