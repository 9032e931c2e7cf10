"""The inverted index against brute force."""

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix, random_array

from serve.inverted import invert, read_postings, write_postings


def vectors(count: int, seed: int) -> csr_matrix:
    """Rows over 50 terms, about three active, with small whole weights: many scores tie, many are 0."""
    generator = np.random.default_rng(seed)
    cells = random_array((count, 50), density=0.06, rng=generator).tocsr()
    cells.data = generator.integers(1, 4, len(cells.data)).astype(np.float32)
    return csr_matrix(cells, dtype=np.float32)


@pytest.mark.parametrize("k", [1, 2, 10, 199, 200])
def test_search_equals_brute_force_and_ties_go_to_the_lower_row(k: int) -> None:
    responses, queries = vectors(200, seed=1), vectors(20, seed=2)
    scores, rows = invert(responses).search(queries, k)
    expected = (queries @ responses.T).toarray()
    # A stable sort leaves equal scores in the order of rows.
    best = np.argsort(-expected, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(rows, best)
    np.testing.assert_array_equal(scores, np.take_along_axis(expected, best, axis=1))


def test_a_query_without_terms_has_scores_of_0() -> None:
    scores, rows = invert(vectors(5, seed=1)).search(csr_matrix((1, 50), dtype=np.float32), 3)
    assert scores.tolist() == [[0, 0, 0]]
    assert rows.tolist() == [[0, 1, 2]]


def test_a_row_of_postings_is_a_terms_posting_list(tmp_path: Path) -> None:
    # Response 0 has term 1; response 1 has terms 0 and 1.
    write_postings(invert(csr_matrix(np.float32([[0, 2], [1, 3]]))), tmp_path)
    index = read_postings(tmp_path)
    assert index.ntotal == 2
    assert index.postings.toarray().tolist() == [[0, 1], [2, 3]]


def test_a_row_number_beyond_the_responses_is_refused(tmp_path: Path) -> None:
    index = invert(vectors(5, seed=1))
    index.postings.indices[0] = 99
    write_postings(index, tmp_path)
    with pytest.raises(ValueError, match=r"postings-indptr\.npy: expected posting lists"):
        read_postings(tmp_path)


@pytest.mark.parametrize("k", [1, 5, 40])
def test_search_returns_allowed_rows_only(k: int) -> None:
    responses, queries = vectors(40, seed=1), vectors(5, seed=2)
    allowed = np.arange(40) % 2 == 0
    index = invert(responses)
    _, rows = index.search(queries, k, index.only(allowed))

    expected = (queries @ responses[allowed].T).toarray()
    best = np.argsort(-expected, axis=1, kind="stable")[:, :k]
    num_filled = min(k, 20)
    np.testing.assert_array_equal(rows[:, :num_filled], 2 * best)
    assert (rows[:, num_filled:] == -1).all()
    np.testing.assert_array_equal(
        index.vectors(rows[0, :num_filled]).toarray(), responses[2 * best[0]].toarray()
    )
