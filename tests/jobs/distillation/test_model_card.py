"""A student's card: the Hub reads it, its snippet runs, and nothing is claimed that is unknown."""

import re
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from jobs.distillation.config import DistillationConfig
from jobs.distillation.model_card import card_of, write_model_card
from jobs.reports.licences import licences_of
from student.config import Kind
from student.encoders.encoder import EncoderSource, load_encoder, separate_encoders, student_hash
from tests.tiny_models import make_sparse_student, make_student

COUNTS = {"gold": 2600, "training contexts": 2000, "contexts for teachers": 94}
METRICS: dict[str, Any] = {
    "systems": {
        "bm25": {"hits@1/20": 0.25, "contexts": 600.0},
        "student": {"hits@1/20": 0.58567, "mrr": 0.0625, "contexts": 600.0},
    },
    "teachers": {"smollm2": {"hits@1/20": 0.445, "entropy": 1.2}, "kendall_tau": {"smollm2 gemma3": 0.1}},
}
PERMISSIVE = {
    "smollm2": {"model": "smollm2-135m-instruct"},
    "minilm": {"kind": "similarity", "model": "all-minilm-l6-v2"},
}
TEACHERS = {**PERMISSIVE, "gemma3": {"model": "gemma-3-270m"}}


def _config(teachers: dict[str, Any] = TEACHERS, **student: Any) -> dict[str, Any]:
    config = DistillationConfig(
        teachers=teachers, student=student, examples={"conversations": "chitchat-dataset"}
    )
    return config.model_dump(mode="json")


def _card(config: dict[str, Any]) -> huggingface_hub.ModelCard:
    return card_of(config, COUNTS, METRICS, licences_of(config))


def _front_matter(config: dict[str, Any]) -> dict[str, Any]:
    """As the Hub's own parser reads it."""
    front_matter: dict[str, Any] = _card(config).data.to_dict()
    return front_matter


def _run_snippet(folder: Path) -> None:
    """Runs the card's Python as a reader would, with the folder in the place of the placeholder."""
    text = huggingface_hub.ModelCard.load(folder / "README.md").text
    (snippet,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert "path/to/this/folder" in snippet
    exec(snippet.replace("path/to/this/folder", str(folder)), {})


@pytest.mark.parametrize("encoders", ["shared", "separate"])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_the_snippet_runs_and_the_folder_still_loads(
    kind: Kind, encoders: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make = make_student if kind == "dense" else make_sparse_student
    encoder = load_encoder(EncoderSource(str(make(tmp_path / "encoder", ["i", "you"])), kind, 16))
    student = tmp_path / "student"
    (separate_encoders(encoder) if encoders == "separate" else encoder).save(str(student))
    before = student_hash(str(student))
    write_model_card(str(student), _card(_config(kind=kind, encoders=encoders)))
    _run_snippet(student)
    assert "tensor([[" in capsys.readouterr().out
    assert student_hash(str(student)) == before
    load_encoder(EncoderSource(str(student), kind, 16))


def test_the_hubs_fields_are_there() -> None:
    front_matter = _front_matter(_config(PERMISSIVE))
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


def test_a_sparse_student_is_a_feature_extractor_and_has_its_budget() -> None:
    config = _config(kind="sparse", sparsity={"context_terms": 20})
    front_matter = _front_matter(config)
    assert front_matter["pipeline_tag"] == "feature-extraction"
    assert {"sparse-encoder", "splade"} <= set(front_matter["tags"])
    lines = str(_card(config)).splitlines()
    assert "| `student.sparsity.context_terms` | 20.0 |" in lines
    assert "| cassette-splade | base model | Apache-2.0 |" in lines


def test_the_tables_have_every_figure() -> None:
    weights = {"cross_entropy_weight": 0.9, "kl_weight": 0.1, "margin_mse_weight": 0}
    config = _config(**weights, teacher_temperature=2, learning_rate=5e-5, early_stopping=None)
    config["generate"]["contexts"] = 64
    text = str(_card(config))
    assert "saw 2,000 contexts with their responses from chitchat-dataset" in text
    assert "the candidates of 64 of them, the other 1,936 teach by their gold responses alone." in text
    for line in (
        f"# {config['student']['model']} distilled by Rejoinder",
        "| smollm2 | smollm2-135m-instruct | generative teacher | Apache-2.0 |",
        "| minilm | all-minilm-l6-v2 | scoring retriever | Apache-2.0 |",
        "| cross-entropy of the gold and generated responses | 0.9 |  |",
        "| KL divergence from the teachers' distribution | 0.1 | student 1, teachers 2 |",
        "| `student.learning_rate` | 5e-05 |",
        "| `student.early_stopping` | none |",
        f"| `targets.temperature` | {config['targets']['temperature']} |",
        "| system | hits@1/20 | mrr | contexts |",
        "| bm25 | 0.250 |  | 600 |",
        "| student | 0.586 | 0.062 | 600 |",
        "| smollm2 | 0.445 | 1.200 |",
        "| chitchat-dataset | conversations | MIT |",
    ):
        assert line in text.splitlines()
    assert "squared error of the margins" not in text
    assert "kendall" not in text


def test_terms_that_may_reach_the_student_are_named() -> None:
    config = _config()
    assert "gemma-3-270m: Gemma Terms of Use. Read what they say" in str(_card(config))
    assert "license" not in _front_matter(config)


def test_a_card_names_the_fine_tuned_teachers() -> None:
    config = _config()
    assert "fine-tuned" not in str(_card(config)) and "finetune." not in str(_card(config))
    config["finetune"]["epochs"] = 2
    lines = str(_card(config)).splitlines()
    kind = "generative teacher, fine-tuned on the training conversations"
    assert f"| smollm2 | smollm2-135m-instruct | {kind} | Apache-2.0 |" in lines
    assert "| minilm | all-minilm-l6-v2 | scoring retriever | Apache-2.0 |" in lines
    assert "| `finetune.epochs` | 2 |" in lines


def test_a_card_shows_no_path_and_no_base_model_that_the_hub_does_not_know(tmp_path: Path) -> None:
    config = _config(model=str(tmp_path / "encoder"))
    config["examples"]["conversations"] = str(tmp_path / "talks.jsonl")
    config["teachers"]["smollm2"]["model"] = "s3://bucket/private/teacher/"
    text = str(_card(config))
    assert str(tmp_path) not in text and "s3://" not in text
    for name in ("talks.jsonl", "encoder", "teacher"):
        assert f"**The licence of {name} is unknown.**" in text
    assert "It began as encoder" in text
    assert not {"base_model", "license"} & _front_matter(config).keys()


def test_an_endpoints_terms_are_its_own() -> None:
    endpoint = {"kind": "endpoint", "model": "a/served-name", "base_url": "http://x/v1", "api_key_env": "K"}
    config = _config()
    config["teachers"] = {"remote": endpoint}
    text = str(_card(config))
    kind = "generative teacher behind an endpoint"
    assert f"| remote | a/served-name | {kind} | served elsewhere; its terms apply |" in text
    assert "http://x" not in text


def test_a_folder_without_a_student_gets_no_card(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no student"):
        write_model_card(str(tmp_path), _card(_config()))
    assert not (tmp_path / "README.md").exists()
