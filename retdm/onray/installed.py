"""Whether the Ray that is installed is one that retdm can run on."""

from importlib.metadata import PackageNotFoundError, version

from retdm.errors import ConfigError

WANTED = "2.60"


def need_ray() -> None:
    """See that it is, before anything imports it.

    Raises:
        ConfigError: If Ray is missing, or is of another version: retdm listens to parts of Ray
            Train that every version changes.
    """
    try:
        found = version("ray")
    except PackageNotFoundError:
        found = "none"
    if not found.startswith(f"{WANTED}."):
        raise ConfigError(
            f"Ray {WANTED} is needed, {found} is installed; run pip install "
            f"'ray[default,train,tune]=={WANTED}.*'"
        )
