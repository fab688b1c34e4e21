"""`python -m retdm.shard fetch`: from a real HTTP server, through its failures."""

import hashlib
import io
import json
import os
import random
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from retdm.datasets.registry import read_dataset
from retdm.errors import StorageError, TransientStorageError
from retdm.shard import fetch_http
from retdm.shard.fetch_archive import fetch
from retdm.shard.fetch_http import Patience, download
from retdm.shard.fetch_options import ArchiveOptions
from retdm.shard.fetch_place import Place
from retdm.shard.spec import load_spec
from tests.shard.http_archives import Archives

QUICK = Patience(give_up_s=0.3, stall_s=0.2)
# Where requests are counted: a busy machine may answer late, and must not be asked again for it.
CALM = Patience(give_up_s=0.3, stall_s=5)
SIZE = 300_000


@pytest.fixture
def server() -> Iterator[Archives]:
    with Archives() as archives:
        yield archives


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_http, "_LONGEST_PAUSE_S", 0.01)


@pytest.fixture
def content(server: Archives) -> bytes:
    server.files["x.zip"] = random.Random(0).randbytes(SIZE)
    return server.files["x.zip"]


def zipped(files: dict[str, bytes], **attributes: Any) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            for field, value in attributes.items():
                setattr(info, field, value)
            archive.writestr(info, content)
    return out.getvalue()


PHOTOS = {f"photos/{n}.jpg": random.Random(n).randbytes(9000 + n) for n in range(12)}


@pytest.fixture
def archive(server: Archives) -> Callable[..., ArchiveOptions]:
    """`archive(bytes, **options)`: on the server, and its entry of a spec."""

    def entry(content: bytes | None = None, name: str = "a.zip", **options: Any) -> ArchiveOptions:
        body = zipped(PHOTOS) if content is None else content
        server.files[name] = body
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        fields = {"url": f"{server.url}/{name}", "bytes": len(body), "digest": digest}
        return ArchiveOptions(**{**fields, **options})

    return entry


def fetched(folder: Path, *archives: ArchiveOptions, keep: bool = False) -> list[dict[str, Any]]:
    return [r for _, r in fetch(archives, folder, spec="s.toml", keep=keep, patience=CALM)]


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.jpg")}


# ---- one file by HTTP


@pytest.mark.parametrize(
    "fault",
    [
        ("status", 503, {}),
        ("status", 429, {"Retry-After": "0"}),
        ("status", 500, {}),
        ("reset", 0),
        ("reset", 100_000),
        ("cut", 100_000),
        ("stall", 100_000, 1),
        ("other",),
    ],
    ids=str,
)
def test_a_failure_that_passes(server, content, tmp_path, fault):
    server.faults.append(fault)
    download(f"{server.url}/x.zip", tmp_path / "x.zip", size=SIZE, patience=QUICK)
    assert (tmp_path / "x.zip").read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["x.zip"]


def test_it_goes_on_where_it_was(server, content, tmp_path):
    server.faults += [("reset", 70_000), ("cut", 70_000), ("status", 503, {}), ("cut", 70_000)]
    download(f"{server.url}/x.zip", tmp_path / "x.zip", size=SIZE, patience=QUICK)
    assert (tmp_path / "x.zip").read_bytes() == content
    assert [server.starts[i] for i in (0, 2, 3, 4)] == [
        *(0, server.starts[1] + 70_000, server.starts[1] + 70_000, server.starts[1] + 140_000)
    ]
    assert [condition for _, _, condition in server.seen[1:]] == ['"one"'] * 4


def test_a_server_without_ranges_starts_over(server, content, tmp_path):
    server.ranges = False
    server.faults += [("cut", 200_000), ("reset", 100_000)]
    download(f"{server.url}/x.zip", tmp_path / "x.zip", size=SIZE, patience=QUICK)
    assert (tmp_path / "x.zip").read_bytes() == content


def test_two_versions_are_not_joined(server, content, tmp_path):
    server.faults.append(("status", 403, {}))
    (tmp_path / "x.zip.part").write_bytes(content[:1000])
    (tmp_path / "x.zip.tag").write_text('"old"')
    with pytest.raises(
        StorageError, match="the server answered 403 Forbidden; the file has moved"
    ):
        download(f"{server.url}/x.zip", tmp_path / "x.zip", size=SIZE, patience=QUICK)
    assert (tmp_path / "x.zip.part").stat().st_size == 1000
    server.files["x.zip"] = bytes(SIZE)
    download(f"{server.url}/x.zip", tmp_path / "x.zip", size=SIZE, patience=QUICK)
    assert (tmp_path / "x.zip").read_bytes() == bytes(SIZE)


def test_a_part_that_is_too_long_is_thrown_away(server, content, tmp_path):
    (tmp_path / "x.zip.part").write_bytes(bytes(SIZE + 1))
    download(f"{server.url}/x.zip", tmp_path / "x.zip", size=SIZE, patience=QUICK)
    assert (tmp_path / "x.zip").read_bytes() == content


@pytest.mark.parametrize(
    "fault, told",
    [
        (("status", 503, {}), "the server answered 503 Service Unavailable"),
        (("reset", 0), r"the connection failed \(\w+\)"),
        (("stall", 0, 1), "nothing arrived any more"),
        (("cut", 0), r"the connection failed \(\w+\)"),
    ],
    ids=str,
)
def test_patience_ends(server, content, tmp_path, fault, told):
    server.faults.append(("cut", 90_000))
    server.faults += [fault] * 500
    with pytest.raises(
        TransientStorageError,
        match=rf"x\.zip: {told}; nothing new arrived for \d s in \d+ tries, 90000 of 300000 bytes "
        "are here; check the network, then run the same command again",
    ):
        download(f"{server.url}/x.zip", tmp_path / "x.zip", size=SIZE, patience=QUICK)
    server.faults.clear()
    download(f"{server.url}/x.zip", tmp_path / "x.zip", size=SIZE, patience=QUICK)
    assert server.starts[-1] == 90_000
    assert (tmp_path / "x.zip").read_bytes() == content


def test_no_server(tmp_path):
    with pytest.raises(TransientStorageError, match=r"the connection failed \(NewConnectionError"):
        download("http://127.0.0.1:9/x.zip", tmp_path / "x", size=1, patience=QUICK)


def test_another_size_is_an_error_before_anything_is_read(server, content, tmp_path):
    with pytest.raises(
        StorageError, match="the server's file has 300000 bytes, the spec says 300001; the file"
    ):
        download(f"{server.url}/x.zip", tmp_path / "x.zip", size=SIZE + 1, patience=QUICK)
    assert list(tmp_path.iterdir()) == []


def test_a_proxy_is_used(server, content, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url.replace("//", "//user:secret@"))
    url = "http://photos.invalid/x.zip"
    download(url, tmp_path / "x.zip", size=SIZE, patience=QUICK)
    assert server.seen[0][0] == url
    monkeypatch.setenv("no_proxy", "photos.invalid")
    with pytest.raises(TransientStorageError, match="NameResolutionError"):
        download(url, tmp_path / "y.zip", size=SIZE, patience=QUICK)


@pytest.mark.parametrize("proxy", ["http://user:secret@[::1", "socks9://host:1", "http://h:x"])
def test_a_proxy_that_is_no_address(tmp_path, monkeypatch, proxy):
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(
        StorageError, match=r"^HTTP_PROXY is not the address of a proxy; write"
    ) as e:
        download("http://photos.invalid/x.zip", tmp_path / "x.zip", size=1, patience=QUICK)
    assert "secret" not in str(e.value)


@pytest.mark.parametrize("there", ["http://[::1/x.zip", "//[/x", "http://h:99999/x"])
def test_a_server_that_points_nowhere(server, content, tmp_path, there):
    server.faults.append(("status", 302, {"Location": there}))
    with pytest.raises(StorageError, match=r"x\.zip: the server points to something that is no"):
        download(f"{server.url}/x.zip", tmp_path / "x.zip", size=SIZE, patience=QUICK)


def test_an_unknown_certificate_is_refused(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-subj", "/CN=127.0.0.1", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Archives() as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        url = server.url.replace("http", "https")
        with pytest.raises(
            StorageError, match=r"certificate is not to be trusted .*SSL_CERT_FILE"
        ):
            download(f"{url}/x.zip", tmp_path / "x.zip", size=SIZE, patience=QUICK)


# ---- archives


def test_archives_become_files(server, archive, tmp_path):
    lists = zipped({"dog.txt": b"1\n", "cat.txt": b"2\n", "README": b""})
    entries = [archive(), archive(lists, "lists.zip", members="*.txt", into="lists")]
    first, second = fetched(tmp_path / "set", *entries)
    assert contents(tmp_path / "set") == PHOTOS
    assert sorted(p.name for p in (tmp_path / "set/lists").iterdir()) == ["cat.txt", "dog.txt"]
    assert first["sha256"] == hashlib.sha256(server.files["a.zip"]).hexdigest()
    assert second["files"] == {"dog.txt": 2, "cat.txt": 2}
    assert not list(tmp_path.rglob("*.zip"))
    before = len(server.seen)
    assert fetched(tmp_path / "set", *entries) == [first, second]
    assert len(server.seen) == before


def test_a_file_that_was_lost_is_brought_back(archive, server, tmp_path):
    entry = archive()
    fetched(tmp_path, entry, keep=True)
    assert Place(tmp_path, entry).path.exists()
    (tmp_path / "photos/3.jpg").unlink()
    (tmp_path / "photos/4.jpg").write_bytes(b"other")
    fetched(tmp_path, entry)
    assert contents(tmp_path) == PHOTOS
    assert len(server.seen) == 1


def test_an_archive_that_lies_there_is_used_and_stays(server, archive, tmp_path):
    entry = archive()
    (tmp_path / "a.zip").write_bytes(server.files["a.zip"])
    fetched(tmp_path, entry)
    assert server.seen == []
    assert contents(tmp_path) == PHOTOS
    assert (tmp_path / "a.zip").exists()


def test_a_wrong_archive_that_lies_there_is_not_touched(server, archive, tmp_path, caplog):
    entry = archive()
    (tmp_path / "a.zip").write_bytes(b"half")
    fetched(tmp_path, entry)
    assert contents(tmp_path) == PHOTOS
    assert (tmp_path / "a.zip").read_bytes() == b"half"
    assert f"a.zip: 4 bytes, the spec says {entry.bytes}, so it is not used" in caplog.text


def test_wrong_bytes_are_fetched_again_once(server, archive, tmp_path):
    entry = archive()
    server.faults.append(("flip", 5000))
    fetched(tmp_path, entry)
    assert contents(tmp_path) == PHOTOS
    assert server.starts == [0, 0]


def test_wrong_bytes_for_good_are_not_fetched_for_ever(server, archive, tmp_path):
    body = zipped(PHOTOS)
    found = hashlib.md5(body).hexdigest()
    entry = archive(body, digest="md5:" + "0" * 32)
    kept = Place(tmp_path, entry).wrong
    told = rf"a\.zip: md5 is {found}, the spec says 0{{32}} \(fetch\.0\.digest in s\.toml\), "
    todo = (
        rf"is kept as {kept}\. If the site of the data set gives the digest found, correct the "
        "spec and run the same command again, which uses that file; if not, correct the address, "
        "or remove that file to fetch it anew"
    )
    with pytest.raises(
        StorageError, match=f"{told}and so it was when fetched once more; .*{todo}"
    ):
        fetched(tmp_path, entry)
    assert len(server.seen) == 2
    with pytest.raises(StorageError, match=f"{told}as an earlier run found; .*{todo}"):
        fetched(tmp_path, entry)
    assert len(server.seen) == 2
    assert contents(tmp_path) == {}
    fetched(tmp_path, archive(body, digest=f"md5:{found.upper()}"))
    assert len(server.seen) == 2
    assert contents(tmp_path) == PHOTOS
    assert not kept.exists()


def test_a_wrong_archive_that_was_removed_is_fetched_anew(server, archive, tmp_path):
    entry = archive()
    Place(tmp_path, entry).path.parent.mkdir(parents=True)
    Place(tmp_path, entry).wrong.write_bytes(b"other")
    with pytest.raises(StorageError, match=r"5 bytes, the spec says \d+ \(fetch\.0\.digest"):
        fetched(tmp_path, entry)
    Place(tmp_path, entry).wrong.unlink()
    fetched(tmp_path, entry)
    assert contents(tmp_path) == PHOTOS


def test_bytes_that_are_wrong_in_two_ways(server, archive, tmp_path):
    entry = archive()
    server.faults += [("flip", 5000), ("flip", 6000)]
    with pytest.raises(
        StorageError,
        match=r"sha256 is .* in s\.toml\), and it was different again when fetched before: .*try "
        "another network",
    ):
        fetched(tmp_path, entry)
    fetched(tmp_path, entry)
    assert contents(tmp_path) == PHOTOS


def test_archives_of_one_name_do_not_meet(server, archive, tmp_path):
    one = archive(zipped({"one.jpg": bytes(9000)}))
    two = archive(zipped({"two.jpg": bytes(9001)}), "b/a.zip")
    server.faults += [("none",), ("cut", 4000), ("status", 403, {})]
    with pytest.raises(StorageError, match=r"b/a\.zip: the server answered 403"):
        fetched(tmp_path, one, two)
    for _ in range(2):
        fetched(tmp_path, two, one)
    assert contents(tmp_path) == {"one.jpg": bytes(9000), "two.jpg": bytes(9001)}
    assert server.starts == [0, 0, 4000, 4000]


def test_an_archive_that_is_named_twice_is_fetched_once(server, archive, tmp_path):
    body = zipped({"a.jpg": b"1", "b.txt": b"2"})
    entries = [archive(body, members="*.jpg"), archive(body, members="*.txt", into="lists")]
    for _ in range(2):
        fetched(tmp_path, *entries)
    assert contents(tmp_path) == {"a.jpg": b"1"}
    assert (tmp_path / "lists/b.txt").read_bytes() == b"2"
    assert len(server.seen) == 1
    assert not list(tmp_path.rglob("*.zip"))


@pytest.mark.parametrize(
    "name, way",
    [
        ("photos/3.jpg", "photos/3.jpg"),
        ("photos/3.jpg/mine/x.jpg", "photos/3.jpg"),
        ("photos", "photos"),
    ],
)
def test_files_of_others_are_not_overwritten(server, archive, tmp_path, name, way):
    entry = archive()
    mine = tmp_path / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_bytes(b"mine")
    for _ in range(2):
        with pytest.raises(
            StorageError,
            match=rf"{tmp_path / way}: is there already, differs from the one in the archive, and "
            r"was not written by fetch.*; nothing was unpacked\. Move them away, or choose "
            rf"another folder with --to and put the archive, {Place(tmp_path, entry).path}, into",
        ):
            fetched(tmp_path, entry)
    assert mine.read_bytes() == b"mine"
    assert len(server.seen) == 1
    assert [p for p in tmp_path.rglob("*.jpg") if p.is_file()] == [mine] * (mine.suffix == ".jpg")
    mine.rename(tmp_path / "mine")
    if way == "photos/3.jpg" != name:
        shutil.rmtree(tmp_path / way)
    fetched(tmp_path, entry)
    assert {name: (tmp_path / name).read_bytes() for name in PHOTOS} == PHOTOS


def test_it_is_said_how_many_files_are_in_the_way(archive, tmp_path):
    (tmp_path / "photos").mkdir()
    for number in (2, 3, 5):
        (tmp_path / f"photos/{number}.jpg").write_bytes(b"mine")
    (tmp_path / "photos/4.jpg").write_bytes(PHOTOS["photos/4.jpg"])
    with pytest.raises(
        StorageError, match=r"photos/2\.jpg: .*by fetch, and so are 2 more; nothin"
    ):
        fetched(tmp_path, archive())


def test_a_new_version_replaces_what_the_old_one_brought(server, archive, tmp_path):
    fetched(tmp_path, archive())
    newer = {**PHOTOS, "photos/3.jpg": b"newer"}
    fetched(tmp_path, archive(zipped(newer)))
    assert contents(tmp_path) == newer


def test_a_damaged_record_is_none(server, archive, tmp_path):
    entry = archive()
    fetched(tmp_path, entry)
    for damaged in ("", "{", "[]", "{}", '{"archive": 1, "files": [], "sha256": ""}'):
        (note,) = tmp_path.glob(".fetch/*/*.json")
        note.write_text(damaged)
        fetched(tmp_path, entry)
    assert len(server.seen) == 6


def test_a_signed_address_is_shown_without_its_signature(server, tmp_path, caplog):
    server.faults += [("status", 503, {}), ("status", 403, {})]
    with pytest.raises(
        StorageError, match=rf"^{server.url}/x\.zip\?\*\*\*: the server answered 403"
    ):
        download(
            f"{server.url}/x.zip?signature=hidden", tmp_path / "x.zip", size=SIZE, patience=QUICK
        )
    assert f"{server.url}/x.zip?***: the server answered 503" in caplog.text
    assert server.seen[0][0] == "/x.zip?signature=hidden"
    assert "hidden" not in caplog.text


def test_too_little_room_is_said_before_anything_is_fetched(server, archive, tmp_path):
    with pytest.raises(StorageError, match=r"\d+\.\d GiB are needed .* GiB are free; make room"):
        fetched(tmp_path, archive(), archive(name="b.zip", bytes=10**18))
    assert server.seen == []


def test_too_little_room_for_what_an_archive_declares(archive, tmp_path, monkeypatch):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as opened:
        opened.writestr("a.jpg", b"1")
        opened.filelist[0].file_size = 2**25  # in the directory, which is written at the end
    room = shutil.disk_usage(tmp_path)._replace(free=2**24)
    monkeypatch.setattr("retdm.shard.fetch_zip.shutil.disk_usage", lambda folder: room)
    with pytest.raises(StorageError, match=r"unpacking takes 33554432 bytes, 16777216 are free"):
        fetched(tmp_path, archive(out.getvalue()))
    assert not list(tmp_path.rglob("*.jpg"))


@pytest.mark.parametrize(
    "name, attributes, told",
    [
        ("../out.jpg", {}, "leaves the folder"),
        ("/tmp/out.jpg", {}, "leaves the folder"),
        ("a/../../out.jpg", {}, "leaves the folder"),
        ("..\\out.jpg", {}, "leaves the folder"),
        (".fetch/out.jpg", {}, r"is in \.fetch, where fetch keeps its own files"),
        ("link.jpg", {"external_attr": (stat.S_IFLNK | 0o777) << 16}, "is a link or a device"),
    ],
)
def test_members_not_to_be_trusted(archive, tmp_path, name, attributes, told):
    body = zipped({"good.jpg": b"1", name: b"2"}, **attributes)
    with pytest.raises(StorageError, match=rf"\.jpg' {told}; nothing was unpacked"):
        fetched(tmp_path / "set", archive(body))
    assert not list(tmp_path.rglob("*.jpg"))


def test_a_member_twice(archive, tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as opened:
        opened.writestr("a.jpg", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            opened.writestr("a.jpg", b"2")
    with pytest.raises(StorageError, match=r"'a\.jpg' is in it twice; nothing was unpacked"):
        fetched(tmp_path, archive(out.getvalue()))


def test_no_member_matches(archive, tmp_path):
    with pytest.raises(
        StorageError, match=r"no file in it matches 'x/\*', it begins with photos/"
    ):
        fetched(tmp_path, archive(members="x/*"))


def test_not_a_zip(archive, tmp_path):
    with pytest.raises(StorageError, match=r"a\.zip: not a sound zip archive \(File is not a zip"):
        fetched(tmp_path, archive(b"<html>" * 100))


def test_a_damaged_member(archive, tmp_path):
    body = bytearray(zipped(PHOTOS))
    body[60] ^= 1
    with pytest.raises(
        StorageError, match=r"not a sound zip archive .*Bad CRC-32 for file 'photos"
    ):
        fetched(tmp_path, archive(bytes(body)))
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("name", ["", "."])
def test_a_member_without_a_name(archive, tmp_path, name):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as opened:
        opened.writestr("a.jpg", b"1")
        opened.filelist[0].filename = name  # in the directory, which is written at the end
    with pytest.raises(StorageError, match=rf"a\.zip: '{name}' is no name; nothing was unpacked"):
        fetched(tmp_path, archive(out.getvalue()))


def test_a_member_whose_name_is_another_in_the_directory(archive, tmp_path):
    body = zipped({"é.jpg": b"1"}).replace("é".encode(), b"\xff\xff", 1)
    with pytest.raises(
        StorageError, match=r"a\.zip: not a sound zip archive \('utf-8' codec can't"
    ):
        fetched(tmp_path, archive(body))
    assert contents(tmp_path) == {}


def test_no_second_fetch_in_one_folder(server, archive, tmp_path):
    entry = archive()
    running = fetch([entry], tmp_path, spec="s.toml", keep=False, patience=QUICK)
    next(running)
    with pytest.raises(StorageError, match="another fetch is at work here; wait for it"):
        fetched(tmp_path, entry)
    running.close()
    fetched(tmp_path, entry)


def test_a_folder_that_cannot_be_made(archive, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="Not a directory; check permissions"):
        fetched(tmp_path / "file/set", archive())


# ---- the command


@pytest.fixture
def spec(server: Archives, tmp_path: Path) -> Path:
    """A spec of the mirflickr reader and its two archives on the server."""
    images = {f"mirflickr/im{n}.jpg": random.Random(n).randbytes(40_000) for n in range(1, 21)}
    server.files["photos.zip"] = zipped({**images, "mirflickr/doc/README.txt": b"x"})
    server.files["lists.zip"] = zipped({"dog.txt": b"1\n", "sea.txt": b"2\n3\n"})
    digest = hashlib.sha256(server.files["photos.zip"]).hexdigest()
    path = tmp_path / "spec.toml"
    path.write_text(f"""
name = "tiny"
reader = "mirflickr"
[options]
concepts = ["dog", "sea"]
[[fetch]]
url = "{server.url}/photos.zip"
bytes = {len(server.files["photos.zip"])}
digest = "sha256:{digest}"
members = "mirflickr/im*.jpg"
[[fetch]]
url = "{server.url}/lists.zip"
bytes = {len(server.files["lists.zip"])}
into = "mirflickr25k_annotations_v080"
""")
    return path


def test_the_command(cli, spec, server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = cli("fetch", spec)
    photos, lists = (
        hashlib.sha256(server.files[name]).hexdigest() for name in ("photos.zip", "lists.zip")
    )
    assert (status, out.splitlines()) == (
        0,
        [
            f"photos.zip: 20 files; sha256 {photos}, as the spec says (sha256)",
            f"lists.zip: 2 files; sha256 {lists}, nothing to compare it with, the spec has no "
            "digest",
            f"tiny is ready: python -m retdm.shard build {spec} --source tiny --out URL",
        ],
    )
    assert "photos.zip [####################] 0.8/0.8 MiB, " in err
    loaded, options = load_spec(spec)
    found = read_dataset(loaded.reader, options, tmp_path / "tiny")
    assert [record.labels for record in found.records[:4]] == [(0,), (1,), (1,), ()]
    assert "fetch" not in loaded.model_dump(mode="json")


def test_killed_and_run_again(spec, server, tmp_path):
    """SIGKILL, twice; what was there is not fetched again."""
    command = [sys.executable, "-m", "retdm.shard", "fetch", spec, "--to", tmp_path / "to"]
    server.delay_s = 0.02
    part = Place(tmp_path / "to", load_spec(spec)[0].fetch[0]).path.with_suffix(".zip.part")
    for least in (100_000, 300_000):
        running = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while not part.exists() or part.stat().st_size < least:
            assert running.poll() is None
            time.sleep(0.005)
        running.send_signal(signal.SIGKILL)
        running.wait()
    server.delay_s = 0
    # What a third one leaves that is killed while it writes its first file.
    (tmp_path / "to/mirflickr").mkdir()
    (tmp_path / "to/mirflickr/.im1.jpg.part").write_bytes(b"torn")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    photos = server.files["photos.zip"]
    assert server.starts[0] == 0
    assert 100_000 <= server.starts[1] < server.starts[2] < len(photos)
    assert [path for path, *_ in server.seen] == ["/photos.zip"] * 3 + ["/lists.zip"]
    with zipfile.ZipFile(io.BytesIO(photos)) as opened:
        for path in (tmp_path / "to/mirflickr").glob("*.jpg"):
            assert path.read_bytes() == opened.read(f"mirflickr/{path.name}")
    left = [path.suffix for path in (tmp_path / "to/.fetch").rglob("*") if path.is_file()]
    assert sorted(left) == ["", ".json", ".json"]


def test_a_folder_of_the_same_name_is_not_taken_for_the_source(cli, spec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny/mine.txt").write_text("mine")
    status, _, err = cli("fetch", spec)
    assert (status, err) == (
        2,
        "error: tiny: this folder is there already, and fetch did not make it; choose another "
        "with --to, or say --to tiny to unpack beside what is in it\n",
    )
    assert os.listdir(tmp_path / "tiny") == ["mine.txt"]
    assert cli("fetch", spec, "--to", "tiny")[0] == 0
    assert cli("fetch", spec)[0] == 0
    assert (tmp_path / "tiny/mine.txt").read_text() == "mine"


def test_a_name_that_is_no_folder(cli, spec):
    spec.write_text(spec.read_text().replace('"tiny"', '"../tiny"'))
    status, _, err = cli("fetch", spec)
    assert status == 2
    assert "spec.toml: name is '../tiny', which cannot be a folder's; choose a folder with" in err


@pytest.mark.parametrize("patience", ["soon", "nan", "-1", "inf"])
def test_patience_that_is_no_time(cli, spec, capsys, patience):
    with pytest.raises(SystemExit) as caught:
        cli("fetch", spec, f"--patience={patience}")
    assert caught.value.code == 2
    assert f"'{patience}' is not a number of seconds, 0 or more" in capsys.readouterr().err


def test_the_help_names_every_field(cli, capsys):
    with pytest.raises(SystemExit):
        cli("fetch", "--help")
    shown = capsys.readouterr().out
    assert all(f"\n  {name} = " in shown for name in ArchiveOptions.model_fields)


def test_a_spec_without_archives(cli, tmp_path):
    (tmp_path / "own.toml").write_text('name = "own"\nreader = "table"\n')
    status, _, err = cli("fetch", tmp_path / "own.toml")
    assert (status, err.count("\n")) == (2, 1)
    assert "own.toml: names no archive ([[fetch]]), so there is nothing to download" in err


@pytest.mark.parametrize("name", ["coco2014", "mirflickr25k"])
def test_the_official_archives_are_complete_entries(name):
    spec, options = load_spec(Path(__file__).parents[2] / f"shards/{name}.toml")
    assert all(archive.digest for archive in spec.fetch)
    wanted = json.dumps(options.model_dump(mode="json"))
    folders = {(a.into or a.members).partition("/")[0] for a in spec.fetch}
    assert all(folder in wanted for folder in folders)
