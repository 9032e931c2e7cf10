"""What a finished job prints."""

import logging
from pathlib import Path

import pytest

from jobs.execution.run_directory import RunDirectory
from jobs.reports.terminal import report_metrics


@pytest.mark.parametrize("sparse", [False, True])
def test_terms_are_shown_where_a_system_has_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, sparse: bool
) -> None:
    ranked = {"hits@1/20": 0.5, "mrr": 0.25}
    terms = {"context_terms": 31.5, "response_terms": 38.25, "flops": 2.125} if sparse else {}
    metrics = {
        "systems": {"bm25": ranked, "untrained student": {**ranked, **terms}},
        "teachers": {"kendall_tau": {}},
        "responses": {"chat": {"kept": 3, "kept shortened": 2}},
        "response_set": {"human": {"kept": 7, "duplicate": 1}},
        "scoring": {},
        "conversations": {"scripts": {"verbatim_repeats": 0.0, "turns": 50.0}},
        "coverage": [{"coverage": 0.8, "max_cross_entropy": 0.31, "hits@1/20": 0.5}],
    }
    caplog.set_level(logging.INFO, "jobs")
    report_metrics(RunDirectory(str(tmp_path)), metrics)
    table = capsys.readouterr().out
    for shown in ("context terms", "response terms", "FLOPs", "31.5", "38.2", "2.125"):
        assert (shown in table) == sparse
    assert "untrained student" in table and "verbatim repeats" in table and "80%" in table
    assert "…" not in table
    assert "chat wrote: kept 3, kept shortened 2" in caplog.messages
    assert "response set, human: kept 7, duplicate 1" in caplog.messages


def test_a_quiet_job_prints_no_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "jobs")
    metrics = {"systems": {"bm25": {"mrr": 0.25}}, "teachers": {"kendall_tau": {}}, "conversations": {}}
    metrics |= {"coverage": [], "responses": {}, "response_set": {}, "scoring": {}}
    report_metrics(RunDirectory(str(tmp_path)), metrics)
    assert capsys.readouterr().out == ""
    assert (tmp_path / "report" / "metrics.json").is_file()
