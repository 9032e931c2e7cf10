"""Arrow schemas of the datasets that pass from stage to stage: the contract between the rooms.

K is the number of candidates of one context; every list marked [K] aligns with the row's
`candidates`. Roles are OpenAI's: a context's last message is the user's, and the reply is the
assistant's, whoever of the two people wrote it.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs
import pyarrow.parquet as pq

# Some megabytes of conversations; larger groups compress no better, and whoever reads holds one.
_ROWS_IN_A_GROUP = 4096
_ROWS_AT_A_TIME = 512

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])

# `test_by_sender` are conversations of senders who are in no other split.
SPLITS = ("train", "validation", "test", "test_by_sender")
SOURCES = ("gold", "generated", "retrieved", "random")

# Writes: teachers.documents. Reads: all of search. A document has one row, in the corpus's order.
DOCUMENTS = pa.schema([("doc_id", pa.string()), ("text", pa.string())])

# Writes: teachers.questions. Reads: all of search.
# No conversation is in two splits. A search for a question leaves out the documents in `ignored`.
QUESTIONS = pa.schema(
    [
        ("question_id", pa.string()),
        ("conversation_id", pa.string()),
        ("split", pa.string()),
        ("context", pa.list_(MESSAGE)),  # oldest turn first; the last one is the question
        ("rewrite", pa.string()),  # a person's, as a query that stands alone; null where there is none
        ("positives", pa.list_(pa.string())),  # relevant documents
        ("ignored", pa.list_(pa.string())),
    ]
)

# Writes: teachers.rewriting, one dataset per teacher. Reads: student.pools.
# The query that a teacher would search with, in the order of QUESTIONS.
REWRITES = pa.schema([("question_id", pa.string()), ("query", pa.string())])

# Writes: teachers.conversations. Reads: teachers.examples.
CONVERSATIONS = pa.schema([("conversation_id", pa.string()), ("messages", pa.list_(MESSAGE))])

# Writes: teachers.examples. Reads: every later stage.
# One row per (context, reply); no conversation is in two splits, and no test or validation reply
# equals a training reply.
EXAMPLES = pa.schema(
    [
        ("example_id", pa.string()),
        ("conversation_id", pa.string()),
        ("split", pa.string()),
        ("context", pa.list_(MESSAGE)),  # oldest turn first
        ("reply", pa.string()),
    ]
)

# Writes: any stage that sets input aside. Reads: people.
REJECTED = pa.schema([("origin", pa.string()), ("row", pa.string()), ("reason", pa.string())])

# Writes: teachers.finetuning. Reads: student.language_model.
# A conversation as its teacher reads it, context and reply; all sequences begin with the same `num_known`
# tokens (system prompt, template), of which there is nothing to learn.
SEQUENCES = pa.schema([("split", pa.string()), ("tokens", pa.list_(pa.int32())), ("num_known", pa.int32())])

# The store, shared by runs: what a teacher made, once, in a folder of its own for each teacher and its
# settings. A key is `teachers.store.content_key` of what the row answers. A row with an `error` broke
# the teacher, also when tried alone; its other values are null.
# Writes: teachers.generation. Reads: teachers.responses.
SAMPLES = pa.schema(
    [
        ("key", pa.string()),  # of context, system prompt and number of the sample
        ("text", pa.string()),
        ("truncated", pa.bool_()),  # the token limit ended it, not the teacher
        ("error", pa.string()),
    ]
)

# Writes: teachers.scoring. Reads: teachers.scoring, which aligns them with a run's candidates.
# The pair of a response and the empty context gives the response's prior.
PAIR_SCORES = pa.schema(
    [
        ("key", pa.string()),  # of context and response
        ("log_likelihood", pa.float64()),  # generative teachers, see SCORES
        ("tokens", pa.int32()),
        ("similarity", pa.float64()),  # retrievers and cross-encoders
        ("repeated", pa.float64()),  # log_likelihood of a second scoring, of a share of the pairs
        ("error", pa.string()),
    ]
)

# Writes: teachers.responses, one dataset per teacher. Reads: teachers.candidates.
RESPONSES = pa.schema(
    [
        ("example_id", pa.string()),
        ("responses", pa.list_(pa.string())),  # kept, distinct
    ]
)

# Writes: student.retrieval. Reads: teachers.candidates.
# The nearest training replies to a training context, best first, never the example's own.
NEIGHBOURS = pa.schema([("example_id", pa.string()), ("replies", pa.list_(pa.string()))])

CANDIDATE = pa.struct(
    [("text", pa.string()), ("source", pa.string()), ("teacher", pa.string())]
)  # `teacher` is null unless the source is `generated`

# Writes: teachers.candidates. Reads: teachers.scoring, teachers.targets.
# Candidate 0 is the gold reply; texts are distinct within a row.
CANDIDATES = pa.schema(
    [
        ("example_id", pa.string()),
        ("split", pa.string()),
        ("context", pa.list_(MESSAGE)),
        ("candidates", pa.list_(CANDIDATE)),
        ("for_teachers", pa.bool_()),  # whether the teachers score this row
    ]
)

# Writes: teachers.scoring, one dataset per teacher, rows with `for_teachers` only.
# Reads: teachers.targets. Log-likelihoods are sums over the response's tokens in nats and include
# the end-of-turn token. A generative teacher's `similarity` is null, a retriever's `log_likelihood`,
# `prior` and `tokens`; where all are null the teacher could not score this candidate.
SCORES = pa.schema(
    [
        ("example_id", pa.string()),
        ("log_likelihood", pa.list_(pa.float64())),  # [K]
        ("prior", pa.list_(pa.float64())),  # [K], the response without the context
        ("tokens", pa.list_(pa.int32())),  # [K]
        ("bytes", pa.list_(pa.int32())),  # [K], UTF-8 length of the text
        ("similarity", pa.list_(pa.float64())),  # [K]
    ]
)

# Writes: teachers.targets. Reads: student.training, student.evaluation, serve.index.
# `target_probs` [K] sums to one; null: no teacher scored this row, it teaches by its gold reply.
TARGETS = pa.schema(
    [
        ("example_id", pa.string()),
        ("split", pa.string()),
        ("context", pa.list_(MESSAGE)),
        ("candidates", pa.list_(CANDIDATE)),
        ("target_probs", pa.list_(pa.float32())),
    ]
)

# Writes: student.evaluation. Reads: jobs.comparison. How one model did on one held-out context.
MEASURED = pa.schema(
    [
        ("set", pa.string()),  # a split, or `out_of_domain`
        ("model", pa.string()),
        ("example_id", pa.string()),
        ("conversation_id", pa.string()),
        ("metrics", pa.map_(pa.string(), pa.float64())),
        ("answers", pa.list_(pa.string())),  # the best of the response set, best first
    ]
)

# Writes: jobs.stages as a dataset, and serve.index beside the vectors, where row i is vector i.
RESPONSE_SET = pa.schema(
    [
        ("response_id", pa.string()),
        ("text", pa.string()),
        ("source", pa.string()),  # gold or generated
        ("teacher", pa.string()),  # null for gold
    ]
)


def open_uri(uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """The filesystem and the path in it of a local path or of any URI that pyarrow opens."""
    filesystem, path = pyarrow.fs.FileSystem.from_uri(uri if "://" in uri else Path(uri).resolve().as_uri())
    return filesystem, path


def absolute(uri: str) -> str:
    """A URI as it is, a local path from the root: workers have another working directory."""
    return uri if "://" in uri else str(Path(uri).resolve())


def local_folder(uri: str, scratch: Path) -> Path:
    """A local folder with the files of `uri`: itself where it is local, else a copy under `scratch`."""
    filesystem, path = open_uri(uri)
    if isinstance(filesystem, pyarrow.fs.LocalFileSystem):
        return Path(path)
    target = scratch / Path(path).name
    target.mkdir(parents=True)
    pyarrow.fs.copy_files(path, str(target), source_filesystem=filesystem)
    return target


class Rows:
    """The rows of a Parquet dataset in the order in which they were written; an absent one has none.

    They are read anew, a few at a time, whenever they are iterated: none is kept.
    """

    def __init__(self, uri: str, split: str | None = None) -> None:
        """Of one `split` only, if it is named."""
        self.uri = uri
        self._split = split

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.batches():
            yield from batch.to_pylist()

    def batches(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows, or some columns of them, as Arrow has them, some hundreds at a time."""
        filesystem, path = open_uri(self.uri)
        for file in _parquet_files(filesystem, path):
            with filesystem.open_input_file(file) as stream:
                # Not pre-buffered, which keeps what was read until the whole file is.
                for batch in pq.ParquetFile(stream, pre_buffer=False).iter_batches(
                    _ROWS_AT_A_TIME, columns=columns
                ):
                    if self._split is not None:
                        batch = batch.filter(pc.equal(batch["split"], self._split))
                    yield batch


class Beside:
    """Rows of a dataset that go with some rows of another, by the ids in `column` and in the same order."""

    def __init__(self, uri: str, column: str = "example_id") -> None:
        self._uri, self._column, self._rows = uri, column, iter(Rows(uri))
        self._next = next(self._rows, None)

    def of(self, own_id: str) -> dict[str, Any] | None:
        """The row that goes with this one of the other dataset; None where there is none."""
        row = self._next
        if row is None or row[self._column] != own_id:
            return None
        self._next = next(self._rows, None)
        return row

    def end(self) -> None:
        """Raises ValueError where a row is left: it is of another example, or in another order."""
        if self._next is not None:
            raise ValueError(f"{self._uri}: {self._next[self._column]} is of no other row, or out of order")


def _parquet_files(filesystem: pyarrow.fs.FileSystem, path: str) -> list[str]:
    found = filesystem.get_file_info(path)
    if found.type == pyarrow.fs.FileType.File:
        return [path]
    selector = pyarrow.fs.FileSelector(path, allow_not_found=True)
    files = [info.path for info in filesystem.get_file_info(selector) if info.extension == "parquet"]
    return sorted(file for file in files if not file.rpartition("/")[2].startswith("."))


def read_rows(uri: str, split: str | None = None) -> list[dict[str, Any]]:
    """All rows of a Parquet dataset, or those of one split; an absent one has none."""
    return list(Rows(uri, split))


def write_rows(uri: str, rows: Iterable[dict[str, Any]], schema: pa.Schema) -> int:
    """Writes one Parquet dataset of a single file, replacing what was there; the number of its rows."""
    with rows_to(uri, schema) as writer:
        for row in rows:
            writer.write(row)
    return writer.num_rows


@contextmanager
def rows_to(uri: str, schema: pa.Schema) -> Iterator["RowWriter"]:
    """Takes the rows of such a dataset one by one; it is there once the body has ended well."""
    filesystem, path = open_uri(uri)
    filesystem.create_dir(path, recursive=True)
    unfinished = f"{path}/.part-0.parquet"
    with pq.ParquetWriter(unfinished, schema, filesystem=filesystem) as file:
        writer = RowWriter(file, schema)
        yield writer
        writer.flush()
    filesystem.move(unfinished, f"{path}/part-0.parquet")


class RowWriter:
    """Rows on their way into a Parquet file, a row group at a time."""

    def __init__(self, file: pq.ParquetWriter, schema: pa.Schema) -> None:
        self.num_rows = 0
        self._file, self._schema = file, schema
        self._waiting: list[dict[str, Any]] = []

    def write(self, row: dict[str, Any]) -> None:
        self.num_rows += 1
        self._waiting.append(row)
        if len(self._waiting) >= _ROWS_IN_A_GROUP:
            self.flush()

    def flush(self) -> None:
        """Writes what waits."""
        if self._waiting:
            self._file.write_table(pa.Table.from_pylist(self._waiting, schema=self._schema))
            self._waiting = []
