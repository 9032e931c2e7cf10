"""Training of a tiny causal language model, with the same result on one worker and on two."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from student.config import FinetuneConfig
from student.training.language_model import StepLanguageModel, train_language_model
from student.training.ray_trainer import TrainingLocation
from teachers.dataset import write_rows
from teachers.records import SEQUENCES
from tests.tiny_models import make_teacher

CONFIG = FinetuneConfig(
    epochs=3,
    learning_rate=1e-2,
    sequences_per_step=3,  # with two workers, one of them has a sequence less
    tokens_per_forward=16,
    checkpoint_every_steps=4,
    precision="fp32",
    num_workers=1,
)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_teacher(tmp_path_factory.mktemp("teacher"), chat=False, seed=1)


def _sequences(folder: Path) -> str:
    """Twelve training and four validation sequences, each counting upwards."""
    rows: list[dict[str, Any]] = [
        {
            "split": "train" if number < 12 else "validation",
            "tokens": [7, 8, *range(20 + number % 4, 26 + number % 4 + number % 3)],
            "num_known": 2,
        }
        for number in range(16)
    ]
    write_rows(str(folder / "sequences"), rows, SEQUENCES)
    return str(folder / "sequences")


def _train(teacher: Path, folder: Path, config: FinetuneConfig) -> dict[str, Any]:
    location = TrainingLocation(str(folder / "out"), str(folder / "runs"), "lm")
    return train_language_model(_sequences(folder), str(teacher), location, config, [])


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    return weights


@pytest.fixture(scope="module")
def alone(ray_cluster: None, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Folder and result of a training by one worker."""
    folder = tmp_path_factory.mktemp("alone")
    return folder, _train(teacher, folder, CONFIG)


def test_the_loss_is_that_of_transformers_without_prefix_and_padding(teacher: Path) -> None:
    """The reference is transformers' own loss with the prefix and the padding masked out."""
    model = StepLanguageModel(str(teacher)).eval()
    tokens = torch.tensor([[7, 8, 20, 21, 22], [7, 8, 30, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    labels = torch.tensor([[-100, -100, 20, 21, 22], [-100, -100, 30, -100, -100]])
    with torch.no_grad():
        reference = model.model(input_ids=tokens, attention_mask=mask, labels=labels).loss * 4
        assert model(tokens, mask, 2).item() == pytest.approx(reference.item(), rel=1e-5)


def test_training_lowers_the_loss_and_keeps_the_word_embeddings(
    alone: tuple[Path, Any], teacher: Path
) -> None:
    folder, result = alone
    assert result["sequences"] == 12 and result["steps"] == 12

    before, after = _weights(teacher), _weights(folder / "out")
    embedding = "model.embed_tokens.weight"
    assert torch.equal(before[embedding], after[embedding])
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert any("layers" in name for name in changed)

    # A random model gives each of the vocabulary's tokens about the same probability.
    assert result["validation_loss"] < 0.8 * torch.log(torch.tensor(float(len(before[embedding])))).item()
    assert (folder / "out" / "tokenizer.json").is_file()


def test_two_workers_learn_what_one_does(alone: tuple[Path, Any], teacher: Path, tmp_path: Path) -> None:
    result = _train(teacher, tmp_path, CONFIG.model_copy(update={"num_workers": 2}))
    assert result["validation_loss"] == pytest.approx(alone[1]["validation_loss"], rel=1e-4)
    expected = _weights(alone[0] / "out")
    for name, weight in _weights(tmp_path / "out").items():
        assert torch.allclose(weight, expected[name], atol=1e-4), name


def test_a_finished_training_takes_no_further_step(alone: tuple[Path, Any], teacher: Path) -> None:
    folder, result = alone
    again = _train(teacher, folder, CONFIG)
    assert again["best step"] == result["best step"]
    assert again["validation_loss"] == result["validation_loss"]
