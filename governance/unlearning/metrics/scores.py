"""Single figures from accuracies, features or probabilities: H, AUS, alignment, CKA, RUS, Jensen–Shannon divergence."""

import torch
from torch import Tensor

CHUNK = 8192
"""Images at a time where a sum over all images is taken in float64."""


def harmonic_score(forget_accuracy: float, retain_accuracy: float) -> float:
    """H = 2·Err_f·Acc_r / (Err_f + Acc_r), Err_f = 1 − Acc_f: the harmonic mean of forgetting and keeping.

    Returns:
        A value in [0, 1], 1 if all is forgotten and all kept; 0 if nothing is forgotten and nothing kept.
    """
    error = 1 - forget_accuracy
    total = error + retain_accuracy
    return 2 * error * retain_accuracy / total if total else 0.0


def adaptive_score(forget_accuracy: float, retain_accuracy: float, retain_base: float) -> float:
    """AUS = (1 + Acc_r − Acc_r,base) / (1 + Acc_f), the Adaptive Unlearning Score (Cotogni et al. 2023, DUCK).

    Args:
        forget_accuracy: Acc_f of the edited model; the accuracy aimed at is 0.
        retain_accuracy: Acc_r of the edited model.
        retain_base: Acc_r of the unedited model.

    Returns:
        At least 0; 1 if all is forgotten at no cost, more if the retained classes gain.
    """
    return (1 + retain_accuracy - retain_base) / (1 + forget_accuracy)


def alignment(features: Tensor, texts: Tensor, truth: Tensor) -> float:
    """Mean cosine of images to the text of their own class.

    Args:
        features: n × d, unit length.
        texts: C × d, unit length.
        truth: n class numbers.
    """
    return float((features.double() * texts.double()[truth]).sum(dim=1).mean())


def turning(before: Tensor, after: Tensor) -> float:
    """How far an edit turns images: 1 − mean cosine of each image before and after.

    Args:
        before: n × d, unit length.
        after: n × d, unit length, the same images.
    """
    return 1 - float((before.double() * after.double()).sum(dim=1).mean())


def linear_cka(before: Tensor, after: Tensor) -> float:
    """Linear centred kernel alignment (Kornblith et al. 2019): ‖XᵀY‖² / (‖XᵀX‖ ‖YᵀY‖), Frobenius, columns centred.

    Computed through d × d matrices, so memory does not grow with n. The estimate is biased upwards where n is not
    much larger than d; it is comparable only between versions on the same images.

    Args:
        before: X, n × d, rows are the same images as in `after`.
        after: Y, n × d.

    Returns:
        A value in [0, 1]; 0 if either side does not vary at all.
    """
    x_mean, y_mean = (side.double().mean(dim=0) for side in (before, after))
    d = before.shape[1]
    cross, within_x, within_y = (torch.zeros(d, d, dtype=torch.float64) for _ in range(3))
    for x_part, y_part in zip(torch.split(before, CHUNK), torch.split(after, CHUNK), strict=True):
        x, y = x_part.double() - x_mean, y_part.double() - y_mean
        cross += x.T @ y
        within_x += x.T @ x
        within_y += y.T @ y
    scale = float(torch.linalg.matrix_norm(within_x) * torch.linalg.matrix_norm(within_y))
    if scale < 1e-18:
        return 0.0
    return min(1.0, float(torch.linalg.matrix_norm(cross)) ** 2 / scale)


def representation_score(cka_forget: float, cka_retain: float) -> float:
    """RUS(o) = 2Φ·CKA_r / (Φ + CKA_r), Φ = 1 − CKA_f (arXiv 2511.19339), against the original model.

    Args:
        cka_forget: CKA_f of the version and the unedited model on the forget set.
        cka_retain: CKA_r on the retain set.

    Returns:
        A value in [0, 1]; 1 if the forget set is represented quite differently and the retain set alike.
    """
    return harmonic_score(cka_forget, cka_retain)


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """Jensen–Shannon divergence of each row in bits (Lin 1991): ½ KL(p‖m) + ½ KL(q‖m), m = ½(p + q).

    Args:
        p: n × m probabilities.
        q: n × m probabilities.

    Returns:
        n values in [0, 1].
    """
    p, q = p.double(), q.double()
    middle = (p + q) / 2
    divergence = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2
    return divergence.clamp(0, 1)


def _relative_entropy(p: Tensor, q: Tensor) -> Tensor:
    """KL(p‖q) in bits, 0 log 0 = 0."""
    return torch.where(p > 0, p * (p / q.clamp_min(1e-300)).log2(), p.new_zeros(())).sum(dim=1)


def probabilities(features: Tensor, texts: Tensor, scale: float) -> Tensor:
    """Softmax over `texts` of scale · cosine, n × m float64.

    Args:
        features: n × d, unit length.
        texts: m × d, unit length; leaving a class out gives the masked softmax of arXiv 2506.01318.
        scale: the model's logit scale.
    """
    return (scale * (features.double() @ texts.double().T)).softmax(dim=1)
