"""How many tokens of a teacher's vocabulary its prompts and responses have."""

from collections.abc import Iterable
from itertools import islice
from statistics import fmean
from typing import Any, NamedTuple

from teachers.config import EndpointTeacher, SimilarityTeacher, TeacherConfig
from teachers.engines.prompts import PromptFormat
from teachers.engines.weights import model_folder

_SAMPLED_EXAMPLES = 200


class MeanTokens(NamedTuple):
    """Means over examples."""

    prompt: float
    """Of a context in the teacher's format."""
    response: float
    """Of a human response; 0 where there is none."""


def mean_tokens(name: str, teacher: TeacherConfig, examples: Iterable[dict[str, Any]]) -> MeanTokens | None:
    """Return the means over the first of `examples`, rows of EXAMPLES.

    There are none of a teacher whose tokenizer is not known, or to which no example fits.
    """
    location = _tokenizer_location(teacher)
    if location is None or isinstance(teacher, SimilarityTeacher):
        return None

    from transformers import AutoTokenizer  # takes seconds

    tokenizer = AutoTokenizer.from_pretrained(location)
    longest = teacher.max_model_tokens
    prompt_format = PromptFormat(name, tokenizer, longest, teacher.chat_template_kwargs)

    prompts: list[int] = []
    responses: list[int] = []
    for example in islice(examples, _SAMPLED_EXAMPLES):
        try:
            prefix = prompt_format.prefix(example["context"], teacher.system_prompt)
        except ValueError:  # too long, or refused by the template
            continue
        prompts.append(len(prefix.ids))
        if (text := example.get("gold_response")) is not None:
            responses.append(len(tokenizer(text, add_special_tokens=False).input_ids))
    return MeanTokens(fmean(prompts), fmean(responses or [0])) if prompts else None


def _tokenizer_location(teacher: TeacherConfig) -> str | None:
    """Return a folder or id; None where only a server knows the tokenizer."""
    if isinstance(teacher, EndpointTeacher):
        return teacher.tokenizer
    return str(model_folder(teacher.model, teacher.revision))
