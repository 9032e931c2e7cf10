"""The served application's settings and the index's section of the config. Imports no heavy library."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

DenseKind = Literal["exact", "hnsw", "quantised"]
Backend = Literal["auto", "torch", "onnx", "onnx-int8"]


class IndexConfig(BaseModel):
    """How the response set becomes an index."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    kind: DenseKind | Literal["auto"] = "auto"
    """For dense students: `exact`, `hnsw` (a graph; approximate), `quantised` (a graph over vectors of 8
    bits, for a quarter of the memory); `auto` chooses by the number of responses, see docs/performance.md."""
    hnsw_neighbours: int = Field(default=32, ge=2)
    """Links of a node of the graph; not for `exact`."""
    hnsw_ef_search: int = Field(default=512, ge=1)
    """Nodes kept in view during a search: more is slower and misses fewer; not for `exact`."""


class EndpointConfig(BaseModel):
    """A language model that is asked: any endpoint with OpenAI's chat completions."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    url: str = Field(pattern="^https?://")
    """Up to and with `/v1`."""
    model: str = Field(min_length=1)
    system_prompt: str | None = None
    """Sent before the conversation."""
    grounded: bool = False
    """Whether the best text found is sent with the last message, as a generator of
    `jobs/compare_training_sets.py` learns to read it."""
    context_turns: int | None = Field(default=None, ge=1)
    """Newest turns of the conversation that are sent; all where none is given."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Of its answer; the endpoint's own limit where none is given."""
    temperature: float | None = Field(default=None, ge=0)
    """Of its sampling; the endpoint's own where none is given."""
    key_variable: str | None = None
    """The environment variable with the key, if it needs one; where none is named, `REJOINDER_FALLBACK_KEY`
    or `REJOINDER_GENERATOR_KEY`, so that neither gets the other's."""
    timeout_s: float = Field(default=30.0, gt=0)


class ServeConfig(BaseModel):
    """What the served application answers from, and where."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    run: str = Field(min_length=1)
    """Run directory, a path or a URI, with `index/` in it."""
    version: str | None = None
    """A version of the index; the newest where none is named."""
    encoder: Backend = "auto"
    """`onnx` and `onnx-int8` need `jobs/export.py` first; `auto` is `onnx` once it was run, else `torch`."""
    min_score: float | None = None
    """The least score of an answer, where a request names none."""
    fallback: EndpointConfig | None = None
    """Asked where no response has the least score."""
    generator: EndpointConfig | None = None
    """Asked each time by the chat page, which shows what it writes below what was found."""
    log_requests: bool = False
    """Writes conversations and answers to the replicas' logs."""
    host: str = "127.0.0.1"
    """Bind address; `serve run` and `serve deploy` bring their own."""
    port: int = Field(default=8000, ge=1, le=65535)
    num_replicas: int = Field(default=1, ge=1)
    replica_cpus: float = Field(default=1.0, gt=0)
    """Cores that Ray reserves for one replica, and the threads it encodes with."""
    max_queued_requests: int = Field(default=64, ge=0)
    """That wait at a replica; further ones are answered 503 with Retry-After."""
