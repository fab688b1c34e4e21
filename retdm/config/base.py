"""What all settings tables have in common."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of every settings table: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
