"""Sections of a config on conversations, documents and questions."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from teachers.config import Section


class ExamplesConfig(Section):
    """Conversations in, (context, response) examples out."""

    conversations: str = "chitchat-dataset"
    """`chitchat-dataset`, or JSON Lines or Parquet with a `messages` column (path, s3:// or gs://)."""
    responses_from: Literal["assistant", "both"] = "both"
    """Whose turns are responses to learn: the assistant's, or both speakers' (roles are swapped)."""
    context_turns: int = Field(4, ge=1, le=64)
    """Newest turns that make a context."""
    max_characters: int = Field(400, ge=16)
    """Longer turns are cut at a word."""
    min_response_words: int = Field(2, ge=1)
    """Shorter responses are no examples; their turns still stand in contexts."""
    max_train: int = Field(2000, ge=1)
    """Training examples drawn from all those of the training conversations."""
    max_train_conversations: int | None = Field(None, ge=1)
    """Training conversations that they are drawn from, at random; all where not given."""
    run_length: int = Field(4, ge=1)
    """Training examples in a row that are drawn together: what one has already said is a response of another.
    With `student.own_turn_negatives` they stay together in a step, too."""
    max_unanswered: int = Field(0, ge=0)
    """Contexts at the end of training conversations, as in logs that nobody has answered. The teachers see
    all of them, and what they write is learned."""
    max_validation: int = Field(200, ge=1)
    """Validation examples, drawn likewise."""
    max_test: int = Field(600, ge=1)
    """Test examples, drawn likewise."""
    validation_share: float = Field(0.05, gt=0, lt=0.5)
    """Share of conversations, not of examples."""
    test_share: float = Field(0.1, gt=0, lt=0.5)
    """Share of conversations, not of examples."""
    held_out_senders: float = Field(0, ge=0, lt=1)
    """Share of senders (`name` of a message) who are in no other split than `test_by_sender`."""
    seed: int = 0
    """Seed of every random choice here."""


Sources = Annotated[list[str], BeforeValidator(lambda named: [named] if isinstance(named, str) else named)]
"""One or several."""


class DocumentsConfig(Section):
    """A corpus in, documents out."""

    corpus: Sources
    """JSON Lines or Parquet with `doc_id`, `text` and perhaps `title` (path, s3:// or gs://), or
    `chitchat-dataset`: the turns that answer a question; or `python-topics`: Python's own help.
    Or a list of such."""
    max_characters: int = Field(4000, ge=16)
    """Longer documents are cut at a word; an encoder reads some hundreds of tokens."""


class QuestionsConfig(Section):
    """Conversations that end with a question in, questions out."""

    conversations: Sources
    """JSON Lines or Parquet with `messages`, whose last turn is the user's; `positives`, `ignore` (document
    ids), `query_rewrite`, `response`, `id`, `conversation_id` where there are any; or TREC's topics (`.tsv`:
    id, tab, query); or `chitchat-dataset`; or a list."""
    test_conversations: Sources = Field([])
    """Likewise; all of them are for the test, and none of `conversations` is. So a student is measured on
    data of another origin than what it learned from."""
    share: float = Field(1, gt=0, le=1)
    """Of the conversations, how many are used: the job's budget."""
    qrels: str | None = None
    """TREC's judgements of these questions, with grades; they count beside `positives`, whose grade is 1."""
    max_characters: int = Field(2000, ge=16)
    """Longer turns are cut at a word."""
    validation_share: float = Field(0.1, ge=0, lt=1)
    """Share of conversations, not of questions."""
    test_share: float = Field(0.2, ge=0, le=1)
    """Share of conversations; 1 trains on none of them."""
    seed: int = 0
    """Seed of the split."""
