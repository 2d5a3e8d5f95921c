"""Whether a project's CI files are valid, call commands that exist, and say the same in all four systems.

``look`` gives findings; what a program would have to look at that is not installed is a finding too, never a pass.
``look_at_corpus`` tries pipelines that others wrote: each plans, or is refused with the feature named.
"""

from ridgeway.ci.checking.corpus import Tried, look_at_corpus
from ridgeway.ci.checking.looking import look
from ridgeway.ci.checking.places import FOLDERS, SYSTEMS, CiFile, find, given

__all__ = ["FOLDERS", "SYSTEMS", "CiFile", "Tried", "find", "given", "look", "look_at_corpus"]
