"""Shows a worker's metrics to Prometheus, through its Ray node.

A thread reads them every few seconds and hands them to `ray.util.metrics`, from where Ray's agent
on the node serves them; training knows nothing of it. So a worker that stands still is seen to
stand still, and the disturbances of a storage that it waits for are seen while it waits.
"""

import logging
import threading
from collections.abc import Callable, Sequence

from ray.util.metrics import Counter, Gauge

from retdm.train.metrics import METRICS, Metric, Reading

_EVERY_S = 5.0
log = logging.getLogger(__name__)


class Publisher:
    """Publishes a worker's metrics, once it is started until the process ends.

    Args:
        run: URL of the run's folder.
        rank: Of this worker.
        readings: Of this worker, at any moment.
    """

    def __init__(self, run: str, rank: int, readings: Callable[[], Sequence[Reading]]) -> None:
        self._tags = {"run": run, "rank": str(rank)}
        self._readings = readings
        self._shown: dict[tuple[str, str], float] = {}
        self._on_ray = {metric.name: _on_ray(metric) for metric in METRICS}

    def start(self) -> None:
        """Publish every few seconds from now on, in a thread of its own."""
        threading.Thread(target=self._run, name="metrics", daemon=True).start()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            try:
                self.publish()
            except Exception:
                # It may be gone the next time, such as an object that was read half changed; of
                # a run that is well, all later metrics are worth more than this one.
                log.debug("metrics are not shown this time", exc_info=True)
            pause.wait(_EVERY_S)

    def publish(self) -> None:
        """Show what there is now."""
        for reading in self._readings():
            metric, key = reading.metric, (reading.metric.name, reading.part)
            tags = self._tags | ({"part": reading.part} if metric.parts else {})
            shown = self._on_ray[metric.name]
            if isinstance(shown, Gauge):
                shown.set(reading.value, tags)
                continue
            grown = reading.value - self._shown.get(key, 0.0)
            if key not in self._shown or grown > 0:
                # Not `inc`, which takes no 0: Prometheus sees no growth in a total that begins
                # with its first event, such as the first step that is skipped.
                shown._record(grown, tags)
                self._shown[key] = reading.value


def _on_ray(metric: Metric) -> Counter | Gauge:
    tags = ("run", "rank", *(("part",) if metric.parts else ()))
    kind = Counter if metric.kind == "total" else Gauge
    return kind(metric.name, description=metric.help, tag_keys=tags)
