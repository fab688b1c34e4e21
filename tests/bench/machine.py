"""What the numbers were measured on: `python tests/bench/machine.py`."""

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, distribution, distributions, version
from pathlib import Path

from peers.environment import peers_packages, peers_wanted

_PACKAGES = ("torch", "torchvision", "numpy", "pillow", "simplejpeg", "webdataset")
_JPEG = {"pillow": "libjpeg*", "simplejpeg": "_jpeg*.so", "torchvision": "libjpeg*"}
"""Where a package has its libjpeg-turbo."""
_TURBO = re.compile(rb"libjpeg-turbo version ([0-9.]+)")


def machine() -> dict[str, str]:
    """Processor, cores, system and the packages that decide the speed, those of peers included."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        **{name: found for name in _PACKAGES if (found := _version(name))},
        "libjpeg-turbo": ", ".join(
            f"{found} ({name})" for name in _JPEG if (found := _turbo(name))
        ),
        "peers": _peers(),
    }


def one_line() -> str:
    """The same for a terminal."""
    about = machine()
    packages = [*_PACKAGES, "libjpeg-turbo"]
    named = ", ".join(f"{name} {about[name]}" for name in packages if about.get(name))
    return (
        f"{about['processor']}, {about['cores']} cores; {about['system']}; {named}; "
        f"peers: {about['peers']}"
    )


def _peers() -> str:
    """The loaders and decoders to compare with, as they are installed beside the project."""
    found = {each.name.lower(): each.version for each in distributions(path=[peers_packages()])}
    named = [f"{name} {found[name]}" for name in peers_wanted() if name in found]
    return ", ".join(named) or "not installed yet (bench_loader.py does it)"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _turbo(name: str) -> str:
    """The version that is written into the library which a package brings along; "" if unknown."""
    try:
        files = distribution(name).files or []
    except PackageNotFoundError:
        return ""
    for path in (Path(str(f.locate())) for f in files if f.match(_JPEG[name])):
        if match := _TURBO.search(path.read_bytes()):
            return match[1].decode()
    return ""


if __name__ == "__main__":
    print(one_line())
