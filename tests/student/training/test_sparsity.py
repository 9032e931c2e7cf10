"""The regularisers against their definitions, and the controller on a student that really trains."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers.sparse_encoder.losses import FlopsLoss

from student.config import StudentConfig
from student.encoders.encoder import EncoderSource, embed_texts, load_encoder
from student.training.sparsity import (
    SparsityController,
    Threshold,
    activity,
    budgets,
    flops_regulariser,
    fold_thresholds,
    l1_regulariser,
    missed_budget,
)

CONTEXTS = torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 2.0]])
MISSED = "the student missed its budget: response_terms 22.1 for a budget of 20"
RESPONSES = torch.tensor([[3.0, 1.0, 0.0], [1.0, 0.0, 0.0], [2.0, 0.0, 1.0]])


def test_flops_regulariser_equals_sentence_transformers() -> None:
    # Means 2, 1/3, 1/3: 4 + 1/9 + 1/9.
    assert flops_regulariser(RESPONSES).item() == pytest.approx(4 + 2 / 9)
    torch.testing.assert_close(
        flops_regulariser(RESPONSES), FlopsLoss(None).compute_loss_from_embeddings(RESPONSES)
    )


def test_l1_regulariser_is_the_mean_sum_of_weights() -> None:
    assert l1_regulariser(RESPONSES).item() == pytest.approx((4 + 1 + 3) / 3)


def test_activity_counts_terms_and_expected_multiplications() -> None:
    measured = {name: value.item() for name, value in activity(CONTEXTS, RESPONSES).items()}
    # Contexts have the terms in shares 1/2, 0, 1; responses 1, 1/3, 1/3: 1/2 + 0 + 1/3.
    assert measured == pytest.approx({"context_terms": 1.5, "response_terms": 5 / 3, "flops": 1 / 2 + 1 / 3})


def sparse_config(**sparsity: object) -> StudentConfig:
    return StudentConfig.model_validate({"kind": "sparse", "sparsity": sparsity})


def controller_of(config: StudentConfig, encoder: Path, state: Any = None) -> SparsityController:
    source = EncoderSource(str(encoder), "sparse", 16)
    return SparsityController(config, 100, load_encoder(source), state)


def test_a_threshold_rises_while_there_are_too_many_terms_and_falls_while_too_few(
    tiny_sparse_encoder: Path,
) -> None:
    controller = controller_of(sparse_config(context_terms=1.5, warmup_share=0), tiny_sparse_encoder)
    seen = []
    for vectors in (torch.ones(2, 3), torch.ones(2, 3), torch.tensor([[1.0, 0.0, 0.0]])):
        controller.steer(50, vectors, RESPONSES)
        seen.append(controller.thresholds()["context"])
    assert 0 < seen[0] < seen[1] and seen[2] < seen[1]


def test_a_controller_goes_on_from_its_state(tiny_sparse_encoder: Path) -> None:
    config = sparse_config(context_terms=1.0)
    unbroken = controller_of(config, tiny_sparse_encoder)
    unbroken.steer(0, CONTEXTS, RESPONSES)
    resumed = controller_of(config, tiny_sparse_encoder, unbroken.state())
    for controller in (unbroken, resumed):
        controller.steer(1, CONTEXTS * 2, RESPONSES)
    assert resumed.state() == unbroken.state()


def test_a_folded_threshold_does_what_the_hook_did(tiny_sparse_encoder: Path) -> None:
    hooked, folded = (load_encoder(EncoderSource(str(tiny_sparse_encoder), "sparse", 16)) for _ in range(2))
    Threshold(0.7).attach(hooked, "context")
    fold_thresholds(folded, {"context": 0.7})
    texts = ["w1 w2", "w3"]
    expected = embed_texts(hooked, texts, "response").toarray()
    assert (expected > 0).any()
    torch.testing.assert_close(
        torch.tensor(embed_texts(folded, texts, "response").toarray()), torch.tensor(expected)
    )


def test_the_penalty_is_both_sides_regulariser_and_warms_up_quadratically(tiny_sparse_encoder: Path) -> None:
    config = sparse_config(regulariser="l1", regulariser_weight=0.5, warmup_share=0.4)
    controller = controller_of(config, tiny_sparse_encoder)
    # L1: contexts (3 + 2) / 2, responses (4 + 1 + 3) / 3; 100 steps, 40 of warm-up.
    whole = 0.5 * (5 / 2 + 8 / 3)
    assert controller.penalty(19, CONTEXTS, RESPONSES).item() == pytest.approx(whole * (20 / 40) ** 2)
    assert controller.penalty(80, CONTEXTS, RESPONSES).item() == pytest.approx(whole)


def test_a_frozen_side_has_no_budget() -> None:
    config = StudentConfig(kind="sparse", encoders="frozen_responses")
    assert budgets(config) == {"context": ("context_terms", 32.0)}
    with pytest.raises(ValueError, match="frozen"):
        StudentConfig.model_validate({**config.model_dump(), "sparsity": {"response_terms": 5}})


def test_a_shared_encoder_keeps_one_budget() -> None:
    assert budgets(sparse_config(flops=0.5)) == {"context": ("flops", 0.5)}
    assert budgets(sparse_config(context_terms=None, response_terms=9)) == {
        "context": ("response_terms", 9.0)
    }
    with pytest.raises(ValueError, match="not both"):
        sparse_config(context_terms=4, response_terms=9)


def test_a_missed_budget_is_named_with_the_measured_value() -> None:
    config = StudentConfig.model_validate(
        {"kind": "sparse", "encoders": "separate", "sparsity": {"context_terms": 10, "response_terms": 20}}
    )
    reached = {"context_terms": 10.9, "response_terms": 22.1, "flops": 1.0}
    assert missed_budget(config, reached) == MISSED
    assert missed_budget(config, {**reached, "response_terms": 18.1}) is None


BUDGETS: list[tuple[str, dict[str, Any]]] = [
    ("shared", {"context_terms": 6}),
    ("separate", {"context_terms": 4, "response_terms": 9}),
    ("shared", {"flops": 1.5, "regulariser": "l1"}),
    ("frozen_responses", {"context_terms": 3}),
]


def test_training_ends_within_a_tenth_of_the_budget(tiny_sparse_encoder: Path) -> None:
    model = str(tiny_sparse_encoder)
    settings = [{"model": model, "encoders": encoders, "sparsity": budget} for encoders, budget in BUDGETS]
    command = [sys.executable, "-m", "tests.student.training.sparse_training", json.dumps(settings)]
    trained = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert trained.returncode == 0, trained.stderr[-3000:]
    lines = [line for line in trained.stdout.splitlines() if line.startswith("{")]
    for line, (encoders, budget) in zip(lines, BUDGETS, strict=True):
        metrics = json.loads(line)
        for measure in budget.keys() - {"regulariser"}:
            # In training, dropout on, over the last steps; then on held-out texts.
            assert metrics["train"][measure] == pytest.approx(budget[measure], rel=0.2), encoders
            held_out = metrics["validation"][f"validation_{measure}"]
            assert held_out == pytest.approx(budget[measure], rel=0.05), encoders
        assert metrics["validation"]["validation_mrr"] > 0.8, encoders
