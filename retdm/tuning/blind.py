"""Which labels a validation split cannot tell anything about."""

from retdm.console import counted
from retdm.data.split import SplitData

_NAMED = 5


def blind_line(split: SplitData) -> str:
    """What to know of a split that trials are compared on; "" if it has images of all labels."""
    counts = split.table.targets.sum(0)
    unseen = [name for name, count in zip(split.manifest.labels, counts, strict=True) if not count]
    if not unseen:
        return ""
    more = f" and {len(unseen) - _NAMED} more" if len(unseen) > _NAMED else ""
    return (
        f"split {split.split!r} has no image of {counted(len(unseen), 'label')} "
        f"({', '.join(unseen[:_NAMED])}{more}): metrics over labels leave them out, so that no "
        "trial is better or worse for them"
    )
