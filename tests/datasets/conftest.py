"""A cache folder of its own for every test, and no way to the internet."""

import socket

import pytest
from published import serving

from kernchem.datasets import transfer


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """The folder of downloads; connections to other machines fail."""
    folder = tmp_path / "home"
    monkeypatch.setenv("KERNCHEM_DATA_HOME", str(folder))
    monkeypatch.setattr(transfer, "_PAUSES", (0.0, 0.0))
    connect = socket.create_connection
    lookup = socket.getaddrinfo

    def local_only(address, *args, **kwargs):
        assert address[0] == "127.0.0.1", f"a test reaches for {address}"
        return connect(address, *args, **kwargs)

    def local_lookup(host, *args, **kwargs):
        if host != "127.0.0.1":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return lookup(host, *args, **kwargs)

    monkeypatch.setattr(socket, "create_connection", local_only)
    monkeypatch.setattr(socket, "getaddrinfo", local_lookup)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return folder


@pytest.fixture
def server():
    with serving() as server:
        yield server
