"""Conversations with a responder, as they are kept and shown."""

import json
from pathlib import Path

from serve.conversations import AnsweredTurn, measure_conversations, transcript, write_conversations

TURNS = [
    AnsweredTurn("Hi, how was\nyour weekend?", "Great, I went hiking.", 0.7),
    AnsweredTurn("qwe", None, 0.1),
    AnsweredTurn("bye", None, None),
]


def test_a_transcript_has_a_line_for_each_speaker_and_ends_in_time() -> None:
    turns = [vars(turn) for turn in TURNS]
    lines = ["you: Hi, how was your weekend?", "it: Great, I went hiking.", "you: qwe", "it: (no answer)"]
    assert transcript(turns, 4) == lines
    assert transcript(turns, 10) == [*lines, "you: bye", "it: (no answer)"]
    assert transcript([], 10) == []


def test_every_conversation_is_written_with_its_set_and_measured(tmp_path: Path) -> None:
    conversations = {"small talk": [TURNS, TURNS[:1]], "noise 🙂": [TURNS[1:]]}
    file = tmp_path / "report" / "conversations.jsonl"
    write_conversations(str(file), conversations)

    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(row["set"], len(row["turns"])) for row in rows] == [
        ("small talk", 3),
        ("small talk", 1),
        ("noise 🙂", 2),
    ]
    assert rows[0]["turns"][1] == {"user": "qwe", "answer": None, "score": 0.1}
    assert measure_conversations(conversations)["small talk"]["no_answer"] == 0.5
    assert measure_conversations(conversations)["noise 🙂"]["no_answer"] == 1.0
