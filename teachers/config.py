"""What a user may say about conversations, teachers, candidates and targets."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A part of the config in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class ExamplesConfig(Section):
    """Conversations in, (context, reply) examples out."""

    conversations: str = "chitchat-dataset"
    """`chitchat-dataset`, or JSON Lines or Parquet with a `messages` column (path, s3:// or gs://)."""
    replies: Literal["assistant", "both"] = "both"
    """Whose turns are replies to learn: the assistant's, or both speakers' (roles are swapped)."""
    context_turns: int = Field(4, ge=1, le=64)
    """Newest turns that make a context."""
    max_characters: int = Field(400, ge=16)
    """Longer turns are cut at a word."""
    min_reply_words: int = Field(2, ge=1)
    """Shorter replies are no examples; their turns still stand in contexts."""
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
    seed: int = 0
    """Seed of every random choice here."""


class TeacherConfig(Section):
    """One generative teacher, run by vLLM."""

    model: str
    """`smollm2-135m-instruct`, `gemma-3-270m`, a local folder, or a cached Hugging Face id."""
    system_prompt: str = "You are chatting with a friend. Answer in one short, casual sentence."
    """Used where the model has a chat template and the template a system role."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "bfloat16"
    """Precision the engine computes in."""
    max_model_tokens: int = Field(1024, ge=64)
    """Contexts longer than this lose their oldest turns."""
    max_sane_loss: float = Field(4.0, gt=0)
    """Nats per token on a known English sentence above which the teacher is refused."""
    num_cpus: int = Field(2, ge=1)
    """CPUs of one replica: what Ray reserves and, without a GPU, the threads that compute."""
    num_gpus: float = Field(0, ge=0)
    """GPUs of one replica."""
    replicas: int = Field(1, ge=1)
    """Engines of this teacher that work side by side."""
    kv_cache_gib: float = Field(1, gt=0)
    """Cache of one engine on a CPU; a GPU's is sized by vLLM."""


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
    batch_size: int = Field(32, ge=1)
    """Contexts in one engine call, and the most that a crash repeats."""
    seed: int = 0
    """Seed of every random choice here."""


class CandidatesConfig(Section):
    """How many candidates of each source a context gets, beside its gold reply."""

    generated_per_teacher: int = Field(2, ge=0)
    """Of what each teacher wrote."""
    retrieved: int = Field(2, ge=0)
    """The nearest training replies by the untrained student; the teachers judge them."""
    random: int = Field(1, ge=0)
    """Other training replies."""
    evaluation_contexts: int = Field(30, ge=0)
    """Test contexts on which teachers rank the gold reply among 20."""
    seed: int = 0
    """Seed of every random choice here."""


class ScoreConfig(Section):
    """How teachers score candidates."""

    batch_size: int = Field(8, ge=1)
    """Contexts in one engine call, and the most that a crash repeats."""


Normalisation = Literal["mean_log_likelihood", "log_likelihood_per_byte", "pointwise_mutual_information"]


class TargetsConfig(Section):
    """From raw scores to one target distribution per context."""

    normalisation: Normalisation = "pointwise_mutual_information"
    """What a teacher's score is."""
    z_score: bool = True
    """Bring each teacher's scores of one context to mean 0 and deviation 1 before the softmax."""
    temperature: float = Field(0.5, gt=0)
    """Of the softmax over a context's candidates; lower is sharper."""
    weights: dict[str, float] = {}
    """Weight per teacher in the mean of distributions; teachers that are not named weigh 1."""
