"""Whether the packages are here without which nothing can be served."""

from importlib.util import find_spec

from retdm.errors import ConfigError

_PACKAGES = ("fastapi", "uvicorn", "python_multipart")


def check_installed() -> None:
    """Refuse to go on without the extra "serve".

    Raises:
        ConfigError: If a package is missing.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"serving needs {', '.join(missing)}, not installed here; pip install 'retdm[serve]'"
        )
