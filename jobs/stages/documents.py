"""The stage of every system that has documents: a corpus becomes documents, each once."""

from typing import Any

from jobs.execution.job import Counts, Job, Stage
from teachers.corpora.documents import write_documents


def _write(job: Job[Any]) -> Counts:
    return write_documents(job.run.at("documents"), job.run.at("rejected", "documents"), job.config.documents)


DOCUMENTS: Stage[Any] = Stage("documents", (), lambda job: [job.config.documents.model_dump()], _write)
