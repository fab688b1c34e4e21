import os

import pytest

from retdm.data.processes import adopt, forkserver, storage_settings


def test_a_process_has_the_storage_variables_of_the_training_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def seen() -> list[str | None]:
        names = ("RETDM_S3_STALL_S", "AWS_SESSION_TOKEN")
        with forkserver().Pool(1, adopt, (storage_settings(),)) as pool:
            return [pool.apply(os.getenv, (name,)) for name in names]

    monkeypatch.setenv("RETDM_S3_STALL_S", "7")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "old")
    assert seen() == ["7", "old"]
    # The fork server, which was started with the first, must not bring it back.
    monkeypatch.delenv("AWS_SESSION_TOKEN")
    monkeypatch.setenv("RETDM_S3_STALL_S", "8")
    assert seen() == ["8", None]
