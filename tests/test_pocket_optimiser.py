"""Muon and its schedule against slow twins, and an optimiser that goes on."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pocket_material import assert_same_bits
from torch import nn

from pocket.checkpoints import keep, kept
from pocket.optimiser import Muon, Optimiser, orthogonal


def matrix_of(singular: NDArray[np.float64], rows: int, cols: int) -> NDArray[np.float64]:
    """A matrix with these singular values."""
    random = np.random.default_rng(1)
    left, right = (np.linalg.qr(random.normal(size=(side, len(singular))))[0] for side in (rows, cols))
    return (left * singular) @ right.T


SPECTRA = {
    "wide": (np.linspace(0.5, 1, 12), 12, 40),
    "tall": (np.linspace(0.5, 1, 12), 40, 12),
    "square and nearly singular": (np.geomspace(1e-6, 1, 16), 16, 16),
    "of rank one": (np.array([3.0]), 9, 14),
}


@pytest.mark.parametrize("kind", SPECTRA)
def test_orthogonal_turns_singular_values_to_about_one_and_keeps_their_directions(kind: str) -> None:
    singular, rows, cols = SPECTRA[kind]
    matrix = matrix_of(singular, rows, cols)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    values = values / np.linalg.norm(matrix)
    start = values.copy()
    for _ in range(5):  # the polynomial of a matrix is the polynomial of its singular values
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    found = orthogonal(torch.from_numpy(matrix)).numpy()
    np.testing.assert_allclose(found, (left * values) @ right, atol=1e-5)
    assert ((values[start > 0.0016] > 0.68) & (values[start > 0.0016] < 1.21)).all()
    assert (values <= 485 * start + 1e-9).all()


def test_orthogonal_reaches_the_range_that_it_states_and_no_more() -> None:
    found = []
    for value in np.geomspace(0.0016, 0.7, 400):
        matrix = torch.tensor([[value, 0], [0, math.sqrt(1 - value**2)]])  # of norm 1
        found += orthogonal(matrix).diagonal().tolist()
    assert 0.68 < min(found) < 0.69
    assert 1.20 < max(found) < 1.21
    assert orthogonal(torch.zeros(3, 4)).abs().max() == 0


def test_a_step_of_muon_is_nesterov_momentum_made_orthogonal() -> None:
    shapes = [(8, 4, 3, 3), (40, 6), (5, 7)]
    dice = torch.Generator().manual_seed(0)
    weights = [nn.Parameter(torch.randn(shape, generator=dice, dtype=torch.float64)) for shape in shapes]
    by_hand = [weight.detach().clone().numpy() for weight in weights]
    running = [np.zeros(shape) for shape in shapes]
    muon = Muon(weights, lr=0.1, momentum=0.9)
    for _ in range(3):
        for number, weight in enumerate(weights[:2]):  # the third is not on the way to the loss
            weight.grad = torch.randn(weight.shape, generator=dice, dtype=torch.float64)
            gradient = weight.grad.numpy().copy()
            running[number] = 0.9 * running[number] + 0.1 * gradient
            ahead = 0.1 * gradient + 0.9 * running[number]
            rows, cols = len(ahead), ahead[0].size
            turned = orthogonal(torch.from_numpy(ahead.reshape(rows, cols))).numpy().reshape(ahead.shape)
            by_hand[number] = by_hand[number] - 0.1 * max(1, rows / cols) ** 0.5 * turned
        muon.step()
    for weight, expected in zip(weights, by_hand, strict=True):
        np.testing.assert_allclose(weight.detach().numpy(), expected, atol=1e-9)


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 12, 1))


def test_matrices_go_to_muon_and_filters_norms_and_biases_to_adamw() -> None:
    network = small_network()
    network.append(nn.Conv2d(12, 12, 1))
    network[4].bias.requires_grad = False
    optimiser = Optimiser([network], matrices=0.1, rest=0.01)
    muon, adamw = ([len(group["params"]) for group in part["param_groups"]] for part in optimiser.state_dict())
    # matrices: 3x3x3 and 12 inputs; the rest: 4 inputs, the filters, the norm and three biases
    assert (muon, adamw) == ([2], [7])


def test_steps_grow_at_first_and_then_shrink_to_a_hundredth() -> None:
    network = small_network()
    optimiser = Optimiser([network], matrices=0.1, rest=0.01)
    for done in (0.0, 0.005, 0.02, 0.3, 0.5, 1.0):
        optimiser.step(network(torch.ones(1, 3, 8, 8)).square().sum(), done)
        warm = min(1.0, done / 0.02 + 0.001)
        expected = warm * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)
        rates = [part["param_groups"][0]["lr"] for part in optimiser.state_dict()]
        np.testing.assert_allclose(rates, [0.1 * expected, 0.01 * expected])


def test_an_optimiser_that_was_kept_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    def steps(network: nn.Module, optimiser: Optimiser, numbers: range) -> None:
        for step in numbers:
            pictures = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(step))
            optimiser.step((network(pictures) - 1).square().mean(), step / 6)

    whole = small_network()
    steps(whole, Optimiser([whole], matrices=0.05, rest=0.01), range(6))

    stopped = small_network()
    optimiser = Optimiser([stopped], matrices=0.05, rest=0.01)
    steps(stopped, optimiser, range(3))
    keep(tmp_path / "half.pt", {"network": stopped.state_dict(), "optimiser": optimiser.state_dict()})
    assert [path.name for path in tmp_path.iterdir()] == ["half.pt"]

    state = kept(tmp_path / "half.pt")
    assert state is not None
    torch.manual_seed(99)
    going_on = small_network()
    going_on.load_state_dict(state["network"])
    optimiser = Optimiser([going_on], matrices=0.05, rest=0.01)
    optimiser.load_state_dict(state["optimiser"])
    steps(going_on, optimiser, range(3, 6))
    assert_same_bits(going_on.state_dict(), whole.state_dict())
    assert kept(tmp_path / "other.pt") is None
