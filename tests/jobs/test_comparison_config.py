"""A ladder of systems: what a row changes, and what is wrong with one that can't be."""

from pathlib import Path

import pytest
import yaml

from jobs.comparison_config import parse_comparison
from jobs.config import ConfigError

BENCH = ["--config", "configs/bench.yaml"]


def test_a_system_is_the_base_with_a_few_keys_changed() -> None:
    config, _ = parse_comparison([*BENCH, "--student.epochs", "7"])
    human_only, ensemble = config.system("human-only", 2), config.system("ensemble", 2)
    assert (human_only.student.kl_weight, human_only.candidates.generated_per_teacher) == (0, 0)
    assert human_only.student.seed == ensemble.student.seed == 2
    assert human_only.student.epochs == 7  # the command line's, for all systems
    assert human_only.teachers == ensemble.teachers == config.teachers


def test_a_sparse_system_has_the_sparse_defaults() -> None:
    config, _ = parse_comparison(BENCH)
    sparse = config.system("sparse-ensemble", 0).student
    assert (sparse.kind, sparse.model, sparse.similarity_scale) == ("sparse", "cassette-splade", 1.0)
    rows = config.systems()
    assert rows[:3] == ["bm25", "untrained", "human-only"]
    assert rows.index("untrained-sparse") == rows.index("sparse-human-only") - 1
    assert config.baseline("untrained-sparse").student.kind == "sparse"
    assert config.baseline("untrained").student.kind == "dense"


@pytest.mark.parametrize(
    ("ladder", "line"),
    [
        ({"a": {"changes": {"student.nope": 1}}}, "compare.ladder.a: student.nope: unknown key"),
        ({"a": {"changes": {"student.epochs": 0}}}, "compare.ladder.a: student.epochs: Input should be"),
        ({"a": {"changes": {"lunch.time": 1}}}, "compare.ladder.a: lunch"),
        ({"a/b": {}}, "'a/b': wanted are letters"),
        ({"bm25": {}}, "'bm25': wanted are letters"),
        ({"a": {"against": ["b"]}}, "a.against: 'b' is no system"),
        ({"b": {}}, "compare.served: 'a' is no system"),
        ({}, "compare.ladder"),
    ],
)
def test_a_wrong_ladder_is_refused_with_one_line(
    ladder: dict[str, object], line: str, tmp_path: Path
) -> None:
    content = yaml.safe_load(Path("configs/bench.yaml").read_text())
    content["compare"] |= {"ladder": ladder, "served": "a"}
    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError) as refused:
        parse_comparison(["--config", str(file)])
    assert line in str(refused.value) and "\n" not in str(refused.value)
