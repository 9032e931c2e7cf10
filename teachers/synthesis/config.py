"""Settings of conversations that are synthesised from documents (CoDi)."""

from typing import Literal

from pydantic import Field

from teachers.config import GenerateConfig, Section


class SynthesisConfig(Section):
    """Conversations to write, and the teachers that write them."""

    graph: str = "configs/synthesis/conversation_graph.yaml"
    """File of the kinds of turn, what may follow what, and the axes along which conversations differ."""
    shares: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Shares of an axis's values in place of the graph's, as `{length: {short: 0.2, long: 0.8}}`."""
    conversations: int = Field(24, ge=1)
    """Planned, spread evenly over the documents; `checks` reject some."""
    writers: dict[Literal["user", "assistant"], dict[str, float]] = Field(default_factory=dict)
    """Weights of the teachers that speak for each; all teachers equally where not given."""
    passage_words: int = Field(90, ge=10)
    """Documents are cut into passages of whole sentences of as many words together."""
    max_tokens: int = Field(48, ge=1)
    """A turn that has not ended by then counts as truncated and is rewritten."""
    temperature: float = Field(0.8, gt=0)
    """Sampling temperature."""
    top_p: float = Field(0.95, gt=0, le=1)
    """Nucleus that is sampled from."""
    attempts: int = Field(6, ge=1)
    """Attempts at a turn, each with another seed."""
    rewinds: int = Field(2, ge=0)
    """Times that a conversation drops a turn whose next one fails every attempt; then it is rejected."""
    batch_size: int = Field(32, ge=1)
    """Conversations that a writer advances together, turn by turn; more on a GPU."""
    seed: int = 0
    """Seed of the plans and of the sampling."""

    def sampling(self) -> GenerateConfig:
        """Return the settings of a turn, which is made and stored as a response is."""
        return GenerateConfig(
            samples=1,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
        )


class ChecksConfig(Section):
    """Checks of a turn beside `filters`."""

    overlap: float = Field(0.5, ge=0, le=1)
    """Share of the content words that a grounded turn adds to the last one that are in its evidence."""
    copied: float = Field(0.7, gt=0, le=1)
    """Jaccard similarity of words with an earlier turn above which a turn is a copy."""
    leaked_words: int = Field(6, ge=2)
    """Consecutive words of the prompt's instructions that a turn may not have."""
    entailment_model: str | None = None
    """A cross-encoder for natural language inference, a folder or a cached id: a grounded answer has to
    follow from its evidence."""
    entailment: float = Field(0.5, ge=0, le=1)
    """Probability of that, at least."""
