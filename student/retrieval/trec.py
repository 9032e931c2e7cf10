"""TREC's qrels and runs in memory: what a retriever returns and what it is measured by."""

from collections.abc import Mapping

Qrels = Mapping[str, Mapping[str, int]]
"""query -> relevant document -> grade"""
Run = Mapping[str, Mapping[str, float]]
"""query -> document -> score"""
