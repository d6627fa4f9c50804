"""The kept place: whole or not there, and garbage is said."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journalrelay.cursor import CursorFile, Place
from journalrelay.errors import DataError, NoInputError

PLACE = Place(
    "s=1;i=2;b=3;m=4;t=5;x=6", 1_795_400_000_000_000, "b007", 1_795_000_000_000_000, "8:42"
)


def test_a_saved_place_is_read_back(tmp_path: Path) -> None:
    kept = CursorFile(tmp_path, "journal")
    assert kept.load() is None
    kept.save(PLACE)
    assert kept.load() == PLACE
    assert [file.name for file in tmp_path.iterdir()] == ["journal.cursor"]


def test_each_source_has_its_own(tmp_path: Path) -> None:
    CursorFile(tmp_path, "journal").save(PLACE)
    assert CursorFile(tmp_path, "journal-mail").load() is None


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"7", b"{}", b'{"format": 2}', b"\0\0\0", b"\xff", b"[" * 5000],
)
def test_garbage_is_said_with_its_file(tmp_path: Path, content: bytes) -> None:
    kept = CursorFile(tmp_path, "journal")
    kept.path.write_bytes(content)
    with pytest.raises(DataError, match=str(kept.path)):
        kept.load()


@given(content=st.binary(max_size=200))
def test_any_content_is_a_place_or_garbage(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    kept = CursorFile(tmp_path_factory.getbasetemp(), "fuzzed")
    kept.path.write_bytes(content)
    with pytest.raises(DataError):
        kept.load()


def test_a_missing_directory_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="gone"):
        CursorFile(tmp_path / "gone", "journal").save(PLACE)
