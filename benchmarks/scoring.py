"""Scoring speed: ours beside `LLM.generate(prompt_logprobs=0)` and a batched transformers forward.

    python benchmarks/scoring.py [--quick] [--model smollm2-135m-instruct]

The same pairs (real conversations, 16 candidates to a context) and the same weights in one run; the engines
run one after the other, in separate processes, with the same number of threads. Rounds of the three
ways of vLLM alternate, medians are shown. The last line is JSON.
"""

import argparse
import json
import multiprocessing
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from teachers.config import VllmTeacher
from teachers.corpora.conversations import CHITCHAT, clean, read
from teachers.engines.likelihood import Pair
from teachers.engines.prompts import PromptFormat
from teachers.engines.weights import model_folder

CANDIDATES = 16
CONTEXT_TOKENS = (90, 200, 400)
THREADS = 2
BATCH_TOKENS = 4096
WAYS = ("naive", "transformers", "ours")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer contexts and rounds, under 5 minutes")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    options = parser.parse_args()
    contexts, rounds = (4, 2) if options.quick else (8, 3)
    pairs = {length: real_pairs(options.model, length, contexts) for length in CONTEXT_TOKENS}

    for length, length_pairs in pairs.items():
        context_tokens = statistics.mean(len(context) for context, _ in length_pairs)
        response_tokens = statistics.mean(len(response) for _, response in length_pairs)
        mean_tokens = f"{context_tokens:.0f} + {response_tokens:.0f} tokens on average"
        print(f"{length}: {len(length_pairs)} pairs, {mean_tokens}")

    results = {
        **in_process(measure_vllm, options.model, pairs, rounds),
        **in_process(measure_transformers, options.model, pairs, 1 if options.quick else 2),
    }
    show(results, pairs)


def in_process(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Run work in a separate process, whose threads and memory are gone afterwards; return its result."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def real_pairs(model: str, context_tokens: int, num_contexts: int) -> list[Pair]:
    """Real contexts of about `context_tokens` tokens, each with 16 real responses."""
    from transformers import AutoTokenizer

    generator = random.Random(0)
    prompt_format = PromptFormat(model, AutoTokenizer.from_pretrained(model_folder(model)), 2048)
    system_prompt = VllmTeacher(model=model).system_prompt

    responses: list[str] = []
    contexts: list[list[dict[str, str]]] = []
    for _, row in read(CHITCHAT):
        try:
            messages = clean(row, 400).messages
        except ValueError:
            continue

        for message in messages:
            if 2 <= len(message["content"].split()) < 40:
                responses.append(message["content"])
        for end in range(2, len(messages)):
            # The turns before `end`, about as long as `context_tokens`.
            start = end
            while start > 0 and num_characters(messages[start:end]) < 3.6 * context_tokens:
                start -= 1
            contexts.append(messages[start:end])
        if len(contexts) > 20_000:
            break

    generator.shuffle(contexts)
    pairs: list[Pair] = []
    for context in contexts:
        prefix = prompt_format.prefix(context, system_prompt)
        if abs(len(prefix.ids) - context_tokens) > 0.1 * context_tokens:
            continue
        for response in generator.sample(responses, CANDIDATES):
            pairs.append((prefix.ids, prompt_format.response(prefix, response)))
        if len(pairs) == num_contexts * CANDIDATES:
            return pairs
    raise ValueError(f"too few contexts of {context_tokens} tokens")


def num_characters(turns: list[dict[str, str]]) -> int:
    return len(" ".join(turn["content"] for turn in turns))


def measure_vllm(model: str, pairs: dict[int, list[Pair]], rounds: int) -> dict[str, Any]:
    """Seconds and sums of both ways, from one engine with an empty prefix cache."""
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    from vllm import SamplingParams

    from teachers.engines.vllm_engine import Engine

    engine = Engine("teacher", VllmTeacher(model=model))
    llm = engine._llm

    def naive(pairs: list[Pair]) -> list[float]:
        outputs = llm.generate(
            [{"prompt_token_ids": context + response} for context, response in pairs],
            SamplingParams(max_tokens=1, prompt_logprobs=0),
            use_tqdm=False,
        )

        sums: list[float] = []
        for output, (context, response) in zip(outputs, pairs, strict=True):
            logprobs = zip(output.prompt_logprobs[len(context) :], response, strict=True)
            sums.append(sum(row[token].logprob for row, token in logprobs))
        return sums

    ways = {"naive": naive, "ours": engine.likelihood.log_likelihoods}
    results: dict[str, Any] = {name: {length: {"seconds": []} for length in pairs} for name in ways}
    for _ in range(rounds + 1):  # the first round warms up
        for length, length_pairs in pairs.items():
            for name, way in ways.items():
                llm.reset_prefix_cache()
                start = time.perf_counter()
                results[name][length]["sums"] = way(length_pairs)
                results[name][length]["seconds"].append(time.perf_counter() - start)
    for by_length in results.values():
        for measured in by_length.values():
            del measured["seconds"][0]
    return results


def measure_transformers(model: str, pairs: dict[int, list[Pair]], rounds: int) -> dict[str, Any]:
    """Seconds and sums of a padded, length-sorted forward in bfloat16, and the machine's matrix rate."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(THREADS)
    network = AutoModelForCausalLM.from_pretrained(model_folder(model), dtype=torch.bfloat16).eval()

    def forward(pairs: list[Pair]) -> list[float]:
        sums = [0.0] * len(pairs)
        for rows in batches(pairs):
            width = max(num_tokens(pairs[row]) for row in rows)
            ids = torch.zeros(len(rows), width, dtype=torch.long)
            mask = torch.zeros(len(rows), width, dtype=torch.long)
            for line, row in enumerate(rows):
                tokens = [*pairs[row][0], *pairs[row][1]]
                ids[line, : len(tokens)] = torch.tensor(tokens)
                mask[line, : len(tokens)] = 1

            # Logits only where a response can be: faster than a plain call.
            kept = width - min(len(pairs[row][0]) for row in rows) + 1
            logits = network(ids, attention_mask=mask, logits_to_keep=kept).logits

            for line, row in enumerate(rows):
                context, response = pairs[row]
                first = len(context) - 1 - (width - kept)
                values = logits[line, first : first + len(response)].float().log_softmax(-1)
                sums[row] = values.gather(1, torch.tensor(response)[:, None]).sum().item()
        return sums

    results: dict[str, Any] = {length: {"seconds": []} for length in pairs}
    with torch.inference_mode():
        for length, length_pairs in pairs.items():
            for _ in range(rounds):
                start = time.perf_counter()
                results[length]["sums"] = forward(length_pairs)
                results[length]["seconds"].append(time.perf_counter() - start)
        from machine import matrix_rate

        rate = matrix_rate()
    config = network.config
    embedding = config.vocab_size * config.hidden_size
    layers = sum(parameter.numel() for parameter in network.parameters()) - embedding
    return {
        "transformers": results,
        "flop_per_s": rate,
        "layer_flop": 2 * layers,
        "logit_flop": 2 * embedding,
    }


def batches(pairs: list[Pair]) -> Iterator[list[int]]:
    """Yield rows of similar length, of at most BATCH_TOKENS with padding."""
    order = sorted(range(len(pairs)), key=lambda row: num_tokens(pairs[row]))
    batch: list[int] = []
    for row in order:
        width = num_tokens(pairs[row])
        if batch and width * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(row)
    yield batch


def num_tokens(pair: Pair) -> int:
    context, response = pair
    return len(context) + len(response)


def least_flop(pairs: list[Pair], layer_flop: int, logit_flop: int) -> float:
    """The least work: each context once, each response once, logits for response tokens only."""
    contexts = {tuple(context) for context, _ in pairs}
    response_tokens = sum(len(response) for _, response in pairs)
    return layer_flop * (sum(map(len, contexts)) + response_tokens) + logit_flop * response_tokens


def show(results: dict[str, Any], pairs: dict[int, list[Pair]]) -> None:
    print(f"matrix products: {results['flop_per_s'] / 1e9:.0f} GFLOP/s on {THREADS} threads, bfloat16")
    ratios: dict[int, float] = {}
    apart = 0.0
    for length, length_pairs in pairs.items():
        tokens = sum(len(response) for _, response in length_pairs)
        least = least_flop(length_pairs, results["layer_flop"], results["logit_flop"])
        seconds = {way: statistics.median(results[way][length]["seconds"]) for way in WAYS}

        for way, median in seconds.items():
            share = least / median / results["flop_per_s"]
            print(
                f"contexts of {length}: {way:12} {len(length_pairs) / median:6.1f} pairs/s, "
                f"{tokens / median:6.0f} response tokens/s, least work at {share:.0%} of the matrix rate, "
                f"{seconds['naive'] / median:.2f} × naive"
            )

        ratios[length] = seconds["naive"] / seconds["ours"]
        sums = [results[way][length]["sums"] for way in ("ours", "naive", "transformers")]
        for ours, naive in zip(sums[0], sums[1], strict=True):
            apart = max(apart, abs(ours - naive))
        from_transformers = 0.0
        for ours, theirs, (_, response) in zip(sums[0], sums[2], length_pairs, strict=True):
            from_transformers = max(from_transformers, abs(ours - theirs) / len(response))
        print(f"contexts of {length}: ours and transformers at most {from_transformers:.2g} nats/token apart")

    summary = {
        "ratio_to_naive": round(ratios[90], 3),
        "ratio_to_naive_200": round(ratios[200], 3),
        "ratio_to_naive_400": round(ratios[400], 3),
        "max_abs_difference_nats": apart,
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
