"""How samples of other people's tars are understood: which file is the image, which the labels.

The rules stand in the manifest (`source.adopted`), so that `verify` reads the tars as `adopt` did.
"""

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

from pydantic import Field

from retdm.config import Settings, parse
from retdm.data.manifest import Manifest
from retdm.json_input import is_text, parse_json
from retdm.shard.spec import Check

IMAGES = ("jpg", "jpeg", "png", "webp")
Form = Literal["auto", "names", "ids", "multi-hot"]


def adopted_rules(manifest: Manifest) -> "AdoptRules | None":
    """The rules of an adopted set; None of one that was built.

    Raises:
        ConfigError: If they are of another version of retdm.
    """
    table = manifest.source.get("adopted")
    return parse(AdoptRules, table, source="source.adopted") if table else None


class FaultySampleError(Exception):
    """A sample that the rules cannot make sense of; the message says what is wrong with it."""


class AdoptRules(Settings):
    """What decides the rows of an adopted set, besides its tars."""

    labels: str = Field(
        pattern=r"^[^:]+(:[^:]+)?$",
        description='"EXT", or "json:FIELD" with dots between nested fields',
    )
    form: Form = Field(default="auto", description="Of the labels; auto: see their values")
    listed: bool = Field(default=False, description="Whether --names gave the label space")
    image: str = Field(default="", description='Extensions by preference ("png;jpg"); "": the one')
    prefix_keys: bool = Field(default=False, description="Keys begin with the name of the tar")
    check: Check = Field(default="structure", description="How images are checked")
    skip_faulty: bool = Field(default=False, description="Whether faulty samples have no row")
    skipped: int = Field(default=0, description="Samples that so have none")

    @property
    def _extension(self) -> str:
        return self.labels.partition(":")[0].lower()

    @cached_property
    def _path(self) -> list[str]:
        field = self.labels.partition(":")[2]
        return field.split(".") if field else []

    @property
    def _is_json(self) -> bool:
        return self._extension == "json" or bool(self._path)

    def key(self, tar: str, key: str) -> str:
        """Of a sample in the set, from its key in the tar."""
        return f"{tar.removesuffix('.tar')}/{key}" if self.prefix_keys else key

    def pick_image(self, extensions: Sequence[str]) -> str:
        """The extension of a sample's image.

        Raises:
            FaultySampleError: If there is none, or more than one to choose from.
        """
        wanted = self.image.lower().split(";") if self.image else IMAGES
        found = [ext for ext in wanted if ext in extensions]
        if not found:
            raise FaultySampleError(
                f"no image: it has {_these(extensions)}, wanted {' or '.join(wanted)}"
            )
        if len(found) > 1 and not self.image:
            raise FaultySampleError(
                f"several images ({_these(found)}); choose one with --image {found[0]}"
            )
        return found[0]

    def pick_labels(self, extensions: Iterable[str]) -> str:
        """The extension of the file that holds a sample's labels.

        Raises:
            FaultySampleError: If the sample has no such file.
        """
        wanted = self._extension
        if wanted not in extensions:
            raise FaultySampleError(f"no labels: it has {_these(extensions)}, wanted {wanted}")
        return wanted

    def label_names(self, content: bytes, known: Mapping[str, int] | None) -> list[str]:
        """Names of a sample's labels, each once.

        Args:
            content: Of the file that `pick_labels` chose.
            known: Columns by name if --names gave them (`listed`); ids are then columns.

        Raises:
            FaultySampleError: If it is not what the rules say.
        """
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise FaultySampleError(f"its {self._extension} is not UTF-8 text") from None
        values = self._field(text) if self._is_json else self._listed(text)
        found = _names(values, self.form, list(known) if known is not None else None)
        for name in found:
            if not name.strip():
                raise FaultySampleError("a label without a name")
            if not is_text(name):
                raise FaultySampleError(f"label {name!r} is not Unicode text")
            if known is not None and name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise FaultySampleError(f"label {name!r} is not in --names{hint}")
        return list(dict.fromkeys(found))

    def _field(self, text: str) -> list[Any]:
        """The values of a field of a JSON file."""
        try:
            value = parse_json(text)
            for step in self._path:
                value = value[step]
        except (KeyError, TypeError):
            field = ".".join(self._path)
            raise FaultySampleError(f"its {self._extension} has no field {field!r}") from None
        except ValueError as error:
            raise FaultySampleError(f"its {self._extension} is not JSON ({error})") from None
        if isinstance(value, list):
            return value
        return [] if value is None else [value]

    def _listed(self, text: str) -> list[Any]:
        """The values of a text file, separated by commas, semicolons or line ends."""
        values = [part.strip() for part in re.split(r"[,;\n]", text) if part.strip()]
        one_number = self._extension == "cls" and self.form == "auto"
        if self.form == "names" or (self.form == "auto" and not one_number):
            return list(values)
        if one_number and len(values) != 1:
            raise FaultySampleError(f"its cls is {text[:40]!r}, wanted one whole number")
        try:
            return [int(value) for value in values]
        except ValueError:
            raise FaultySampleError(
                f"its {self._extension} is {text[:40]!r}, wanted whole numbers"
            ) from None


def _names(values: list[Any], form: Form, known: list[str] | None) -> list[str]:
    """Label names from names, ids or a multi-hot row."""
    shown = json.dumps(values)[:60]
    strings = [value for value in values if isinstance(value, str)]
    if form == "names" or (form == "auto" and len(strings) == len(values)):
        if len(strings) < len(values):
            raise FaultySampleError(f"labels {shown} are not all names")
        return strings
    if not all(isinstance(value, int | float) and value % 1 == 0 for value in values):
        raise FaultySampleError(f"labels {shown} are not all whole numbers")
    if form == "multi-hot":
        return _hot(values, known or [], shown)
    if form == "auto" and _may_be_multi_hot(values, known):
        raise FaultySampleError(
            f"labels {shown} can be ids or a multi-hot row; say which with --form ids or "
            "--form multi-hot"
        )
    if min(values, default=0) < 0 or (known is not None and max(values, default=0) >= len(known)):
        end = f"from 0 to {len(known) - 1}, as many as --names has" if known else "0 or more"
        raise FaultySampleError(f"labels {shown} are not all {end}")
    return [known[int(value)] if known is not None else str(int(value)) for value in values]


def _hot(values: list[Any], known: list[str], shown: str) -> list[str]:
    if len(values) != len(known) or not all(value in (0, 1) for value in values):
        raise FaultySampleError(
            f"labels {shown} are no multi-hot row of {len(known)} values, as many as --names has"
        )
    return [name for name, value in zip(known, values, strict=True) if value]


def _may_be_multi_hot(values: list[Any], known: list[str] | None) -> bool:
    if len(values) < 2 or not all(value in (0, 1) for value in values):
        return False
    whole_row = known is not None and len(values) == len(known)
    return whole_row or len(set(values)) < len(values) or isinstance(values[0], bool)


def _these(extensions: Iterable[str]) -> str:
    return ", ".join(sorted(extensions)) or "nothing"
