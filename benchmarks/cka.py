"""CKA of 12 teacher with 8 student layers: ours against published packages. ``python -m benchmarks.cka``"""

import argparse
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace

from benchmarks.measuring import medians, peer, single_thread, table  # before numpy: sets the threads

# isort: split
import numpy as np
import torch

from kddoctor.probes.layer_similarity import LayerSimilarityProbe, exact_cka

Layers = dict[str, np.ndarray]

BATCH = 256
TEACHER_WIDTHS = (64, 128, 256, 384, 512, 768, 768, 1024, 1024, 1536, 2048, 2048)
STUDENT_WIDTHS = (64, 128, 256, 384, 512, 768, 1024, 2048)


class Replay(torch.nn.Module):
    """A "model" that returns recorded features: what is timed is the similarity and no forward pass."""

    def __init__(self, layers: Layers) -> None:
        super().__init__()
        self._recorded = {name: torch.from_numpy(array) for name, array in layers.items()}
        for name in layers:
            self.add_module(name, torch.nn.Identity())

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        first, last = int(rows[0]), int(rows[-1]) + 1
        for name, features in self._recorded.items():
            self.get_submodule(name)(features[first:last])
        return rows


class Batches:
    """As much of a data loader as the peers use."""

    def __init__(self, rows: int) -> None:
        self.dataset = SimpleNamespace()
        self._rows = torch.arange(rows).split(BATCH)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return iter((rows, rows) for rows in self._rows)


def recorded(rows: int, seed: int) -> tuple[Layers, Layers]:
    """Layers that share 16 directions of falling strength, in differing noise."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((rows, 16), dtype=np.float32) * np.geomspace(3, 0.3, 16, dtype=np.float32)

    def layer(width: int, noise: float) -> np.ndarray:
        mixed = shared @ rng.standard_normal((16, width), dtype=np.float32)
        return mixed + np.float32(noise) * rng.standard_normal((rows, width), dtype=np.float32)

    teacher = {f"layer{i}": layer(w, 8 - 0.6 * i) for i, w in enumerate(TEACHER_WIDTHS)}
    return teacher, {f"layer{i}": layer(w, 8 - 0.8 * i) for i, w in enumerate(STUDENT_WIDTHS)}


def reference(teacher: Layers, student: Layers) -> np.ndarray:
    """Unbiased CKA over all rows in float64 (Song et al. 2012, eq. 5)."""

    def gram(features: np.ndarray) -> np.ndarray:
        x = features.astype(np.float64)
        x -= x.mean(axis=0)
        k = x @ x.T
        np.fill_diagonal(k, 0.0)
        return k

    def hsic(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
        n = len(k)
        a, b = k.sum(axis=0), l.sum(axis=0)
        return float(np.vdot(k, l) + a.sum() * b.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (a @ b))

    students = [gram(features) for features in student.values()]
    own = [hsic(k, k) for k in students]
    table_rows = []
    for features in teacher.values():
        k = gram(features)
        scale = hsic(k, k)
        table_rows.append([hsic(k, l) / np.sqrt(scale * o) for l, o in zip(students, own, strict=True)])  # noqa: E741
    return np.array(table_rows)


def ours_in_minibatches(teacher: Layers, student: Layers) -> np.ndarray:
    probe = LayerSimilarityProbe(tuple(teacher), tuple(student), BATCH)
    for start in range(0, len(teacher["layer0"]), BATCH):
        rows = slice(start, start + BATCH)
        probe.update({k: v[rows] for k, v in teacher.items()}, {k: v[rows] for k, v in student.items()})
    return probe.compute().cka


def symmetric_products(teacher: Layers, student: Layers, rows_at_a_time: int) -> None:
    """The least that Gram matrices cost: one symmetric product per layer and batch, and nothing else."""
    for features in (*teacher.values(), *student.values()):
        for start in range(0, len(features), rows_at_a_time):
            rows = features[start : start + rows_at_a_time]
            rows @ rows.T


def minibatch_peers(teacher: Layers, student: Layers) -> dict[str, Callable[[], np.ndarray]]:
    models, names = (Replay(teacher), Replay(student)), (list(teacher), list(student))
    loader = Batches(len(teacher["layer0"]))
    found: dict[str, Callable[[], np.ndarray]] = {}
    if torch_cka := peer("torch_cka"):

        def with_torch_cka() -> np.ndarray:
            cka = torch_cka.CKA(Replay(teacher), Replay(student), "teacher", "student", *names, device="cpu")
            with torch.no_grad():
                cka.compare(loader, loader)
            return cka.export()["CKA"].numpy()

        found["torch_cka"] = with_torch_cka
    if cka_pytorch := peer("cka_pytorch.cka"):

        def with_cka_pytorch() -> np.ndarray:
            options = {"hook_recursive": False, "verbose": False, "device": torch.device("cpu")}
            calculator = cka_pytorch.CKACalculator(Replay(teacher), Replay(student), *names, **options)
            return calculator.calculate_cka_matrix(loader, num_epochs=1, epsilon=0.0).numpy()

        found["cka_pytorch"] = with_cka_pytorch
    if pytorch_cka := peer("cka"):

        def with_pytorch_cka() -> np.ndarray:
            options = {"layers": names[0], "model2_layers": names[1], "device": "cpu", "progress": False}
            return pytorch_cka.compute_cka(*models, loader, **options)[0].numpy()

        found["pytorch_cka"] = with_pytorch_cka
    return found


def exact_peers(teacher: Layers, student: Layers) -> dict[str, Callable[[], np.ndarray]]:
    sides = [[torch.from_numpy(array) for array in side.values()] for side in (teacher, student)]
    found: dict[str, Callable[[], np.ndarray]] = {}
    if pytorch_cka := peer("cka"):
        found["pytorch_cka, full batch"] = lambda: pytorch_cka.cka_from_features(*sides).numpy()
    if ckatorch := peer("ckatorch.core"):

        def with_ckatorch() -> np.ndarray:
            return np.array([[float(ckatorch.cka_base(x, y, unbiased=True)) for y in sides[1]] for x in sides[0]])

        found["ckatorch, unbiased"] = with_ckatorch
    return found


def compare(
    title: str,
    ours: Callable[[], np.ndarray],
    ideal: Callable[[], None],
    peers: dict[str, Callable[[], np.ndarray]],
    *,
    truth: np.ndarray,
    runs: int,
) -> None:
    """Print processor seconds, ratios and the largest error of each."""
    working, errors = {"ours": ours}, {}
    for name, work in {"ours": ours, **peers}.items():
        try:
            errors[name] = f"{np.abs(work() - truth).max():.1e}"
            working[name] = work
        except Exception as error:  # a peer that fails is a result, too
            print(f"{name} fails: {type(error).__name__}: {error}")
    seconds = medians({**working, "symmetric products alone": ideal}, runs)
    rows = [
        (name, f"{value:.2f}", f"{value / seconds['ours']:.2f}x", errors.get(name, ""))
        for name, value in seconds.items()
    ]
    table(title, ("", "CPU s", "of ours", "largest error"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=10_000, help="rows of the minibatch comparison")
    parser.add_argument("--exact-rows", type=int, default=2_000, help="rows of the exact comparison")
    options = parser.parse_args()
    single_thread()
    warnings.simplefilter("ignore")

    teacher, student = recorded(options.exact_rows, seed=0)
    compare(
        f"exact, {options.exact_rows} rows",
        lambda: exact_cka(teacher, student).cka,
        lambda: symmetric_products(teacher, student, options.exact_rows),
        exact_peers(teacher, student),
        truth=reference(teacher, student),
        runs=options.runs,
    )
    teacher, student = recorded(options.rows, seed=1)
    tracemalloc.start()
    truth = exact_cka(teacher, student).cka
    print(f"\nexact, {options.rows} rows: {tracemalloc.get_traced_memory()[1] / 1e6:.0f} MB of extra memory")
    tracemalloc.stop()
    print("errors below are against it, and hold what sampling minibatches costs")
    compare(
        f"minibatches of {BATCH}, {options.rows} rows",
        lambda: ours_in_minibatches(teacher, student),
        lambda: symmetric_products(teacher, student, BATCH),
        minibatch_peers(teacher, student),
        truth=truth,
        runs=options.runs,
    )


if __name__ == "__main__":
    main()
