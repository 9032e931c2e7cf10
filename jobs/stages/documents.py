"""The stage of every system that has documents: a corpus becomes documents, each once."""

from typing import Any

from jobs.execution.job import Counts, Job, Stage
from teachers.corpora.documents import documents_identity, write_documents


def _write(job: Job[Any]) -> Counts:
    return write_documents(job.run.at("documents"), job.run.at("rejected", "documents"), job.config.documents)


def _settings(job: Job[Any]) -> list[Any]:
    return [job.config.documents.model_dump(), documents_identity(job.config.documents)]


DOCUMENTS: Stage[Any] = Stage("documents", (), _settings, _write)
