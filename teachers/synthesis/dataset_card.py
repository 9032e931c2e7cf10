"""The card of a synthesised data set, as Hugging Face's Hub and `datasets` read it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import huggingface_hub

from teachers.corpora.python_topics import PYTHON_TOPICS
from teachers.licences import licences_of_teachers, shown_name

_CORPORA = {PYTHON_TOPICS: "Python's own help (Python Software Foundation Licence 2)"}


def dataset_card(
    counts: Mapping[str, int], corpora: Iterable[str], teachers: Mapping[str, Mapping[str, Any]]
) -> str:
    """Return README.md; `counts` are the rows of each file, `teachers` those of the resolved config."""
    front_matter = huggingface_hub.DatasetCardData(
        pretty_name="Conversations synthesised by Rejoinder",
        language="en",
        task_categories=["text-generation", "question-answering", "text-retrieval"],
        tags=["synthetic", "conversational", "rejoinder"],
        # `datasets` reads files of one format in a folder.
        configs=[{"config_name": name, "data_files": f"{name}.parquet"} for name in counts],
    )

    licences = licences_of_teachers(teachers)
    card = huggingface_hub.DatasetCard.from_template(
        front_matter,
        template_path=str(Path(__file__).parent / "dataset_card.md.j2"),
        counts=counts,
        corpora=", ".join(_CORPORA.get(corpus, shown_name(corpus)) for corpus in corpora),
        licences={shown_name(model): licence or "unknown" for model, licence in licences.items()},
    )
    return str(card)
