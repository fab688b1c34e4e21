"""A Dockerfile as stages of instructions, for the rules that a linter does not know."""

import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Instruction:
    """One instruction, continued lines joined: `COPY`, "pyproject.toml ./"."""

    name: str
    text: str


@dataclass(frozen=True)
class Stage:
    """What follows a `FROM`."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def texts(self, name: str) -> list[str]:
        """What the instructions of this name say, in their order."""
        return [one.text for one in self.instructions if one.name == name]


def stages(text: str) -> list[Stage]:
    """All stages of a Dockerfile, in their order."""
    found: list[Stage] = []
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\s*\\\n\s*", " ", "\n".join(lines)).splitlines():
        if not line.strip():
            continue
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            base, _, alias = rest.partition(" AS ")
            found.append(Stage(base.strip(), alias.strip()))
        else:
            found[-1].instructions.append(Instruction(name, rest.strip()))
    return found


def words(text: str) -> tuple[dict[str, str], list[str]]:
    """The flags of an instruction, `--from=x`, and its other words."""
    flags = dict(flag.split("=", 1) for flag in re.findall(r"--(\S+=\S+)", text))
    return flags, [word for word in text.split() if not word.startswith("--")]
