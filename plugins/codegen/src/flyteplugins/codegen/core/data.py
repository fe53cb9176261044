"""The base of the data types that every room shares."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Data(BaseModel):
    """Plain data. Validators are built on first use, so that importing the types costs next to nothing."""

    model_config = ConfigDict(defer_build=True)
