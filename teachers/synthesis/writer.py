"""Teachers write conversations along plans, turn by turn, each turn checked before the next (CoDi).

Ray Data passes batches of plans to actors that fill in prompts and check the samples. The teachers are actors
that stay, so that an engine starts once and has the turns of many conversations at a time. A turn is kept in
the store like any sample: after a fault the same plans reuse the turns that were written.
"""

import re
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa
import ray
import ray.data

from teachers.corpora.conversations import Message
from teachers.dataset import Rows, rows_to
from teachers.engines.protocol import Generation
from teachers.generation.config import FiltersConfig
from teachers.generation.rewriting import transcript
from teachers.generation.sampling import sample_request
from teachers.inference.notes import Notes
from teachers.inference.resident_teachers import ResidentTeachers
from teachers.inference.store import Row
from teachers.inference.work_files import work_files
from teachers.records import SYNTHESISED
from teachers.storage import absolute
from teachers.synthesis.config import ChecksConfig, SynthesisConfig
from teachers.synthesis.conversation import Conversation
from teachers.synthesis.conversation_graph import (
    CONVERSATION,
    EVIDENCE,
    LAST_TURN,
    PASSAGE,
    PHENOMENON,
    Example,
    Graph,
    Vertex,
)
from teachers.synthesis.entailment import entailment
from teachers.synthesis.phenomena import TurnInContext
from teachers.synthesis.turn_checks import Draft, failure, turn_checks

_NOTHING_YET = "(nothing yet)"
_LABEL = re.compile(r"^(user|assistant)\s*:\s*", re.IGNORECASE)
_WRITER_CPUS = 0.1  # they wait for engines most of the time
_QUOTES = {'"': '"', "“": "”", "«": "»"}


@dataclass(frozen=True)
class Writing:
    """Settings of the written conversations, and the checks of their turns."""

    graph: Graph
    config: SynthesisConfig
    filters: FiltersConfig
    checks: ChecksConfig


class ConversationWriter:
    """Ray Data actor: names of files of PLANS in, rows of SYNTHESISED out."""

    def __init__(self, writing: Writing, teachers: ResidentTeachers, notes_uri: str) -> None:
        self._graph, self._config, self._teachers = writing.graph, writing.config, teachers
        self._notes, self._name, self._settled = Notes(notes_uri), uuid.uuid4().hex, 0
        self._sampling = self._config.sampling()
        entails = entailment(writing.checks.entailment_model)
        self._checks = turn_checks(writing.filters, writing.checks, entails)

    def __call__(self, files: pa.Table) -> pa.Table:
        rows: list[Row] = []
        for file in files["file"].to_pylist():
            rows += self.write(list(Rows(file)))
        return pa.Table.from_pylist(rows, schema=SYNTHESISED)

    def write(self, plans: Sequence[Row]) -> list[Row]:
        """Return the rows of SYNTHESISED of the plans, in their order.

        `batch_size` conversations are active at a time. In each round all request their next turn, or again
        one that failed; a conversation that ends makes room for another.
        """
        conversations = [Conversation(plan) for plan in plans]
        waiting = iter(conversations)
        active: list[Conversation] = []

        while True:
            active = [conversation for conversation in active if conversation.is_unfinished]
            active += islice(waiting, self._config.batch_size - len(active))
            if not active:
                break
            self._write_round(active)
            num_settled = sum(conversation.num_settled for conversation in conversations)
            self._notes.write(self._name, self._settled + num_settled)

        self._settled += sum(conversation.num_settled for conversation in conversations)
        return [conversation.row() for conversation in conversations]

    def _write_round(self, conversations: Sequence[Conversation]) -> None:
        """Add one turn, or one failure, to each conversation."""
        requests: dict[str, list[Row]] = {}
        for conversation in conversations:
            request = self._request(conversation)
            requests.setdefault(conversation.turn["teacher"], []).append(request)

        samples = {teacher: iter(rows) for teacher, rows in self._teachers.make(requests).items()}
        for conversation in conversations:
            self._add_sample(conversation, next(samples[conversation.turn["teacher"]]))

    def _request(self, conversation: Conversation) -> Row:
        """Return the request for the next turn: a sample of its own for each turn and attempt."""
        place = len(conversation.messages)
        name = f"{conversation.plan['conversation_id']} {place} {len(conversation.failures)}"

        messages: list[Message] = []
        for example in self._examples(conversation):
            example_values = {
                PASSAGE: example.passage,
                EVIDENCE: example.evidence,
                CONVERSATION: example.conversation,
                LAST_TURN: example.conversation.rpartition("\n")[-1],
            }
            messages += [
                {"role": "user", "content": self._fill_prompt(conversation, example_values)},
                {"role": "assistant", "content": example.turn},
            ]

        turn_values = {
            PASSAGE: conversation.plan["passages"][conversation.turn["passage"]],
            EVIDENCE: conversation.evidence,
            CONVERSATION: transcript(conversation.messages),
            LAST_TURN: transcript(conversation.messages[-1:]),
        }
        messages.append({"role": "user", "content": self._fill_prompt(conversation, turn_values)})
        return sample_request(messages, self._graph.system_prompt, name, self._sampling)

    def _vertex(self, conversation: Conversation) -> Vertex:
        return self._graph.vertices[conversation.turn["vertex"]]

    def _examples(self, conversation: Conversation) -> list[Example]:
        axes = dict(conversation.plan["axes"])
        return self._vertex(conversation).examples_of(conversation.turn["phenomenon"], axes)

    def _fill_prompt(self, conversation: Conversation, turn_values: Mapping[str, str]) -> str:
        """Fill in the prompt for the next turn with a passage, evidence and turns."""
        phenomenon = conversation.turn["phenomenon"]
        values = {
            **turn_values,
            CONVERSATION: turn_values[CONVERSATION] or _NOTHING_YET,
            LAST_TURN: turn_values[LAST_TURN] or _NOTHING_YET,
            PHENOMENON: self._graph.phenomena[phenomenon] if phenomenon else "",
        }
        for axis, value in conversation.plan["axes"]:
            values[axis] = self._graph.axes[axis][value].text
        return self._vertex(conversation).prompt.strip().format_map(values)

    def _instructions(self, conversation: Conversation) -> str:
        """Return the prompt without this conversation and its passage: the request, and examples."""
        empty = dict.fromkeys((PASSAGE, EVIDENCE, CONVERSATION, LAST_TURN), "")
        parts = [self._graph.system_prompt, self._fill_prompt(conversation, empty)]
        for example in self._examples(conversation):
            parts += [example.passage, example.evidence, example.conversation, example.turn]
        return "\n".join(parts)

    def _add_sample(self, conversation: Conversation, sample: Row) -> None:
        """Add a teacher's sample as the next turn, or as a failure."""
        plan = conversation.plan
        plan_turns = plan["turns"][: len(conversation.messages) + 1]
        passages = [plan["passages"][turn["passage"]] for turn in plan_turns]
        generation = clean_turn(sample)
        turn = TurnInContext(
            generation.text,
            earlier=[message["content"] for message in conversation.messages],
            passage=passages[-1],
            earlier_passages=passages[:-1],
        )

        draft = Draft(
            generation,
            turn,
            conversation.evidence,
            conversation.messages,
            self._vertex(conversation),
            conversation.turn["phenomenon"],
            self._instructions(conversation),
        )
        reason = failure(draft, self._checks)
        if reason is None:
            conversation.add(draft)
        else:
            conversation.fail(reason, self._config.attempts, self._config.rewinds)


def clean_turn(sample: Row) -> Generation:
    """Return a row of SAMPLES as a turn: its first line, without label and quotes around it."""
    text = (sample["text"] or "").strip()
    line, _, rest = text.partition("\n")
    line = _unquoted(_LABEL.sub("", _unquoted(line)))
    return Generation(line, truncated=bool(sample["truncated"]) and not rest, error=sample["error"])


def _unquoted(line: str) -> str:
    """Return the line without quotes around all of it, or a lone one at one of its ends."""
    line = line.strip()
    last = len(line) - 1
    marks = [place for place, letter in enumerate(line) if letter in {*_QUOTES, *_QUOTES.values()}]

    if marks == [0, last] and line[last] == _QUOTES.get(line[0]):
        return line[1:last].strip()
    if marks == [0]:
        return line[1:].strip()
    return line[:last].strip() if marks == [last] else line


def synthesise(work_uri: str, writing: Writing, teachers: ResidentTeachers, notes_uri: str) -> Iterator[Row]:
    """Yield the rows of SYNTHESISED of the PLANS at `work_uri` in their order, as they are finished.

    Progress is noted at `notes_uri`, see `turns_settled`.

    Raises:
        TeacherError: a teacher cannot work; the message says why.
    """
    # A block for each file.
    files = [pa.table({"file": [file]}) for file in work_files(absolute(work_uri))]
    context = ray.data.DataContext.get_current().copy()
    context.execution_options.preserve_order = True

    with ray.data.DataContext.current(context), teachers.of_failure():
        written = ray.data.from_arrow(files).map_batches(
            ConversationWriter,
            fn_constructor_args=(writing, teachers, absolute(notes_uri)),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=_WRITER_CPUS,
            # While one checks what was written, the engine writes another's turns.
            compute=ray.data.ActorPoolStrategy(size=min(len(files), 2 * teachers.num_replicas)),
        )
        for batch in written.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield from batch.to_pylist()


def turns_settled(notes_uri: str) -> int:
    """Return the number of turns that are written, or never will be, since the notes were cleared."""
    return sum(Notes(notes_uri).read_all())


def sort_conversations(rows: Iterable[Row], kept_uri: str, rejected_uri: str) -> dict[str, Any]:
    """Write `rows` of SYNTHESISED to the kept or the rejected; return counts, and why turns were rewritten.

    Raises:
        ValueError: all are rejected.
    """
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    with (
        rows_to(kept_uri, SYNTHESISED) as kept,
        rows_to(rejected_uri, SYNTHESISED) as rejected,
    ):
        for row in rows:
            is_kept = row["set_aside"] is None
            counts["kept" if is_kept else "rejected"] += 1
            (kept if is_kept else rejected).write(row)
            for failure in row["failures"]:
                reasons[failure.split(": ", 1)[1]] += 1

    failures = dict(reasons.most_common())
    if not counts["kept"]:
        raise ValueError(f"synthesis: no conversation passed its checks: {failures}")
    return {**counts, "turns rewritten": failures}
