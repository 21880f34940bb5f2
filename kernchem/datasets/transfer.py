"""Downloads over HTTP that go on where they broke off."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from kernchem.datasets.cache import progress_bar, write_atomically

__all__ = ["ResumingDownloader", "TransferError"]

#: Attempts in a row that bring nothing new, and seconds before each of them.
_PAUSES = (0.0, 1.0, 3.0)
#: Seconds for a connection, and between two pieces of an answer.
_TIMEOUT = (15.0, 60.0)
#: What is lost of the last piece before a break.
_CHUNK = 2**13
#: Nothing that this package fetches is larger.
_LARGEST = 2**33

#: Answers that may be others a moment later.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


class TransferError(Exception):
    """A download failed; the message says why."""


class _BrokenError(Exception):
    """An answer broke off, or the server is busy: worth another attempt."""


class ResumingDownloader:
    """Download for :func:`pooch.retrieve`, into a file that outlives an interruption.

    What has arrived stays in ``part``; the entity tag, date and length that the server named stand
    beside it. The next download asks for the rest, and starts anew if the server sends no parts
    or if the file there is another one by now.

    Parameters
    ----------
    part : Path
        File that grows; no other process may use it at the same time.
    size : int or None
        Published size in bytes, which counts where the server names none.
    check : callable
        Called with ``part`` when it is whole; raises if it is not the expected file, which is then
        removed.
    """

    def __init__(self, part: Path, size: int | None, check: Callable[[Path], object]) -> None:
        self.part = part
        self.size = size
        self.check = check
        self._state_path = part.with_name(f"{part.name}.json")

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Download ``url`` and move it to ``output_file``, as pooch asks of a downloader."""
        pauses = iter(_PAUSES)
        while True:
            before = self._arrived()
            try:
                self._attempt(url)
                break
            except _BrokenError as error:
                if self._arrived() > before:
                    pauses = iter(_PAUSES)
                pause = next(pauses, None)
                if pause is None:
                    raise TransferError(str(error)) from error
                time.sleep(pause)
        try:
            self.check(self.part)
        except Exception:
            self._forget()
            raise
        self.part.replace(output_file)
        self._forget()

    def _arrived(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self._state_path.unlink(missing_ok=True)

    def _state(self, url: str) -> dict[str, Any]:
        """Return what the server said of the file that lies in ``part``."""
        try:
            state: Any = json.loads(self._state_path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            state = None
        fits = (
            isinstance(state, dict)
            and state.keys() == {"url", "etag", "modified", "length"}
            and state["url"] == url
            and isinstance(state["etag"], str | None)
            and isinstance(state["modified"], str | None)
            and isinstance(state["length"], int | None)
        )
        return state if fits else {}

    def _attempt(self, url: str) -> None:
        """Ask for the file, or for what is missing of it, and store what arrives."""
        import requests

        state = self._state(url)
        if not state:
            self._forget()
        start = self._arrived()
        if start and start == state["length"]:
            return
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            validator = state["etag"] or state["modified"]
            if validator and not validator.startswith("W/"):
                headers["If-Range"] = validator
        try:
            with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
                self._store(url, answer, start, state)
        except requests.RequestException as error:
            kind = _BrokenError if _may_pass(error) else TransferError
            where = f" after {self._arrived()} bytes" if self._arrived() else ""
            raise kind(f"{_cause(error)}{where}") from error

    def _store(self, url: str, answer: Any, start: int, state: dict[str, Any]) -> None:
        new = _described(url, answer)
        if answer.status_code == HTTPStatus.PARTIAL_CONTENT and start:
            if not _continues(answer, start, state, new):
                self._forget()
                raise _BrokenError("the file on the server has changed")
            new = state
        elif answer.status_code == HTTPStatus.OK:
            start = 0
            new["length"] = new["length"] or self.size
            text = json.dumps(new)
            self._forget()
            write_atomically(self._state_path, lambda stream: stream.write(text.encode()))
        elif answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            self._forget()
            raise _BrokenError("the file on the server has become shorter")
        else:
            _refuse(answer)
        self._receive(answer, start, new["length"])

    def _receive(self, answer: Any, start: int, length: int | None) -> None:
        """Append the body of an answer to ``part``."""
        arrived, most = start, min(length or _LARGEST, _LARGEST)
        with (
            progress_bar(self.part.stem, length) as advance,
            self.part.open("ab") as file,
        ):
            for chunk in answer.iter_content(_CHUNK):
                arrived += len(chunk)
                if arrived > most:
                    file.close()
                    self._forget()
                    raise TransferError(f"the server sends more than the {most} bytes expected")
                file.write(chunk)
                advance(arrived)
        if length is not None and arrived < length:
            raise _BrokenError(f"the connection broke off after {arrived} bytes of {length}")


def _described(url: str, answer: Any) -> dict[str, Any]:
    """Return what an answer says of the file it belongs to."""
    headers = answer.headers
    length = headers.get("Content-Length", "")
    plain = headers.get("Content-Encoding", "identity") == "identity"
    return {
        "url": url,
        "etag": headers.get("ETag"),
        "modified": headers.get("Last-Modified"),
        "length": int(length) if plain and length.isdecimal() else None,
    }


def _continues(answer: Any, start: int, state: dict[str, Any], new: dict[str, Any]) -> bool:
    """Return whether an answer holds the rest of the file that has arrived in part."""
    found = re.fullmatch(
        r"bytes (\d+)-(\d+)/(\d+|\*)", answer.headers.get("Content-Range", "").strip()
    )
    if found is None or int(found[1]) != start:
        return False
    same_length = state["length"] is None or found[3] in {"*", str(state["length"])}
    same_marks = all(
        None in {state[name], new[name]} or state[name] == new[name]
        for name in ("etag", "modified")
    )
    return same_length and same_marks


def _refuse(answer: Any) -> None:
    text = f"the server answered {answer.status_code}"
    with contextlib.suppress(ValueError):
        text += f" ({HTTPStatus(answer.status_code).phrase})"
    raise (_BrokenError if answer.status_code in _PASSING else TransferError)(text)


def _may_pass(error: Exception) -> bool:
    """Return whether another attempt may succeed: not where there is no network or no server."""
    import requests

    passing = (
        requests.ConnectionError,
        requests.ReadTimeout,
        requests.exceptions.ChunkedEncodingError,
    )
    hopeless = (
        requests.ConnectTimeout,
        requests.exceptions.ProxyError,
        requests.exceptions.SSLError,
    )
    absent = isinstance(_root(error), ConnectionRefusedError | socket.gaierror)
    return isinstance(error, passing) and not isinstance(error, hopeless) and not absent


def _root(error: BaseException) -> BaseException:
    """Return what lies at the bottom of a chain of errors."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return error


def _cause(error: BaseException) -> str:
    import requests

    if isinstance(error, requests.Timeout):
        return f"no answer within {max(_TIMEOUT):.0f} seconds"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    root = _root(error)
    return str(getattr(root, "strerror", None) or root) or type(root).__name__
