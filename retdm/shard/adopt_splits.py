"""Which tars of a folder belong to which split."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from braceexpand import braceexpand

from retdm.errors import ConfigError

_TAR = re.compile(r".+\.(tar(\.\w+)?|tgz|tbz2?|txz)", re.IGNORECASE)
_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_USUAL = ("train", "val", "test")


def tars_of_splits(
    names: Sequence[str], asked: Sequence[str], *, url: str
) -> tuple[dict[str, list[str]], list[str]]:
    """Sort the tars among `names` into splits.

    Args:
        names: All files of the set.
        asked: "NAME=PATTERN" each; none: by words such as "train" in the tars' names.
        url: Opens the errors.

    Returns:
        The tars of each split, sorted by name; and the tars that are in none.

    Raises:
        ConfigError: If there is no tar, a pattern is wrong or matches nothing, or a tar would be
            in two splits.
    """
    tars = sorted(name for name in names if _TAR.fullmatch(name))
    if not tars:
        raise ConfigError(f"{url}: no .tar file here; give the folder or prefix of the tars")
    split_of = _matched(tars, asked, url) if asked else _guessed(tars, url)
    found = set(split_of.values())
    order = [name for name in _USUAL if name in found] + sorted(found.difference(_USUAL))
    splits = {split: [tar for tar in tars if split_of.get(tar) == split] for split in order}
    return splits, [tar for tar in tars if tar not in split_of]


def _matched(tars: list[str], asked: Sequence[str], url: str) -> dict[str, str]:
    split_of: dict[str, str] = {}
    for text in asked:
        split, equals, pattern = text.partition("=")
        if not equals or not re.fullmatch(r"(?!_build$)[A-Za-z0-9_-]+", split) or not pattern:
            raise ConfigError(
                f"--split {text!r} is not NAME=PATTERN; write for example train='train-*.tar'"
            )
        for part in _expanded(pattern, text):
            # A pattern without a folder is one of base names.
            short = "/" not in part
            hits = [t for t in tars if fnmatchcase(PurePosixPath(t).name if short else t, part)]
            if not hits:
                raise ConfigError(
                    f"{url}: no tar matches {part!r} of --split {text!r}; there are "
                    f"{', '.join(tars[:3])}{' ...' if len(tars) > 3 else ''}"
                )
            for tar in hits:
                other = split_of.setdefault(tar, split)
                if other != split:
                    raise ConfigError(
                        f"{url}: {tar} would be in split {other!r} and in {split!r}; make the "
                        "patterns of --split differ"
                    )
    return split_of


def _expanded(pattern: str, text: str) -> list[str]:
    try:
        return list(braceexpand(pattern))
    except ValueError:
        raise ConfigError(
            f"--split {text!r} has a brace too many or too few; write for example "
            "train='train-{000000..000146}.tar'"
        ) from None


def _guessed(tars: list[str], url: str) -> dict[str, str]:
    """By the words in folders and names; all are "train" if no tar has any."""
    found: dict[str, str] = {}
    for tar in tars:
        words = {_WORDS[w] for w in re.findall(r"[a-z]+", tar.lower()) if w in _WORDS}
        if len(words) > 1:
            raise ConfigError(
                f"{url}: {tar} may be of split {' or '.join(sorted(words))}; say it with --split"
            )
        if words:
            found[tar] = words.pop()
    if not found:
        return dict.fromkeys(tars, "train")
    for tar in tars:
        if tar not in found:
            raise ConfigError(
                f"{url}: {tar} has no split in its name, others have; name all splits with --split"
            )
    return found
