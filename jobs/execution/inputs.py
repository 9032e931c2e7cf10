"""Checks of data and weights that several systems name in their configs, before anything is started."""

from collections.abc import Callable, Mapping
from functools import partial

from jobs.config import ConfigError
from student.config import StudentConfig
from student.encoders import packaged
from teachers.config import EndpointTeacher, TeacherConfig
from teachers.corpora.config import DocumentsConfig, QuestionsConfig
from teachers.corpora.conversations import check_source
from teachers.corpora.documents import check_corpus
from teachers.engines.weights import check_teacher_model, check_tokenizer, pinned_commit


def check(key: str, check_value: Callable[[], object]) -> None:
    """Run a check of the value at `key`; its ValueError becomes a ConfigError that names the key."""
    try:
        check_value()
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from None


def check_teachers(teachers: Mapping[str, TeacherConfig], key: str = "teachers") -> None:
    """Raises ConfigError where a teacher's weights or tokenizer are missing, or not of its kind.

    `key` is the section of the teachers.
    """
    for name, teacher in teachers.items():
        if not isinstance(teacher, EndpointTeacher):
            check(f"{key}.{name}.model", partial(check_teacher_model, teacher))
        elif teacher.tokenizer is not None:
            check(f"{key}.{name}.tokenizer", partial(check_tokenizer, teacher.tokenizer))


def check_student(config: StudentConfig) -> None:
    """Raises ConfigError where the student's model is missing, of another kind, or too small for a key."""
    check("student.model", partial(packaged.check_student, config))
    check("student.max_tokens", partial(packaged.check_max_tokens, config))
    check("student.frozen_layers", partial(packaged.check_frozen_layers, config))


def pinned(teachers: Mapping[str, TeacherConfig]) -> dict[str, TeacherConfig]:
    """Return the teachers, a Hugging Face id's at the commit on this machine, which all are to use."""
    at_commits: dict[str, TeacherConfig] = {}
    for name, teacher in teachers.items():
        if isinstance(teacher, EndpointTeacher):
            at_commits[name] = teacher
        else:
            commit = pinned_commit(teacher.model, teacher.revision)
            at_commits[name] = teacher.model_copy(update={"revision": commit})
    return at_commits


def check_documents(config: DocumentsConfig) -> None:
    """Raises ConfigError where a corpus is missing."""
    for corpus in config.corpus:
        check("documents.corpus", partial(check_corpus, corpus))


def check_questions(config: QuestionsConfig) -> None:
    """Raises ConfigError where a file of questions is missing."""
    check_sources("questions.conversations", config.conversations)
    check_sources("questions.test_conversations", config.test_conversations)


def check_sources(key: str, sources: list[str]) -> None:
    """Raises ConfigError where a file of conversations is missing."""
    for source in sources:
        check(key, partial(check_source, source))
