"""Scoring speed: ours beside `LLM.generate(prompt_logprobs=0)` and a batched transformers forward.

    python benchmarks/scoring.py [--quick] [--model smollm2-135m-instruct]

The same pairs (real conversations, 16 candidates to a context) and the same weights in one run; the engines
run one after the other, in processes of their own, with the same number of threads. Rounds of the three
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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer contexts and rounds, under 5 minutes")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    options = parser.parse_args()
    contexts, rounds = (4, 2) if options.quick else (8, 3)
    pairs = {length: real_pairs(options.model, length, contexts) for length in CONTEXT_TOKENS}
    for length, found in pairs.items():
        context_tokens = statistics.mean(len(context) for context, _ in found)
        response_tokens = statistics.mean(len(response) for _, response in found)
        print(f"{length}: {len(found)} pairs, {context_tokens:.0f} + {response_tokens:.0f} tokens on average")
    results = {
        **in_process(measure_vllm, options.model, pairs, rounds),
        **in_process(measure_transformers, options.model, pairs, 1 if options.quick else 2),
    }
    show(results, pairs)


def in_process(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """The result of a work in a process of its own: its threads and memory are gone after it."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def real_pairs(model: str, context_tokens: int, num_contexts: int) -> list[Pair]:
    """Contexts of about so many tokens, of real turns, each with 16 real replies."""
    from transformers import AutoTokenizer

    generator = random.Random(0)
    prompt_format = PromptFormat(model, AutoTokenizer.from_pretrained(model_folder(model)), 2048)
    system_prompt = VllmTeacher(model=model).system_prompt
    replies: list[str] = []
    contexts: list[list[dict[str, str]]] = []
    for _, row in read(CHITCHAT):
        try:
            messages = clean(row, 400).messages
        except ValueError:
            continue
        replies += [message["content"] for message in messages if 2 <= len(message["content"].split()) < 40]
        for end in range(2, len(messages)):
            # The turns before `end` that come nearest to the length that is wanted.
            start = end
            while (
                start > 0
                and len(" ".join(turn["content"] for turn in messages[start:end])) < 3.6 * context_tokens
            ):
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
        pairs += [
            (prefix.ids, prompt_format.response(prefix, reply))
            for reply in generator.sample(replies, CANDIDATES)
        ]
        if len(pairs) == num_contexts * CANDIDATES:
            return pairs
    raise ValueError(f"too few contexts of {context_tokens} tokens")


def measure_vllm(model: str, pairs: dict[int, list[Pair]], rounds: int) -> dict[str, Any]:
    """Seconds and sums of both ways, from one engine, its prefix cache emptied before each."""
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    from vllm import SamplingParams

    from teachers.engines.vllm_engine import Engine

    engine = Engine("teacher", VllmTeacher(model=model))
    llm = engine._llm

    def naive(found: list[Pair]) -> list[float]:
        outputs = llm.generate(
            [{"prompt_token_ids": context + response} for context, response in found],
            SamplingParams(max_tokens=1, prompt_logprobs=0),
            use_tqdm=False,
        )
        return [
            sum(
                row[token].logprob
                for row, token in zip(output.prompt_logprobs[len(context) :], response, strict=True)
            )
            for output, (context, response) in zip(outputs, found, strict=True)
        ]

    ways = {"naive": naive, "ours": engine.likelihood.log_likelihoods}
    results: dict[str, Any] = {name: {length: {"seconds": []} for length in pairs} for name in ways}
    for _ in range(rounds + 1):  # the first round warms up
        for length, found in pairs.items():
            for name, way in ways.items():
                llm.reset_prefix_cache()
                start = time.perf_counter()
                results[name][length]["sums"] = way(found)
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

    def forward(found: list[Pair]) -> list[float]:
        sums = [0.0] * len(found)
        for rows in batches(found):
            width = max(len(found[row][0]) + len(found[row][1]) for row in rows)
            ids = torch.zeros(len(rows), width, dtype=torch.long)
            mask = torch.zeros(len(rows), width, dtype=torch.long)
            for line, row in enumerate(rows):
                tokens = [*found[row][0], *found[row][1]]
                ids[line, : len(tokens)] = torch.tensor(tokens)
                mask[line, : len(tokens)] = 1
            # Logits for the rows that can hold a response only: kinder than a plain call.
            kept = width - min(len(found[row][0]) for row in rows) + 1
            logits = network(ids, attention_mask=mask, logits_to_keep=kept).logits
            for line, row in enumerate(rows):
                context, response = found[row]
                first = len(context) - 1 - (width - kept)
                values = logits[line, first : first + len(response)].float().log_softmax(-1)
                sums[row] = values.gather(1, torch.tensor(response)[:, None]).sum().item()
        return sums

    results: dict[str, Any] = {length: {"seconds": []} for length in pairs}
    with torch.inference_mode():
        for length, found in pairs.items():
            for _ in range(rounds):
                start = time.perf_counter()
                results[length]["sums"] = forward(found)
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


def batches(found: list[Pair]) -> Iterator[list[int]]:
    """Rows of similar length, of at most BATCH_TOKENS with padding."""
    order = sorted(range(len(found)), key=lambda row: len(found[row][0]) + len(found[row][1]))
    batch: list[int] = []
    for row in order:
        width = len(found[row][0]) + len(found[row][1])
        if batch and width * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(row)
    yield batch


def least_flop(found: list[Pair], layer_flop: int, logit_flop: int) -> float:
    """What cannot be left out: each context once, each response once, logits for response tokens only."""
    contexts = {tuple(context) for context, _ in found}
    response_tokens = sum(len(response) for _, response in found)
    return layer_flop * (sum(map(len, contexts)) + response_tokens) + logit_flop * response_tokens


def show(results: dict[str, Any], pairs: dict[int, list[Pair]]) -> None:
    print(f"matrix products: {results['flop_per_s'] / 1e9:.0f} GFLOP/s on {THREADS} threads, bfloat16")
    ratios: dict[int, float] = {}
    apart = 0.0
    for length, found in pairs.items():
        tokens = sum(len(response) for _, response in found)
        least = least_flop(found, results["layer_flop"], results["logit_flop"])
        seconds = {
            way: statistics.median(results[way][length]["seconds"])
            for way in ("naive", "transformers", "ours")
        }
        for way, median in seconds.items():
            share = least / median / results["flop_per_s"]
            print(
                f"contexts of {length}: {way:12} {len(found) / median:6.1f} pairs/s, "
                f"{tokens / median:6.0f} response tokens/s, least work at {share:.0%} of the matrix rate, "
                f"{seconds['naive'] / median:.2f} × naive"
            )
        ratios[length] = seconds["naive"] / seconds["ours"]
        sums = [results[way][length]["sums"] for way in ("ours", "naive", "transformers")]
        apart = max(apart, *(abs(one - other) for one, other in zip(*sums[:2], strict=True)))
        from_transformers = max(
            abs(one - other) / len(response)
            for one, other, (_, response) in zip(sums[0], sums[2], found, strict=True)
        )
        print(f"contexts of {length}: ours and transformers at most {from_transformers:.2g} nats/token apart")
    print(
        json.dumps(
            {
                "ratio_to_naive": round(ratios[90], 3),
                "ratio_to_naive_200": round(ratios[200], 3),
                "ratio_to_naive_400": round(ratios[400], 3),
                "max_abs_difference_nats": apart,
            }
        )
    )


if __name__ == "__main__":
    main()
