"""Arrow schemas of the datasets that pass from stage to stage: the contract between the rooms.

K is the number of candidates of one context; every list marked [K] aligns with the row's
`candidates`. Roles are OpenAI's: a context's last message is the user's, and the response is the
assistant's, whichever of the two speakers wrote it.
"""

import pyarrow as pa

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])

# `test_by_sender` are conversations of senders who are in no other split, `unanswered` the contexts at the
# end of training conversations, to which there is no response.
SPLITS = ("train", "validation", "test", "test_by_sender", "unanswered")
SOURCES = ("gold", "generated", "retrieved", "random", "context")

# Writes: teachers.corpora.documents. Reads: all of search. A document has one row, in the corpus's order.
DOCUMENTS = pa.schema([("doc_id", pa.string()), ("text", pa.string())])

# Writes: teachers.corpora.questions. Reads: all of search.
# No conversation is in two splits. A search for a question leaves out the documents in `ignored`.
QUESTIONS = pa.schema(
    [
        ("question_id", pa.string()),
        ("conversation_id", pa.string()),
        ("split", pa.string()),
        ("context", pa.list_(MESSAGE)),  # oldest turn first; the last one is the question
        ("rewrite", pa.string()),  # human-written, a query that stands alone; null where there is none
        ("gold_response", pa.string()),  # the answer in its conversation; null where that is unknown
        ("positives", pa.list_(pa.string())),  # relevant documents, of the highest grade first
        ("ignored", pa.list_(pa.string())),
        ("grades", pa.list_(pa.int32())),  # of `positives`, 1 and above; null where all are 1
    ]
)

# Writes: teachers.generation.rewriting, one dataset per teacher. Reads: student.retrieval.pools.
# The query that a teacher would search with, in the order of QUESTIONS.
REWRITES = pa.schema([("question_id", pa.string()), ("query", pa.string())])

# Writes: teachers.corpora.conversations. Reads: teachers.corpora.examples.
CONVERSATIONS = pa.schema([("conversation_id", pa.string()), ("messages", pa.list_(MESSAGE))])

# Writes: teachers.corpora.examples. Reads: every later stage.
# One row per (context, response); no conversation is in two splits but `train` and `unanswered`, and no test
# or validation response equals a training response.
EXAMPLES = pa.schema(
    [
        ("example_id", pa.string()),
        ("conversation_id", pa.string()),
        ("split", pa.string()),
        ("context", pa.list_(MESSAGE)),  # oldest turn first
        ("gold_response", pa.string()),  # null where the context is unanswered
    ]
)

# Writes: teachers.synthesis.plans. Reads: teachers.synthesis.writer.
# A conversation to write: a path through the graph, about passages of one document.
PLANS = pa.schema(
    [
        ("conversation_id", pa.string()),
        ("doc_id", pa.string()),
        ("passages", pa.list_(pa.string())),  # the whole document's
        ("axes", pa.map_(pa.string(), pa.string())),
        (
            "turns",
            pa.list_(
                pa.struct(
                    [
                        ("vertex", pa.string()),
                        ("speaker", pa.string()),  # user or assistant
                        ("phenomenon", pa.string()),  # to show in this turn; null where any turn will do
                        ("passage", pa.int32()),  # its place in `passages`
                        ("start", pa.int32()),  # of the evidence in the passage, in characters
                        ("end", pa.int32()),
                        ("teacher", pa.string()),  # writer of the turn
                    ]
                )
            ),
        ),
    ]
)

# Writes: teachers.synthesis.writer. Reads: teachers.synthesis.dataset_files, teachers.synthesis.coverage.
# A plan and the conversation written by it. Turn i has message i; a rejected one ends at its failed turn.
SYNTHESISED = pa.schema(
    [
        ("conversation_id", pa.string()),
        ("doc_id", pa.string()),
        ("messages", pa.list_(MESSAGE)),
        ("axes", pa.map_(pa.string(), pa.string())),
        (
            "turns",
            pa.list_(
                pa.struct(
                    [
                        ("vertex", pa.string()),
                        ("phenomenon", pa.string()),
                        ("passage", pa.int32()),
                        ("teacher", pa.string()),
                        ("evidence", pa.string()),  # a part of the passage; null where not grounded
                        ("start", pa.int32()),  # of the evidence in the passage; null where not grounded
                        ("end", pa.int32()),
                    ]
                )
            ),
        ),
        ("passages", pa.list_(pa.string())),
        ("failures", pa.list_(pa.string())),  # why each attempt at a turn failed, as `vertex: reason`
        ("set_aside", pa.string()),  # reason of the rejection, as `turn 3 (vertex): reason`; null where kept
    ]
)

# Writes: any stage that rejects rows. Reads: users.
REJECTED = pa.schema([("origin", pa.string()), ("row", pa.string()), ("reason", pa.string())])

# Writes: teachers.generation.finetuning. Reads: student.training.language_model.
# A conversation as its teacher reads it, context and response; all sequences begin with the same `num_known`
# tokens (system prompt, template), of which there is nothing to learn.
SEQUENCES = pa.schema([("split", pa.string()), ("tokens", pa.list_(pa.int32())), ("num_known", pa.int32())])

# The store, shared by runs: each teacher's output under its settings, in a folder of its own. A key is
# the store's `content_key` of the teacher's input. A row with an `error` broke the teacher, also when
# tried alone; its other values are null.
# Writes: teachers.generation.sampling. Reads: teachers.generation.responses.
SAMPLES = pa.schema(
    [
        ("key", pa.string()),  # of context, system prompt and number of the sample
        ("text", pa.string()),
        ("truncated", pa.bool_()),  # the token limit ended it, not the teacher
        ("error", pa.string()),
    ]
)

# Writes: teachers.scoring.pair_scores. Reads: the same, which aligns them with a run's candidates.
# The pair of a response and the empty context gives the response's prior.
PAIR_SCORES = pa.schema(
    [
        ("key", pa.string()),  # of context and response
        ("log_likelihood", pa.float64()),  # generative teachers, see SCORES
        ("tokens", pa.int32()),
        ("similarity", pa.float64()),  # retrievers and cross-encoders
        ("repeated", pa.float64()),  # log_likelihood of a second scoring, of a share of the pairs
        ("error", pa.string()),
    ]
)

# Writes: teachers.generation.responses, one dataset per teacher. Reads: teachers.scoring.candidates.
RESPONSES = pa.schema(
    [
        ("example_id", pa.string()),
        ("responses", pa.list_(pa.string())),  # kept, distinct
    ]
)

# Writes: student.retrieval.neighbours. Reads: teachers.scoring.candidates.
# The nearest training responses to a training context, best first, without the example's gold response.
NEIGHBOURS = pa.schema([("example_id", pa.string()), ("responses", pa.list_(pa.string()))])

CANDIDATE = pa.struct(
    [("text", pa.string()), ("source", pa.string()), ("teacher", pa.string())]
)  # `teacher` is null unless the source is `generated`

# Sources of candidates that are right answers without a teacher's score.
POSITIVE_SOURCES = ("gold", "generated")

# Writes: teachers.scoring.candidates. Reads: teachers.scoring.pair_scores, teachers.scoring.targets.
# Candidate 0 is the gold response where the row has one, as a held-out one has. Texts are distinct within a
# row, and the context has said none of them but those of the source `context`: a held-out context's newest
# turns, which come last and which nobody ranks.
CANDIDATES = pa.schema(
    [
        ("example_id", pa.string()),
        ("conversation_id", pa.string()),
        ("split", pa.string()),
        ("context", pa.list_(MESSAGE)),
        ("candidates", pa.list_(CANDIDATE)),
        ("for_teachers", pa.bool_()),  # whether the teachers score this row
    ]
)

# Writes: teachers.scoring.pair_scores, one dataset per teacher, rows with `for_teachers` only.
# Reads: teachers.scoring.targets. Log-likelihoods are sums over the response's tokens in nats and include
# the end-of-turn token. A generative teacher's `similarity` is null, a retriever's `log_likelihood`,
# `prior` and `tokens`; where all are null the teacher could not score this candidate.
SCORES = pa.schema(
    [
        ("example_id", pa.string()),
        ("log_likelihood", pa.list_(pa.float64())),  # [K]
        ("prior", pa.list_(pa.float64())),  # [K], the response without the context
        ("tokens", pa.list_(pa.int32())),  # [K]
        ("bytes", pa.list_(pa.int32())),  # [K], UTF-8 length of the text
        ("similarity", pa.list_(pa.float64())),  # [K]
    ]
)

# Writes: teachers.scoring.targets. Reads: student.training.loop, student.evaluation, serve.index.
# `target_probs` [K] sums to one; null: no teacher scored this row, it teaches by its gold or generated
# responses. An element is null where no teacher has a score of the candidate, such as of a copy. There are no
# candidates of the source `context`.
TARGETS = pa.schema(
    [
        ("example_id", pa.string()),
        ("conversation_id", pa.string()),
        ("split", pa.string()),
        ("context", pa.list_(MESSAGE)),
        ("candidates", pa.list_(CANDIDATE)),
        ("target_probs", pa.list_(pa.float32())),
    ]
)

# Writes: student.evaluation.response_ranking. Reads: student.evaluation.measured_systems.
# Measures of one model on one held-out context.
MEASURED = pa.schema(
    [
        ("set", pa.string()),  # a split, or `out_of_domain`
        ("model", pa.string()),
        ("example_id", pa.string()),
        ("conversation_id", pa.string()),
        ("metrics", pa.map_(pa.string(), pa.float64())),
        ("answers", pa.list_(pa.string())),  # the best of the response set, best first
    ]
)

# Writes: teachers.corpora.examples. Reads: teachers.generation.response_set.
# The responses of all training examples, drawn or not, in a random order: the first n of them are a sample.
HUMAN_RESPONSES = pa.schema([("example_id", pa.string()), ("response", pa.string())])

# Writes: teachers.generation.response_set as a dataset, and serve.index beside the vectors, where row i is
# vector i.
RESPONSE_SET = pa.schema(
    [
        ("response_id", pa.string()),
        ("text", pa.string()),
        ("source", pa.string()),  # gold (human-written) or generated
        ("teacher", pa.string()),  # null for gold
    ]
)
