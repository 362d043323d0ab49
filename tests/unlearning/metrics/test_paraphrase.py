"""Other words, on images whose answers can be read off."""

import torch

from governance.unlearning.metrics.paraphrase import Reworded, mean_case, reword, worst_case

# Axes: cat, dog, cow. Two images of cats that lean to dogs, one clear cat, one dog.
FEATURES = torch.tensor([[0.5, 0.6, 0.0], [0.7, 0.6, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.3]])
TRUTH = torch.tensor([0, 0, 0, 1])
TEXTS = torch.eye(3)
PARAPHRASES = torch.tensor(
    [
        [1.0, 0.5, 0.0],  # of cat: scores .8, 1.0, 1.0 against the dog's .6, .6, .0
        [0.0, 0.0, 1.0],  # of cat: finds nothing
        [0.0, 0.0, 1.0],  # of dog: .3 against 0 of cat and .3 of cow, a tie, which does not count
        [0.0, 0.0, 1.0],  # of cow, of which there is no image
    ]
)


def test_a_paraphrase_replaces_the_prompt_of_its_class_only() -> None:
    found = reword(FEATURES, TEXTS, TRUTH, PARAPHRASES, [0, 0, 1, 2])
    assert found == [Reworded(0, 3, (3, 0)), Reworded(1, 1, (0,))]


def test_the_classes_own_prompt_as_paraphrase_gives_its_zero_shot_accuracy() -> None:
    found = reword(FEATURES, TEXTS, TRUTH, TEXTS, [0, 1, 2])
    assert found == [Reworded(0, 3, (2,)), Reworded(1, 1, (1,))]
    # Were the own prompt still in the classifier, the first image of a cat would be lost to a weak paraphrase.
    weak = reword(FEATURES, TEXTS, TRUTH, 0.95 * TEXTS[:1], [0])
    assert weak == [Reworded(0, 3, (2,))]


def test_classes_without_paraphrases_are_left_out() -> None:
    assert reword(FEATURES, TEXTS, TRUTH, PARAPHRASES[2:3], [1]) == [Reworded(1, 1, (0,))]
    assert reword(FEATURES, TEXTS, TRUTH, PARAPHRASES[:0], []) == []


def test_worst_case_takes_the_best_prompt_of_each_class_and_the_mean_weighs_by_images() -> None:
    results = [Reworded(0, 10, (1, 7)), Reworded(1, 30, (15, 0, 0))]
    assert worst_case(results) == (22, 40)
    assert mean_case(results) == (4 + 5) / 40
