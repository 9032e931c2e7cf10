"""Many texts to vectors, by Ray Data actors. N texts, D dimensions (sparse: terms)."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from student.encoders.encoder import EncoderSource, Side, Vectors, embed_texts, load_encoder
from student.encoders.precision import mixed_precision
from student.encoders.stored_vectors import StoredVectors

# Small enough for progress to be seen and for every actor to get some.
_TEXTS_PER_BLOCK = 512

Tally = Callable[[int, int], None]
"""Called with the number of texts embedded so far and their total."""


class Embedder:
    """Ray Data actor: from a block of one side's texts to their row numbers and vectors by one encoder."""

    def __init__(self, sources: Sequence[EncoderSource]) -> None:
        self._sources = sources
        self._loaded: int | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        number = int(batch["encoder"][0])
        source = self._sources[number]
        if number != self._loaded:
            self._encoder = load_encoder(source)
            self._loaded = number

        with mixed_precision(self._encoder.device, source.precision):
            vectors = embed_texts(self._encoder, batch["text"].tolist(), batch["side"][0])

        # One cell for the whole block: Arrow has no column of sparse rows.
        block = {"rows": _cell(batch["row"]), "vectors": _cell(vectors)}
        return {"encoder": batch["encoder"][:1], "side": batch["side"][:1], **block}


def _cell(value: Any) -> NDArray[Any]:
    """Return an array of objects with one element."""
    cell = np.empty(1, dtype=object)
    cell[0] = value
    return cell


def texts_to_vectors(
    texts: Mapping[Side, Sequence[str]], source: EncoderSource, tally: Tally
) -> dict[Side, Vectors]:
    """Return the vectors [N, D] of each side's texts in their order; repeats are embedded once, and texts
    of the source's store not at all.

    Ray Data actors embed them. An actor takes as long to start as to embed hundreds of texts, so this
    process embeds up to a block itself, unless GPUs are to be used: it has reserved none.
    """
    return texts_to_vectors_of_each(texts, [source], tally)[0]


def texts_to_vectors_of_each(
    texts: Mapping[Side, Sequence[str]], sources: Sequence[EncoderSource], tally: Tally
) -> list[dict[Side, Vectors]]:
    """Return the result of `texts_to_vectors` for each encoder, by the same actors."""
    distinct = {side: list(dict.fromkeys(side_texts)) for side, side_texts in texts.items()}
    tables: list[dict[Side, _VectorTable]] = []
    blocks: list[pa.Table] = []
    for number, source in enumerate(sources):
        tables.append({side: _VectorTable(side_texts, side, source) for side, side_texts in distinct.items()})
        for side, table in tables[number].items():
            blocks += _blocks(number, side, table)

    done, total = 0, sum(map(len, blocks))
    embeds_here = total <= _TEXTS_PER_BLOCK and not sources[0].use_gpu
    embed_blocks = _embed_here if embeds_here else _embed_by_actors
    for batch in embed_blocks(blocks, sources) if blocks else ():
        columns = (batch[name] for name in ("encoder", "side", "rows", "vectors"))
        for number, side, rows, vectors in zip(*columns, strict=True):
            tables[number][side].put(rows, vectors)
            done += len(rows)
        tally(done, total)

    results: list[dict[Side, Vectors]] = []
    for encoder_tables in tables:
        for table in encoder_tables.values():
            table.store()
        results.append({side: encoder_tables[side].gather(texts[side]) for side in texts})
    return results


def _embed_here(blocks: Sequence[pa.Table], sources: Sequence[EncoderSource]) -> Iterator[dict[str, Any]]:
    """Yield the result of `Embedder` for each block."""
    embedder = Embedder(sources)
    for block in blocks:
        yield embedder({name: block[name].to_numpy() for name in block.column_names})


def _embed_by_actors(
    blocks: Sequence[pa.Table], sources: Sequence[EncoderSource]
) -> Iterator[dict[str, Any]]:
    """Yield the same by Ray Data, in any order: by one actor for each GPU or core that there is."""
    use_gpu = sources[0].use_gpu
    num_devices = int(ray.cluster_resources().get("GPU" if use_gpu else "CPU", 1))
    if len(ray.nodes()) == 1 and not use_gpu:
        num_devices = min(num_devices, os.cpu_count() or 1)  # a local cluster claims more than there are
    num_blocks = -(-sum(map(len, blocks)) // _TEXTS_PER_BLOCK)
    num_actors = max(1, min(num_blocks, num_devices))

    embedded = ray.data.from_arrow(list(blocks)).map_batches(
        Embedder,
        fn_constructor_args=(list(sources),),
        batch_size=None,
        # It begins with the first actor: others may wait for resources that something else holds.
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=num_actors, initial_size=num_actors),
        **({"num_gpus": 1} if use_gpu else {"num_cpus": 1}),
    )
    yield from embedded.iter_batches(batch_size=None)


def _blocks(number: int, side: Side, table: "_VectorTable") -> Iterator[pa.Table]:
    """Yield the blocks of texts that encoder `number` has to embed."""
    for start in range(0, len(table.missing), _TEXTS_PER_BLOCK):
        rows = table.missing[start : start + _TEXTS_PER_BLOCK]
        same = {"side": [side] * len(rows), "encoder": [number] * len(rows)}
        yield pa.table({"text": [table.distinct[row] for row in rows], "row": rows, **same})


class _VectorTable:
    """Vectors of distinct texts: stored ones, the others filled block by block in any order."""

    def __init__(self, distinct: Sequence[str], side: Side, source: EncoderSource) -> None:
        self.distinct = distinct
        self._side = side
        self._dense: NDArray[np.float32] | None = None
        self._sparse: list[tuple[NDArray[np.int64], csr_matrix]] = []
        self._places = {text: place for place, text in enumerate(distinct)}

        keeps = source.store is not None and source.kind == "dense"
        self._stored = StoredVectors(str(source.store), source) if keeps else None
        is_missing = np.ones(len(distinct), np.bool_)
        for rows, vectors in self._stored.read(side, self._places) if self._stored else ():
            self.put(rows, vectors)
            is_missing[rows] = False
        self.missing = np.flatnonzero(is_missing)

    def put(self, rows: NDArray[np.int64], vectors: Vectors) -> None:
        if isinstance(vectors, csr_matrix):
            self._sparse.append((rows, vectors))
            return

        if self._dense is None:
            # In an unlinked file: the system can page it out when memory is short.
            with tempfile.TemporaryFile(prefix="rejoinder-vectors-") as file:
                shape = (len(self.distinct), vectors.shape[1])
                self._dense = np.memmap(file, np.float32, "w+", shape=shape)
        self._dense[rows] = vectors

    def store(self) -> None:
        """Keep the vectors that were not stored."""
        if self._stored is not None and self._dense is not None and len(self.missing):
            texts = [self.distinct[row] for row in self.missing]
            self._stored.add(self._side, texts, self._dense[self.missing])

    def gather(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors [N, D] of `texts`."""
        if self._dense is not None and len(texts) == len(self.distinct):
            return self._dense

        places = [self._places[text] for text in texts]
        if self._dense is not None:
            return self._dense[places]

        rows, vectors = zip(*self._sparse, strict=True)
        return vstack(vectors, format="csr")[np.argsort(np.concatenate(rows))[places]]
