"""What limits 8, 64 and 512 workers, reckoned from measured costs: table of cluster/SCALING.md.

    python tests/bench/scaling.py                            # what the page has
    python tests/bench/scaling.py --images-per-second 300    # of one worker, as a run prints it

Nothing is run: GPUs were not at hand. `Assumed` holds what was not measured here.
"""

import argparse
import dataclasses
from dataclasses import dataclass

MB, GB = 1e6, 1e9
WORKERS = (8, 64, 512)


@dataclass(frozen=True)
class Measured:
    """Figures of RESULTS.md and of the shard specs."""

    gradient_bytes: float = 479.9 * MB
    """VGG-16, one step."""
    embedding_bytes: float = 512 * 4 + 8
    """Of one image, gathered with its number."""
    decode_cpu_s: float = 4.14e-3
    """A photo of 640x480 to a crop of 224, in a loader process, on a Zen 3 core."""
    photo_bytes: float = 163e3
    """COCO 2014: 13.51 GB of 82,783 training photos."""
    part_bytes: float = 8 * 2**20
    """Shards are downloaded in ranged requests of this size."""
    row_bytes: float = 75 + 2 * 80
    """Of an image of 80 labels in the tables of one process."""


@dataclass(frozen=True)
class Assumed:
    """What was not measured here."""

    images_per_second: float = 800.0
    """Of one GPU: VGG-16 at 224 px in bfloat16 takes 93 GFLOP an image, so 74 TFLOP/s."""
    rows: int = 32
    """Images a worker and step."""
    per_node: int = 8
    cores: int = 48
    link_bytes_per_s: float = 200 * GB
    """All-reduce among the GPUs of one node (NVLink)."""
    network_bytes_per_s: float = 35 * GB
    """All-reduce among nodes: 70 % of 400 Gbit/s a node (EFA)."""
    s3_bytes_per_s: float = 5 * GB
    """From S3 to one node."""
    requests_per_s: float = 5500.0
    """GETs that S3 promises for one prefix, before it has divided it."""


@dataclass(frozen=True)
class Reckoned:
    """One column of the table."""

    workers: int
    nodes: int
    batch: int
    compute_s: float
    reduce_s: float
    gathered_bytes: float
    cores: float
    """That decode, of each node."""
    wanted_bytes_per_s: float
    """From S3 to each node, if the first epoch is to be as fast as the others."""
    had_bytes_per_s: float
    """What there is: the node's network, or its share of the requests."""
    requests_per_s: float
    """Of the cluster, at that speed."""

    @property
    def hidden(self) -> float:
        """All-reduce over the backward pass, two thirds of a step: below 1 it can hide."""
        return self.reduce_s / (self.compute_s * 2 / 3)

    @property
    def first_epoch(self) -> float:
        """How many times as long as the others the first epoch takes."""
        return max(1.0, self.wanted_bytes_per_s / self.had_bytes_per_s)


def reckon(workers: int, measured: Measured, assumed: Assumed) -> Reckoned:
    """What `workers` GPUs in full nodes do, each with the same rows.

    Every node reads every shard, since any sample of an epoch may come to any rank; so the bytes
    that a node wants grow with the speed of the whole cluster.
    """
    nodes = workers // assumed.per_node
    compute_s = assumed.rows / assumed.images_per_second
    inside = 2 * (assumed.per_node - 1) / assumed.per_node
    between = 2 * (nodes - 1) / nodes
    reduce_s = measured.gradient_bytes * (
        inside / assumed.link_bytes_per_s + between / assumed.network_bytes_per_s
    )
    wanted = workers * assumed.images_per_second * measured.photo_bytes
    had = min(assumed.s3_bytes_per_s, assumed.requests_per_s * measured.part_bytes / nodes)
    return Reckoned(
        workers=workers,
        nodes=nodes,
        batch=workers * assumed.rows,
        compute_s=compute_s,
        reduce_s=reduce_s,
        gathered_bytes=workers * assumed.rows * measured.embedding_bytes,
        cores=assumed.per_node * assumed.images_per_second * measured.decode_cpu_s,
        wanted_bytes_per_s=wanted,
        had_bytes_per_s=had,
        requests_per_s=nodes * min(wanted, had) / measured.part_bytes,
    )


def table(measured: Measured, assumed: Assumed) -> str:
    """Markdown, a column for each number of workers."""
    columns = [reckon(workers, measured, assumed) for workers in WORKERS]
    rows = [
        ("nodes", [f"{one.nodes}" for one in columns]),
        ("images in a step", [f"{one.batch:,}" for one in columns]),
        ("compute, ms a step", [f"{one.compute_s * 1e3:.0f}" for one in columns]),
        ("all-reduce, ms", [f"{one.reduce_s * 1e3:.0f}" for one in columns]),
        ("of the backward pass", [f"{one.hidden:.0%}".replace("%", " %") for one in columns]),
        ("gathered, MB a step", [f"{one.gathered_bytes / MB:.1f}" for one in columns]),
        ("cores that decode, of a node's", [f"{one.cores:.0f}" for one in columns]),
        (
            "from S3 to each node in the first epoch, GB/s wanted",
            [f"{one.wanted_bytes_per_s / GB:.1f}" for one in columns],
        ),
        ("there is, GB/s", [f"{one.had_bytes_per_s / GB:.2f}" for one in columns]),
        ("requests a second, all nodes", [f"{one.requests_per_s:,.0f}" for one in columns]),
        ("first epoch, times the others", [f"{one.first_epoch:.0f}" for one in columns]),
    ]
    head = ["| workers | " + " | ".join(f"{one.workers}" for one in columns) + " |"]
    head.append("|---|" + "---:|" * len(columns))
    return "\n".join(head + [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for field in dataclasses.fields(Assumed):
        parser.add_argument(
            "--" + field.name.replace("_", "-"),
            type=type(field.default),
            default=field.default,
            help="default: %(default)s",
        )
    assumed = Assumed(**vars(parser.parse_args()))
    print(table(Measured(), assumed))


if __name__ == "__main__":
    main()
