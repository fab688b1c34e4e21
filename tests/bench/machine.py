"""What the numbers were measured on: `python tests/bench/machine.py`."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("torch", "torchvision", "numpy", "pillow", "simplejpeg", "webdataset")


def machine() -> dict[str, str]:
    """Processor, cores, system and the packages that decide the speed."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        **versions(_PACKAGES),
    }


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Of those that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def one_line() -> str:
    """The same for a terminal."""
    about = machine()
    packages = ", ".join(f"{name} {about[name]}" for name in _PACKAGES if name in about)
    return f"{about['processor']}, {about['cores']} cores; {about['system']}; {packages}"


if __name__ == "__main__":
    print(one_line())
