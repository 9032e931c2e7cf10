"""What the next worker learns of an attempt that was cut off."""

from collections.abc import Callable

import pytest
import ray

from teachers.engines.protocol import TeacherError
from teachers.inference import attempts
from teachers.inference.attempts import Attempts, start_ledger
from teachers.inference.ledger import Attempt

pytestmark = pytest.mark.usefixtures("ray_cluster")
OTHER_NODE = "f" * 56


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set which nodes are alive, at one question after the other."""

    def set_alive(*answers: set[str]) -> None:
        remaining = list(answers)
        monkeypatch.setattr(
            attempts, "_alive_nodes", lambda: remaining.pop(0) if len(remaining) > 1 else remaining[0]
        )

    return set_alive


def test_an_attempt_that_its_process_cut_off_has_failed() -> None:
    ledger = start_ledger()
    Attempts(ledger).start("rows", "the process died")
    assert Attempts(ledger).state("rows") == (None, "the process died")
    assert Attempts(ledger).state("others") == (None, None)


@pytest.mark.parametrize("alive_for", [0, 2])
def test_an_attempt_that_its_node_took_with_it_is_forgotten(
    alive_for: int, nodes: Callable[..., None]
) -> None:
    ledger = start_ledger()
    ray.get(ledger.put.remote("rows", Attempt(OTHER_NODE, "the process died", has_ended=False)))
    nodes(*[{OTHER_NODE}] * alive_for, set())  # Ray notices later
    assert Attempts(ledger).state("rows") == (None, None)
    nodes({OTHER_NODE})
    assert Attempts(ledger).state("rows") == (None, None), "it is forgotten for good"


def test_an_attempt_on_a_node_that_stays_or_that_said_how_it_ended_has_failed(
    nodes: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "_NODE_LOSS_NOTICED_S", 0.1)
    ledger = start_ledger()
    ray.get(ledger.put.remote("stays", Attempt(OTHER_NODE, "the process died", has_ended=False)))
    nodes({OTHER_NODE})
    assert Attempts(ledger).state("stays") == (None, "the process died")

    ray.get(ledger.put.remote("ended", Attempt(OTHER_NODE, "CUDA error", has_ended=True)))
    nodes(set())
    assert Attempts(ledger).state("ended") == (None, "CUDA error")


def test_what_was_made_of_a_part_is_kept_and_success_forgives_deaths() -> None:
    mine = Attempts(start_ledger())
    mine.start("part", "the process died")
    mine.succeed("part")
    mine.keep("part", [{"key": "a"}])
    assert mine.state("part") == ([{"key": "a"}], None)

    mine.count_death("one")
    mine.count_death("two")
    mine.succeed("batch")
    mine.count_death("one")
    mine.count_death("two")
    with pytest.raises(TeacherError, match=r"^its engine failed at 3 rows in a row, the last time: three$"):
        mine.count_death("three")
