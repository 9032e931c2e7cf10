"""Scores of token ids from a stand-in for vLLM's model runner V2, whose own class decides what it returns.

The runner needs a GPU. Its `PromptLogprobsWorker` does not: here it is driven as the runner does it, over a
prefix cache of whole blocks and a model that is a table of bigrams.
"""

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from vllm.v1.worker.gpu.sample.prompt_logprob import PromptLogprobsWorker

from teachers.engines.likelihood import LikelihoodScorer, Pair

BLOCK_TOKENS, VOCABULARY = 16, 50
BIGRAMS = torch.randn(VOCABULARY, VOCABULARY, generator=torch.Generator().manual_seed(0)).log_softmax(-1)


class StandIn:
    """Answers as vLLM's LLM with runner V2 does, one request after the other."""

    def __init__(self) -> None:
        config = SimpleNamespace(
            use_v2_model_runner=True, cache_config=SimpleNamespace(block_size=BLOCK_TOKENS)
        )
        self.llm_engine = SimpleNamespace(vllm_config=config)
        self.computed_tokens = 0
        self.dropped = 0
        self._cached: set[tuple[int, ...]] = set()

    def generate(self, requests: list[dict[str, Any]], params: list[Any], use_tqdm: bool) -> list[Any]:
        prompts = [request["prompt_token_ids"] for request in requests]
        return [self._answer(*request) for request in zip(prompts, params, strict=True)]

    def _answer(self, prompt: list[int], params: Any) -> Any:
        cached = 0 if params.skip_reading_prefix_cache else self._num_cached(prompt)
        for end in range(BLOCK_TOKENS, len(prompt) + 1, BLOCK_TOKENS):
            self._cached.add(tuple(prompt[:end]))
        self.computed_tokens += len(prompt) - cached

        if params.prompt_logprob_token_ids is None:
            row = {
                token: SimpleNamespace(logprob=BIGRAMS[prompt[-1], token])
                for token in params.logprob_token_ids
            }
            return SimpleNamespace(num_cached_tokens=cached, outputs=[SimpleNamespace(logprobs=[row])])

        scores = self._prompt_scores(prompt, params, cached)
        self.dropped += scores is None
        return SimpleNamespace(num_cached_tokens=cached, prompt_token_id_logprobs=scores)

    def _num_cached(self, prompt: list[int]) -> int:
        """The last token is always computed."""
        for end in range((len(prompt) - 1) // BLOCK_TOKENS * BLOCK_TOKENS, 0, -BLOCK_TOKENS):
            if tuple(prompt[:end]) in self._cached:
                return end
        return 0

    def _prompt_scores(self, prompt: list[int], params: Any, cached: int) -> Any:
        params.prompt_logprob_token_ids = np.array(params.prompt_logprob_token_ids)
        assert len(params.prompt_logprob_token_ids) == len(prompt) - 1 - params.prompt_logprob_start

        worker = PromptLogprobsWorker(1, torch.device("cpu"), "raw_logits")
        worker.add_request("request", 0, params)
        batch = SimpleNamespace(
            req_ids=["request"],
            idx_mapping_np=np.array([0]),
            num_computed_prefill_tokens_np=np.array([cached]),
            num_scheduled_tokens=np.array([len(prompt) - cached]),
            prefill_len_np=np.array([len(prompt)]),
            query_start_loc_np=np.array([0, len(prompt) - cached]),
        )
        states = torch.tensor(prompt[cached:])
        scores = worker.compute_prompt_token_id_logprobs(
            lambda tokens: BIGRAMS[tokens], states, batch, np.array([len(prompt)])
        )
        return scores["request"].numpy() if scores else None


def expected(pair: Pair) -> float:
    context, response = pair
    return sum(
        float(BIGRAMS[before, token])
        for before, token in zip([context[-1], *response], response, strict=False)
    )


def drawn_pairs() -> list[Pair]:
    """Contexts of all lengths up to three blocks, with responses that begin alike, one of them twice."""
    draw = random.Random(0)
    pairs: list[Pair] = []
    for length in range(1, 3 * BLOCK_TOKENS + 1):
        context = draw.choices(range(VOCABULARY), k=length)
        beginning = draw.choices(range(VOCABULARY), k=BLOCK_TOKENS + 4)
        responses = [beginning, [*beginning, 7], [*beginning[:-1], 8], [9], [10, 11], [12, 13, 14], beginning]
        pairs += [(context, response) for response in responses]
    return pairs


def test_scores_are_exact_wherever_the_cache_ends() -> None:
    pairs = drawn_pairs()
    engine = StandIn()
    assert LikelihoodScorer(engine).log_likelihoods(pairs) == pytest.approx(
        list(map(expected, pairs)), abs=1e-4
    )
    assert engine.dropped, "the runner's rule was not met"


def test_a_context_that_ends_with_a_block_is_computed_once() -> None:
    context = [1] * (20 * BLOCK_TOKENS)
    pairs = [(context, [number, 2, 3]) for number in range(16)]
    engine = StandIn()
    assert LikelihoodScorer(engine).log_likelihoods(pairs) == pytest.approx(
        list(map(expected, pairs)), abs=1e-4
    )
    assert engine.dropped == 0 and engine.computed_tokens < 2 * len(context)


def test_an_engine_that_returns_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StandIn, "_prompt_scores", lambda *_: None)
    with pytest.raises(RuntimeError, match="no scores"):
        LikelihoodScorer(StandIn()).log_likelihoods([([1, 2], [3])])
