"""What vLLM's engine is started with on a GPU: its platform is forced, and a stand-in notes the arguments."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError
from transformers import AutoTokenizer
from vllm.engine.arg_utils import EngineArgs

from teachers.config import VllmTeacher
from teachers.engines.vllm_engine import Engine
from tests.tiny_models import make_teacher

Start = Callable[..., dict[str, Any]]
# Each has a good default on a GPU, which a value for CPUs would replace.
SET_ON_CPUS_ONLY = {"block_size", "max_num_batched_tokens", "enable_chunked_prefill", "enforce_eager"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_teacher(tmp_path_factory.mktemp("teacher"), chat=True, seed=1)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path) -> Start:
    """Function that starts an engine with a teacher's keys, and returns the arguments of `vllm.LLM`."""
    started: list[dict[str, Any]] = []

    class Recorder:
        def __init__(self, **arguments: Any) -> None:
            started.append(arguments)
            config = SimpleNamespace(use_v2_model_runner=True, cache_config=SimpleNamespace(block_size=16))
            self.llm_engine = SimpleNamespace(engine_core=None, vllm_config=config)

        def get_tokenizer(self) -> Any:
            return AutoTokenizer.from_pretrained(folder)

    def start_engine(on_cpu: bool = False, **keys: Any) -> dict[str, Any]:
        monkeypatch.setattr("vllm.platforms.current_platform", SimpleNamespace(is_cpu=lambda: on_cpu))
        Engine("tiny", VllmTeacher(model=str(folder), **keys))
        [arguments] = started
        return arguments

    monkeypatch.setattr("vllm.LLM", Recorder)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # for the lock of a shared GPU
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "2,3"}
    environment.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    monkeypatch.setattr("os.environ", environment)
    return start_engine


def test_batches_blocks_and_split_prompts_are_vllms_own_on_a_gpu(start: Start) -> None:
    arguments = start(num_gpus=1)
    assert SET_ON_CPUS_ONLY.isdisjoint(arguments)
    assert arguments["dtype"] == "bfloat16"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2,3", "what Ray has reserved"
    assert os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "1"


def test_every_argument_is_one_of_vllms_engine(start: Start) -> None:
    assert set(start(num_gpus=1)) <= {field.name for field in dataclasses.fields(EngineArgs)}


def test_further_arguments_are_passed_as_they_are(start: Start) -> None:
    engine = {"quantization": "fp8", "max_num_batched_tokens": 8192, "gpu_memory_utilization": 0.4}
    arguments = start(num_gpus=1, engine=engine)
    assert engine.items() <= arguments.items()


@pytest.mark.parametrize(
    ("num_gpus", "engine", "tensor_parallel_size"),
    [(0.5, {}, 1), (1, {}, 1), (4, {}, 4), (4, {"pipeline_parallel_size": 2}, 2)],
)
def test_the_gpus_of_each_pipeline_stage_share_the_model(
    start: Start, num_gpus: float, engine: dict[str, Any], tensor_parallel_size: int
) -> None:
    arguments = start(num_gpus=num_gpus, engine=engine)
    assert arguments["tensor_parallel_size"] == tensor_parallel_size


@pytest.mark.parametrize(("num_gpus", "share"), [(0.5, 0.45), (1, 0.9), (4, 0.9)])
def test_a_share_of_a_gpu_is_a_share_of_nine_tenths_of_its_memory(
    start: Start, num_gpus: float, share: float
) -> None:
    assert start(num_gpus=num_gpus)["gpu_memory_utilization"] == pytest.approx(share)


def test_without_a_gpu_none_of_the_machines_is_taken(start: Start) -> None:
    arguments = start(on_cpu=True, num_gpus=0)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    assert arguments.keys() >= SET_ON_CPUS_ONLY
    assert {"tensor_parallel_size", "gpu_memory_utilization"}.isdisjoint(arguments)


def test_a_build_for_gpus_refuses_to_run_without_one_and_takes_none(start: Start) -> None:
    with pytest.raises(ValueError, match=r"^teachers\.tiny\.num_gpus: 0, and this build of vLLM computes on"):
        start(num_gpus=0)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_an_adapter_that_no_request_would_name_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"enable_lora has no effect: .* merge the adapter into"):
        VllmTeacher(model="tiny", engine={"enable_lora": True})


@pytest.mark.parametrize(("num_gpus", "stages"), [(3, 2), (2, 4), (0.5, 2)])
def test_pipeline_stages_that_would_leave_gpus_idle_or_need_more_are_refused(
    num_gpus: float, stages: int
) -> None:
    with pytest.raises(ValidationError, match=f"that divides num_gpus = {num_gpus:g}, got {stages}"):
        VllmTeacher(model="tiny", num_gpus=num_gpus, engine={"pipeline_parallel_size": stages})
