"""A student's card: Hugging Face's Hub reads it, its snippet runs, and nothing is claimed that is unknown."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from student.config import Kind
from student.encoders.encoder import EncoderSource, load_encoder, separate_encoders, student_hash
from student.export.model_card import CardLoss, CardSource, CardTeacher, ModelCard, render, write_model_card

CARD = ModelCard(
    title="all-minilm-l6-v2 distilled by Rejoinder",
    kind="dense",
    encoders="shared",
    max_tokens=64,
    context_turns=2,
    base_model="all-minilm-l6-v2",
    base_model_id="sentence-transformers/all-MiniLM-L6-v2",
    conversations="chitchat-dataset",
    num_contexts=2000,
    num_taught_contexts=64,
    teachers=[CardTeacher("smollm2", "smollm2-135m-instruct", "generative teacher", "Apache-2.0")],
    losses=[CardLoss("cross-entropy", 0.9, ""), CardLoss("KL divergence", 0.1, "student 1, teachers 2")],
    settings={"student.learning_rate": 5e-05, "student.early_stopping": None},
    metrics={
        "bm25": {"hits@1/20": 0.25, "contexts": 600.0},
        "student": {"hits@1/20": 0.58567, "mrr": 0.0625, "contexts": 600.0},
    },
    teacher_metrics={"smollm2": {"hits@1/20": 0.445, "entropy": 1.2}},
    sources=[
        CardSource("all-minilm-l6-v2", "base model", "Apache-2.0"),
        CardSource("chitchat-dataset", "conversations", "MIT"),
        CardSource("smollm2-135m-instruct", "generative teacher", "Apache-2.0"),
    ],
)


def _run_snippet(folder: Path) -> None:
    """Runs the card's Python as a reader would, with the folder in the place of the placeholder."""
    text = huggingface_hub.ModelCard.load(folder / "README.md").text
    (snippet,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert "path/to/this/folder" in snippet
    exec(snippet.replace("path/to/this/folder", str(folder)), {})


def _front_matter(card: ModelCard) -> dict[str, Any]:
    """As the Hub's own parser reads it."""
    front_matter: dict[str, Any] = huggingface_hub.ModelCard(render(card)).data.to_dict()
    return front_matter


@pytest.mark.parametrize("encoders", ["shared", "separate"])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_the_snippet_runs_and_the_folder_still_loads(
    kind: Kind,
    encoders: str,
    tiny_encoder: Path,
    tiny_sparse_encoder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = EncoderSource(str(tiny_encoder if kind == "dense" else tiny_sparse_encoder), kind, 16)
    encoder = load_encoder(source)
    student = tmp_path / "student"
    (separate_encoders(encoder) if encoders == "separate" else encoder).save(str(student))
    before = student_hash(str(student))
    write_model_card(str(student), replace(CARD, kind=kind, encoders=encoders))
    _run_snippet(student)
    assert "tensor([[" in capsys.readouterr().out
    assert student_hash(str(student)) == before
    load_encoder(EncoderSource(str(student), kind, 16))


def test_the_hubs_fields_are_there() -> None:
    front_matter = _front_matter(CARD)
    assert front_matter["library_name"] == "sentence-transformers"
    assert front_matter["pipeline_tag"] == "sentence-similarity"
    assert front_matter["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert front_matter["license"] == "apache-2.0"
    assert front_matter["metrics"] == ["hits@1/20", "mrr"]
    assert front_matter["model-index"][0]["results"][0]["metrics"] == [
        {"type": "hits@1/20", "value": 0.5857},
        {"type": "mrr", "value": 0.0625},
    ]
    assert {"sentence-similarity", "knowledge-distillation"} <= set(front_matter["tags"])


def test_a_sparse_student_is_a_feature_extractor() -> None:
    front_matter = _front_matter(replace(CARD, kind="sparse"))
    assert front_matter["pipeline_tag"] == "feature-extraction"
    assert {"sparse-encoder", "splade"} <= set(front_matter["tags"])


def test_the_tables_have_every_figure() -> None:
    text = render(CARD)
    assert "saw 2,000 contexts with their replies from chitchat-dataset" in text
    assert "the other 1,936 teach by their replies alone" in text
    for line in (
        "| smollm2 | smollm2-135m-instruct | generative teacher | Apache-2.0 |",
        "| KL divergence | 0.1 | student 1, teachers 2 |",
        "| `student.learning_rate` | 5e-05 |",
        "| `student.early_stopping` | none |",
        "| system | hits@1/20 | contexts | mrr |",
        "| bm25 | 0.250 | 600 |  |",
        "| student | 0.586 | 600 | 0.062 |",
        "| smollm2 | 0.445 | 1.200 |",
        "| chitchat-dataset | conversations | MIT |",
    ):
        assert line in text.splitlines()


def test_an_unknown_licence_is_said_and_leaves_the_students_open() -> None:
    card = replace(CARD, sources=[*CARD.sources, CardSource("mine", "generative teacher", None)])
    assert "**The licence of mine is unknown.**" in render(card)
    assert "license" not in _front_matter(card)


def test_terms_that_may_reach_the_student_are_named() -> None:
    gemma = CardSource("gemma-3-270m", "generative teacher", "Gemma Terms of Use")
    card = replace(CARD, sources=[*CARD.sources, gemma])
    assert "gemma-3-270m: Gemma Terms of Use. Read what they say" in render(card)
    assert "license" not in _front_matter(card)


def test_a_base_model_without_an_id_is_none_to_the_hub() -> None:
    """The Hub refuses a card whose base model it does not know."""
    card = replace(CARD, base_model_id=None, base_model="my-model")
    assert "base_model" not in _front_matter(card)
    assert "It began as my-model" in render(card)


def test_a_folder_without_a_student_gets_no_card(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no student"):
        write_model_card(str(tmp_path), CARD)
    assert not (tmp_path / "README.md").exists()
