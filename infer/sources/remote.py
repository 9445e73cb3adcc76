"""Images behind URLs: http and https with Python's own client, everything else (s3://, gs://, ...) through fsspec.

Listing happens here; the bytes are fetched later, by several threads at once.
"""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import Any

from vegrt.dataset.walk import is_photo_path
from vegrt.errors import DataError, require
from vegrt.infer.decode.item import Item
from vegrt.infer.sources.archive import MAX_BYTES
from vegrt.infer.sources.deadline import TIMEOUT_S, Deadline, opener
from vegrt.version import __version__

_HTTP = ("http://", "https://")
WAITS_S = (0.5, 2.0)  # before the second and the third attempt
_TEMPORARY = frozenset({429, 500, 502, 503, 504})  # statuses after which a retry may succeed


def open_remote(url: str) -> Iterator[Item]:
    """Return the images of a URL: one over http; elsewhere a file, all images below a folder, or the matches of a glob.

    Raises DataError when it cannot be listed or holds no images, MissingExtraError without fsspec.
    """
    if url.startswith(_HTTP):
        return iter((Item(url, partial(_download, url)),))
    fsspec = require("fsspec", "remote")
    try:
        system, path = fsspec.core.url_to_fs(url)
        items = _listed(system, path)
        first = next(items, None)
    except ImportError as error:
        raise DataError(f"{url}: fsspec needs one more package ({error})") from error
    except Exception as error:  # every file system of fsspec has its own exceptions
        raise DataError(f"{url}: cannot be listed ({_message(error)})") from error
    if first is None:
        raise DataError(f"{url}: no images there; expected image files")
    return chain((first,), items)


def _listed(system: Any, path: str) -> Iterator[Item]:
    if "*" in path:
        paths = system.glob(path)
    elif system.isdir(path):
        paths = [name for name in system.find(path) if is_photo_path(name.removeprefix(path))]
    else:
        system.info(path)  # raises when it does not exist
        paths = [path]
    for name in sorted(paths):
        url = system.unstrip_protocol(name)
        yield Item(url, partial(_fetch, system, name, url))


def _fetch(system: Any, path: str, url: str) -> bytes:
    try:
        with system.open(path, "rb") as file:
            return _checked(file.read(MAX_BYTES + 1), url)
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{url}: cannot be fetched ({_message(error)})") from error


def _download(url: str) -> bytes:
    deadline = Deadline()
    for wait_s in (*WAITS_S, None):
        try:
            return _checked(_get(url, deadline), url)
        except urllib.error.HTTPError as error:
            error.close()
            if wait_s is None or error.code not in _TEMPORARY:
                raise DataError(f"{url}: cannot be fetched ({error.code} {error.reason})") from error
        except (OSError, http.client.HTTPException) as error:
            if deadline.is_over:
                raise DataError(f"{url}: cannot be fetched (too slow: {deadline})") from error
            if wait_s is None:
                raise DataError(f"{url}: cannot be fetched ({_message(error)})") from error
        except ValueError as error:
            raise DataError(f"{url}: not a URL that can be fetched ({_message(error)})") from error
        time.sleep(wait_s)
    raise AssertionError("the last attempt returns or raises")


def _get(url: str, deadline: Deadline) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": f"vegrt/{__version__}"})
    with opener(deadline).open(request, timeout=max(0.1, min(TIMEOUT_S, deadline.left_s))) as answer:
        body: bytes = answer.read(MAX_BYTES + 1)
        if answer.length and len(body) <= MAX_BYTES:  # bytes missing from the stated length
            raise http.client.IncompleteRead(body, answer.length)
        return body


def _checked(body: bytes, url: str) -> bytes:
    if len(body) > MAX_BYTES:
        raise DataError(f"{url}: more than {MAX_BYTES >> 20} MiB; refused")
    return body


def _message(error: Exception) -> str:
    return " ".join(str(getattr(error, "reason", "") or error).split()) or type(error).__name__
