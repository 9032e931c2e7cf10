"""Teachers write conversations along plans, turn by turn, each turn checked before the next (CoDi).

Ray Data passes batches of plans to actors that fill in prompts and check what comes back; the teachers are
actors that stay, so that an engine starts once and has the turns of many conversations at a time. A turn is
kept in the store like any sample: after a fault the same plans find the turns that were written.
"""

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa
import ray
import ray.data

from teachers.corpora.conversations import Message
from teachers.dataset import Rows
from teachers.engines.protocol import Generation
from teachers.generation.config import FiltersConfig
from teachers.generation.rewriting import transcript
from teachers.generation.sampling import wanted_sample
from teachers.inference.resident_teachers import StandingTeachers
from teachers.inference.store import Row
from teachers.inference.work_files import work_files
from teachers.inference.worker import Notes
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
from teachers.synthesis.phenomena import Said
from teachers.synthesis.turn_checks import Draft, failure, turn_checks

_NOTHING_YET = "(nothing yet)"
_LABEL = re.compile(r"^(user|assistant)\s*:\s*", re.IGNORECASE)
_WRITER_CPUS = 0.1  # they wait for engines most of the time
_QUOTES = {'"': '"', "“": "”", "«": "»"}


@dataclass(frozen=True)
class Writing:
    """What conversations become, and what their turns have to pass."""

    graph: Graph
    config: SynthesisConfig
    filters: FiltersConfig
    checks: ChecksConfig


class ConversationWriter:
    """Ray Data actor: names of files of PLANS in, rows of SYNTHESISED out."""

    def __init__(self, writing: Writing, teachers: StandingTeachers, notes_uri: str) -> None:
        self._graph, self._config, self._teachers = writing.graph, writing.config, teachers
        self._notes, self._name, self._settled = Notes(notes_uri), uuid.uuid4().hex, 0
        self._sampling = self._config.sampling()
        entails = entailment(writing.checks.entailment_model)
        self._checks = turn_checks(writing.filters, writing.checks, entails)

    def __call__(self, files: pa.Table) -> pa.Table:
        rows = [row for file in files["file"].to_pylist() for row in self.write(list(Rows(file)))]
        return pa.Table.from_pylist(rows, schema=SYNTHESISED)

    def write(self, plans: Sequence[Row]) -> list[Row]:
        """Rows of SYNTHESISED of the plans, in their order.

        So many conversations as make a batch go on together: in each round all ask for their next turn, or
        again for one that failed, and where one has ended another begins.
        """
        conversations = [Conversation(plan) for plan in plans]
        waiting = iter(conversations)
        going: list[Conversation] = []
        while True:
            going = [conversation for conversation in going if conversation.goes_on]
            going += islice(waiting, self._config.batch_size - len(going))
            if not going:
                break
            self._round(going)
            settled = sum(conversation.num_settled for conversation in conversations)
            self._notes.write(self._name, self._settled + settled)
        self._settled += sum(conversation.num_settled for conversation in conversations)
        return [conversation.row() for conversation in conversations]

    def _round(self, conversations: Sequence[Conversation]) -> None:
        """Each has one more turn, or one more failure."""
        wanted: dict[str, list[Row]] = {}
        for conversation in conversations:
            wanted.setdefault(conversation.turn["teacher"], []).append(self._request(conversation))
        made = {teacher: iter(rows) for teacher, rows in self._teachers.make(wanted).items()}
        for conversation in conversations:
            self._take(conversation, next(made[conversation.turn["teacher"]]))

    def _request(self, conversation: Conversation) -> Row:
        """What the next turn's teacher is asked: a sample of its own for each turn and attempt."""
        place = len(conversation.messages)
        name = f"{conversation.plan['conversation_id']} {place} {len(conversation.failures)}"
        messages: list[Message] = []
        for example in self._examples(conversation):
            shown = {
                PASSAGE: example.passage,
                EVIDENCE: example.evidence,
                CONVERSATION: example.conversation,
                LAST_TURN: example.conversation.rpartition("\n")[-1],
            }
            messages += [
                {"role": "user", "content": self._filled(conversation, shown)},
                {"role": "assistant", "content": example.turn},
            ]
        own = {
            PASSAGE: conversation.plan["passages"][conversation.turn["passage"]],
            EVIDENCE: conversation.evidence,
            CONVERSATION: transcript(conversation.messages),
            LAST_TURN: transcript(conversation.messages[-1:]),
        }
        messages.append({"role": "user", "content": self._filled(conversation, own)})
        return wanted_sample(messages, self._graph.system_prompt, name, self._sampling)

    def _vertex(self, conversation: Conversation) -> Vertex:
        return self._graph.vertices[conversation.turn["vertex"]]

    def _examples(self, conversation: Conversation) -> list[Example]:
        axes = dict(conversation.plan["axes"])
        return self._vertex(conversation).examples_of(conversation.turn["phenomenon"], axes)

    def _filled(self, conversation: Conversation, about: Mapping[str, str]) -> str:
        """The request for the next turn, `about` a passage, evidence and turns."""
        phenomenon = conversation.turn["phenomenon"]
        values = {
            **about,
            CONVERSATION: about[CONVERSATION] or _NOTHING_YET,
            LAST_TURN: about[LAST_TURN] or _NOTHING_YET,
            PHENOMENON: self._graph.phenomena[phenomenon] if phenomenon else "",
            **{axis: self._graph.axes[axis][value].text for axis, value in conversation.plan["axes"]},
        }
        return self._vertex(conversation).prompt.strip().format_map(values)

    def _not_to_be_said(self, conversation: Conversation) -> str:
        """What is in the prompt beside this conversation and its passage: the request, and examples."""
        nothing = dict.fromkeys((PASSAGE, EVIDENCE, CONVERSATION, LAST_TURN), "")
        shown = [self._graph.system_prompt, self._filled(conversation, nothing)]
        for example in self._examples(conversation):
            shown += [example.passage, example.evidence, example.conversation, example.turn]
        return "\n".join(shown)

    def _take(self, conversation: Conversation, made: Row) -> None:
        """What a teacher made is the next turn, or fails."""
        turn, plan = conversation.turn, conversation.plan
        passages = [plan["passages"][of["passage"]] for of in plan["turns"][: len(conversation.messages) + 1]]
        generation = spoken(made)
        draft = Draft(
            generation,
            Said(
                generation.text,
                [message["content"] for message in conversation.messages],
                passages[-1],
                passages[:-1],
            ),
            conversation.evidence,
            conversation.messages,
            self._vertex(conversation),
            turn["phenomenon"],
            self._not_to_be_said(conversation),
        )
        reason = failure(draft, self._checks)
        if reason is None:
            conversation.say(draft)
        else:
            conversation.fail(reason, self._config.attempts, self._config.rewinds)


def spoken(made: Row) -> Generation:
    """A row of SAMPLES as a turn: its first line, without the label and quotes that some put around it."""
    text = (made["text"] or "").strip()
    line, _, rest = text.partition("\n")
    line = _unquoted(_LABEL.sub("", _unquoted(line)))
    return Generation(line, truncated=bool(made["truncated"]) and not rest, error=made["error"])


def _unquoted(line: str) -> str:
    """The line without quotes around all of it, or a lone one at one of its ends."""
    line = line.strip()
    last = len(line) - 1
    marks = [place for place, letter in enumerate(line) if letter in {*_QUOTES, *_QUOTES.values()}]
    if marks == [0, last] and line[last] == _QUOTES.get(line[0]):
        return line[1:last].strip()
    if marks == [0]:
        return line[1:].strip()
    return line[:last].strip() if marks == [last] else line


def synthesise(work_uri: str, writing: Writing, teachers: StandingTeachers, notes_uri: str) -> Iterator[Row]:
    """Rows of SYNTHESISED of the PLANS at `work_uri` in their order, as they are finished.

    How far they have come is noted at `notes_uri`, see `turns_settled`.

    Raises:
        TeacherError: a teacher can't work, and why.
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
    """Turns that are written, or will not be, since the notes were cleared."""
    return sum(Notes(notes_uri).read_all())
