"""Stable hashes, computed for whole columns at once.

Settlement asks "is there anything else with this response id?" for tens of thousands of rows at a time. Keys are 64-bit
(two lanes make a 128-bit call id), the same in every process and version, and zero means "none". A collision brings
strangers into one component, where settlement compares the real values: it costs time, never money.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from spanledger.ledger.arrow import pa

U64 = NDArray[np.uint64]

_LONGEST: Final = 256
"""Texts up to this many bytes are hashed word by word; longer ones are folded first, so that one long value cannot
blow up the word matrix of a whole batch."""
_WORDS: Final = _LONGEST // 8
_FIRST_BYTES: Final = np.array([(1 << 8 * count) - 1 for count in range(9)], np.uint64)
"""Masks that keep the first bytes of a little-endian word, by how many."""


def mix(values: U64) -> U64:
    """A bijective scramble of 64 bits (the finaliser of splitmix64), for arrays of at least one dimension."""
    values = values ^ (values >> np.uint64(30))
    values = values * np.uint64(0xBF58476D1CE4E5B9)
    values = values ^ (values >> np.uint64(27))
    values = values * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _lane(lane: int) -> U64:
    start = np.uint64(0x9E3779B97F4A7C15 * (2 * lane + 1) % 2**64)
    return mix((np.arange(1, _WORDS + 2, dtype=np.uint64)) * start)


_LANES: Final = (_lane(0), _lane(1))


def hash_words(words: U64, lengths: U64, lane: int = 0) -> U64:
    """Hash a matrix of 64-bit words, one row per value; trailing zero words do not change the result."""
    keys = _LANES[lane]
    total = mix(lengths + keys[-1])
    for position in range(words.shape[1]):
        word = words[:, position]
        total = total + np.where(word == 0, np.uint64(0), mix(word ^ keys[position]))
    return mix(total)


def text_words(array: Any) -> tuple[U64, U64]:
    """The bytes of an Arrow string (or binary) array as a zero-padded matrix of words, and the byte lengths."""
    rows = len(array)
    if rows == 0:
        return np.zeros((0, 1), np.uint64), np.zeros(0, np.uint64)
    _, offset_buffer, data_buffer = array.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32)[array.offset : array.offset + rows + 1].astype(np.int64)
    lengths = offsets[1:] - offsets[:-1]
    longest = int(lengths.max())
    if longest == 0 or data_buffer is None:
        return np.zeros((rows, 1), np.uint64), np.zeros(rows, np.uint64)
    if longest > _LONGEST:
        return text_words(pa.array([_fold(value) for value in array.cast(pa.binary()).to_pylist()], pa.binary()))
    first = int(offsets[0])
    data = np.zeros(int(offsets[-1]) - first + 8, np.uint8)
    data[:-8] = np.frombuffer(data_buffer, np.uint8)[first : int(offsets[-1])]
    # Eight bytes from every place on: a word is fetched at once, wherever it begins.
    words_at = np.ndarray((len(data) - 7,), "<u8", data, strides=(1,))
    starts = offsets[:-1] - first
    matrix = np.empty((rows, (longest + 7) // 8), np.uint64)
    for position in range(matrix.shape[1]):
        left = np.clip(lengths - 8 * position, 0, 8)
        word = words_at[np.minimum(starts + 8 * position, len(words_at) - 1)]
        matrix[:, position] = word & _FIRST_BYTES[left]
    return matrix, lengths.astype(np.uint64)


def _fold(value: bytes) -> bytes:
    if len(value) <= _LONGEST:
        return value
    words = np.frombuffer(value + b"\0" * (-len(value) % 8), "<u8").astype(np.uint64)
    places = mix(np.arange(1, len(words) + 1, dtype=np.uint64))
    lanes = [int(mix(words ^ (places + np.uint64(lane))).sum(dtype=np.uint64)) for lane in (0, 1, 2)]
    return b"".join(lane.to_bytes(8, "little") for lane in lanes) + len(value).to_bytes(8, "little")


def hash_text(array: Any, lane: int = 0) -> U64:
    """Hash an Arrow string array; the empty text hashes to 0."""
    words, lengths = text_words(array)
    return np.where(lengths == 0, np.uint64(0), hash_words(words, lengths, lane))


def hash_text_twice(array: Any) -> tuple[U64, U64]:
    """Both lanes of `hash_text`, for 128-bit keys."""
    words, lengths = text_words(array)
    first, second = (hash_words(words, lengths, lane) for lane in (0, 1))
    return np.where(lengths == 0, np.uint64(0), first), np.where(lengths == 0, np.uint64(0), second)


def hash_dictionary(array: Any, lane: int = 0) -> U64:
    """Hash a dictionary-encoded Arrow array by hashing its few values."""
    indices = array.indices.to_numpy(zero_copy_only=False)
    hashed: U64 = hash_text(array.dictionary, lane)
    return hashed[indices] if len(hashed) else np.zeros(len(array), np.uint64)


def hash_column(array: Any) -> U64:
    """Hash an Arrow array of texts, dictionary-encoded or not."""
    return hash_dictionary(array) if pa.types.is_dictionary(array.type) else hash_dictionary(array.dictionary_encode())


def fixed_words(values: bytes, width: int) -> U64:
    """Rows of `width` bytes (a multiple of 8), joined, as a matrix of words."""
    return np.frombuffer(values, "<u8").reshape(-1, width // 8).astype(np.uint64)


def combine(*parts: U64) -> U64:
    """One hash of several columns; the order of the parts counts."""
    total = np.zeros(len(parts[0]), np.uint64)
    for part in parts:
        total = mix(total * np.uint64(0x9E3779B97F4A7C15) + part + np.uint64(1))
    return total


def nonzero_rows(rows: U64) -> NDArray[np.bool_]:
    """Which rows of a matrix hold anything but zeros."""
    result: NDArray[np.bool_] = np.bitwise_or.reduce(rows, axis=1) != 0
    return result


def where_present(present: NDArray[np.bool_], hashed: U64) -> U64:
    """`hashed` where something is present (never 0 there), else 0."""
    return np.where(present, np.where(hashed == 0, np.uint64(1), hashed), np.uint64(0))


def hash_texts(texts: list[str]) -> U64:
    """Hash Python strings as the columns of a batch are hashed."""
    return hash_text(pa.array(texts, pa.string()))


def trace_keys(orgs: U64, words: U64) -> U64:
    """Keys of (org, trace) from org hashes and raw trace ids (two words each)."""
    hashed = where_present(nonzero_rows(words), hash_words(words, np.zeros(len(words), np.uint64)))
    return where_present(hashed != 0, combine(orgs, hashed))
