"""The served application's settings and the index's section of the config. Imports no heavy library."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

DenseKind = Literal["exact", "hnsw", "quantised"]
Backend = Literal["auto", "torch", "onnx", "onnx-int8"]


class IndexConfig(BaseModel):
    """Settings of the index of the response set."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    kind: DenseKind | Literal["auto"] = "auto"
    """For dense students: `exact`, `hnsw` (a graph; approximate), `quantised` (a graph over vectors of 8
    bits, for a quarter of the memory); `auto` chooses by the number of responses, see docs/performance.md."""
    hnsw_neighbours: int = Field(default=32, ge=2)
    """Links of a node of the graph; not for `exact`."""
    hnsw_ef_search: int = Field(default=512, ge=1)
    """Nodes kept in view during a search: more is slower and misses fewer; not for `exact`."""
    coverage: float = Field(default=0.9, gt=0, le=1)
    """Share of the validation contexts that a responder answers: those whose last turns have the most usual
    words for the response set."""
    rerank_depth: int = Field(default=0, ge=0)
    """For dense students: how many of the best responses are ranked anew by the student's score and that of
    the untrained one, which knows topics better; 0 for none. Each context is then encoded twice."""


class EndpointConfig(BaseModel):
    """A remote language model: any endpoint with OpenAI's chat completions."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    url: str = Field(pattern="^https?://")
    """Up to and with `/v1`."""
    model: str = Field(min_length=1)
    system_prompt: str | None = None
    """Sent before the conversation."""
    grounded: bool = False
    """Whether the best retrieved text is sent with the last message, in the form on which
    `jobs/compare_training_sets.py` trains a generator."""
    context_turns: int | None = Field(default=None, ge=1)
    """Newest turns of the conversation that are sent; all by default."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Length of its answer; the endpoint's limit by default."""
    temperature: float | None = Field(default=None, ge=0)
    """Temperature of its sampling; the endpoint's by default."""
    key_variable: str | None = None
    """The environment variable with the key; by default `REJOINDER_FALLBACK_KEY` or
    `REJOINDER_GENERATOR_KEY`, so that neither endpoint gets the other's key."""
    timeout_s: float = Field(default=30.0, gt=0)


class ServeConfig(BaseModel):
    """Settings of the served application."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    run: str = Field(min_length=1)
    """Run directory, a path or a URI, with `index/` in it."""
    version: str | None = None
    """A version of the index; the newest by default."""
    encoder: Backend = "auto"
    """`onnx` and `onnx-int8` need `jobs/export.py` first; `auto` is `onnx` after it, else `torch`."""
    min_score: float | None = None
    """The least score of an answer, unless a request sets its own. If neither does, turns with unusual words
    get no answer (`index.coverage`)."""
    fallback: EndpointConfig | None = None
    """Answers where the responder has no answer."""
    generator: EndpointConfig | None = None
    """Answers every turn of the chat page, which shows its text below the retrieved response."""
    log_requests: bool = False
    """Whether conversations and answers go to the replicas' logs."""
    host: str = "127.0.0.1"
    """Bind address; `serve run` and `serve deploy` bring their own."""
    port: int = Field(default=8000, ge=1, le=65535)
    num_replicas: int = Field(default=1, ge=1)
    replica_cpus: float = Field(default=1.0, gt=0)
    """Cores that Ray reserves for one replica, and the threads it encodes with."""
    max_queued_requests: int = Field(default=64, ge=0)
    """Requests that wait at a replica; further ones are answered 503 with Retry-After."""
