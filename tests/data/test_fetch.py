"""Fetching, against a server on this machine: what goes wrong is one sentence, and no half file."""

from __future__ import annotations

import hashlib
import logging
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from medadv.data.sources import fetch, verify

BODY = bytes(range(256)) * 8000  # several chunks
MD5 = "md5:" + hashlib.md5(BODY).hexdigest()
SHA = "sha256:" + hashlib.sha256(BODY).hexdigest()

quiet_fetch = partial(fetch, progress=False, timeout=5)


class Handler(BaseHTTPRequestHandler):
    """Paths say what the server does; what was asked for is kept in server.asked."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range"), self.headers.get("If-Range")))
        getattr(self, "do_" + self.path.strip("/").replace(".", "_"))()

    def send(self, body, status=200, announce=None, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if announce is None else announce))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_good(self):
        self.send(BODY)

    def do_missing(self):
        self.send(b"<html>no</html>", 404, Content_Type="text/html")

    def do_broken(self):
        self.send(b"", 503)

    def do_page(self):
        self.send(b"<html>please log in</html>", Content_Type="text/html; charset=utf-8")

    def do_hidden_page(self):
        self.send(b"\n <!DOCTYPE html><p>please log in</p>", Content_Type="application/octet-stream")

    def do_moved(self):
        self.send(b"", 302, Location="/good")

    def do_stops(self):
        """Break off after half, then go on from where the client says, if its version is still ours."""
        start = self.headers.get("Range")
        headers = {"ETag": self.server.tag}
        if start is None or self.headers.get("If-Range") not in (None, self.server.tag):
            half = self.server.stops
            self.send(BODY[: len(BODY) // 2] if half else BODY, announce=len(BODY), **headers)
            return
        at = int(start.removeprefix("bytes=").rstrip("-"))
        if at >= len(BODY):
            self.send(b"", 416, Content_Range=f"bytes */{len(BODY)}")
        else:
            self.send(BODY[at:], 206, Content_Range=f"bytes {at}-{len(BODY) - 1}/{len(BODY)}", **headers)

    def do_no_ranges(self):
        half = self.server.stops
        self.send(BODY[: len(BODY) // 2] if half else BODY, announce=len(BODY))

    def do_endless(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(BODY * 2)


@pytest.fixture
def server():
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.asked, made.tag, made.stops = [], '"one"', True
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    made.at = f"http://127.0.0.1:{made.server_port}/"
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("checksum", [MD5, SHA])
def test_a_good_file_arrives_once(server, tmp_path, checksum):
    target = tmp_path / "deep" / "file.bin"
    for _ in range(2):
        assert quiet_fetch(server.at + "good", target, checksum=checksum, size=len(BODY)) == target
    assert target.read_bytes() == BODY
    assert len(server.asked) == 1
    assert names(target.parent) == ["file.bin"]


def test_an_unknown_checksum_is_said(server, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="medadv"):
        quiet_fetch(server.at + "good", tmp_path / "file.bin")
    assert "unchecked" in caplog.text
    assert SHA in caplog.text


def test_redirects_are_followed(server, tmp_path):
    assert quiet_fetch(server.at + "moved", tmp_path / "file.bin", checksum=MD5).read_bytes() == BODY


@pytest.mark.parametrize(
    ("path", "kind", "sentence"),
    [
        ("missing", OSError, "answered 404"),
        ("broken", OSError, "answered 503"),
        ("page", ValueError, "sent a web page, not a file"),
        ("hidden_page", ValueError, "sent a web page, not a file"),
    ],
)
def test_what_is_no_file_is_refused(server, tmp_path, path, kind, sentence):
    with pytest.raises(kind, match=sentence) as caught:
        quiet_fetch(server.at + path, tmp_path / "file.zip", checksum=MD5)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_a_wrong_size_is_refused_before_anything_comes(server, tmp_path):
    with pytest.raises(ValueError, match="offers 2,048,000 bytes, but the file must have 7"):
        quiet_fetch(server.at + "good", tmp_path / "file.zip", size=7)
    assert names(tmp_path) == []


def test_more_than_the_size_is_refused_where_none_was_announced(server, tmp_path):
    with pytest.raises(ValueError, match="sent more than 2,048,000 bytes"):
        quiet_fetch(server.at + "endless", tmp_path / "file.zip", size=len(BODY))
    assert names(tmp_path) == []


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    with pytest.raises(ValueError, match=r"has the md5 .*, not 0000"):
        quiet_fetch(server.at + "good", tmp_path / "file.zip", checksum="md5:" + "0" * 32)
    assert names(tmp_path) == []


def test_a_file_that_is_there_but_wrong_is_not_taken(server, tmp_path):
    target = tmp_path / "file.zip"
    target.write_bytes(b"old")
    with pytest.raises(ValueError, match="Delete it and fetch it again"):
        quiet_fetch(server.at + "good", target, checksum=MD5)
    assert target.read_bytes() == b"old"
    assert server.asked == []


@pytest.mark.parametrize("checksum", [MD5, None])
def test_what_broke_off_is_resumed(server, tmp_path, checksum):
    target = tmp_path / "file.bin"
    with pytest.raises(OSError, match="Run the same command again"):
        quiet_fetch(server.at + "stops", target, checksum=checksum)
    assert not target.exists()
    came = (tmp_path / "file.bin.part").stat().st_size
    assert 0 < came < len(BODY)
    quiet_fetch(server.at + "stops", target, checksum=checksum)
    assert target.read_bytes() == BODY
    assert server.asked[-1] == ("/stops", f"bytes={came}-", '"one"')
    assert names(tmp_path) == ["file.bin"]


def test_a_changed_file_is_not_spliced(server, tmp_path):
    target = tmp_path / "file.bin"
    with pytest.raises(OSError, match="Run the same command again"):
        quiet_fetch(server.at + "stops", target)
    (tmp_path / "file.bin.part").write_bytes(b"x" * 1000)  # of another version
    server.tag, server.stops = '"two"', False
    assert quiet_fetch(server.at + "stops", target).read_bytes() == BODY


def test_a_whole_part_needs_only_its_name(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(BODY)
    assert quiet_fetch(server.at + "stops", tmp_path / "file.bin", checksum=MD5).read_bytes() == BODY
    (tmp_path / "other.bin.part").write_bytes(BODY + b"more")
    with pytest.raises(ValueError, match="shorter file than the part"):
        quiet_fetch(server.at + "stops", tmp_path / "other.bin", checksum=MD5)
    assert names(tmp_path) == ["file.bin"]


def test_a_server_without_ranges_starts_anew(server, tmp_path):
    target = tmp_path / "file.bin"
    with pytest.raises(OSError, match="Run the same command again"):
        quiet_fetch(server.at + "no_ranges", target, checksum=MD5)
    server.stops = False
    assert quiet_fetch(server.at + "no_ranges", target, checksum=MD5).read_bytes() == BODY


def test_resuming_can_be_switched_off(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(BODY[:1000])
    quiet_fetch(server.at + "good", tmp_path / "file.bin", checksum=MD5, resume=False)
    assert server.asked[-1][1] is None


def test_nobody_answers(tmp_path):
    with pytest.raises(OSError, match="could not be read"):
        quiet_fetch("http://127.0.0.1:9/file", tmp_path / "file.bin")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("url", "checksum", "sentence"),
    [("ftp://x/y", None, "must start with http"), ("http://x/y", "crc:1", "must be 'md5:' or 'sha256:'")],
)
def test_bad_arguments(tmp_path, url, checksum, sentence):
    with pytest.raises(ValueError, match=sentence):
        quiet_fetch(url, tmp_path / "file.bin", checksum=checksum)


def test_verify(tmp_path):
    path = tmp_path / "file.bin"
    with pytest.raises(FileNotFoundError, match="does not exist"):
        verify(path)
    path.write_bytes(BODY)
    assert verify(path, checksum=SHA, size=len(BODY)) == path
    with pytest.raises(ValueError, match="has 2,048,000 bytes, not 5"):
        verify(path, size=5)
