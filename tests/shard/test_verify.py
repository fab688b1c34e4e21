"""Verifying: a sound set has no fault, and each kind of damage is named."""

import hashlib
import io
import json
import re
import tarfile

import pytest

from retdm.data.manifest import Manifest
from retdm.data.table import read_table, table_bytes
from retdm.shard.verify import Fault, verify

TAR = "train/000001.tar"


def found(shards):
    return [str(fault) for fault in verify(str(shards))]


def edit_manifest(shards, change):
    content = json.loads((shards / "manifest.json").read_text())
    change(content)
    del content["checksum"]
    (shards / "manifest.json").write_bytes(Manifest.model_validate(content).to_bytes())


def rewrite(path, change):
    """Write a tar anew with each (name, bytes) passed through `change` (None: left out)."""
    out = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=out, mode="w") as new:
        for info in old:
            changed = change(info.name, old.extractfile(info).read())
            if changed is not None:
                entry = tarfile.TarInfo(changed[0])
                entry.size = len(changed[1])
                new.addfile(entry, io.BytesIO(changed[1]))
    path.write_bytes(out.getvalue())


def test_a_sound_set_has_no_fault(shards):
    assert verify(str(shards)) == []


def test_a_fault_says_file_sample_and_what():
    assert str(Fault("a.tar", "7", "gone")) == "a.tar: sample '7': gone"
    assert str(Fault("a.tar", "", "gone")) == "a.tar: gone"


def test_one_flipped_byte_of_an_image_names_shard_and_sample(shards):
    path = shards / TAR
    with tarfile.open(path) as tar:
        member = next(m for m in tar if m.name.endswith(".jpg"))
    content = bytearray(path.read_bytes())
    content[member.offset_data + member.size - 20] ^= 1
    path.write_bytes(bytes(content))
    digest, image = found(shards)
    assert re.fullmatch(
        rf"{TAR}: sha256 is \w{{12}}\.\.\., the manifest says \w{{12}}\.\.\.; upload it again or "
        "rebuild the shard set",
        digest,
    )
    key = member.name.removesuffix(".jpg")
    assert image == f"{TAR}: sample '{key}': the image is not the one of the label table (sha256)"


def test_all_faults_are_listed(shards):
    (shards / "val/000000.tar").unlink()
    (shards / "test/000000.idx").write_bytes(b"v1.2 7\n")
    (shards / "train/junk.txt").write_bytes(b"")
    (shards / TAR).write_bytes(b"")
    text = "\n".join(found(shards))
    assert "val/000000.tar: missing; upload it again" in text
    assert "train/junk.txt: not in the manifest; delete it" in text
    assert "test/000000.idx: test/000000.idx: not a whole offset index" in text
    assert f"{TAR}: 0 bytes, the manifest says" in text
    assert f"{TAR}: damaged behind sample 0: empty file" in text


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_truncated_tar(shards, share):
    path = shards / TAR
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-1].offset_data
    path.write_bytes(path.read_bytes()[: int(share * last) // 512 * 512])
    text = "\n".join(found(shards))
    assert re.search(rf"{TAR}: \d+ bytes, the manifest says \d+", text)
    assert re.search(rf"{TAR}: damaged behind sample \d: ", text)
    assert re.search(rf"{TAR}: \d samples, the manifest says 4", text)


def test_swapped_tars(shards):
    one, two = shards / "train/000000.tar", shards / TAR
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)
    text = "\n".join(found(shards))
    assert len(re.findall(r"the label table has '\d+' in this place", text)) == 8


def test_a_sample_that_was_taken_out(shards):
    gone = []

    def change(name, content):
        gone.append(name)
        return None if name == gone[0] else (name, content)

    rewrite(shards / TAR, change)
    key = gone[0].split(".")[0]
    pattern = rf"{TAR}: sample '{key}': has \['\w+'\], wanted one jpg or png and one json"
    assert any(re.fullmatch(pattern, line) for line in found(shards))


def test_json_that_contradicts_the_table(shards):
    def change(name, content):
        if not name.endswith(".json"):
            return name, content
        value = json.loads(content)
        flip = [0] if value["label_ids"] != [0] else [1]
        return name, json.dumps({"label_ids": flip, "labels": ["sea"]}).encode()

    rewrite(shards / TAR, change)
    text = "\n".join(found(shards))
    assert len(re.findall(r"sample '\d+': labels \[[01]\], the label table says \[", text)) == 4


@pytest.mark.parametrize(
    "content, what",
    [
        (b"[]", "its json has no label_ids and labels"),
        (b"{", "its json has no label_ids and labels"),
        (b'{"label_ids": [5], "labels": ["x"]}', "its json has no label_ids and labels of this"),
        (
            b'{"label_ids": [5], "labels": ["sea"]}',
            r"label_ids \[5\] are not the labels \['sea'\]",
        ),
        (b'{"label_ids": [0], "labels": ["sky"]}', r"label_ids \[0\] are not the labels"),
        (b'{"label_ids": 0, "labels": []}', r"label_ids 0 are not the labels \[\]"),
    ],
)
def test_json_that_is_wrong(shards, content, what):
    rewrite(shards / TAR, lambda n, c: (n, content if n.endswith(".json") else c))
    assert sum(bool(re.search(what, line)) for line in found(shards)) == 4


def test_a_picture_too_large_to_decode_is_a_fault(shards, bomb):
    path = shards / "train/labels.parquet"
    table = read_table(path.read_bytes(), labels=2, name="t")
    labels = [row.nonzero()[0].tolist() for row in table.targets]
    digests = [hashlib.sha256(bomb).hexdigest()] * len(table)
    path.write_bytes(
        table_bytes(
            table.keys,
            labels,
            digests,
            table.widths,
            table.heights,
            table.offsets,
            table.sizes,
        )
    )
    rewrite(shards / TAR, lambda n, c: (n, c if n.endswith(".json") else bomb))
    reason = "the image cannot be opened (DecompressionBombError)"
    assert sum(line.endswith(reason) for line in found(shards)) == 4


def test_label_tables(shards):
    path = shards / "train/labels.parquet"
    table = read_table(path.read_bytes(), labels=2, name="t")
    labels = [row.nonzero()[0].tolist() for row in table.targets]
    labels[5] = [] if labels[5] else [1]
    digests = [table.digest(row).hex() for row in range(len(table))]
    taller, later = table.heights + 1, table.offsets + 512
    path.write_bytes(
        table_bytes(table.keys, labels, digests, table.widths, taller, later, table.sizes)
    )
    text = "\n".join(found(shards))
    assert (
        len(re.findall(r"the image is \d+ bytes at \d+, the label table says \d+ at", text)) == 14
    )
    assert "train/labels.parquet: sha256 is" in text
    assert f"{TAR}: sample '{table.keys[5]}': labels" in text
    assert len(re.findall(r"\d+x\d+ pixels, the label table says \d+x\d+", text)) == 14


def test_a_table_that_is_cut_off(shards):
    path = shards / "train/labels.parquet"
    path.write_bytes(path.read_bytes()[:50])
    assert any("labels.parquet: not a Parquet file" in line for line in found(shards))


def test_offsets_that_lead_elsewhere(shards):
    path = shards / "train/000001.idx"
    lines = path.read_text().split("\n")
    lines[2] = lines[2].replace(" 512 ", " 1024 ").replace("jpg ", "jpg 1", 1)
    path.write_text("\n".join(lines))

    def fix(content):
        shard = content["splits"]["train"]["shards"][1]
        shard["index_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()

    edit_manifest(shards, fix)
    (line,) = found(shards)
    assert re.fullmatch(r"train/000001.idx: sample '\d+': listed as .*, the tar has .*", line)


def test_counts_that_do_not_add_up(shards):
    edit_manifest(shards, lambda content: content["splits"]["val"].update(samples=3))
    text = "\n".join(found(shards))
    assert "manifest.json: 3 samples, but 2 in the shards it lists" in text
    assert "val/labels.parquet: 2 rows, the manifest says 3" in text


def test_a_photo_in_two_splits(shards):
    def change(content):
        content["splits"]["more"] = content["splits"]["val"]

    edit_manifest(shards, change)
    assert [line.partition(": ")[2] for line in found(shards)] == [
        f"sample '{key}': also in split 'val'"
        for key in read_table(
            (shards / "val/labels.parquet").read_bytes(), labels=2, name="t"
        ).keys
    ]


@pytest.mark.parametrize(
    "content, what",
    [
        (b"", "rebuild the shard set"),
        (b'{"format": "retdm-shards", "version": 1}', "version: Input should be 2; rebuild"),
    ],
)
def test_a_damaged_manifest(shards, content, what):
    (shards / "manifest.json").write_bytes(content)
    (line,) = found(shards)
    assert what in line
    assert line.count("manifest.json: ") == 1


def test_the_order_of_faults_does_not_depend_on_the_processes(shards):
    (shards / "train/000001.tar").write_bytes(b"")
    (shards / "train/000003.idx").write_bytes(b"v1.2 7\n")
    (shards / "test/000000.tar").write_bytes(b"\0" * 512)
    (shards / "val/labels.parquet").write_bytes(b"")
    one = verify(str(shards))
    assert [fault.file for fault in one][:2] == ["train/000001.tar"] * 2
    assert verify(str(shards), workers=3) == one


def test_the_folder_of_a_build_does_not_count(shards):
    (shards / "_build").mkdir()
    (shards / "_build/train-000000.json").write_bytes(b"left by a kill before the clean-up")
    assert verify(str(shards)) == []
