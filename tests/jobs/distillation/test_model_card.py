"""What a run's config and results become on the student's card."""

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.distillation.config import DistillationConfig
from jobs.distillation.model_card import card_of, licence_of, licences_of
from student.export.model_card import render

COUNTS = {"gold": 2600, "training contexts": 2000, "contexts for teachers": 94}
METRICS: dict[str, Any] = {
    "systems": {"bm25": {"mrr": 0.1}, "untrained student": {"mrr": 0.2}, "student": {"mrr": 0.3}},
    "teachers": {"smollm2": {"hits@1/20": 0.4}, "kendall_tau": {"smollm2 gemma3": 0.1}},
}


def _config(**student: Any) -> dict[str, Any]:
    teachers = {
        "smollm2": {"model": "smollm2-135m-instruct"},
        "gemma3": {"model": "gemma-3-270m"},
        "minilm": {"kind": "similarity", "model": "all-minilm-l6-v2"},
    }
    config = DistillationConfig(
        teachers=teachers, student=student, examples={"conversations": "chitchat-dataset"}
    )
    return config.model_dump(mode="json")


def test_a_card_names_teachers_losses_settings_and_licences() -> None:
    config = _config(cross_entropy_weight=0.9, kl_weight=0.1, margin_mse_weight=0, learning_rate=5e-5)
    card = card_of(config, COUNTS, METRICS, licences_of(config))
    assert card.title == "all-minilm-l6-v2 distilled by Rejoinder"
    assert card.base_model_id == "sentence-transformers/all-MiniLM-L6-v2"
    assert (card.num_contexts, card.num_taught_contexts) == (2000, config["generate"]["contexts"])
    assert [(t.name, t.model, t.licence) for t in card.teachers] == [
        ("smollm2", "smollm2-135m-instruct", "Apache-2.0"),
        ("gemma3", "gemma-3-270m", "Gemma Terms of Use"),
        ("minilm", "all-minilm-l6-v2", "Apache-2.0"),
    ]
    assert [(loss.weight, loss.temperatures) for loss in card.losses] == [
        (0.9, ""),
        (0.1, "student 1, teachers 1"),
    ]
    assert card.settings["student.learning_rate"] == 5e-5
    assert card.settings["targets.temperature"] == config["targets"]["temperature"]
    assert list(card.teacher_metrics) == ["smollm2"]
    assert [source.name for source in card.sources] == [
        "all-minilm-l6-v2",
        "chitchat-dataset",
        "smollm2-135m-instruct",
        "gemma-3-270m",
    ]
    assert "| student | 0.300 |" in render(card)


def test_a_sparse_runs_card_has_its_budget() -> None:
    config = _config(kind="sparse", sparsity={"context_terms": 20})
    card = card_of(config, COUNTS, METRICS, licences_of(config))
    assert card.base_model_id is None
    assert card.settings["student.sparsity.context_terms"] == 20
    assert {source.name: source.licence for source in card.sources}["cassette-splade"] == "Apache-2.0"


def test_a_card_says_which_teachers_were_fine_tuned() -> None:
    config = _config()
    assert not any(
        name.startswith("finetune.")
        for name in card_of(config, COUNTS, METRICS, licences_of(config)).settings
    )
    config["finetune"]["epochs"] = 2
    card = card_of(config, COUNTS, METRICS, licences_of(config))
    assert [teacher.kind for teacher in card.teachers] == [
        *["generative teacher, fine-tuned on the training conversations"] * 2,
        "scoring retriever",
    ]
    assert card.settings["finetune.epochs"] == 2


def test_a_card_shows_no_path(tmp_path: Path) -> None:
    config = _config(model=str(tmp_path / "encoder"))
    config["examples"]["conversations"] = str(tmp_path / "talks.jsonl")
    config["teachers"]["smollm2"]["model"] = "s3://bucket/private/teacher/"
    text = render(card_of(config, COUNTS, METRICS, licences_of(config)))
    assert str(tmp_path) not in text and "s3://" not in text
    for name in ("talks.jsonl", "encoder", "teacher"):
        assert f"**The licence of {name} is unknown.**" in text


def test_an_endpoints_terms_are_its_own() -> None:
    config = _config()
    config["teachers"] = {
        "remote": {
            "kind": "endpoint",
            "model": "a/served-name",
            "base_url": "http://x/v1",
            "api_key_env": "K",
        }
    }
    text = render(card_of(config, COUNTS, METRICS, licences_of(config)))
    kind = "generative teacher behind an endpoint"
    assert f"| remote | a/served-name | {kind} | served elsewhere; its terms apply |" in text
    assert "http://" not in text


@pytest.mark.parametrize(
    ("front_matter", "licence"),
    [
        ("license: apache-2.0", "apache-2.0"),
        ("license: [mit, apache-2.0]", "mit, apache-2.0"),
        ("license: other\nlicense_name: qwen-research", "qwen-research"),
        ("license: other", "other"),
        ("tags: [x]", None),
        ("license: [", None),
    ],
)
def test_a_folders_licence_is_that_of_its_readme(
    front_matter: str, licence: str | None, tmp_path: Path
) -> None:
    (tmp_path / "README.md").write_text(f"---\n{front_matter}\n---\n# model\n")
    assert licence_of(str(tmp_path)) == licence


def test_what_says_nothing_has_no_known_licence(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({}))
    assert licence_of(str(tmp_path)) is None
    assert licence_of("nobody/has-this-model") is None
    assert licence_of("/nowhere/at/all") is None
