"""What a teacher's output is kept under: everything that changes it, and nothing else."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from teachers.config import EndpointTeacher, GenerateConfig, VllmTeacher
from teachers.dataset import read_rows, write_rows
from teachers.generation.sampling import sample_requests
from teachers.inference.store import model_uri, pairs_uri, samples_uri
from teachers.records import CANDIDATES, PAIR_SCORES
from teachers.scoring.pair_scores import plan_scores

CONTEXT = [{"role": "user", "content": "hey"}]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def _uris(weights: Path, **settings: Any) -> tuple[str, str]:
    teacher = VllmTeacher(model=str(weights), **settings)
    return samples_uri("store", teacher, GenerateConfig()), pairs_uri("store", teacher)


@pytest.mark.parametrize(
    "resources",
    [
        {"num_cpus": 8},
        {"replicas": [0, 3]},
        {"num_gpus": 1},
        {"kv_cache_gib": 4},
        {"batch_timeout_s": 1},
        {"prompt_variants": ["Be a pirate."]},
    ],
    ids=str,
)
def test_what_a_teacher_runs_on_changes_no_key(weights: Path, resources: dict[str, Any]) -> None:
    assert _uris(weights, **resources) == _uris(weights)


def test_the_precision_and_the_prompt_change_keys(weights: Path) -> None:
    samples, pairs = _uris(weights)
    assert _uris(weights, dtype="float32")[0] != samples
    assert _uris(weights, dtype="float32")[1] != pairs
    for section in (
        {"engine": {"quantization": "fp8"}},
        {"chat_template_kwargs": {"enable_thinking": False}},
    ):
        assert _uris(weights, **section)[0] != samples and _uris(weights, **section)[1] != pairs
    learned = model_uri("store", VllmTeacher(model=str(weights), chat_template_kwargs={"a": 1}), "these")
    assert learned != model_uri("store", VllmTeacher(model=str(weights)), "these")
    # A sample's own key has its system prompt, a pair's has not.
    brief = _uris(weights, system_prompt="Be brief.")
    assert brief[0] == samples
    assert brief[1] != pairs


def test_sampling_changes_the_samples_only(weights: Path) -> None:
    teacher = VllmTeacher(model=str(weights))
    plain = samples_uri("store", teacher, GenerateConfig())
    assert samples_uri("store", teacher, GenerateConfig(temperature=0.5)) != plain
    assert samples_uri("store", teacher, GenerateConfig(seed=1)) != plain
    assert samples_uri("store", teacher, GenerateConfig(samples=9, contexts=3, batch_size=1)) == plain


def test_the_same_weights_elsewhere_are_the_same_teacher_and_other_weights_are_not(
    weights: Path, tmp_path: Path
) -> None:
    shutil.copytree(weights, tmp_path / "model")
    assert _uris(tmp_path / "model") == _uris(weights)
    (tmp_path / "model" / "model.safetensors").write_bytes(b"other")
    assert _uris(tmp_path / "model") != _uris(weights)


def test_an_endpoint_is_known_by_its_address_and_name() -> None:
    def uri(**settings: Any) -> str:
        defaults = {"kind": "endpoint", "base_url": "http://localhost/v1", "model": "m"}
        return samples_uri("store", EndpointTeacher(**{**defaults, **settings}), GenerateConfig())

    assert uri(api_key_env="KEY", concurrency=1, max_retries=0) == uri()
    assert uri(base_url="http://elsewhere/v1") != uri()


def test_a_sample_is_the_same_however_many_are_wanted_and_variants_take_turns() -> None:
    teacher = VllmTeacher(model="none", system_prompt="one", prompt_variants=["two"])
    few, many = (
        list(sample_requests([{"context": CONTEXT}], teacher, GenerateConfig(samples=samples)))
        for samples in (2, 5)
    )
    assert many[:2] == few
    assert [row["system_prompt"] for row in many] == ["one", "two", "one", "two", "one"]
    assert len({row["key"] for row in many}) == len({row["seed"] for row in many}) == 5


def test_only_pairs_that_are_not_stored_are_wanted_a_context_s_together(tmp_path: Path) -> None:
    candidates = [{"text": text, "source": "gold", "teacher": None} for text in ("a", "b", "c")]
    rows = [
        {
            "example_id": name,
            "split": "train",
            "context": context,
            "candidates": candidates,
            "for_teachers": True,
        }
        # Two examples with the same context are scored once.
        for name, context in (("1", CONTEXT), ("2", CONTEXT), ("3", [{"role": "user", "content": "yes"}]))
    ]
    uri, store, work = (str(tmp_path / name) for name in ("candidates", "store", "work"))
    write_rows(uri, rows, CANDIDATES)
    teacher = VllmTeacher(model="none")
    assert plan_scores(uri, teacher, store, work, 2) == (9, 0)
    first, second, priors = read_rows(work)
    assert first["responses"] == second["responses"] == priors["responses"] == ["a", "b", "c"]
    assert priors["context"] == []
    stored = [*first["keys"], second["keys"][1], *priors["keys"]]
    empty = dict.fromkeys(PAIR_SCORES.names)
    write_rows(store, [{**empty, "key": key} for key in [*stored, *stored]], PAIR_SCORES)
    assert plan_scores(uri, teacher, store, work, 2) == (2, 7)
    [missing] = read_rows(work)
    assert (missing["context"], missing["responses"]) == (second["context"], ["a", "c"])
