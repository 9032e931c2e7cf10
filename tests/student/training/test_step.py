"""A step's loss and gradients do not depend on the number of workers, nor on the gradient cache."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

# How ZeRO shares out gradients does not depend on the kind of student.
STAGES = {"dense": (0, 1, 2), "sparse": (0,)}
KINDS_AND_STAGES = [(kind, stage) for kind, stages in STAGES.items() for stage in stages]
FEW, MANY = 32, 512


def cases(dense: Path, sparse: Path) -> dict[str, dict[str, Any]]:
    """What the workers compute, by name."""
    tiny = {
        "max_tokens": 16,
        "precision": "fp32",
        "global_batch_size": 12,
        "micro_batch_size": 4,
        "gradient_clipping": 1e9,
        "random_negatives": 5,
        "margin_mse_weight": 0.1,
    }
    step_cases = {}
    for kind, model in (("dense", dense), ("sparse", sparse)):
        config = {**tiny, "kind": kind, "model": str(model), "sparsity": {"regulariser_weight": 0.1}}
        for stage in STAGES[kind]:
            for cache in (False, True):
                name = f"{kind} zero-{stage} {'cached' if cache else 'direct'}"
                staged = {**config, "zero_stage": stage, "gradient_cache": cache}
                step_cases[name] = {"config": staged, "dropout": 0}
            twice = {**config, "zero_stage": stage, "gradient_cache": True, "accumulation_steps": 2}
            step_cases[f"{kind} zero-{stage} twice"] = {"config": twice, "dropout": 0}
        step_cases[f"{kind} with dropout direct"] = {"config": config, "dropout": 0.1}
        step_cases[f"{kind} with dropout cached"] = {
            "config": {**config, "gradient_cache": True},
            "dropout": 0.1,
        }
        separate = {**config, "encoders": "separate"}
        step_cases[f"{kind} separate direct"] = {"config": separate, "dropout": 0}
    # One worker's share is a repeat of the other's, and has to count for nothing.
    one = {**tiny, "model": str(dense), "global_batch_size": 1, "random_negatives": 0}
    step_cases["one context"] = {"config": one, "dropout": 0}
    for negatives, cache in ((FEW, False), (MANY, False), (MANY, True)):
        config = {**tiny, "model": str(dense), "random_negatives": negatives, "gradient_cache": cache}
        step_cases[f"{negatives} negatives {'cached' if cache else 'direct'}"] = {
            "config": config,
            "dropout": 0,
        }
    return step_cases


@pytest.fixture(scope="module")
def computed(
    tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, tiny_sparse_encoder: Path
) -> dict[int, dict[str, Any]]:
    """Results of one and of two workers, by their number."""
    folder = tmp_path_factory.mktemp("step")
    (folder / "cases.json").write_text(json.dumps(cases(tiny_encoder, tiny_sparse_encoder)))
    results = {}
    for world_size in (1, 2):
        command = [sys.executable, "-m", "tests.student.training.step_workers", str(folder), str(world_size)]
        worked = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert worked.returncode == 0, worked.stderr[-3000:]
        results[world_size] = torch.load(folder / f"{world_size}.pt")
    return results


def assert_equal(actual: dict[str, Any], expected: dict[str, Any], tolerance: float = 1e-5) -> None:
    assert actual["losses"] == pytest.approx(expected["losses"], rel=tolerance)
    assert actual["gradients"].keys() == expected["gradients"].keys() and actual["gradients"]
    largest = max(gradient.abs().max().item() for gradient in expected["gradients"].values())
    assert largest > 1e-3
    for name, gradient in actual["gradients"].items():
        difference = (gradient - expected["gradients"][name]).abs().max().item()
        assert difference <= tolerance * largest, name


@pytest.mark.parametrize(("kind", "stage"), KINDS_AND_STAGES)
@pytest.mark.parametrize("way", ["direct", "cached"])
def test_two_workers_compute_what_one_does(
    computed: dict[int, dict[str, Any]], kind: str, stage: int, way: str
) -> None:
    reference = computed[1][f"{kind} zero-0 direct"]
    assert_equal(computed[2][f"{kind} zero-{stage} {way}"], reference)


def test_a_worker_without_a_text_of_its_own_changes_nothing(computed: dict[int, dict[str, Any]]) -> None:
    assert_equal(computed[2]["one context"], computed[1]["one context"])


@pytest.mark.parametrize(("kind", "stage"), KINDS_AND_STAGES)
def test_the_gradient_cache_changes_nothing(
    computed: dict[int, dict[str, Any]], kind: str, stage: int
) -> None:
    direct, cached = (computed[1][f"{kind} zero-{stage} {way}"] for way in ("direct", "cached"))
    assert_equal(cached, direct)


@pytest.mark.parametrize(("kind", "stage"), KINDS_AND_STAGES)
@pytest.mark.parametrize("workers", [1, 2])
def test_accumulated_gradients_are_the_mean_of_the_steps(
    computed: dict[int, dict[str, Any]], kind: str, stage: int, workers: int
) -> None:
    """Of the same step twice, whose mean is that of once."""
    assert_equal(computed[workers][f"{kind} zero-{stage} twice"], computed[1][f"{kind} zero-0 direct"])


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_both_passes_of_the_gradient_cache_have_the_same_dropout(
    computed: dict[int, dict[str, Any]], kind: str
) -> None:
    direct, cached, without = (
        computed[1][f"{kind} {name}"]
        for name in ("with dropout direct", "with dropout cached", "zero-0 direct")
    )
    assert_equal(cached, direct)
    assert direct["losses"]["loss"] != pytest.approx(without["losses"]["loss"], rel=1e-4)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_separate_encoders_begin_as_one(computed: dict[int, dict[str, Any]], kind: str) -> None:
    shared, separate = computed[1][f"{kind} zero-0 direct"], computed[1][f"{kind} separate direct"]
    assert separate["losses"] == pytest.approx(shared["losses"], rel=1e-5)
    # The shared encoder's gradient is the sum of the two encoders'.
    for name, gradient in shared["gradients"].items():
        path = name.removeprefix("encoder.")
        parts = [
            separate["gradients"][f"encoder.0.sub_modules.{side}.{path}"] for side in ("query", "document")
        ]
        torch.testing.assert_close(sum(parts), gradient, rtol=1e-3, atol=1e-5)


def test_many_negatives_take_the_memory_of_few(computed: dict[int, dict[str, Any]]) -> None:
    names = (f"{FEW} negatives direct", f"{MANY} negatives direct", f"{MANY} negatives cached")
    few, many, cached = (computed[1][name] for name in names)
    assert_equal(cached, many)
    assert many["saved_bytes"] > 4 * few["saved_bytes"]
    assert cached["saved_bytes"] < few["saved_bytes"]
