"""TREC's files, written and read, and read by ir-measures."""

from pathlib import Path

import ir_measures
import pytest

from teachers.corpora.trec import (
    Judgement,
    Ranked,
    read_qrels,
    read_run,
    read_topics,
    write_qrels,
    write_run,
    write_topics,
)

RUN = {"q1": {"d1": 0.5, "d2": 2.25, "d0": 0.5}, "q2": {"d9": -1.0}}
QRELS = [Judgement("q1", "d2", 2), Judgement("q1", "d1", 0), Judgement("q2", "d9", 1)]


def test_a_run_is_read_as_it_was_written_best_first_and_by_document_where_scores_tie(tmp_path: Path) -> None:
    file = str(tmp_path / "run.trec")
    write_run(file, RUN, "ours")
    assert list(read_run(file)) == [
        Ranked("q1", "d2", 1, 2.25, "ours"),
        Ranked("q1", "d0", 2, 0.5, "ours"),
        Ranked("q1", "d1", 3, 0.5, "ours"),
        Ranked("q2", "d9", 1, -1.0, "ours"),
    ]


def test_ir_measures_reads_the_written_files(tmp_path: Path) -> None:
    run, qrels = str(tmp_path / "run.trec"), str(tmp_path / "qrels.txt")
    write_run(run, RUN, "ours")
    write_qrels(qrels, QRELS)
    assert list(read_qrels(qrels)) == QRELS
    judged, ranked = ir_measures.read_trec_qrels(qrels), ir_measures.read_trec_run(run)
    assert ir_measures.calc_aggregate([ir_measures.RR], judged, ranked) == {ir_measures.RR: 1.0}


def test_topics_keep_one_line_for_a_query(tmp_path: Path) -> None:
    file = str(tmp_path / "topics.tsv")
    write_topics(file, [("q1", "who\nwas\tshe?"), ("q2", "why?")])
    assert list(read_topics(file)) == [("q1", "who was she?"), ("q2", "why?")]


@pytest.mark.parametrize(
    ("read", "line", "message"),
    [
        (read_run, "q1 Q0 d1 1 0.5", ":2: expected 6 columns, got 5"),
        (read_run, "q1 Q0 d1 first 0.5 ours", ":2: rank 'first' or score '0.5' is not a number"),
        (read_run, "q1 Q0 d1 1 nan ours", ":2: expected a finite score, got 'nan'"),
        (read_qrels, "q1 0 d1 yes", ":2: relevance 'yes' is not a whole number"),
        (read_topics, "q1 who?", ":2: expected an id, a tab and a query"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, read: object, line: str, message: str) -> None:
    file = tmp_path / "file"
    file.write_text(f"\n{line}\n")
    with pytest.raises(ValueError, match=r"^.*/file") as error:
        list(read(str(file)))  # type: ignore[operator]
    assert str(error.value).endswith(message)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'.*/nowhere' does not exist"):
        list(read_run(str(tmp_path / "nowhere")))
