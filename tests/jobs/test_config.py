"""A wrong config ends at once with one line and exit status 2."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from jobs.comparison.config import parse_comparison
from jobs.config import ConfigError
from jobs.conversational_search.config import parse_search
from jobs.distillation.config import parse
from jobs.sweeps.config import read_sweep
from jobs.synthesis.config import parse_synthesis
from jobs.training_sets.config import parse_training_sets
from serve.config import ServeConfig

LOCAL = ["--config", "configs/local.yaml"]


def test_options_override_the_file() -> None:
    several = ["--teachers.gemma3.replicas=2", "--teachers.gemma3.num_cpus", "3"]
    config, options = parse([*LOCAL, "--student.learning_rate", "3e-5", *several, "--until", "score"])
    assert config.student.learning_rate == 3e-5
    assert (config.teachers["gemma3"].replicas, config.teachers["gemma3"].num_cpus) == (2, 3)
    assert config.teachers["smollm2"].replicas == 1
    assert options.until == "score"


def test_a_sparse_student_brings_defaults_of_its_own() -> None:
    config, _ = parse([*LOCAL, "--student.kind", "sparse", "--student.sparsity.context_terms", "null"])
    dense, _ = parse([*LOCAL, "--student.zero_stage", "2", "--student.deepspeed", '{"steps_per_print": 3}'])
    assert config.student.model != dense.student.model
    assert config.student.similarity_scale < dense.student.similarity_scale
    assert config.student.sparsity.context_terms is None
    assert (dense.student.zero_stage, dense.student.deepspeed) == (2, {"steps_per_print": 3})


@pytest.mark.parametrize("path", sorted(Path("configs").glob("*.yaml")), ids=str)
def test_every_shipped_config_is_valid(path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    if "parameters" in config:
        assert read_sweep(path, parse(LOCAL)[0]).num_trials == config["run_cap"]
    elif "applications" in config:
        [application] = ServeDeploySchema.model_validate(config).applications
        ServeConfig.model_validate(application.args)
    elif "documents" in config:
        by_section = {"sets": parse_training_sets, "questions": parse_search, "synthesis": parse_synthesis}
        next(read for section, read in by_section.items() if section in config)(["--config", str(path)])
    else:
        (parse_comparison if "compare" in config else parse)(["--config", str(path)])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--student.nope", "1"], "--student.nope: unknown key"),
        (["--student.contexts_per_step", "8"], "it is `student.global_batch_size` now"),
        (["--examples.min_reply_words", "3"], "it is `examples.min_response_words` now"),
        (["--targets.z_score", "true"], "it is `targets.scale` now"),
        (["--generate.samples", "0"], "generate.samples: Input should be greater"),
        (["--candidates.generated_per_teacher", "9"], "is more than generate.samples = 2"),
        (["--teachers.nobody.num_cpus", "1"], "teachers.nobody.model: Field required"),
        (["--teachers.gemma3.nope", "1"], "teachers.gemma3.nope: unknown key"),
        (["--teachers.gemma3.num_cpus"], "expected --teachers.NAME.KEY VALUE"),
        (
            ["--teachers.gemma3.num_gpus", "1.5"],
            "teachers.gemma3.num_gpus: expected a share of one GPU or a whole number of GPUs, got 1.5",
        ),
        (
            ["--teachers.gemma3.replicas", "[3, 1]"],
            "teachers.gemma3.replicas: expected a number of replicas or a range such as [0, 8], got (3, 1)",
        ),
        (["--teachers.gemma3.kind", "robot"], "'robot'"),
        (["--targets.temperature", "validation"], "needs candidates.validation_contexts"),
        (["--until", "lunch"], "--until"),
        (["--targets.weights", '{"nobody": 1}'], "targets.weights.nobody"),
    ],
)
def test_a_wrong_option_is_named(arguments: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse([*LOCAL, *arguments])
    assert line in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"teechers": {}}, "error: teechers: unknown key"),
        (
            {"examples": {"replies": "both"}},
            "error: examples.replies: unknown key; it is `examples.responses_from` now",
        ),
        ({"examples": {"conversations": "nowhere.jsonl"}}, "error: examples.conversations: 'nowhere.jsonl'"),
        ({"teachers": {"one": {"model": "nowhere"}}}, "error: teachers.one.model: 'nowhere' is neither"),
        ({"filters": {"blocklist": "nowhere.txt"}}, "error: filters.blocklist: "),
        (
            {"evaluate": {"scripts": {"talk": "nowhere.jsonl"}}},
            "error: evaluate.scripts.talk: no file 'nowhere.jsonl'",
        ),
        ({"student": {"model": "./nowhere"}}, "error: student.model: expected a folder"),
        ({"student": {"num_workers": 99}}, "error: student.num_workers: needs 100 CPU, the cluster has"),
    ],
)
@pytest.mark.weights
def test_a_wrong_config_ends_the_job_with_status_2(
    tmp_path: Path, change: dict[str, object], line: str
) -> None:
    config = {**yaml.safe_load(Path("configs/local.yaml").read_text()), **change}
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(config))
    arguments = ["--config", str(tmp_path / "wrong.yaml"), "--run", str(tmp_path / "run")]
    job = subprocess.run(
        [sys.executable, "jobs/distill.py", *arguments], capture_output=True, text=True, timeout=300
    )
    assert job.returncode == 2, job.stderr
    assert line in job.stderr.splitlines()[-1]
    assert not (tmp_path / "run" / "stages").exists()
