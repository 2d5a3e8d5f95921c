"""A table of ridgeway.toml, and the types that many of its values share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A table of ridgeway.toml; every field is documented right below itself."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
