"""Azure Pipelines files: read with positions, expanded, planned, and run as a state machine. Only ``Folder`` reads.

``plan`` makes a plan of a file and the circumstances of a run; ``plan_text`` and ``plan_json`` show it; ``simulate``
plays it with made-up ends of steps; ``Run`` is the state machine that simulation and execution share.
"""

from ridgeway.ci.azure.folder import Folder
from ridgeway.ci.azure.inputs import Inputs
from ridgeway.ci.azure.plan_text import plan_json, plan_text
from ridgeway.ci.azure.planning import Decision, Plan, plan
from ridgeway.ci.azure.problems import PipelineError, Place, Unsupported, Warned
from ridgeway.ci.azure.running import Change, Counters, Run
from ridgeway.ci.azure.simulation import Simulated, StepOutcome, simulate

__all__ = [
    "Change",
    "Counters",
    "Decision",
    "Folder",
    "Inputs",
    "PipelineError",
    "Place",
    "Plan",
    "Run",
    "Simulated",
    "StepOutcome",
    "Unsupported",
    "Warned",
    "plan",
    "plan_json",
    "plan_text",
    "simulate",
]
