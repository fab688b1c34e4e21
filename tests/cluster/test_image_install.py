"""The image's own commands install retdm in a clean environment.

By default the large layer is not downloaded again: this environment stands in for it, since it has
the same versions. RETDM_LONG=1 runs that command too, which downloads and unpacks some 7 GB.
"""

import os
import re
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.dockerfile import stages, words

ROOT = Path(__file__).resolve().parents[2]
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
LONG = bool(os.environ.get("RETDM_LONG"))
PLACES = ("/src", "/wheels", "/opt/retdm", "/home/retdm")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600 if LONG else 600)]


class Image:
    """What the builder would do, in a folder: COPY, and those RUN commands that are Python's."""

    def __init__(self, folder):
        self.root, self._at, self.ran = folder / "image", "/", []
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
        self.bin = folder / "venv/bin"
        for place in PLACES:
            self._path(place).mkdir(parents=True)

    def build(self):
        for stage in stages((ROOT / "cluster/image/Dockerfile").read_text()):
            self._at = "/"
            for one in stage.instructions:
                if one.name == "WORKDIR":
                    self._at = one.text
                elif one.name == "COPY":
                    self._copy(one.text)
                elif one.name == "RUN":
                    for command in one.text.split(" && "):
                        self._run(re.sub(r"^(--\S+ +)*", "", command))

    def _path(self, text):
        return self.root / (text if text.startswith("/") else f"{self._at}/{text}").lstrip("/")

    def _copy(self, text):
        flags, (*sources, to) = words(text)
        if flags.get("from") == "python":
            return  # the interpreter itself, which a virtual environment has
        for name in sources:
            source = self._path(name) if "from" in flags else ROOT / name
            target = self._path(to)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)

    def _run(self, command):
        if not command.startswith(("pip ", "python ")):
            return  # apt, ldconfig and useradd are the base image's business
        for place in PLACES:
            command = command.replace(f" {place}", f" {self.root}{place}")
        if " -r " in command and not LONG:
            self._stand_in()
            said = self.shell(f"{command} --dry-run", at=self._path("."))
            assert "Would install" not in said, said
        else:
            self.shell(command, at=self._path("."))
        self.ran.append(command)

    def _stand_in(self):
        """Let the new environment see this one's packages, without its link to the checkout."""
        self.shell("pip uninstall --yes setuptools", at=self.root)  # older, and first on the path
        folders = [path for path in sys.path if path.endswith("site-packages")]
        assert folders, site.getsitepackages()
        [there] = self.bin.parent.glob("lib/python*/site-packages")
        (there / "dependencies.pth").write_text("\n".join(folders))

    def shell(self, command, *, at):
        env = {name: os.environ[name] for name in os.environ if not name.startswith("PYTHON")}
        env |= {"PATH": f"{self.bin}:{env['PATH']}", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        done = subprocess.run(
            ["bash", "-c", command], cwd=at, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    image = Image(tmp_path_factory.mktemp("image"))
    image.build()
    yield image
    shutil.rmtree(image.root.parent)


def test_every_step_of_python_was_run(image):
    kinds = [re.match(r"(pip \w+|python)", command)[1] for command in image.ran]
    assert kinds == ["python", "pip wheel", "python", "pip install", "pip install", "pip check"]


def test_retdm_comes_from_the_wheel_with_its_data(image):
    told = image.shell(
        "python -c 'import retdm, retdm.evaluation as e; print(retdm.__file__, e.__file__)'",
        at=image.root,
    )
    venv = str(image.bin.parent.resolve())
    assert [path.startswith(venv) for path in told.split()] == [True, True], told
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "retdm").rglob("*.*")}
    installed = Path(told.split()[0]).parents[1]
    wanted = {name for name in files if name.endswith((".py", ".toml", ".typed"))}
    assert {name for name in wanted if not (installed / name).is_file()} == set()


def test_a_job_of_the_image_itself_runs_in_its_folder(image):
    home = image.root / "home/retdm"
    said = image.shell("python jobs/train.py jobs/recipes/demo.toml --dry-run", at=home)
    assert "stage 1: trains image, classifier on bce" in said
    assert "usage:" in image.shell("python -m retdm.shard build --help", at=home)


@pytest.mark.skipif(not LONG, reason="RETDM_LONG=1 installs everything anew")
def test_the_program_of_ray_is_there_at_the_version_of_the_constraints(image):
    [pin] = re.findall(r"^ray==(\S+)$", CONSTRAINTS, re.M)
    assert f"version {pin}" in image.shell("ray --version", at=image.root)
    [torch] = re.findall(r"^torch==(\S+)$", CONSTRAINTS, re.M)
    told = image.shell("python -c 'import torch; print(torch.__version__)'", at=image.root)
    assert told.startswith(torch)
