"""What must hold of the cluster's image beside hadolint's rules; each fault is one line."""

import re
from collections.abc import Iterator

from tests.cluster.dockerfile import Stage, stages, words

_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|ACCESS_KEY|CREDENTIAL", re.I)
_BUILD_TOOLS = re.compile(r"\b(build-essential|g?cc|g\+\+|make|cmake|\w+-dev|git|cuda-nvcc\S*)\b")
_CODE = ("retdm", "jobs", "shards", "/wheels")


def faults(text: str, *, constraints: str) -> list[str]:
    """All that is wrong with a Dockerfile, given the text of constraints.txt."""
    return [fault for rule in _RULES for fault in rule(stages(text), constraints)]


def _pin(constraints: str, package: str) -> str:
    found = re.search(rf"^{re.escape(package)}==(\S+)$", constraints, re.M)
    assert found, package
    return found[1]


def _cuda_is_that_of_torch(found: list[Stage], constraints: str) -> Iterator[str]:
    version = ".".join(_pin(constraints, "cuda-toolkit").split(".")[:3])
    if not re.fullmatch(rf"nvidia/cuda:{re.escape(version)}-base-\w+[\d.]+", found[-1].base):
        yield f"base {found[-1].base}: torch of constraints.txt has CUDA {version}"


def _every_base_is_exact(found: list[Stage], _: str) -> Iterator[str]:
    names = {stage.name for stage in found}
    for stage in found:
        if stage.base not in names and not re.search(r":\d+\.\d+\.\d+-\S+$", stage.base):
            yield f"base {stage.base}: its tag is not exact"


def _python_is_3_11(found: list[Stage], _: str) -> Iterator[str]:
    if not any(re.match(r"python:3\.11\.\d+-", stage.base) for stage in found):
        yield "no base has Python 3.11"


def _nothing_is_added_from_elsewhere(found: list[Stage], _: str) -> Iterator[str]:
    for stage in found:
        for text in stage.texts("ADD"):
            yield f"ADD {text}: use COPY"
        for text in stage.texts("RUN"):
            if re.search(r"\b(curl|wget|git clone)\b.*\b(https?|git)://", text):
                yield f"RUN {text}: downloads without a pin"


def _secrets_are_not_built_in(found: list[Stage], _: str) -> Iterator[str]:
    for stage in found:
        for name in ("ENV", "ARG"):
            for text in stage.texts(name):
                if any(_SECRET.search(word.partition("=")[0]) for word in text.split()):
                    yield f"{name} {text}: a secret would stay in the image's layers"


def _pip_is_constrained(found: list[Stage], _: str) -> Iterator[str]:
    for stage in found:
        for text in stage.texts("RUN"):
            for command in re.findall(r"pip (?:install|wheel)[^&;|]*", text):
                if "-c " not in command or "constraints.txt" not in command:
                    yield f"{command.strip()}: no -c constraints.txt"
                if "--no-cache-dir" not in command:
                    yield f"{command.strip()}: no --no-cache-dir"


def _dependencies_come_before_code(found: list[Stage], _: str) -> Iterator[str]:
    code = False
    for one in found[-1].instructions:
        flags, said = words(one.text)
        mounted = "source=/wheels" in flags.get("mount", "")
        if one.name == "RUN" and re.search(r"pip install.* -r ", one.text) and code:
            yield f"RUN {one.text}: code is copied before, so every change of it comes here again"
        copied = one.name == "COPY" and any(
            word.strip("./").startswith(_CODE) or word in (".", "./", *_CODE) for word in said[:-1]
        )
        code = code or copied or mounted


def _no_build_tools_stay(found: list[Stage], _: str) -> Iterator[str]:
    for text in found[-1].texts("RUN"):
        for command in re.findall(r"apt-get install[^&;|]*", text):
            for tool in _BUILD_TOOLS.findall(command):
                yield f"{tool} stays in the image; build in a stage of its own"
        if re.search(r"pip install.* -r ", text) and "--only-binary=:all:" not in text:
            yield f"RUN {text}: without --only-binary=:all: it may need a compiler"


def _user_is_last_and_a_number(found: list[Stage], _: str) -> Iterator[str]:
    users = found[-1].texts("USER")
    if not users or not re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", users[-1]):
        yield f"USER {users}: give a number other than 0, which runAsNonRoot can check"
        return
    after = found[-1].instructions[_last(found[-1], "USER") + 1 :]
    if late := [one.name for one in after if one.name not in ("EXPOSE", "CMD")]:
        yield f"{late[0]} comes after USER"
    uid = users[-1].partition(":")[0]
    if not any(f"--uid {uid} " in text for text in found[-1].texts("RUN")):
        yield f"no user {uid} is made"


def _last(stage: Stage, name: str) -> int:
    return max(number for number, one in enumerate(stage.instructions) if one.name == name)


def _what_ray_and_kuberay_need_is_there(found: list[Stage], _: str) -> Iterator[str]:
    installed = " ".join(found[-1].texts("RUN")).split()
    for package, why in (
        ("wget", "KubeRay's probes"),
        ("rsync", "`ray up`"),
        ("openssh-client", "the head of `ray up`"),
    ):
        if package not in installed:
            yield f"{package} is missing: {why}"
    ports = set(" ".join(found[-1].texts("EXPOSE")).split())
    if missing := {"6379", "8080", "8265", "10001", "52365"} - ports:
        yield f"EXPOSE: Ray's {', '.join(sorted(missing))} missing"
    if not any("HOME=/home/" in text for text in found[-1].texts("ENV")):
        yield "ENV HOME is missing: `ray up` would take /root"
    if not any(text.startswith("/home/") for text in found[-1].texts("WORKDIR")):
        yield "WORKDIR is not in the user's home"
    if not any("pip check" in text for text in found[-1].texts("RUN")):
        yield "no pip check"


_RULES = (
    _cuda_is_that_of_torch,
    _every_base_is_exact,
    _python_is_3_11,
    _nothing_is_added_from_elsewhere,
    _secrets_are_not_built_in,
    _pip_is_constrained,
    _dependencies_come_before_code,
    _no_build_tools_stay,
    _user_is_last_and_a_number,
    _what_ray_and_kuberay_need_is_there,
)
