"""Sections of a config on teachers, and the base of every section."""

from typing import Annotated, Any, Literal, Self, TypeGuard

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator


class Section(BaseModel):
    """A part of the config in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class _Teacher(Section):
    """Resources of every kind of teacher; none of them changes its output."""

    num_cpus: int = Field(2, ge=1)
    """CPUs of one replica: what Ray reserves and, without a GPU, the threads that compute."""
    num_gpus: float = Field(0, ge=0)
    """GPUs of one replica; more than one share the model by tensor parallelism."""
    accelerator_type: str | None = None
    """Ray's name of the GPU model, such as `A10G` or `H100`; any where not given."""
    node_labels: dict[str, str] = {}
    """Labels of the nodes that it may run on, such as `{"ray.io/market-type": "spot"}`."""
    replicas: int | tuple[int, int] = 1
    """Replicas that work side by side; of a range such as [0, 8] as many as there is work for."""
    batch_timeout_s: float = Field(600, gt=0)
    """A batch that takes longer counts as hung: the replica is replaced and the batch tried in halves."""

    @field_validator("num_gpus")
    @classmethod
    def _whole_above_one(cls, num_gpus: float) -> float:
        if num_gpus > 1 and num_gpus != int(num_gpus):
            raise ValueError(f"expected a share of one GPU or a whole number of GPUs, got {num_gpus}")
        return num_gpus

    @field_validator("replicas")
    @classmethod
    def _a_range_of_replicas(cls, replicas: int | tuple[int, int]) -> int | tuple[int, int]:
        least, most = (replicas, replicas) if isinstance(replicas, int) else replicas
        if not 0 <= least <= most or most == 0:
            raise ValueError(f"expected a number of replicas or a range such as [0, 8], got {replicas}")
        return replicas

    def at_least(self) -> int:
        """Replicas without which no work is done."""
        return max(1, self.replicas if isinstance(self.replicas, int) else self.replicas[0])

    def at_most(self) -> int:
        """Replicas that there may be."""
        return self.replicas if isinstance(self.replicas, int) else self.replicas[1]


RESOURCES = frozenset(_Teacher.model_fields)

# Of vLLM's engine. Scores need the prefix cache, and the whole vocabulary's raw log-probabilities.
_SET_FROM_OTHER_KEYS = frozenset(
    {
        "model",
        "dtype",
        "max_model_len",
        "seed",
        "tensor_parallel_size",
        "enable_prefix_caching",
        "logprobs_mode",
    }
)
_SYSTEM_PROMPT = "You are chatting with a friend. Answer in one short, casual sentence."


class VllmTeacher(_Teacher):
    """A generative teacher, run by vLLM: it writes and scores."""

    kind: Literal["vllm"] = "vllm"
    """A generative model that vLLM runs."""
    model: str
    """`smollm2-135m-instruct`, `gemma-3-270m`, `qwen2.5-coder-1.5b-instruct` or `-0.5b-` (extra `teachers`),
    a folder (also `s3://…`), or a Hugging Face id."""
    revision: str | None = None
    """Commit, tag or branch of a Hugging Face id; the commit in the cache, or the newest, where not given."""
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
    chat_template_kwargs: dict[str, Any] = {}
    """Variables of the model's chat template, such as `{enable_thinking: false}` for Qwen3."""
    engine: dict[str, Any] = {}
    """Further arguments of vLLM's engine, such as `{quantization: fp8, max_num_seqs: 512}`."""

    @field_validator("engine")
    @classmethod
    def _no_argument_twice(cls, engine: dict[str, Any]) -> dict[str, Any]:
        for name in engine:
            if name in _SET_FROM_OTHER_KEYS:
                raise ValueError(f"{name} is set from other keys of the teacher")
        return engine

    @field_validator("engine")
    @classmethod
    def _no_adapter(cls, engine: dict[str, Any]) -> dict[str, Any]:
        if "enable_lora" in engine:
            raise ValueError(
                "enable_lora has no effect: no request names an adapter; merge the adapter into the weights "
                "(`merge_and_unload` of peft) and set `model` to their folder"
            )
        return engine

    @model_validator(mode="after")
    def _stages_of_whole_gpus(self) -> Self:
        stages = self.engine.get("pipeline_parallel_size", 1)
        if stages != 1 and self.num_gpus % stages:
            raise ValueError(
                f"engine: pipeline_parallel_size: expected a number that divides num_gpus = "
                f"{self.num_gpus:g}, got {stages}"
            )
        return self


class SimilarityTeacher(_Teacher):
    """A frozen retriever or cross-encoder: it scores by similarity and writes nothing."""

    kind: Literal["similarity"]
    """A sentence-transformers model."""
    model: str
    """`all-minilm-l6-v2`, `all-mpnet-base-v2` (extra `teachers`), a folder (also `s3://…`), or a Hugging
    Face id; SPLADE and a cross-encoder are recognised, and the model's own prompts are used."""
    revision: str | None = None
    """Commit, tag or branch of a Hugging Face id; the commit in the cache, or the newest, where not given."""
    context_turns: int = Field(2, ge=1)
    """Newest turns that it reads, newest first."""
    max_tokens: int = Field(128, ge=8)
    """Longer texts are cut; a model with fewer positions reads as many tokens as those."""


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
    chat_template_kwargs: dict[str, Any] = {}
    """Variables of the model's chat template, for a server that takes them (vLLM, SGLang)."""
    concurrency: int = Field(8, ge=1)
    """Requests in flight at most."""
    request_timeout_s: float = Field(60, gt=0)
    """Of one request; it is retried with back-off on 408, 409, 429, 5xx and lost connections."""
    max_retries: int = Field(6, ge=0)
    """Retries of one request; then its row is rejected, or the job ends where the server is at fault."""


def _kind(teacher: Any) -> str:
    # What is no teacher at all, such as a name without keys, is refused as one of the first kind.
    return str(teacher.get("kind", "vllm") if isinstance(teacher, dict) else getattr(teacher, "kind", "vllm"))


TeacherConfig = Annotated[
    Annotated[VllmTeacher, Tag("vllm")]
    | Annotated[SimilarityTeacher, Tag("similarity")]
    | Annotated[EndpointTeacher, Tag("endpoint")],
    Discriminator(_kind),
]


Writer = VllmTeacher | EndpointTeacher


def writes(teacher: TeacherConfig) -> TypeGuard[Writer]:
    """Whether the teacher generates responses."""
    return not isinstance(teacher, SimilarityTeacher)


def scores(teacher: TeacherConfig) -> bool:
    """Whether the teacher scores candidates."""
    return not isinstance(teacher, EndpointTeacher) or teacher.tokenizer is not None


class GenerateConfig(Section):
    """Responses that the teachers write."""

    contexts: int = Field(64, ge=0)
    """Training contexts that the teachers see, for generation and for scoring: the job's budget."""
    samples: int = Field(2, ge=1)
    """Responses per context and teacher."""
    max_tokens: int = Field(64, ge=1)
    """A response that has not ended by then is shortened to its last complete sentence, or dropped."""
    temperature: float = Field(0.8, gt=0)
    """Sampling temperature."""
    top_p: float = Field(0.95, gt=0, le=1)
    """Nucleus that is sampled from."""
    batch_size: int = Field(256, ge=1)
    """Contexts in one engine call, and the most that a crash repeats; an engine idles at a call's end."""
    seed: int = 0
    """Seed of every random choice here."""
