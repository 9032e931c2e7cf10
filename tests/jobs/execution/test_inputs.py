"""Checks of models that a config names: each tells the key."""

from pathlib import Path

import pytest

from jobs.config import ConfigError
from jobs.execution.inputs import check_student, check_teachers
from student.config import StudentConfig
from teachers.config import SimilarityTeacher
from tests.tiny_models import make_cross_encoder, make_student


def test_the_key_of_a_model_that_does_not_fit_is_named(tmp_path: Path) -> None:
    words = ["hey", "you"]
    student = make_student(tmp_path / "student", words)
    check_student(StudentConfig(model=str(student), max_tokens=64))
    with pytest.raises(ConfigError, match=r"^student\.max_tokens: expected at most the 64 positions of"):
        check_student(StudentConfig(model=str(student), max_tokens=128))

    judge = str(make_cross_encoder(tmp_path / "judge", words, ["no", "perhaps", "yes"]))
    with pytest.raises(ConfigError, match=r"^student\.model: .*got BertForSequenceClassification"):
        check_student(StudentConfig(model=judge))
    with pytest.raises(ConfigError, match=r"^teachers\.judge\.model: .*got 3: no, perhaps, yes"):
        check_teachers({"judge": SimilarityTeacher(kind="similarity", model=judge)})
