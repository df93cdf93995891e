"""Muon for matrices, AdamW for the rest.

K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024. torch.optim.Muon takes matrices only;
a 1x1 convolution is a matrix with two more axes.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

ROUNDS = 5
"""Of the quintic with the coefficients of the Muon paper."""

WARM_UP = 0.02
"""The part of a training in which rates grow."""


class Muon(torch.optim.Optimizer):
    """Momentum whose update is replaced by the nearest orthogonal matrix.

    Args:
        weights: [out, in, ...], read as matrices of `out` rows.
        lr: step length; an update has singular values near 1 before it is scaled by it.
        momentum: of the running gradient, with Nesterov's look ahead.
    """

    def __init__(self, weights: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One step along the gradients that are there."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                running = self.state[weight].setdefault("running", torch.zeros_like(weight))
                running.lerp_(weight.grad, 1 - group["momentum"])
                update = weight.grad.lerp(running, group["momentum"]).reshape(len(weight), -1)
                scale = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
                weight.add_(orthogonal(update).reshape(weight.shape), alpha=-group["lr"] * scale)


def orthogonal(matrix: Tensor) -> Tensor:
    """About the nearest matrix with singular values 1, by Newton-Schulz.

    A singular value of more than 0.0016 of the matrix's norm comes out between 0.68 and 1.21; a smaller one grows at
    most 485-fold.

    Args:
        matrix: [M, N].
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(ROUNDS):
        gram = wide @ wide.T
        wide = 3.4445 * wide + (-4.7750 * gram + 2.0315 * gram @ gram) @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


class Optimiser:
    """Both optimisers over a module, with one schedule: a warm-up, then a cosine down to a hundredth."""

    def __init__(self, modules: Iterable[nn.Module], *, matrices: float, rest: float) -> None:
        weights = [weight for module in modules for weight in module.parameters() if weight.requires_grad]
        is_matrix = [
            weight.ndim >= 2 and weight[0].numel() > 9 for weight in weights
        ]  # not depthwise: those are filters
        self._parts = [
            Muon([weight for weight, matrix in zip(weights, is_matrix, strict=True) if matrix], matrices),
            torch.optim.AdamW(
                [weight for weight, matrix in zip(weights, is_matrix, strict=True) if not matrix],
                rest,
                betas=(0.9, 0.98),
                weight_decay=0.0,
            ),
        ]
        self._rates = (matrices, rest)

    def step(self, loss: Tensor, done: float) -> None:
        """One step down the loss; `done` is the part of the training that lies behind, 0 to 1."""
        factor = min(1.0, done / WARM_UP + 1e-3) * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * min(1.0, done))))
        for part, rate in zip(self._parts, self._rates, strict=True):
            part.param_groups[0]["lr"] = rate * factor
            part.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for part in self._parts:
            part.step()

    def state_dict(self) -> list[dict[str, object]]:
        """Of both, for a checkpoint."""
        return [part.state_dict() for part in self._parts]

    def load_state_dict(self, state: list[dict[str, object]]) -> None:
        """As `state_dict` gave it."""
        for part, own in zip(self._parts, state, strict=True):
            part.load_state_dict(own)
