"""The environment of the loaders that the benchmarks compare with: made once, in .bench/peers."""

import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[3]
_FOLDER = _ROOT / ".bench/peers"
_REQUIREMENTS = Path(__file__).resolve().with_name("requirements.txt")


def peers_packages() -> str:
    """The folder that their packages are in, if they are installed."""
    return sysconfig.get_path("purelib", vars={"base": str(_FOLDER)})


def peers_wanted() -> list[str]:
    """Names of the packages asked for."""
    lines = _REQUIREMENTS.read_text().splitlines()
    return [match[0].lower() for line in lines if (match := re.match(r"[\w-]+", line))]


def peers_python() -> str:
    """Its interpreter. torch, torchvision, Pillow and retdm are this one's."""
    installed = _FOLDER / "installed.txt"
    python = _FOLDER / "bin/python"
    if not installed.is_file() or installed.read_bytes() != _REQUIREMENTS.read_bytes():
        print(f"installing {_REQUIREMENTS.name} into {_FOLDER}: some minutes", flush=True)
        venv.create(_FOLDER, clear=True, with_pip=True)
        (Path(peers_packages()) / "project.pth").write_text(
            f"{sysconfig.get_path('purelib')}\n{_ROOT}\n"
        )
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
        subprocess.run([*pip, "-q", "-r", str(_REQUIREMENTS)], check=True, stdout=sys.stderr)
        installed.write_bytes(_REQUIREMENTS.read_bytes())
    return str(python)
