"""The choice of columns as a QUBO: a quadratic function of yes and no whose least value is the best choice.

    minimize  - Σ relevance_i x_i  +  w Σ redundancy_ij x_i x_j  +  p (Σ x_i - k)²

Solved by simulated annealing on this machine, by a quantum annealer where one is configured, and by trying everything where that is few.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from modelyard.core.errors import Unsupported
from modelyard.core.plugins import load_string

Choice = NDArray[np.bool_]
_READS = 200
_SWEEPS = 1_000


@dataclass(frozen=True)
class Qubo:
    """``x·matrix·x`` for x of zeros and ones, with what each choice of ``keep`` has in common."""

    matrix: NDArray[np.float64]
    """Upper triangular; the diagonal is linear, because x² is x."""
    keep: int

    def energy(self, chosen: Choice) -> float:
        x = chosen.astype(np.float64)
        return float(x @ self.matrix @ x)


def build_qubo(relevance: NDArray[np.float64], redundancy: NDArray[np.float64], keep: int, weight: float) -> Qubo:
    """The penalty is as large as anything that a column can bring or spoil, so that exactly ``keep`` are chosen."""
    count = len(relevance)
    pairs = np.triu(redundancy, 1) * weight * 2 / max(keep - 1, 1)
    penalty = 1.0 + float(np.abs(relevance).max()) + float(pairs.sum(axis=0).max() + pairs.sum(axis=1).max())
    matrix = pairs + np.triu(np.full((count, count), 2 * penalty), 1)
    matrix[np.diag_indices(count)] = -relevance + penalty * (1 - 2 * keep)
    return Qubo(matrix, keep)


def anneal(qubo: Qubo, seed: int) -> Choice:
    """By simulated annealing: the best of many runs."""
    sampler = load_string("dwave.samplers:SimulatedAnnealingSampler")()
    model = _model(qubo)
    return _best(qubo, sampler.sample(model, num_reads=_READS, num_sweeps=_SWEEPS, seed=seed))


def quantum(qubo: Qubo, seed: int) -> Choice:
    """By a quantum annealer, reached as the D-Wave configuration of this machine says.

    Raises Unsupported when there is none.
    """
    del seed  # physics has its own
    try:
        sampler = load_string("dwave.system:DWaveSampler")
        embedded = load_string("dwave.system:EmbeddingComposite")(sampler())
    except ModuleNotFoundError as error:
        raise Unsupported(f"A quantum annealer needs {error.name!r}; install it with: pip install dwave-system") from error
    except (ValueError, OSError) as error:  # its own errors of configuration are ValueErrors
        raise Unsupported(f"No quantum annealer is configured ({str(error)[:120]}); run 'dwave config create', or use qubo.") from error
    return _best(qubo, embedded.sample(_model(qubo), num_reads=_READS))


def exhaustive(qubo: Qubo, seed: int = 0) -> Choice:
    """By trying every choice of ``keep`` columns: for few columns only."""
    del seed
    count = len(qubo.matrix)
    return min((_picked(count, chosen) for chosen in combinations(range(count), qubo.keep)), key=qubo.energy)


Solver = Callable[[Qubo, int], Choice]


def _model(qubo: Qubo) -> object:
    count = len(qubo.matrix)
    entries = {(row, column): float(qubo.matrix[row, column]) for row in range(count) for column in range(row, count)}
    return load_string("dimod:BinaryQuadraticModel").from_qubo(entries)


def _best(qubo: Qubo, samples: object) -> Choice:
    """The best sample, mended where it has too many or too few columns, by the changes that cost least."""
    first = samples.first.sample  # type: ignore[attr-defined]
    chosen = np.array([bool(first[at]) for at in range(len(qubo.matrix))])
    while int(chosen.sum()) != qubo.keep:
        wrong = chosen if int(chosen.sum()) > qubo.keep else ~chosen
        flips = [at for at in range(len(chosen)) if wrong[at]]
        chosen[min(flips, key=lambda at: qubo.energy(_flipped(chosen, at)))] ^= True
    return chosen


def _flipped(chosen: Choice, at: int) -> Choice:
    other = chosen.copy()
    other[at] = not other[at]
    return other


def _picked(count: int, chosen: tuple[int, ...]) -> Choice:
    picked = np.zeros(count, bool)
    picked[list(chosen)] = True
    return picked
