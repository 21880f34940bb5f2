"""Model files as docs/model_files.md describes them, written and read without kernchem."""

import hashlib
import io
import json
import zipfile
import zlib

import numpy as np


def npy(array):
    """An array as numpy.save writes it."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def described(name, data):
    """What the list of members says of one."""
    digest = hashlib.sha256(data).hexdigest()
    return {"name": name, "size": len(data), "crc32": zlib.crc32(data), "sha256": digest}


def entry(name):
    """A member's header with every field that the format fixes."""
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.create_system, info.external_attr = 3, 0o600 << 16
    return info


def archive_of(text, members=None, change=lambda info, data: [(info, data)]):
    """Bytes of a file with this text as model.json.

    ``change`` alters what goes into the archive.
    """
    text = text if isinstance(text, bytes) else text.encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.comment = hashlib.sha256(text).hexdigest().encode()
        for name, data in {"model.json": text, **(members or {})}.items():
            for info, content in change(entry(name), data):
                archive.writestr(info, content)
    return buffer.getvalue()


def model_file(manifest, members, change=list):
    """Bytes of a file: the manifest with the list of members and all digests, and the members.

    ``change`` alters the list of members.
    """
    listed = change([described(*item) for item in members.items()])
    return archive_of(json.dumps({**manifest, "members": listed}), members)


def parts(data):
    """Manifest without the list of members, and the members' bytes."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        manifest = json.loads(archive.read("model.json"))
        members = {m["name"]: archive.read(m["name"]) for m in manifest.pop("members")}
    return manifest, members
