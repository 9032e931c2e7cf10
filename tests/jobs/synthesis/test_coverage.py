"""Page of a synthesis's coverage."""

from pathlib import Path

from jobs.execution.run_directory import RunDirectory
from jobs.synthesis.coverage import coverage_page
from teachers.dataset import write_rows
from teachers.records import SYNTHESISED


def test_what_turns_say_is_no_markup(tmp_path: Path) -> None:
    run = RunDirectory(str(tmp_path))
    turn = {"vertex": "ask", "phenomenon": None, "passage": 0, "teacher": "one"}
    row = {
        "conversation_id": "c",
        "doc_id": "d",
        "axes": [("mood", "calm")],
        "passages": ["<b>of owls</b>"],
        "messages": [{"role": "user", "content": "<script>alert(1)</script>"}],
        "turns": [{**turn, "evidence": "<b>of owls</b>", "start": 0, "end": 14}],
        "failures": [],
        "set_aside": None,
    }
    write_rows(run.at("conversations"), [row], SYNTHESISED)
    write_rows(run.at("rejected", "conversations"), [{**row, "set_aside": "<i>why</i>"}], SYNTHESISED)
    page = coverage_page({"axes": {}, "diversity": {"user": {"turns": 1}}}, {"turns rewritten": {}}, run)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert not any(tag in page for tag in ("<script", "<b>of", "<i>why"))
