"""The served application's settings and the index's section of the config. Imports no heavy library."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class IndexConfig(BaseModel):
    """How the response set becomes an index."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    kind: Literal["flat", "hnsw"] = "flat"
    """For dense students; `flat` is exact, `hnsw` approximate and worth it from some 250,000 responses on."""
    hnsw_neighbours: int = Field(default=32, ge=2)
    """Links of a node of the graph; used by `hnsw` only."""
    hnsw_ef_search: int = Field(default=128, ge=1)
    """Nodes kept in view during a search: more is slower and misses fewer; used by `hnsw` only."""


class ServeConfig(BaseModel):
    """What the served application answers from, and where."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    run: str = Field(min_length=1)
    """Run directory, a path or a URI, with `student/` and `index/` in it."""
    host: str = "127.0.0.1"
    """Bind address; `serve run` and `serve deploy` bring their own."""
    port: int = Field(default=8000, ge=1, le=65535)
    num_replicas: int = Field(default=1, ge=1)
    replica_cpus: float = Field(default=1.0, gt=0)
    """Cores that Ray reserves for one replica, and the threads it encodes with."""
    top_k_limit: int = Field(default=100, ge=1)
    """The largest `k` that a request may ask for."""
