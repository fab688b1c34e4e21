"""Settings of one run: typed, frozen, read from TOML, with `--set a.b=c` on top.

A recipe (`jobs/recipes/*.toml`) holds what differs from the defaults in `schema.py`, which are
the paper's where the paper states them. The resolved settings are saved with every run.
"""

from retdm.config.base import Settings
from retdm.config.load import (
    apply_overrides,
    known_keys,
    lay_over,
    load_config,
    load_search,
    parse,
    read_recipe,
    read_toml,
)
from retdm.config.methods import (
    AslSettings,
    C2aeSettings,
    CenterSettings,
    CnnRnnSettings,
    LmmoSettings,
    MlsplSettings,
    WarpSettings,
)
from retdm.config.run import CheckpointSettings, RunSettings
from retdm.config.schema import (
    DEFAULT_STAGES,
    BankSettings,
    Config,
    DataSettings,
    LossSettings,
    ModelSettings,
    OptimizerSettings,
    StageSettings,
    Table,
)
from retdm.config.tune import Domain, TuneSettings

__all__ = [
    "DEFAULT_STAGES",
    "AslSettings",
    "BankSettings",
    "C2aeSettings",
    "CenterSettings",
    "CheckpointSettings",
    "CnnRnnSettings",
    "Config",
    "DataSettings",
    "Domain",
    "LmmoSettings",
    "LossSettings",
    "MlsplSettings",
    "ModelSettings",
    "OptimizerSettings",
    "RunSettings",
    "Settings",
    "StageSettings",
    "Table",
    "TuneSettings",
    "WarpSettings",
    "apply_overrides",
    "known_keys",
    "lay_over",
    "load_config",
    "load_search",
    "parse",
    "read_recipe",
    "read_toml",
]
