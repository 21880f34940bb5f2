"""Downloads: resumed, verified, recorded, and what is said where they fail."""

import gzip
import json
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from hashlib import md5, sha256
from pathlib import Path
from types import SimpleNamespace

import pytest

import kernchem
from kernchem.datasets import cache, data_home, remote, transfer
from kernchem.datasets.remote import RemoteFile, fetch_file, local_path
from kernchem.errors import DatasetError

CONTENT = b"BZh" + bytes(range(256)) * 800  # more than three chunks of a download


@pytest.fixture
def file(server):
    server.files["data"] = CONTENT
    return RemoteFile(name="set/data.bz2", url=server.url("data"), begins=b"BZh")


def whole_pieces(n_bytes):
    """The bytes that are kept of a download that broke off after so many."""
    return n_bytes - n_bytes % transfer._CHUNK


def leftovers(home):
    """What lies in the cache folder beside the file, its record and the lock."""
    known = {"data.bz2", "data.bz2.sha256.json", ".data.bz2.lock"}
    return {path.name for path in (home / "set").iterdir()} - known


# -- the folder ------------------------------------------------------------------------------------


def test_folder_is_named_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("KERNCHEM_DATA_HOME", str(tmp_path / "here"))
    assert data_home() == tmp_path / "here"
    monkeypatch.setenv("KERNCHEM_DATA_HOME", "~/there")
    assert data_home() == Path.home() / "there"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERNCHEM_DATA_HOME", "relative")
    assert data_home() == tmp_path / "relative"
    monkeypatch.setenv("KERNCHEM_DATA_HOME", "")
    assert data_home().name == "kernchem"
    assert data_home().is_absolute()


def test_folder_that_cannot_be_made(file, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KERNCHEM_DATA_HOME", str(tmp_path / "file"))
    with pytest.raises(DatasetError, match="KERNCHEM_DATA_HOME"):
        fetch_file(file)


def test_full_disk(file, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transfer, "write_atomically", full)
    with pytest.raises(DatasetError, match=r"data\.bz2 cannot be written \(No space left"):
        fetch_file(file)


def test_local_path(tmp_path):
    assert local_path(str(tmp_path)) == tmp_path
    for name in (tmp_path / "nothing", ""):
        with pytest.raises(FileNotFoundError):
            local_path(name)


# -- downloads that succeed ------------------------------------------------------------------------


def test_first_call_downloads_second_needs_no_network(file, server, home):
    path, digest = fetch_file(file)
    assert path == home / "set" / "data.bz2"
    assert path.read_bytes() == CONTENT
    assert digest == sha256(CONTENT).hexdigest()
    assert leftovers(home) == set()
    assert "Range" not in server.requests[0]
    server.shutdown()
    assert fetch_file(file) == (path, digest)
    assert len(server.requests) == 1


def test_the_checksum_is_recorded(file):
    path, digest = fetch_file(file)
    record = json.loads(file.record.read_text())
    assert record["sha256"] == digest
    assert record["bytes"] == len(CONTENT)
    assert record["url"] == file.url
    assert file.record.parent == path.parent


def test_a_file_put_there_by_hand_is_taken(file, server):
    file.path.parent.mkdir(parents=True)
    file.path.write_bytes(CONTENT)
    assert fetch_file(file)[1] == sha256(CONTENT).hexdigest()
    assert file.record.exists()
    assert server.requests == []


def test_a_folder_that_is_read_only_serves(file, monkeypatch):
    def denied(*args):
        raise PermissionError(13, "Permission denied")

    file.path.parent.mkdir(parents=True)
    file.path.write_bytes(CONTENT)
    monkeypatch.setattr(remote, "write_atomically", denied)
    assert fetch_file(file)[0].read_bytes() == CONTENT
    assert not file.record.exists()


@pytest.mark.parametrize("length", [True, False])
def test_a_published_checksum_is_met(file, server, length):
    server.length = length
    known = replace(file, md5=md5(CONTENT).hexdigest(), size=len(CONTENT))
    assert fetch_file(known)[0].read_bytes() == CONTENT


def test_progress_shows_on_a_terminal_only(file, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    fetch_file(file)
    assert "data.bz2" in capsys.readouterr().err
    file.path.unlink()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    fetch_file(file)
    assert capsys.readouterr() == ("", "")


# -- interruptions ---------------------------------------------------------------------------------


def test_a_broken_connection_is_taken_up_again(file, server, home):
    server.breaks = [70_001]
    assert fetch_file(file)[0].read_bytes() == CONTENT
    first, second = server.requests
    assert "Range" not in first
    assert second["Range"] == f"bytes={whole_pieces(70_001)}-"
    assert second["If-Range"].startswith('"')
    assert leftovers(home) == set()


def test_many_breaks_with_progress_between_them(file, server):
    server.breaks = [30_000] * 6
    assert fetch_file(file)[0].read_bytes() == CONTENT
    assert [r.get("Range") for r in server.requests] == [
        None,
        *(f"bytes={whole_pieces(30_000) * k}-" for k in range(1, 7)),
    ]


def test_a_later_call_goes_on(file, server, home):
    server.breaks = [50_000, 0, 0]
    with pytest.raises(DatasetError, match=r"broke off after \d+ bytes"):
        fetch_file(file)
    kept = whole_pieces(50_000)
    assert (home / "set" / "data.bz2.part").read_bytes() == CONTENT[:kept]
    assert not file.path.exists()
    assert not file.record.exists()
    assert fetch_file(file)[0].read_bytes() == CONTENT
    assert server.requests[-1]["Range"] == f"bytes={kept}-"
    assert leftovers(home) == set()


def test_a_process_that_was_killed_leaves_what_another_uses(file, server, home):
    part = home / "set" / "data.bz2.part"
    part.parent.mkdir(parents=True)
    server.breaks = [50_000, 0, 0]
    with pytest.raises(DatasetError):
        fetch_file(file)
    with part.open("r+b") as stream:  # what a buffer of the dead process had not written
        stream.truncate(40_000)
    fetch_file(file)
    assert server.requests[-1]["Range"] == "bytes=40000-"
    assert file.path.read_bytes() == CONTENT


def test_a_part_that_is_whole_is_not_asked_for(file, server, home):
    server.breaks = [50_000, 0, 0]
    with pytest.raises(DatasetError):
        fetch_file(file)
    (home / "set" / "data.bz2.part").write_bytes(CONTENT)
    n_requests = len(server.requests)
    assert fetch_file(file)[0].read_bytes() == CONTENT
    assert len(server.requests) == n_requests


ELSEWHERE = '{"url": "elsewhere", "etag": null, "modified": null, "length": null}'


@pytest.mark.parametrize("state", [None, "no json", "[]", "{}", ELSEWHERE, "[" * 100_000])
def test_a_part_of_unknown_origin_is_dropped(file, server, home, state):
    folder = home / "set"
    folder.mkdir(parents=True)
    (folder / "data.bz2.part").write_bytes(b"something else")
    if state is not None:
        (folder / "data.bz2.part.json").write_text(state)
    assert fetch_file(file)[0].read_bytes() == CONTENT
    assert "Range" not in server.requests[0]


def test_a_server_that_sends_no_parts(file, server):
    server.ranges = False
    server.breaks = [70_000, 80_000]
    assert fetch_file(file)[0].read_bytes() == CONTENT
    assert [("Range" in request) for request in server.requests] == [False, True, True]


@pytest.mark.parametrize("obeys", [True, False], ids=["If-Range", "other tag"])
def test_a_file_that_has_changed_starts_anew(file, server, obeys):
    server.if_range = obeys
    server.breaks = [50_000, 0, 0]
    with pytest.raises(DatasetError):
        fetch_file(file)
    server.files["data"] = other = b"BZh" + CONTENT[::-1][3:]
    assert len(other) == len(CONTENT)
    assert fetch_file(file)[0].read_bytes() == other


@pytest.mark.parametrize("length", [250_000, 60_000, 49_000, 100])
def test_a_file_that_has_changed_on_a_server_without_tags(file, server, length):
    server.marks = False
    server.breaks = [50_000, 0, 0]
    with pytest.raises(DatasetError):
        fetch_file(file)
    assert "If-Range" not in server.requests[-1]
    server.files["data"] = other = b"BZh" + (CONTENT[::-1] * 2)[3:length]
    assert len(other) == length
    assert fetch_file(file)[0].read_bytes() == other


@pytest.mark.parametrize("said", ["bytes 0-204802/204803", "bytes 7-9/204803", "bytes */3", "?"])
def test_a_server_that_sends_another_part(file, server, said):
    server.breaks = [50_000, 0, 0]
    with pytest.raises(DatasetError):
        fetch_file(file)
    server.content_range = said
    assert fetch_file(file)[0].read_bytes() == CONTENT
    assert "Range" not in server.requests[-1]


@pytest.mark.parametrize("tag", ["", "W/"])
def test_only_a_strong_tag_can_be_a_condition(file, server, tag):
    server.tag = tag
    server.breaks = [50_000]
    assert fetch_file(file)[0].read_bytes() == CONTENT
    assert "Range" in server.requests[-1]
    assert ("If-Range" in server.requests[-1]) == (tag == "")


def test_a_date_serves_where_there_is_no_tag(file, server):
    server.marks, server.headers = False, {"Last-Modified": "Tue, 05 Aug 2014 00:00:00 GMT"}
    server.if_range = False
    server.breaks = [50_000]
    assert fetch_file(file)[0].read_bytes() == CONTENT
    assert server.requests[-1]["If-Range"] == "Tue, 05 Aug 2014 00:00:00 GMT"


def test_a_server_that_packs_what_it_sends(file, server):
    server.files["data"], server.headers = gzip.compress(CONTENT), {"Content-Encoding": "gzip"}
    assert server.requests == []
    assert fetch_file(file)[0].read_bytes() == CONTENT
    assert server.requests[0]["Accept-Encoding"] == "identity"


def test_truncated_without_a_stated_length(file, server):
    server.length = False
    server.breaks = [50_000, 0, 0]
    with pytest.raises(DatasetError, match="broke off after 50000 bytes of"):
        fetch_file(replace(file, size=len(CONTENT)))


# -- failures --------------------------------------------------------------------------------------


def message(file):
    with pytest.raises(DatasetError) as caught:
        fetch_file(file)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_offline_says_what_failed_and_how_to_go_on(file, server):
    server.server_close()
    text = message(file)
    for part in ("set/data.bz2", file.url, "Connection refused", str(file.path), "path="):
        assert part in text
    assert not file.path.exists()


def test_unknown_host(file):
    text = message(replace(file, url="http://host.invalid/data"))
    assert "Name or service not known" in text
    assert "http://host.invalid/data" in text


@pytest.mark.parametrize(
    ("status", "attempts", "phrase"),
    [
        (404, 1, "404 (Not Found)"),
        (403, 1, "403 (Forbidden)"),
        (202, 1, "202 (Accepted)"),
        (206, 1, "206 (Partial Content)"),
        (503, 3, "503 (Service Unavailable)"),
        (429, 3, "429 (Too Many Requests)"),
        (599, 1, "answered 599."),
    ],
)
def test_answers_without_a_file(file, server, status, attempts, phrase):
    server.statuses = [status] * 10
    assert phrase in message(file)
    assert len(server.requests) == attempts


def test_a_server_that_is_busy_for_a_moment(file, server):
    server.statuses = [503, 500]
    assert fetch_file(file)[0].read_bytes() == CONTENT


def test_a_server_that_does_not_answer(file, server, monkeypatch):
    monkeypatch.setattr(transfer, "_TIMEOUT", (0.1, 0.1))
    server.delay = 5.0
    assert "no answer within 0 seconds" in message(file)


def test_an_address_that_is_none(file):
    assert "set/data.bz2" in message(replace(file, url="no address"))


@pytest.mark.parametrize("length", [True, False])
def test_a_file_without_end(file, server, monkeypatch, home, length):
    server.length = length
    monkeypatch.setattr(transfer, "_LARGEST", 100_000)
    assert "more than the 100000 bytes" in message(file)
    assert leftovers(home) == set()


# -- checksums -------------------------------------------------------------------------------------


def test_another_file_than_published(file, server, home):
    text = message(replace(file, md5="0" * 32))
    assert f"its MD5 is {md5(CONTENT).hexdigest()}, and {'0' * 32} is published" in text
    assert file.url in text
    assert leftovers(home) == set()
    assert not file.path.exists()
    assert not file.record.exists()


def test_a_page_instead_of_a_file(file, server, home):
    server.files["data"] = b"<!DOCTYPE html>"
    assert "begins with b'<!D'" in message(file)
    assert leftovers(home) == set()
    assert not file.path.exists()
    assert not file.record.exists()
    server.files["data"] = CONTENT
    fetch_file(file)


@pytest.mark.parametrize("known", [True, False], ids=["published", "recorded"])
def test_a_file_that_was_altered_later(file, known):
    file = replace(file, md5=md5(CONTENT).hexdigest()) if known else file
    path, digest = fetch_file(file)
    altered = CONTENT[:-1] + b"x"
    path.write_bytes(altered)
    text = message(file)
    assert digest in text
    assert sha256(altered).hexdigest() in text
    assert f"delete {path} and fetch again" in text
    path.unlink()
    assert fetch_file(file)[1] == digest


def test_a_file_put_there_by_hand_that_is_another(file):
    file.path.parent.mkdir(parents=True)
    file.path.write_bytes(CONTENT + b"x")
    assert f"delete {file.path}" in message(replace(file, md5=md5(CONTENT).hexdigest()))


def test_a_file_replaced_at_its_source(file, server):
    path, digest = fetch_file(file)
    path.unlink()
    server.files["data"] = CONTENT + b"more"
    text = message(file)
    assert digest in text
    assert f"delete {file.record} first" in text
    assert not path.exists()
    file.record.unlink()
    assert fetch_file(file)[0].read_bytes() == CONTENT + b"more"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sha256": 1}', "[" * 100_000, "\udcff"])
def test_a_broken_record(file, text):
    fetch_file(file)
    file.record.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert f"{file.record} holds no checksum; delete it" in message(file)


# -- several at once -------------------------------------------------------------------------------


def test_two_at_once_download_once(file, server, monkeypatch, capsys):
    monkeypatch.setattr(cache, "_POLL", 0.01)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    server.delay = 0.3
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(fetch_file(file)[0].read_bytes()))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [CONTENT] * 3
    assert len(server.requests) == 1
    assert "waiting for another process that fetches data.bz2" in capsys.readouterr().err


def test_a_lock_dies_with_its_process(tmp_path):
    code = f"""
    import os
    from pathlib import Path
    from kernchem.datasets.cache import locked
    with locked(Path({str(tmp_path / "data")!r})):
        os._exit(9)
    """
    run = [sys.executable, "-c", textwrap.dedent(code)]
    cwd = Path(kernchem.__file__).parent.parent
    assert subprocess.run(run, check=False, cwd=cwd).returncode == 9
    with cache.locked(tmp_path / "data"):
        pass


def test_a_file_system_without_locks(file, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def no_locks(*args):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert fetch_file(file)[0].read_bytes() == CONTENT


def test_locks_of_windows(tmp_path, monkeypatch):
    held = [True]

    def locking(number, mode, size):
        assert (mode, size) == (2, 1)
        if held:
            held.pop()
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(LK_NBLCK=2, locking=locking))
    monkeypatch.setattr(cache, "_POLL", 0.0)
    with cache.locked(tmp_path / "data"):
        assert held == []


def test_a_file_is_whole_or_absent(tmp_path):
    def fail(stream):
        stream.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.write_atomically(tmp_path / "data", fail)
    assert list(tmp_path.iterdir()) == []
