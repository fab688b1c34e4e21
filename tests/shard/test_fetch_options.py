"""What a spec may say of archives, and what is said of a wrong entry."""

import re

import pytest

from retdm.errors import ConfigError
from retdm.shard.fetch_options import ArchiveOptions, archive_name
from retdm.shard.spec import load_spec

URL = "http://x/y.zip"
DIGEST = (
    "not a digest; write 'sha256:' and 64 hexadecimal digits or 'md5:' and 32 hexadecimal digits, "
    "or leave it out where none was published"
)
NO_FILE = "names no file; the address of an archive ends with the archive's name, as in https://"
NO_ADDRESS = "not a web address; write it as http://HOST/NAME.zip or https://HOST/NAME.zip"
NOT_BELOW = "not a folder of the source; write a relative path without '..', not .fetch"


@pytest.mark.parametrize(
    "name, value, told",
    [
        ("url", "ftp://x/y.zip", NO_ADDRESS),
        ("url", "y.zip", NO_ADDRESS),
        ("url", "http:///y.zip", NO_ADDRESS),
        ("url", "http://x/y z.zip", NO_ADDRESS),
        ("url", "http://x:0/y.zip", NO_ADDRESS),
        ("url", "http://x:99999/y.zip", "not a web address (Port out of range 0-65535); correct"),
        ("url", "http://x:p/y.zip", "not a web address (Port could not be cast to integer"),
        ("url", "http://[::1/y.zip", "not a web address (Invalid IPv6 URL); correct it"),
        ("url", "http://x", NO_FILE),
        ("url", "http://x/photos/", NO_FILE),
        ("url", "http://x/%2e%2e", NO_FILE),
        ("digest", "sha1:00", DIGEST),
        ("digest", "md5:00", DIGEST),
        ("digest", "md5:", DIGEST),
        ("digest", "sha256", DIGEST),
        ("digest", "0" * 64, DIGEST),
        ("digest", "md5:" + "g" * 32, DIGEST),
        ("into", "../x", NOT_BELOW),
        ("into", "/x", NOT_BELOW),
        ("into", ".fetch/x", NOT_BELOW),
        ("bytes", 0, "Input should be greater than or equal to 1"),
    ],
)
def test_a_wrong_entry(tmp_path, name, value, told):
    fields = {"url": URL, "bytes": 1, name: value}
    lines = "\n".join(f"{k} = {v!r}" for k, v in fields.items())
    (tmp_path / "s.toml").write_text(f'name = "s"\nreader = "table"\n[[fetch]]\n{lines}\n')
    with pytest.raises(
        ConfigError, match=re.escape(f"s.toml: fetch.0.{name} is {value!r}: {told}")
    ):
        load_spec(tmp_path / "s.toml")


@pytest.mark.parametrize("digest", ["", "md5:" + "aF" * 16, "SHA256:" + "0" * 64])
def test_digests_may_have_capitals_and_may_be_missing(digest):
    assert ArchiveOptions(url=URL, bytes=1, digest=digest).digest == digest.lower()


@pytest.mark.parametrize(
    "last, name",
    [
        ("photos.zip", "photos.zip"),
        ("my%20photos.zip?v=2#x", "my photos.zip"),
        ("..%2F..%2Fphotos.zip", "_.._photos.zip"),
        ("%2e%2e%5cphotos.zip", "_photos.zip"),
        (".photos.zip", "photos.zip"),
        ("a%00%0Ab.zip", "a__b.zip"),
        (f"{300 * 'x'}.zip", f"{146 * 'x'}.zip"),
    ],
)
def test_names_are_safe(last, name):
    assert archive_name(f"https://host/a/{last}") == name
