"""The command-line options that all jobs have in common."""

import argparse
import os
from pathlib import Path

from retdm.errors import ConfigError
from retdm.storage import Store, open_store
from retdm.storage.place import refuse_file


def job_parser(prog: str, *, description: str | None, examples: str) -> argparse.ArgumentParser:
    """A command line with the recipe, its overrides, the storage and the workers."""
    out = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    out.add_argument("recipe", help="TOML file of settings; see jobs/recipes/")
    out.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", help="override a setting"
    )
    out.add_argument(
        "--storage",
        type=storage_root,
        default=os.environ.get("RETDM_STORAGE", str(Path.home() / "retdm-runs")),
        help="folder or s3:// URL that all nodes reach (default: $RETDM_STORAGE or ~/retdm-runs)",
    )
    out.add_argument("--workers", default="1", metavar="N|MIN:MAX", help="DDP workers of a run")
    return out


def check_storage(url: str) -> None:
    """Refuse what runs can never be written to, before anything is done.

    Raises:
        ConfigError: If a file is where the folder is to be.
        StorageError: If the URL is of a kind that retdm does not read.
    """
    refuse_file(open_store(url), given=f"--storage {url}")


def check_apart(home: Store, data_url: str) -> None:
    """Refuse to write a run or a search into the shard set that it reads.

    Args:
        home: Of the run, comparison or search.
        data_url: Of the shard set.

    Raises:
        ConfigError: If it would be in the shard set.
    """
    data = open_store(data_url).url
    if f"{_real(home.url)}/".startswith(f"{_real(data)}/"):
        raise ConfigError(
            f"{home.url}: this is in the shard set, {data}; give a --storage outside of it, or "
            "another --run-name"
        )


def _real(url: str) -> str:
    """Without links and `..`, which may lead elsewhere."""
    return url if "://" in url else os.path.realpath(url)


def storage_root(text: str) -> str:
    """A URL as it is, a folder by its whole path: workers run elsewhere."""
    return text if "://" in text else str(Path(text).resolve())
