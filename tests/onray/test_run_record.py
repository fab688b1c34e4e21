"""Whether a run may begin in a folder."""

import pytest

from retdm.errors import CheckpointError
from retdm.onray.run_record import is_finished
from retdm.storage import open_store


@pytest.mark.parametrize("resume", ["auto", "never", "must"])
def test_a_run_may_not_begin_in_the_folder_of_a_search(resume, tmp_path):
    (tmp_path / "tune.json").write_text("{}")
    with pytest.raises(CheckpointError, match="a search of this name exists; choose another"):
        is_finished(open_store(str(tmp_path)), {}, resume)
