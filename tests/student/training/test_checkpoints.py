"""What a training keeps of its validations."""

from student.training.checkpoints import TrainingState


def test_validations_without_gain_are_counted_until_one_improves() -> None:
    state = TrainingState()
    for step, (mrr, expected) in enumerate([(0.2, 0), (0.2, 1), (0.1, 2), (0.3, 0)]):
        state = state.after(step, mrr, None)
        assert state.validations_without_gain == expected
    assert state.best_mrr == 0.3
