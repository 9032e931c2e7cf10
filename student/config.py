"""What a user may say about the student and its training."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class StudentConfig(BaseModel):
    """A dense bi-encoder whose contexts and responses share one encoder."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    model: str = "all-MiniLM-L6-v2"
    """The packaged `all-MiniLM-L6-v2`, a folder, or a cached sentence-transformers id."""
    max_tokens: int = Field(64, ge=8)
    """Tokens of a context or response that are read."""
    context_turns: int = Field(2, ge=1)
    """Newest turns of a context that are read."""
    learning_rate: float = Field(5e-5, gt=0)
    """Peak learning rate of AdamW."""
    epochs: int = Field(1, ge=1)
    """Passes over the training contexts."""
    contexts_per_step: int = Field(16, ge=1)
    """Contexts of one worker in one optimizer step."""
    max_candidates: int = Field(10, ge=2)
    """Own candidates of a context in a step (G2R: 10)."""
    alpha: float = Field(0.1, ge=0, le=1)
    """Weight of the KL term; cross-entropy weighs 1 - alpha."""
    temperature: float = Field(1.0, gt=0)
    """The student's softmax temperature in the KL term."""
    similarity_scale: float = Field(20.0, gt=0)
    """A score is the cosine times this."""
    warmup_share: float = Field(0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises; after them it falls to zero."""
    gradient_clipping: float = Field(1.0, gt=0)
    """Largest norm of a gradient."""
    num_workers: int = Field(2, ge=1)
    """Training processes."""
    cpus_per_worker: int = Field(1, ge=1)
    """Cores and threads of one."""
    use_gpu: bool = False
    """One GPU per worker."""
    zero_stage: Literal[0, 1, 2, 3] = 0
    """DeepSpeed's ZeRO stage."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """bf16 is two to three times faster than fp32 on a CPU with avx512_bf16."""
    seed: int = 0
    """Seed of shuffling and dropout."""
    report_every_steps: int = Field(5, ge=1)
    """Steps between two points of the learning curve."""
    checkpoint_every_steps: int = Field(50, ge=1)
    """A cut-off training goes on from the last checkpoint."""
    max_failures: int = Field(2, ge=0)
    """Lost workers after which training gives up."""
