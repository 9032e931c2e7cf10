"""A cross-encoder's judgement of whether one text follows from another."""

from pathlib import Path

import pytest
from sentence_transformers import CrossEncoder

from teachers.synthesis.entailment import check_entailment, entailment
from tests.tiny_models import make_cross_encoder

WORDS = ["owls", "eat", "voles", "swim"]
LABELS = ["contradiction", "Entailment", "neutral"]


def test_the_score_is_the_probability_of_the_entailment_label(tmp_path: Path) -> None:
    model = str(make_cross_encoder(tmp_path / "judge", WORDS, LABELS))
    check_entailment(model)
    entails = entailment(model)

    assert entails is not None

    pairs = [("owls eat voles", "owls eat"), ("owls eat voles", "owls swim")]
    expected = CrossEncoder(model).predict(pairs, apply_softmax=True)[:, 1]
    assert [entails(*pair) for pair in pairs] == pytest.approx(expected.tolist(), abs=1e-6)
    assert abs(expected[0] - expected[1]) > 1e-3


def test_the_judge_takes_no_gpu_which_its_writer_has_not_reserved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices: list[str] = []

    def load(folder: str, *, device: str) -> CrossEncoder:
        devices.append(device)
        return CrossEncoder(folder, device="cpu")

    model = str(make_cross_encoder(tmp_path / "judge", WORDS, LABELS))
    monkeypatch.setattr("sentence_transformers.CrossEncoder", load)
    assert entailment(model) is not None
    assert devices == ["cpu"]


def test_a_model_without_that_label_is_refused(tmp_path: Path) -> None:
    model = str(make_cross_encoder(tmp_path / "judge", WORDS, ["good", "bad"]))
    with pytest.raises(ValueError, match=r"expected a label `entailment`, got good, bad$"):
        check_entailment(model)


def test_no_configured_model_gives_no_entailment() -> None:
    assert entailment(None) is None
