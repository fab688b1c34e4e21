"""Reads the JSON files that a run keeps on its storage, beside its checkpoints."""

from typing import Any

from pydantic import BaseModel, ValidationError

from retdm.errors import CheckpointError
from retdm.json_input import parse_json
from retdm.storage import Store


def read_checked(store: Store, name: str, kind: type[BaseModel], *, what: str) -> dict[str, Any]:
    """The object in the JSON file `name` of the run's folder.

    Args:
        store: The run's folder.
        name: Of the file.
        kind: Fields that it must have; others stay in the object unchecked.
        what: The file is called in the error.

    Raises:
        CheckpointError: If it is not JSON, or a field is missing or of another type.
        NotFoundError: If there is no such file.
    """
    content = store.read(name)
    try:
        found = parse_json(content)
        kind.model_validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise CheckpointError(
            f"{store.url}/{name}: not {what}; restore the file, or use another --run-name "
            f"({where}: {first['msg']})"
        ) from None
    except ValueError as error:
        raise CheckpointError(
            f"{store.url}/{name}: not JSON ({error}); restore the file, or use another --run-name"
        ) from None
    checked: dict[str, Any] = found
    return checked
