"""What storage holds of a comparison's cell: finished, begun or nothing, and how to go on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retdm.config import Config, parse
from retdm.errors import CheckpointError
from retdm.onray.compare_essence import put, taken
from retdm.onray.compare_plan import Cell
from retdm.onray.run_record import reading_of, stored_result, stored_settings
from retdm.storage import join_url, open_store
from retdm.train.checkpoint import check_reading, deciding
from retdm.train.history import checkpoint_name, reached
from retdm.train.result import RESULT


@dataclass(frozen=True)
class Standing:
    """What storage holds of a cell before anything is run."""

    result: dict[str, Any] | None
    stage: str
    """Stage reached; "" if it is still to begin."""
    epoch: int

    @property
    def text(self) -> str:
        """For a list of what is to do."""
        if self.result is not None:
            return "finished, reused"
        if self.stage:
            return f"resumed after stage {self.stage} epoch {self.epoch}"
        return "to run"


def standing(folder: str, cell: Cell) -> Standing:
    """Look at what there is of the cell in `folder`, the URL that holds all cells.

    Raises:
        CheckpointError: If its method has taken other readings since it was begun, or it is
            finished, but settings left at their defaults were others.
    """
    store = open_store(join_url(folder, cell.name))
    if store.size(RESULT) is None:
        stage, epoch = reached(store)
        if stage:
            then = reading_of(stored_settings(store), cell.reading)
            check_reading(then, cell.reading, run=store.url, state="begun")
        return Standing(None, stage, epoch)
    result = stored_result(store)
    then, now = deciding(result["config"]), deciding(_as_then(cell, result["config"]))
    differing = [
        f"{key}: {then[key]} -> {now[key]}"
        for key in sorted(then.keys() & now.keys() - {"start_from"})
        if then[key] != now[key]
    ]
    if differing:
        raise CheckpointError(
            f"{store.url}: finished when the defaults were others ({'; '.join(differing)}); "
            "set the old values, or use another --run-name"
        )
    # Results of two versions of a method must not become one mean.
    check_reading(result["reading"], cell.reading, run=store.url, state="finished")
    return Standing(result, "", 0)


def _as_then(cell: Cell, before: Mapping[str, Any]) -> dict[str, Any]:
    """The cell's settings, with those that its method ignores as they stood in an earlier run.

    Their defaults may have changed since, which is no reason to train it again.
    """
    settings = cell.config.model_dump(mode="json")
    for path in cell.unused:
        value = taken(before, path)
        if value is not None:
            put(settings, path, value)
    return settings


def starting(cell: Cell, storage: str) -> Config:
    """The cell's settings with the checkpoint to start from; a begun one keeps its own."""
    store = open_store(join_url(storage, cell.name))
    if reached(store)[0]:
        before = stored_settings(store)["config"]
        settings = _as_then(cell, before) | {"start_from": before.get("start_from", "")}
        return parse(Config, settings, source=store.url)
    if cell.shared:
        shared = join_url(storage, cell.shared)
        start_from = join_url(shared, checkpoint_name(open_store(shared), "latest"))
    else:
        start_from = ""
    return cell.config.model_copy(update={"start_from": start_from})
