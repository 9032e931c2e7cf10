"""Toy conversations whose reply shares a word with its context: learnable in a few steps."""

from typing import Any

MESSAGES = [
    {"role": "user", "content": "how are you"},
    {"role": "assistant", "content": "fine and you"},
    {"role": "user", "content": "good thanks"},
]
NUM_WORDS = 40


def target_rows(count: int, split: str = "train") -> list[dict[str, Any]]:
    """TARGETS rows: word i is answered by word i twice; every other row has targets."""
    rows = []
    for i in range(count):
        word, other = f"w{i % NUM_WORDS}", f"w{(i + 7) % NUM_WORDS}"
        candidates = [
            {"text": f"{word} {word}", "source": "gold", "teacher": None},
            {"text": f"{word} w0", "source": "generated", "teacher": "llama"},
            {"text": f"{other} {other}", "source": "random", "teacher": None},
        ]
        rows.append(
            {
                "example_id": f"{split}-{i}",
                "conversation_id": f"{split}-{i}",
                "split": split,
                "context": [{"role": "user", "content": word}],
                "candidates": candidates,
                "target_probs": [0.5, 0.375, 0.125] if i % 2 else None,
            }
        )
    return rows


def example_rows(count: int, split: str) -> list[dict[str, Any]]:
    """EXAMPLES rows with the contexts and gold replies of `target_rows`."""
    return [
        {
            "example_id": row["example_id"],
            "conversation_id": row["example_id"],
            "split": split,
            "context": row["context"],
            "gold_response": row["candidates"][0]["text"],
        }
        for row in target_rows(count, split)
    ]
