"""The card of a synthesised data set, as Hugging Face's Hub and `datasets` read it."""

from collections.abc import Mapping
from pathlib import Path

import huggingface_hub

from jobs.reports.licences import licences_of_teachers, shown_name
from jobs.synthesis.config import SynthesisJobConfig
from teachers.corpora.python_topics import PYTHON_TOPICS

_CORPORA = {PYTHON_TOPICS: "Python's own help (Python Software Foundation Licence 2)"}


def dataset_card(config: SynthesisJobConfig, counts: Mapping[str, int]) -> str:
    """Return README.md; `counts` are the rows of each file."""
    front_matter = huggingface_hub.DatasetCardData(
        pretty_name="Conversations synthesised by Rejoinder",
        language="en",
        task_categories=["text-generation", "question-answering", "text-retrieval"],
        tags=["synthetic", "conversational", "rejoinder"],
        # `datasets` reads files of one format in a folder.
        configs=[{"config_name": name, "data_files": f"{name}.parquet"} for name in counts],
    )

    teachers = licences_of_teachers(config.model_dump(mode="json")["teachers"])
    card = huggingface_hub.DatasetCard.from_template(
        front_matter,
        template_path=str(Path(__file__).parent / "dataset_card.md.j2"),
        counts=counts,
        corpora=", ".join(_CORPORA.get(corpus, shown_name(corpus)) for corpus in config.documents.corpus),
        licences={shown_name(model): licence or "unknown" for model, licence in teachers.items()},
    )
    return str(card)
