"""One process at a time; the lock of a dead process is taken over; files appear whole."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

from medadv._atomic import whole_file
from medadv._lock import locked


def test_a_second_writer_is_told_who_is_at_work(tmp_path):
    file = tmp_path / "deep" / "log.tsv"
    with locked(file):
        with pytest.raises(
            ValueError, match=f"log.tsv is being written by process {os.getpid()} on .* Wait until"
        ) as got:
            with locked(file):
                raise AssertionError("two at once")
        assert "delete" in str(got.value)
        with locked(tmp_path / "deep" / "other.tsv"):
            pass
    assert not list((tmp_path / "deep").iterdir()), "nothing stays behind"
    with locked(file):
        pass


def test_a_lock_is_let_go_when_work_fails(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path / "log"):
        raise KeyError
    with locked(tmp_path / "log"), locked(None), locked(None):
        pass


def test_another_process_is_refused_and_a_dead_one_is_not(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from _lock import locked\n"
        "with locked(sys.argv[1]):\n    print('held', flush=True); sys.stdin.read()"
    )
    folder = os.path.dirname(sys.modules["medadv._lock"].__file__)
    line = [sys.executable, "-c", code, str(tmp_path / "log"), folder]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"written by process {other.pid} on"), locked(tmp_path / "log"):
            pass
        other.kill()
        other.wait(30)
        assert (tmp_path / "log.lock").exists(), "it was killed, and could not tidy up"
        with locked(tmp_path / "log"):
            assert json.loads((tmp_path / "log.lock").read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "\0", '{"pid": "x"}'])
def test_a_damaged_lock_holds_nobody_off(text, tmp_path):
    if text.startswith('{"pid'):
        text = json.dumps({"pid": "x", "host": socket.gethostname()})
    (tmp_path / "log.lock").write_text(text)
    with locked(tmp_path / "log"):
        pass


def test_a_process_of_another_machine_may_be_alive(tmp_path):
    (tmp_path / "log.lock").write_text(json.dumps({"pid": 1, "host": "elsewhere", "start": "today"}))
    with (
        pytest.raises(ValueError, match="process 1 on elsewhere since today. .* delete .*log.lock"),
        locked(tmp_path / "log"),
    ):
        pass


def test_a_file_appears_whole_under_names_of_their_own(tmp_path):
    file = tmp_path / "a" / "file"
    with whole_file(file) as one, whole_file(file) as two:
        assert one != two
        one.write_text("one")
        two.write_text("two")
        assert not file.exists()
    assert file.read_text() == "one", "the last to end"
    with pytest.raises(KeyError), whole_file(file) as part:
        raise KeyError(part.write_text("half"))
    assert file.read_text() == "one"
    assert list(file.parent.iterdir()) == [file]
