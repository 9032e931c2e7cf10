"""Near duplicates among texts: MinHash finds candidate pairs on disk, Jaccard decides.

A text's shingles are every three consecutive words.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import duckdb
import pyarrow as pa
from datasketch import MinHash

from teachers.scratch import hash_64, insert, query_rows, scratch_database
from teachers.words import words

# They miss 2 of 4,640 lightly edited responses at a threshold of 0.9.
_NUM_PERMUTATIONS = 64
# Of pairs right at the threshold, the share that the hash tables may miss.
_MAX_MISSED = 0.01
_TEXTS = pa.schema([("id", pa.int64()), ("text", pa.string())])
_BANDS = pa.schema([("band", pa.int64()), ("id", pa.int64())])

NearTo = dict[int, set[int]]
"""The `hash_64` of a text -> those of the texts that are nearly the same; only of texts that have such."""


def near_duplicates(texts: Iterable[str], threshold: float) -> NearTo:
    """Return the pairs of `texts` whose shingles have at least this Jaccard similarity; repeats cost nothing.

    Texts of fewer than three words have no near duplicates.
    """
    near: NearTo = {}
    with scratch_database() as database:
        database.execute("create table texts (id bigint, text varchar)")
        insert(database, "texts", _comparable_texts(texts), _TEXTS)

        database.execute("create table bands (band bigint, id bigint)")
        distinct = query_rows(database.cursor(), "select id, any_value(text) from texts group by id")
        insert(database, "bands", _bands(distinct, threshold), _BANDS)

        for one, text, other, other_text in _pairs_in_a_band(database):
            shingles, other_shingles = _shingles(text), _shingles(other_text)
            if len(shingles & other_shingles) / len(shingles | other_shingles) >= threshold:
                near.setdefault(one, set()).add(other)
                near.setdefault(other, set()).add(one)
    return near


class SeenTexts:
    """Keys of texts, of which it keeps only those with near duplicates."""

    def __init__(self, near: NearTo) -> None:
        self._near = near
        self._added: set[int] = set()

    def add(self, text: str) -> None:
        """Add `text` to the set."""
        id = hash_64(text.encode())
        if id in self._near:
            self._added.add(id)

    def nearly_has(self, text: str) -> bool:
        """Whether a text of the set is similar to `text`, which is not itself in the set."""
        id = hash_64(text.encode())
        return id not in self._added and not self._added.isdisjoint(self._near.get(id, ()))


def _comparable_texts(texts: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Yield (id, text) of the texts that have shingles."""
    for text in texts:
        if _shingles(text):
            yield hash_64(text.encode()), text


def share_near_duplicates(texts: Sequence[str], threshold: float) -> float:
    """Return the share of texts that repeat or nearly repeat another one."""
    near = near_duplicates(texts, threshold)

    num_near = 0
    for text, count in Counter(texts).items():
        if count > 1 or hash_64(text.encode()) in near:
            num_near += count
    return num_near / len(texts)


def _pairs_in_a_band(database: duckdb.DuckDBPyConnection) -> Iterator[tuple[int, str, int, str]]:
    """Yield (id, text, id, text) of every two texts that share a band."""
    database.execute("create table once as select id, any_value(text) as text from texts group by id")
    pairs = (
        "select distinct a.id as first, b.id as second "
        "from bands a join bands b on a.band = b.band and a.id < b.id"
    )
    return query_rows(
        database,
        f"select one.id, one.text, other.id, other.text from ({pairs}) "
        "join once one on one.id = first join once other on other.id = second",
    )


def _bands(texts: Iterable[tuple[int, str]], threshold: float) -> Iterator[tuple[int, int]]:
    """Yield (band, id) of every text: similar texts probably share a band (Leskovec et al., §3.4)."""
    num_bands, rows = _bands_and_rows(threshold)
    empty = MinHash(num_perm=_NUM_PERMUTATIONS)
    for id, text in texts:
        min_hash = empty.copy()
        min_hash.update_batch(shingle.encode() for shingle in _shingles(text))
        for number in range(num_bands):
            band = min_hash.hashvalues[number * rows : (number + 1) * rows]
            yield hash_64(bytes([number]) + band.tobytes()), id


def _bands_and_rows(threshold: float) -> tuple[int, int]:
    """Return the bands and the permutations of each: as few false alarms as `_MAX_MISSED` allows."""
    rows = 1
    while rows < _NUM_PERMUTATIONS // 2 and _missed(threshold, rows + 1) <= _MAX_MISSED:
        rows += 1
    return _NUM_PERMUTATIONS // rows, rows


def _missed(similarity: float, rows: int) -> float:
    return float((1 - similarity**rows) ** (_NUM_PERMUTATIONS // rows))


def _shingles(text: str) -> set[str]:
    in_order = words(text)
    return {" ".join(in_order[i : i + 3]) for i in range(len(in_order) - 2)}
