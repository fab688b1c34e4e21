"""Every command that a page tells a reader to type is run by a test, or it is said why not.

Those of README.md are run here from its top to its end, as they stand, by one shell. What is to be
there before one of them (photos, a folder of tars) is made by what stands in `_BEFORE`.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.documentation.documented import Command, block, commands, pages

_ELSEWHERE = {
    r"make (setup|check|test)": (".ci/run", "make check"),
    r"make demo": ("tests/local/test_demo.py", "demo.__file__"),
    r"python -m retdm.shard fetch .*": ("tests/shard/test_fetch.py", "fetch"),
    r"python -m retdm.shard build shards/(mirflickr25k|coco2014|scene).toml .*":
        ("tests/shard/test_real_photos.py", "mirflickr25k"),
    r"python -m retdm.shard build shards/synthetic.toml .*":
        ("tests/system/test_coco_to_result.py", "shards/synthetic.toml"),
    r"python -m retdm.shard (verify|stats) URL .*":
        ("tests/shard/test_command_line.py", '"stats"'),
    r"python cluster/local/services.py start .*": ("tests/local/test_services.py", '"start"'),
    r"eval \"\$\(python cluster/local/services.py env .*":
        ("tests/local/test_services.py", '"env"'),
    r"python -m retdm.predict .* --ray .*": ("tests/predict/test_on_ray.py", '"--ray"'),
    r"python jobs/serve.py .*": ("tests/jobs/test_serve.py", "jobs/serve.py"),
    r"ray job submit .* python jobs/train.py .*": ("tests/cluster/test_submitted.py", "submit"),
    r"ray job (logs|status|stop) .*": ("tests/cluster/test_submitted.py", "logs"),
    r"python jobs/train.py .*/coco2014-vgg16.toml .*": ("tests/jobs/test_train.py", "dry-run"),
    r"RETDM_CHAOS_KILLS=20 .*": ("tests/system/test_chaos.py", "RETDM_CHAOS_KILLS"),
    r"RETDM_LONG=1 .*": ("tests/system/test_hosts.py", "@long"),
    r"kubectl kustomize .*": ("tests/cluster/test_readme.py", "kustomization"),
    r"ray up mine-aws.yaml": ("tests/cluster/test_aws.py", "prepare_config"),
    r"\(umask 077; ray get-auth-token .*": ("tests/cluster/test_running.py", "umask"),
}  # fmt: skip
"""The test that runs it, perhaps with other names or fewer steps, and what shows it there."""

_BY_PEOPLE = r"make (setup && source .*|test-fast|test-long|bench)"
"""What runs tests or takes hours."""

_AWAY = r"aws .*|docker .*|helm .*|kubectl (?!kustomize).*|ray (dashboard|down) .*"
"""What needs somebody's account or cluster."""

_BEFORE = {
    "shard adopt": "python birds.py",
    "evaluate --scores": "python scores.py",
    "jobs/compare.py": (
        "for name in scene mirflickr2k; do python -m retdm.shard build ~/pets/pets.toml "
        "--source ~/pets --out s3://photos/$name; done"
    ),
}
"""By a part of the first command that wants it."""


def _rule(command: Command) -> str | None:
    found = [there for said, (there, _) in _ELSEWHERE.items() if re.fullmatch(said, command.text)]
    found += [reason for reason in (_AWAY, _BY_PEOPLE) if re.fullmatch(reason, command.text)]
    assert len(found) < 2, f"{command}: {found}"
    return found[0] if found else None


_HERE = [command for command in commands("README.md") if _rule(command) is None]


def test_every_command_is_run_somewhere_or_needs_a_cloud():
    others = [one for page in pages() if page != "README.md" for one in commands(page)]
    assert [str(one) for one in others if _rule(one) is None] == []
    assert len(_HERE) > 15


def test_what_is_said_to_run_them_is_there_and_every_rule_has_a_command():
    said = [command.text for page in pages() for command in commands(page)]
    for rule, (there, shown) in _ELSEWHERE.items():
        assert shown in (ROOT / there).read_text(), there
        assert any(re.fullmatch(rule, text) for text in said), rule


@pytest.mark.parametrize("page", pages())
def test_every_target_of_make_is_there(page):
    targets = re.findall(r"(?:^    |`)make ([a-z-]+)", (ROOT / page).read_text(), re.MULTILINE)
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(targets) <= known


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Folder in which the commands of README.md were run, and what they printed."""
    folder = tmp_path_factory.mktemp("newcomer")
    home, checkout = folder / "home", folder / "retdm"
    for part in ("retdm", "jobs", "shards", "cluster"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / part, checkout / part, ignore=ignored)
    _make_photos(home, checkout)
    (checkout / "birds.py").write_text(_BIRDS)
    (checkout / "scores.py").write_text(_SCORES)
    (checkout / "snippet.py").write_text(block("README.md", "from retdm import load"))
    (checkout / "all.sh").write_text(_script())
    env = os.environ | {
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(checkout),
    }
    try:
        run = subprocess.run(
            ["bash", "-eo", "pipefail", "all.sh"], cwd=checkout, env=env, timeout=1000,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    finally:
        stop = [sys.executable, "cluster/local/s3_server.py", "stop", "--dir", ".s3"]
        subprocess.run(stop, cwd=checkout, check=True)
    assert run.returncode == 0, run.stdout[-5000:]
    return checkout, run.stdout


def _script() -> str:
    """README's commands, with what they want before them; the long ones stop at a dry run."""
    lines, wanted = [], dict(_BEFORE)
    for command in _HERE:
        for part in [part for part in wanted if part in command.text]:
            lines.append(wanted.pop(part))
        long = re.match(r"python jobs/(compare|tune)\.py", command.text)
        lines += [f"echo '== {command.line}'", command.text + " --dry-run" * bool(long)]
    assert not wanted, wanted
    return "\n".join([*lines, "python snippet.py"]) + "\n"


def _make_photos(home: Path, checkout: Path) -> None:
    """Photos with the labels and the spec of README, and some without labels."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    header = block("README.md", "path,dog,cat,indoor").splitlines()[0]
    labels = header.count(",")
    rows = [header]
    for folder in ("pets/images", "new-photos"):
        (home / folder).mkdir(parents=True)
        for number in range(48):
            has = random.integers(0, 2, labels)
            pixels = random.integers(0, 90, (60, 80, 3)) + 150 * has[None, None, :]
            name = f"{number}.jpg"
            Image.fromarray(pixels.astype(np.uint8)).save(home / folder / name)
            rows += [",".join(map(str, [name, *has]))] * (folder == "pets/images")
    (home / "pets/labels.csv").write_text("\n".join(rows) + "\n")
    (home / "pets/pets.toml").write_text(block("README.md", 'name = "pets"'))
    shutil.copy(home / "new-photos/0.jpg", checkout / "photo.jpg")


_BIRDS = """\
import io, json, pathlib, tarfile, boto3
photos = sorted(pathlib.Path.home().glob("pets/images/*.jpg"))
for split in ("train", "val"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for number, photo in enumerate(photos[:6]):
            tags = json.dumps({"tags": ["owl"] if number % 2 else ["owl", "wren"]}).encode()
            for end, content in (("jpg", photo.read_bytes()), ("json", tags)):
                entry = tarfile.TarInfo(f"{split}{number}.{end}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    boto3.client("s3").put_object(Bucket="photos", Key=f"birds/{split}-0.tar", Body=out.getvalue())
"""

_SCORES = """\
import numpy
scores = numpy.random.default_rng(0).random((20, 3))
numpy.savez("scores.npz", scores=scores, targets=(scores > 0.5).astype("uint8"))
"""


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(1200)
def test_the_readme_goes_from_a_csv_to_a_model_in_use(done):
    checkout, said = done
    assert "48 samples" in said or "48 images" in said, said
    for name in ("val.json", "metrics.json", "pets.html", "train.npz", "pets.onnx"):
        assert (checkout / name).stat().st_size > 0
    assert len((checkout / "labels.jsonl").read_text().splitlines()) == 48
    assert (checkout / "pets/bundle.json").exists()
