"""Options of the command line: what a text stands for is said by its key's type."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.config import ConfigError
from jobs.distillation.config import DistillationConfig, parse

LOCAL = ["--config", "configs/local.yaml"]


def value_of(config: DistillationConfig, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value


@pytest.mark.parametrize(
    "text", ["Answer: short", "", "yes", "5", "@y", "null", "- a", "{a}", "[b", "1e5", "a, b", "#", "é 好"]
)
@pytest.mark.parametrize("key", ["teachers.gemma3.system_prompt", "examples.conversations"])
def test_a_string_is_taken_as_it_is(key: str, text: str) -> None:
    for option in ([f"--{key}", text], [f"--{key}={text}"]):
        config, _ = parse([*LOCAL, *option])
        assert value_of(config, key) == text


@pytest.mark.parametrize(
    ("option", "key", "value"),
    [
        ("--student.early_stopping=None", "student.early_stopping", None),
        ("--student.early_stopping=null", "student.early_stopping", None),
        ("--student.early_stopping=3", "student.early_stopping", 3),
        ("--store=None", "store", None),
        ("--student.sparsity={'flops': None, 'regulariser': 'l1'}", "student.sparsity.regulariser", "l1"),
        ('--student.sparsity={"flops": null}', "student.sparsity.flops", None),
        ("--student.sparsity.flops=None", "student.sparsity.flops", None),
        ("--student.gradient_cache=True", "student.gradient_cache", True),
        ("--student.node_labels={'a': 'b'}", "student.node_labels", {"a": "b"}),
        ("--student.node_labels.ray.io/zone=b", "student.node_labels", {"ray.io/zone": "b"}),
        ("--student.deepspeed={'a': True, 'b': None}", "student.deepspeed", {"a": True, "b": None}),
        ("--student.deepspeed.a.b=3", "student.deepspeed", {"a": {"b": 3}}),
        ("--filters.languages=en", "filters.languages", ["en"]),
        ("--filters.languages=[en, no]", "filters.languages", ["en", "no"]),
        ("--filters.languages=['en']", "filters.languages", ["en"]),
        ("--targets.weights={'gemma3': 2}", "targets.weights", {"gemma3": 2.0}),
        ("--targets.weights.gemma3=2", "targets.weights", {"gemma3": 2.0}),
        ("--targets.temperature=entropy", "targets.temperature", "entropy"),
        ("--teachers.gemma3.replicas=[0, 8]", "teachers.gemma3.replicas", (0, 8)),
        (
            "--teachers.gemma3.prompt_variants=Be brief, be kind",
            "teachers.gemma3.prompt_variants",
            ["Be brief, be kind"],
        ),
        ("--teachers.gemma3.prompt_variants=['a', 'b']", "teachers.gemma3.prompt_variants", ["a", "b"]),
        ("--teachers.gemma3.engine={max_num_seqs: 5}", "teachers.gemma3.engine", {"max_num_seqs": 5}),
    ],
)
def test_other_values_are_read_as_python_or_yaml_writes_them(option: str, key: str, value: object) -> None:
    config, _ = parse([*LOCAL, option])
    assert value_of(config, key) == value


def test_values_of_a_repeated_list_are_put_together() -> None:
    config, _ = parse([*LOCAL, "--filters.languages", "en", "--filters.languages", "[de, fr]"])
    assert config.filters.languages == ["en", "de", "fr"]


def test_names_may_have_dots(tmp_path: Path) -> None:
    content = yaml.safe_load(Path("configs/local.yaml").read_text())
    content["teachers"] = {"gpt-4.1": {"model": "one"}, "gpt-4": {"model": "two"}}
    file = tmp_path / "dots.yaml"
    file.write_text(yaml.safe_dump(content))
    options = ["--teachers.gpt-4.1.num_cpus", "3", "--teachers.qwen-2.5.model", "three"]
    config, _ = parse(["--config", str(file), *options, "--targets.weights.gpt-4.1", "2"])
    assert {name: teacher.num_cpus for name, teacher in config.teachers.items()} == {
        "gpt-4.1": 3,
        "gpt-4": 2,
        "qwen-2.5": 2,
    }
    assert config.targets.weights == {"gpt-4.1": 2}
    assert config.changed({"targets.weights.gpt-4.1": 3}).targets.weights == {"gpt-4.1": 3}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["stray"], "stray: unknown key; expected --KEY VALUE"),
        (["--student.epochs", "--student.model"], "--student.epochs: expected --KEY VALUE"),
        (["--student.epochs.more", "1"], "--student.epochs.more: unknown key"),
        (["--teachers.gemma3.engine", "{a"], "teachers.gemma3.engine: expected a mapping of keys, got '{a'"),
        (["--teachers", "{'a': None}"], "teachers.a: expected a mapping of keys, got None"),
        (["--targets.temperature", "nan"], "targets.temperature: Input should be a finite number"),
        (["--student.learning_rate", "inf"], "student.learning_rate: Input should be a finite number"),
        (["--targets.weights", '{"gemma3": NaN}'], "targets.weights.gemma3: Input should be a finite number"),
        (["--targets.weights.gemma3=-1"], "targets.weights: expected 0 or more for gemma3, got -1"),
        (
            ["--targets.weights", '{"gemma3": 0, "smollm2": 0, "minilm": 0}'],
            "targets.weights: expected a weight above 0 for some teacher, got 0 for all",
        ),
    ],
)
def test_a_wrong_value_is_told_in_one_line(arguments: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse([*LOCAL, *arguments])
    assert str(error.value).startswith(line) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"teachers: {a: }", "teachers.a: expected a mapping of keys, got None"),
        (b"teachers: {a: vllm}", "teachers.a: expected a mapping of keys, got 'vllm'"),
        (b"teachers: {a: {model: m}}\nstudent: ", "student: expected a mapping of keys, got None"),
        (b"teachers: {a: {model: m}}\ntargets: {temperature: .nan}", "targets.temperature: Input should be"),
        (b"teachers: {a: {model: m}}\n5: {}", "expected a mapping of sections"),
        (b"teachers: {a: {model: \xe9}}", "expected UTF-8"),
        (b"teachers: {a: {model: @y}}", "while scanning"),
        (b"teachers: " + b"[" * 5000, "is nested too deeply"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path: Path, content: bytes, line: str) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        parse(["--config", str(file)])
    assert line in str(error.value) and "\n" not in str(error.value)


def test_an_agent_of_wandbs_passes_what_a_sweep_takes() -> None:
    base, _ = parse(LOCAL)
    for key, value in (
        ("student.early_stopping", None),
        ("student.sparsity", {"flops": None, "context_terms": 8}),
        ("targets.weights", {"gemma3": 0.5}),
        ("targets.weights.gemma3", 0.5),
        ("student.gradient_cache", True),
        ("student.learning_rate", 1e-05),
    ):
        config, _ = parse([*LOCAL, f"--{key}={value}"])
        assert config == base.changed({key: value})
