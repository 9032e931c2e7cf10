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
    """Return the vectors [N, D] of each side's texts in their order; repeats are embedded once.

    Ray Data actors embed them. An actor takes as long to start as to embed hundreds of texts, so this
    process embeds up to a block itself, unless GPUs are to be used: it has reserved none.
    """
    return texts_to_vectors_of_each(texts, [source], tally)[0]


def texts_to_vectors_of_each(
    texts: Mapping[Side, Sequence[str]], sources: Sequence[EncoderSource], tally: Tally
) -> list[dict[Side, Vectors]]:
    """Return the result of `texts_to_vectors` for each encoder, by the same actors."""
    distinct = {side: list(dict.fromkeys(side_texts)) for side, side_texts in texts.items()}
    blocks: list[pa.Table] = []
    tables: list[dict[Side, _VectorTable]] = []
    for number in range(len(sources)):
        blocks += _blocks(number, distinct)
        tables.append({side: _VectorTable(side_texts) for side, side_texts in distinct.items()})

    done, total = 0, len(sources) * sum(map(len, distinct.values()))
    embeds_here = total <= _TEXTS_PER_BLOCK and not sources[0].use_gpu
    embed_blocks = _embed_here if embeds_here else _embed_by_actors
    for batch in embed_blocks(blocks, sources):
        columns = (batch[name] for name in ("encoder", "side", "rows", "vectors"))
        for number, side, rows, vectors in zip(*columns, strict=True):
            tables[number][side].put(rows, vectors)
            done += len(rows)
        tally(done, total)

    results: list[dict[Side, Vectors]] = []
    for encoder_tables in tables:
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


def _blocks(number: int, texts: Mapping[Side, list[str]]) -> Iterator[pa.Table]:
    """Yield the blocks of texts for encoder `number`."""
    for side, side_texts in texts.items():
        for start in range(0, len(side_texts), _TEXTS_PER_BLOCK):
            block = side_texts[start : start + _TEXTS_PER_BLOCK]
            rows = np.arange(start, start + len(block))
            same = {"side": [side] * len(block), "encoder": [number] * len(block)}
            yield pa.table({"text": block, "row": rows, **same})


class _VectorTable:
    """Vectors of distinct texts, filled block by block in any order."""

    def __init__(self, distinct: Sequence[str]) -> None:
        self._distinct = distinct
        self._dense: NDArray[np.float32] | None = None
        self._sparse: list[tuple[NDArray[np.int64], csr_matrix]] = []

    def put(self, rows: NDArray[np.int64], vectors: Vectors) -> None:
        if isinstance(vectors, csr_matrix):
            self._sparse.append((rows, vectors))
            return

        if self._dense is None:
            # In an unlinked file: the system can page it out when memory is short.
            with tempfile.TemporaryFile(prefix="rejoinder-vectors-") as file:
                shape = (len(self._distinct), vectors.shape[1])
                self._dense = np.memmap(file, np.float32, "w+", shape=shape)
        self._dense[rows] = vectors

    def gather(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors [N, D] of `texts`."""
        if self._dense is not None and len(texts) == len(self._distinct):
            return self._dense

        positions = {text: number for number, text in enumerate(self._distinct)}
        places = [positions[text] for text in texts]
        if self._dense is not None:
            return self._dense[places]

        rows, vectors = zip(*self._sparse, strict=True)
        return vstack(vectors, format="csr")[np.argsort(np.concatenate(rows))[places]]
