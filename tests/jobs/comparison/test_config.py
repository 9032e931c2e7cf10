"""Systems of a comparison: what a row changes, and what is wrong with one that can't be."""

import logging
from pathlib import Path

import pytest
import yaml

from jobs.comparison.config import existing_file, parse_comparison
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
    rows = config.system_names()
    assert rows[:3] == ["bm25", "untrained", "human-only"]
    assert rows.index("untrained-sparse") == rows.index("sparse-human-only") - 1
    assert config.baseline("untrained-sparse").student.kind == "sparse"
    assert config.baseline("untrained").student.kind == "dense"


@pytest.mark.parametrize(
    ("systems", "line"),
    [
        ({"a": {"changes": {"student.nope": 1}}}, "compare.systems.a: student.nope: unknown key"),
        ({"a": {"changes": {"student.epochs": 0}}}, "compare.systems.a: student.epochs: Input should be"),
        ({"a": {"changes": {"lunch.time": 1}}}, "compare.systems.a: lunch"),
        ({"a": {"changes": {"student.seed.of": 1}}}, "compare.systems.a: student.seed.of: unknown key"),
        (
            {"a": {"changes": {"generate.samples": 3}}},
            "compare.systems.a: generate.samples: is the same for all",
        ),
        ({"a": {"changes": {"student.context_turns": 1}}}, "student.context_turns: is the same for all"),
        ({"a": {"changes": {"student.seed": 3}}}, "student.seed: is the same for all"),
        ({"a": {"changes": {"candidates": {}}}}, "compare.systems.a: candidates: is the same for all"),
        ({"a": {"changes": {"candidates.retrieved": 9}}}, "candidates.retrieved: more than the base's 4"),
        ({"a/b": {}}, "'a/b': expected letters"),
        ({"bm25": {}}, "'bm25': expected letters"),
        ({"a": {"against": ["b"]}}, "a.against: unknown system 'b'"),
        ({"a": {"against": ["untrained-sparse"]}}, "a.against: unknown system 'untrained-sparse'"),
        ({"b": {}}, "compare.served: unknown system 'a'"),
        ({}, "compare.systems"),
    ],
)
def test_wrong_systems_are_refused_with_one_line(
    systems: dict[str, object], line: str, tmp_path: Path
) -> None:
    content = yaml.safe_load(Path("configs/bench.yaml").read_text())
    content["compare"] |= {"systems": systems, "served": "a"}
    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError) as refused:
        parse_comparison(["--config", str(file)])
    assert line in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (["--evaluate.contexts", "100"], "compare.judged_contexts: more than evaluate.contexts = 100"),
        (["--targets.temperature", "validation"], "compare.ratings: expected an ensemble"),
        (["--student.kind", "sparse", "--compare.served", "lunch"], "compare.served: unknown system 'lunch'"),
    ],
)
def test_what_could_only_fail_hours_later_is_refused(keys: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_comparison([*BENCH, *keys])
    assert line in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("claim", "line"),
    [
        ({"system": "a"}, "compare.claims.it pays.system: unknown system 'a'"),
        ({"against": "b"}, "compare.claims.it pays.against: unknown system 'b'"),
        ({"metric": "bleu"}, "compare.claims.it pays.metric"),
        ({"held_out": "test_by_weather"}, "compare.claims.it pays.held_out"),
        ({"held_out": "out_of_domain", "metric": "recall@10"}, "out of domain one of hits@1/20, mrr"),
        ({"held_out": "out_of_domain"}, "out_of_domain: nothing is held out so"),
    ],
)
def test_a_claim_of_what_is_not_measured_is_refused(claim: dict[str, str], line: str, tmp_path: Path) -> None:
    content = yaml.safe_load(Path("configs/bench.yaml").read_text())
    if "metric" not in claim:
        content["compare"]["out_of_domain"] = None
    sound = {"system": "ensemble", "against": "human-only"}
    content["compare"]["claims"] = {"it pays": {**sound, **claim}}
    file = tmp_path / "claims.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError) as refused:
        parse_comparison(["--config", str(file)])
    assert line in str(refused.value) and "\n" not in str(refused.value)


def test_sparse_systems_have_one_untrained_row() -> None:
    config, _ = parse_comparison([*BENCH, "--student.kind", "sparse"])
    assert config.system_names()[:3] == ["bm25", "untrained-sparse", "human-only"]
    assert "untrained" not in config.system_names()
    assert config.baseline("untrained-sparse").student.model == "cassette-splade"


def test_data_that_is_not_there_is_left_out_with_a_line(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "there").touch()
    caplog.set_level(logging.INFO)
    files = [str(tmp_path / "there"), "s3://bucket/unseen", None]
    assert [existing_file(file) for file in files] == files
    assert caplog.messages == []
    assert existing_file("not/there.jsonl") is None
    assert caplog.messages == ["left out: not/there.jsonl does not exist"]


@pytest.mark.parametrize("name", ["answers", "bench", "forecast"])
def test_every_comparison_that_comes_with_the_repository_is_read(name: str) -> None:
    config, _ = parse_comparison(["--config", f"configs/{name}.yaml"])
    for system in config.compare.systems:
        config.system(system, config.compare.seeds[0])
