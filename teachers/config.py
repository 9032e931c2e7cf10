"""What a user may say about conversations, teachers, candidates and targets."""

from typing import Annotated, Any, Literal, TypeGuard

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, field_validator


class Section(BaseModel):
    """A part of the config in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class ExamplesConfig(Section):
    """Conversations in, (context, reply) examples out."""

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
    """Training examples drawn from all that the training conversations give."""
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
    `chitchat-dataset`: the turns in which people answered a question; or `python-topics`: Python's own help.
    Or a list of such."""
    max_characters: int = Field(4000, ge=16)
    """Longer documents are cut at a word; an encoder reads some hundreds of tokens."""


class QuestionsConfig(Section):
    """Conversations that end with a question in, questions out."""

    conversations: Sources
    """JSON Lines or Parquet with `messages`, whose last turn is the user's; `positives`, `ignore` (document
    ids), `query_rewrite`, `response`, `id`, `conversation_id` where there are any; or TREC's topics (`.tsv`:
    id, tab, query); or `chitchat-dataset`; or a list."""
    test_conversations: Sources = []
    """Likewise; all of them are for the test, and none of `conversations` is. So a student is measured on
    data of another origin than what it learned from."""
    share: float = Field(1, gt=0, le=1)
    """Of the conversations, how many are used: the job's budget."""
    qrels: str | None = None
    """TREC's judgements of these questions; they count beside `positives`."""
    max_characters: int = Field(2000, ge=16)
    """Longer turns are cut at a word."""
    validation_share: float = Field(0.1, ge=0, lt=1)
    """Share of conversations, not of questions."""
    test_share: float = Field(0.2, ge=0, le=1)
    """Share of conversations; 1 trains on none of them."""
    seed: int = 0
    """Seed of the split."""


HUMAN = "human"
"""The teacher whose rewrites are people's."""


class RewritingConfig(Section):
    """What teachers search with in place of a conversation."""

    prompt: str = "configs/rewriting/answer.yaml"
    """File of the request to the teachers that write: chat messages, the last with `{question}`, `{earlier}`
    (the turns before it) or `{conversation}` (all turns) in it."""
    max_tokens: int = Field(64, ge=1)
    """Of a rewrite, which is cut there."""
    temperature: float = Field(0.1, gt=0)
    """Sampling temperature."""
    batch_size: int = Field(64, ge=1)
    """Questions in one engine call, and the most that a crash repeats; more on a GPU."""
    human: bool = True
    """People's rewrites (`query_rewrite`), where there are any, are a teacher's, too."""
    seed: int = 0
    """Seed of the sampling."""


class _Teacher(Section):
    """What every kind of teacher needs to run; none of it changes what the teacher says."""

    num_cpus: int = Field(2, ge=1)
    """CPUs of one replica: what Ray reserves and, without a GPU, the threads that compute."""
    num_gpus: float = Field(0, ge=0)
    """GPUs of one replica; more than one share the model by tensor parallelism."""
    accelerator_type: str | None = None
    """Ray's name of the GPU that is wanted, such as `A10G` or `H100`; any where not given."""
    node_labels: dict[str, str] = {}
    """Labels of the nodes that it may run on, such as `{"ray.io/market-type": "spot"}`."""
    replicas: int | tuple[int, int] = 1
    """Replicas that work side by side; of a range such as [0, 8] as many as there is work for."""
    batch_timeout_s: float = Field(600, gt=0)
    """A batch that takes longer counts as hung: the replica is replaced and the batch tried row by row."""

    @field_validator("num_gpus")
    @classmethod
    def _whole_above_one(cls, num_gpus: float) -> float:
        if num_gpus > 1 and num_gpus != int(num_gpus):
            raise ValueError(f"{num_gpus} is neither a share of one GPU nor a whole number of them")
        return num_gpus

    @field_validator("replicas")
    @classmethod
    def _a_range_of_replicas(cls, replicas: int | tuple[int, int]) -> int | tuple[int, int]:
        least, most = (replicas, replicas) if isinstance(replicas, int) else replicas
        if not 0 <= least <= most or most == 0:
            raise ValueError(f"{replicas} is no number of replicas")
        return replicas

    def at_least(self) -> int:
        """Replicas without which no work is done."""
        return max(1, self.replicas if isinstance(self.replicas, int) else self.replicas[0])


RESOURCES = frozenset(_Teacher.model_fields)

_SYSTEM_PROMPT = "You are chatting with a friend. Answer in one short, casual sentence."


class VllmTeacher(_Teacher):
    """A generative teacher, run by vLLM: it writes and scores."""

    kind: Literal["vllm"] = "vllm"
    """A generative model that vLLM runs."""
    model: str
    """`smollm2-135m-instruct`, `gemma-3-270m`, a local folder, or a cached Hugging Face id."""
    system_prompt: str = _SYSTEM_PROMPT
    """For writing and scoring, where the model has a chat template and the template a system role."""
    prompt_variants: list[str] = []
    """Further system prompts; a context's samples take turns over `system_prompt` and these."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Precision the engine computes in: `auto` is bfloat16, or float32 on a CPU that has no bfloat16."""
    max_model_tokens: int = Field(1024, ge=64)
    """Contexts longer than this lose their oldest turns."""
    max_sane_loss: float = Field(4.0, gt=0)
    """Nats per token on a known English sentence above which the teacher is refused."""
    kv_cache_gib: float = Field(1, gt=0)
    """Cache of one engine on a CPU; a GPU's is sized by vLLM."""


class SimilarityTeacher(_Teacher):
    """A frozen retriever or cross-encoder: it scores by similarity and writes nothing."""

    kind: Literal["similarity"]
    """A sentence-transformers model."""
    model: str
    """`all-minilm-l6-v2`, a local folder, or a cached Hugging Face id; a cross-encoder is recognised."""
    context_turns: int = Field(2, ge=1)
    """Newest turns that it reads, newest first."""
    max_tokens: int = Field(128, ge=8)
    """Longer texts are cut."""


class EndpointTeacher(_Teacher):
    """A model behind an OpenAI-compatible server: it writes, and scores where `tokenizer` is given."""

    kind: Literal["endpoint"]
    """An OpenAI-compatible server."""
    base_url: str
    """Such as `http://localhost:8000/v1`."""
    model: str
    """The name it is served by."""
    api_key_env: str | None = None
    """Environment variable with the key, in the environment of the cluster's nodes; never written down."""
    tokenizer: str | None = None
    """Folder or id of its tokenizer: scoring needs it, and a server with `prompt_logprobs` (vLLM's)."""
    system_prompt: str = _SYSTEM_PROMPT
    """For writing and scoring."""
    prompt_variants: list[str] = []
    """Further system prompts; a context's samples take turns over `system_prompt` and these."""
    max_model_tokens: int = Field(1024, ge=64)
    """Contexts longer than this lose their oldest turns, where `tokenizer` is given."""
    max_sane_loss: float = Field(4.0, gt=0)
    """Nats per token on a known English sentence above which its scores are refused."""
    concurrency: int = Field(8, ge=1)
    """Requests in flight at most."""
    request_timeout_s: float = Field(60, gt=0)
    """Of one request; it is retried with back-off on 408, 409, 429, 5xx and lost connections."""
    max_retries: int = Field(6, ge=0)
    """Retries of one request before its row is set aside."""


def _kind(teacher: Any) -> str:
    return str(teacher.get("kind", "vllm") if isinstance(teacher, dict) else teacher.kind)


TeacherConfig = Annotated[
    Annotated[VllmTeacher, Tag("vllm")]
    | Annotated[SimilarityTeacher, Tag("similarity")]
    | Annotated[EndpointTeacher, Tag("endpoint")],
    Discriminator(_kind),
]


Writer = VllmTeacher | EndpointTeacher


def writes(teacher: TeacherConfig) -> TypeGuard[Writer]:
    """Whether it generates responses."""
    return not isinstance(teacher, SimilarityTeacher)


def scores(teacher: TeacherConfig) -> bool:
    """Whether it scores candidates."""
    return not isinstance(teacher, EndpointTeacher) or teacher.tokenizer is not None


class GenerateConfig(Section):
    """Responses that the teachers write."""

    contexts: int = Field(64, ge=0)
    """Training contexts that the teachers see, for generation and for scoring: the job's budget."""
    samples: int = Field(2, ge=1)
    """Responses per context and teacher."""
    max_tokens: int = Field(64, ge=1)
    """A response that has not ended by then counts as truncated and is dropped."""
    temperature: float = Field(0.8, gt=0)
    """Sampling temperature."""
    top_p: float = Field(0.95, gt=0, le=1)
    """Nucleus that is sampled from."""
    batch_size: int = Field(256, ge=1)
    """Contexts in one engine call, and the most that a crash repeats; an engine idles at a call's end."""
    seed: int = 0
    """Seed of every random choice here."""


class FiltersConfig(Section):
    """What drops a teacher's response; the count by reason and teacher is in the report."""

    min_words: int = Field(1, ge=1)
    """Shorter responses are dropped."""
    max_words: int = Field(60, ge=1)
    """Longer responses are dropped."""
    languages: list[str] = []
    """ISO 639-1 codes of the languages that are kept, such as [en]; all where none is given."""
    blocklist: str | None = None
    """File of words or phrases, one a line; a response that has one is dropped."""
    near_duplicates: float = Field(0.7, gt=0, le=1)
    """Jaccard similarity of word 3-shingles to another response of the whole set that drops one."""


class CandidatesConfig(Section):
    """How many candidates of each source a context gets, beside its gold reply."""

    generated_per_teacher: int = Field(2, ge=0)
    """Of what each teacher wrote."""
    retrieved: int = Field(2, ge=0)
    """The nearest training responses by `retriever`; the teachers judge them."""
    retriever: str = "all-MiniLM-L6-v2"
    """A dense retriever that stays as it is: the packaged `all-MiniLM-L6-v2`, a folder, or a cached id."""
    random: int = Field(1, ge=0)
    """Other training responses."""
    evaluation_contexts: int = Field(30, ge=0)
    """Test contexts on which teachers rank the gold reply among 20."""
    validation_contexts: int = Field(0, ge=0)
    """Validation contexts on which they do, too; temperatures and weights are fitted there."""
    seed: int = 0
    """Seed of every random choice here."""


class ScoreConfig(Section):
    """How teachers score candidates."""

    batch_size: int = Field(8, ge=1)
    """Contexts in one engine call, and the most that a crash repeats."""
    repeated_share: float = Field(0.01, ge=0, le=1)
    """Share of pairs that are scored twice, to measure how much scores depend on order and batch."""


Normalisation = Literal["mean_log_likelihood", "log_likelihood_per_byte", "pointwise_mutual_information"]
Combination = Literal[
    "mean_of_distributions", "mean_of_scores", "product_of_experts", "reciprocal_rank_fusion", "max"
]


class TargetsConfig(Section):
    """From raw scores to one target distribution per context."""

    normalisation: Normalisation = "pointwise_mutual_information"
    """What a generative teacher's score is; a similarity is taken as it is."""
    z_score: bool = True
    """Bring each teacher's scores of one context to mean 0 and deviation 1 before the softmax."""
    temperature: float | Literal["entropy", "validation"] = 0.5
    """Of each teacher's softmax, lower is sharper; or fitted to `entropy`, or to gold on `validation`."""
    entropy: float = Field(1.0, gt=0)
    """Nats that the mean entropy of a teacher's softened distributions is fitted to."""
    combination: Combination = "mean_of_scores"
    """How the teachers' distributions or scores become one."""
    weights: dict[str, float] | Literal["validation"] = {}
    """Weight per teacher, 1 where not named; or fitted to the gold responses of `validation`."""
    missing: Literal["neutral", "lowest", "leave_out"] = "neutral"
    """A missing score becomes the teacher's mean over the context, its lowest, or leaves the teacher out."""

    @field_validator("temperature")
    @classmethod
    def _positive(cls, temperature: float | str) -> float | str:
        if not isinstance(temperature, str) and temperature <= 0:
            raise ValueError("must be greater than 0")
        return temperature

    @property
    def fits_on_validation(self) -> bool:
        return "validation" in (self.temperature, self.weights)
