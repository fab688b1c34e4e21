"""Settings from TOML, with `--set a.b=c` on top, and what a user is told about a wrong one."""

import copy
import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from retdm.config.schema import DEFAULT_STAGES, Config, StageSettings, Table
from retdm.config.tune import TuneSettings
from retdm.errors import ConfigError, shown
from retdm.json_input import is_text
from retdm.shown_url import shown_url

Model = TypeVar("Model", bound=BaseModel)
_DEEPEST = 20
"""Tables and lists in one another; settings have three or four."""
_NESTED = "tables or lists in one another, too many"
_KEY = r"""(?:"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+'|[^\s.=\[\]{},"']++)"""
_LONG_KEY = re.compile(rf"(?<![^\s.=\[\]{{}},])(?:{_KEY}\s*+\.\s*+){{100}}")
"""A hundred keys and the dots between them."""


def read_toml(path: str | Path) -> Table:
    """Parse a TOML file.

    Raises:
        ConfigError: If it cannot be read or is not TOML; names line and column.
    """
    try:
        table = _toml(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; give the path of a TOML file") from None
    # ValueError: not TOML, not UTF-8, a number of thousands of digits, or a path with a NUL.
    except (ValueError, OSError) as error:
        raise ConfigError(f"{path}: not a readable TOML file ({error})") from error
    plain: Table = _plain(table, f"{path}:", ())
    return plain


def apply_overrides(table: Table, overrides: Iterable[str], *, option: str = "--set") -> Table:
    """Return a copy of `table` with each `a.b=value` laid over it.

    A value is read as TOML (`0.5`, `true`, `[1, 2]`); what is not TOML is taken as a string. A
    path part `*` stands for every key at that level, as in `stages.*.epochs=1`.

    Args:
        table: Settings so far.
        overrides: In the order in which they are laid over it.
        option: Where they were given, for errors.

    Raises:
        ConfigError: If an override has no `=` or goes through a value that is not a table, or a
            value is nested too deeply, or a whole number of more than 64 bits.
    """
    out = copy.deepcopy(table)
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not path.strip():
            lack = "setting before '='" if equals else "'='"
            raise ConfigError(f"{option} {shown(override)} has no {lack}; write it as a.b=value")
        parts = tuple(path.strip().split("."))
        if len(parts) > _DEEPEST:
            raise ConfigError(f"{option} {shown(path)}: {_NESTED}; name a setting there is")
        value = _plain(_toml_value(text.strip()), option, parts)
        _assign(out, list(parts), value, f"{option} {path}")
    return out


def _plain(value: Any, where: str, path: tuple[str, ...]) -> Any:
    """A copy of the TOML value at `path`, as JSON has it: dates and times as strings."""
    if isinstance(value, dict | list):
        if len(path) >= _DEEPEST:
            raise ConfigError(f"{where} {shown('.'.join(path))}: {_NESTED}; flatten it")
        if isinstance(value, dict):
            return {key: _plain(item, where, (*path, key)) for key, item in value.items()}
        return [_plain(item, where, (*path, str(at))) for at, item in enumerate(value)]
    wrong = ""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        wrong = "is a whole number of more than 64 bits; make it smaller"
    elif isinstance(value, str) and not is_text(value):
        wrong = f"is {shown(value)}, which is not UTF-8; write it as UTF-8"
    if wrong:
        raise ConfigError(f"{where} {'.'.join(path)} {wrong}")
    return value if isinstance(value, str | int | float) else str(value)


def _toml_value(text: str) -> Any:
    try:
        return _toml(f"v = {text}")["v"]
    except ValueError:
        return text


def _toml(text: str) -> Table:
    """Parse TOML.

    Raises:
        ValueError: If it is not TOML, or its parser would take all memory or stack for it.
    """
    # tomllib keeps every beginning of a dotted key: one of 60 KB would take gigabytes.
    if _LONG_KEY.search(text):
        raise ValueError(_NESTED)
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError(_NESTED) from None


def _assign(table: Table, parts: list[str], value: Any, given: str) -> None:
    head, *rest = parts
    if not rest:
        table[head] = value
        return
    child = table.setdefault(head, {})
    if not isinstance(child, dict):
        raise ConfigError(f"{given}: {head} is a value, not a table of settings")
    if rest[0] == "*":
        names = {*child, *(DEFAULT_STAGES if head == "stages" else ())}
        for name in sorted(names):
            _assign(child, [name, *rest[1:]], value, given)
        return
    _assign(child, rest, value, given)


def parse(kind: type[Model], table: Mapping[str, Any], *, source: str, opening: str = "") -> Model:
    """Validate a plain table as `kind`.

    Args:
        kind: What it is to be.
        table: As TOML has it.
        source: Opens the error: a file name.
        opening: Of each key, for errors: where the table is among others.

    Raises:
        ConfigError: Names each wrong key with its dotted path, the value found and what was
            wanted; an unknown key comes with the nearest known one.
    """
    try:
        return kind.model_validate(dict(table))
    except ValidationError as error:
        lines = [_explain(kind, problem, opening) for problem in error.errors()]
        raise ConfigError(f"{source}: " + "; ".join(lines)) from None


def _explain(kind: type[BaseModel], problem: Any, opening: str) -> str:
    # A key with a dot in it is quoted, as in TOML.
    parts = [f'"{part}"' if "." in str(part) else str(part) for part in problem["loc"]]
    path = f"{opening}{'.'.join(parts)}" if parts else ""
    if problem["type"] == "extra_forbidden":
        return f"unknown setting {path}{_hint(path, known_keys(kind, opening))}"
    if problem["type"] == "missing":
        return f"{path} is missing; set it"
    if problem["type"] in ("model_type", "dict_type"):
        return f"{path} is {_shown(problem)}, but it is a table of settings"
    if not path:
        return str(problem["msg"])
    return f"{path} is {_shown(problem)}: {problem['msg']}"


def _shown(problem: Any) -> str:
    given = problem["input"]
    return shown(shown_url(given) if isinstance(given, str) else given)


def _hint(path: str, known: list[str]) -> str:
    near = difflib.get_close_matches(path, known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]}?"
    table = path.rpartition(".")[0]
    opening = f"{table}." if table else ""
    rest = [key.removeprefix(opening) for key in known if key.startswith(opening)]
    names = dict.fromkeys(opening + key.partition(".")[0] for key in rest)
    return f"; known here: {', '.join(names)}"


def known_keys(kind: type[BaseModel], prefix: str = "") -> list[str]:
    """Every dotted key that `kind` accepts, nested tables included."""
    keys: list[str] = []
    for name, field in kind.model_fields.items():
        name, inner = field.alias or name, field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            keys += known_keys(inner, f"{prefix}{name}.")
        else:
            keys.append(f"{prefix}{name}")
    if kind is Config:
        keys += [
            f"stages.{stage}.{name}"
            for stage in DEFAULT_STAGES
            for name in StageSettings.model_fields
        ]
    return keys


def read_recipe(recipe: str | Path, overrides: Iterable[str] = ()) -> tuple[Table, Table]:
    """Read a recipe and lay the overrides over it.

    Returns:
        The settings of a run, and those of a search (`[tune]`), neither of them validated.

    Raises:
        ConfigError: If the file or an override is not well formed.
    """
    table = apply_overrides(read_toml(recipe), overrides)
    return table, table.pop("tune", {})


def load_config(recipe: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a recipe, lay the overrides over it and validate.

    Raises:
        ConfigError: If the file or any setting is wrong.
    """
    return parse(Config, read_recipe(recipe, overrides)[0], source=str(recipe))


def load_search(recipe: str | Path, overrides: Iterable[str] = ()) -> tuple[Table, TuneSettings]:
    """As `load_config`, for a search.

    Returns:
        The recipe's settings, which are valid, as a table to lay those of a trial over; and what
        it says of the search.

    Raises:
        ConfigError: If the file or any setting is wrong.
    """
    table, search = read_recipe(recipe, overrides)
    parse(Config, table, source=str(recipe))
    if not isinstance(search, dict):
        raise ConfigError(f"{recipe}: tune is {shown(search)}, but it is a table of settings")
    return table, parse(TuneSettings, search, source=str(recipe), opening="tune.")


def lay_over(table: Table, settings: Mapping[str, Any]) -> Table:
    """Return a copy of `table` with each value of `settings` in the place of its dotted key."""
    out = copy.deepcopy(table)
    for path, value in settings.items():
        _assign(out, path.split("."), value, path)
    return out
