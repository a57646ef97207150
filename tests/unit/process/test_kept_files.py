"""Files that are put back: each loss is logged once, and what fails is tried again."""

from __future__ import annotations

import shutil

from structlog.testing import capture_logs

from lib.process.kept_files import LOOK_NS, FileKeeper
from lib.process.state_file import create_state


def test_a_file_that_is_lost_again_and_again_is_put_back_and_logged_each_time(tmp_path):
    paths = [tmp_path / name for name in ("one", "two")]
    states = [create_state(path, {}, [7]) for path in paths]
    keeper = FileKeeper(lambda: 5, states)
    with capture_logs() as logs:
        keeper.on_time(10)
        for path in (paths[1], paths[1], paths[0]):
            path.unlink()
            keeper.on_time(20)
            keeper.on_time(30)
            assert path.exists()
    assert [(log["event"], log["log_level"]) for log in logs] == [("file_lost", "error")] * 3
    assert [log["file"] for log in logs] == [str(paths[at]) for at in (1, 1, 0)]
    assert {log["reason"] for log in logs} == {"removed or replaced; put back"}


def test_a_look_is_due_in_time_and_its_deadline_does_not_come_near(tmp_path):
    now_ns = 0
    keeper = FileKeeper(lambda: now_ns, [create_state(tmp_path / "state", {}, [7])])
    for due_ns in (LOOK_NS, 2 * LOOK_NS):
        now_ns = due_ns - 1
        assert keeper.next_deadline_ns() == now_ns + LOOK_NS
        now_ns = due_ns
        assert keeper.next_deadline_ns() == now_ns
        keeper.on_time(now_ns)


def test_the_directory_of_a_lost_file_is_made_again(tmp_path):
    path = tmp_path / "var" / "state"
    keeper = FileKeeper(lambda: 0, [create_state(path, {}, [7])])
    shutil.rmtree(tmp_path / "var")
    with capture_logs() as logs:
        keeper.on_time(1)
        keeper.on_time(2)
    assert path.exists()
    assert [log["reason"] for log in logs] == ["removed or replaced; put back"]


def test_what_cannot_be_put_back_is_logged_once_and_tried_again(tmp_path):
    path = tmp_path / "state"
    keeper = FileKeeper(lambda: 0, [create_state(path, {}, [7])])
    path.unlink()
    path.mkdir()
    with capture_logs() as logs:
        keeper.on_time(1)
        keeper.on_time(2)
        path.rmdir()
        keeper.on_time(3)
        keeper.on_time(4)
    reasons = [log["reason"] for log in logs]
    assert len(reasons) == 2
    assert "cannot be put back: it is a directory" in reasons[0]
    assert reasons[1] == "removed or replaced; put back"
