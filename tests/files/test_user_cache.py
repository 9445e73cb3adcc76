"""The user's cache: bounded, private, and never the reason for a failure."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vegrt.errors import VegrtError
from vegrt.files.user_cache import UserCache, cache_home, cache_size_bytes


@pytest.fixture
def cache(tmp_path: Path) -> UserCache:
    return UserCache(tmp_path / "vegrt/models", 4000)


def names(cache: UserCache) -> set[str]:
    return {path.name for path in cache.folder.iterdir()}


def test_what_was_put_is_got_and_only_the_user_can_enter(cache: UserCache) -> None:
    assert cache.get("a") is None
    assert cache.put("a", b"content")
    assert cache.get("a") == b"content"
    assert cache.folder.stat().st_mode & 0o777 == 0o700
    assert names(cache) == {"a"}
    cache.remove("a")
    assert cache.get("a") is None


def test_the_longest_unused_files_are_deleted_beyond_the_limit(cache: UserCache) -> None:
    for age, key in enumerate("dcba"):
        assert cache.put(key, key.encode() * 900)
        os.utime(cache.folder / key, (1e9 + age, 1e9 + age))
    assert cache.get("d") is not None  # used now
    assert cache.put("e", b"e" * 900)
    assert names(cache) == {"a", "b", "d", "e"}
    assert not cache.put("large", b"l" * 1001)
    assert names(cache) == {"a", "b", "d", "e"}


def test_writers_at_the_same_time_leave_whole_files(cache: UserCache) -> None:
    contents = {key: key.encode() * 900 for key in "abcdefgh"}  # twice as many as there is room for

    def use(number: int) -> bool:
        key = "abcdefgh"[number % 8]
        cache.put(key, contents[key])
        return cache.get(key) in (None, contents[key])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(use, range(80)))
    assert sum(path.stat().st_size for path in cache.folder.iterdir()) <= cache.limit_bytes


def test_a_file_that_can_only_be_read_is_used(cache: UserCache, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.put("a", b"content")
    monkeypatch.setattr(os, "utime", refuse)
    assert cache.get("a") == b"content"


@pytest.mark.parametrize("damage", [b"", b"co", b"contenT\0\0\0\0"])
def test_a_damaged_file_is_deleted(cache: UserCache, damage: bytes) -> None:
    assert cache.put("a", b"content")
    (cache.folder / "a").write_bytes(damage)
    assert cache.get("a") is None
    assert not names(cache)


def test_a_folder_that_others_may_write_to_is_not_used(cache: UserCache) -> None:
    assert cache.put("a", b"content")
    cache.folder.chmod(0o777)
    assert cache.get("a") is None
    assert not cache.put("b", b"content")
    cache.folder.chmod(0o755)
    assert cache.get("a") == b"content"


def test_a_link_is_not_followed(cache: UserCache, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    cache.folder.parent.mkdir()
    cache.folder.symlink_to(tmp_path / "elsewhere")
    assert not cache.put("a", b"content")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = UserCache(tmp_path / "file/models", 4000)
    assert not cache.put("a", b"content")
    assert cache.get("a") is None
    cache.remove("a")


def test_the_folder_is_where_the_desktop_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_home() == tmp_path / "vegrt"
    assert cache_size_bytes() == 0
    assert UserCache(cache_home() / "models", 4000).put("a", b"content")
    assert cache_size_bytes() == len(b"content") + 4
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(VegrtError, match=r"no home folder .* set XDG_CACHE_HOME"):
        cache_home()


def refuse(*_: object) -> None:
    raise PermissionError(30, "Read-only file system")


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")
