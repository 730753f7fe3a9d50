"""What modularity, communities and co-firing counts cost, beside the alternatives.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/graphs.py modularity
    OMP_WAIT_POLICY=PASSIVE python benchmarks/graphs.py communities
    OMP_WAIT_POLICY=PASSIVE python benchmarks/graphs.py cofiring
    OMP_WAIT_POLICY=PASSIVE python benchmarks/graphs.py study --data-root DIR

All figures of a line come from one run, one after the other. A time is the median over the
repetitions.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import networkx as nx
import numpy as np
import torch

from cofire import functional, summarize
from cofire.activations.labelling import ClassRows, Labelling
from cofire.activations.passes import FirstPass, SecondPass, pass_over
from cofire.activations.random_labels import RandomLabels, shuffled_labels
from cofire.activations.together import alone
from cofire.graphs.communities import bisect, leiden
from cofire.graphs.louvain import louvain
from cofire.network import Network
from cofire.study import StudyOptions, fcnn, load_dataset
from cofire.study.graph_rows import GraphOptions, graph_tables
from cofire.study.samples import Samples
from cofire.study.training import Course, Training, checkpoint_path


def timed(action, repetitions=5):
    action()
    spent = []
    for _ in range(repetitions):
        start = time.perf_counter()
        result = action()
        spent.append(time.perf_counter() - start)
    return statistics.median(spent), result


def planted(vertices, communities, density=1.0, seed=0):
    """Random weights, stronger inside communities; and a list of these, which overlap by a tenth."""
    rng = np.random.default_rng(seed)
    own = rng.integers(0, communities, vertices)
    a = rng.random((vertices, vertices)) * np.where(own[:, None] == own, 1.0, 0.2)
    a *= rng.random((vertices, vertices)) < density
    a = np.triu(a, 1)
    members = [
        np.flatnonzero((own == c) | (rng.random(vertices) < 0.1 / communities))
        for c in range(communities)
    ]
    return torch.from_numpy(a + a.T), [torch.from_numpy(m) for m in members]


def triple_loop(a, k, alpha, rows):
    """Eq. 4 as printed, for the first vertices v only; what is left out is the same again, over and over."""
    two_m = sum(k)
    total = 0.0
    for of_c in alpha:
        for v in range(rows):
            for w in range(len(a)):
                total += (a[v][w] - k[v] * k[w] / two_m) * of_c.get(v, 0.0) * of_c.get(w, 0.0)
    return total / two_m


def modularity():
    print(f"Eq. 4, torch {torch.__version__}, {torch.get_num_threads()} threads")
    for vertices, count in ((500, 10), (8000, 100)):
        adjacency, communities = planted(vertices, count)
        spent, value = timed(
            lambda a=adjacency, c=communities: functional.overlapping_modularity(a, c)
        )
        rows = min(vertices, max(1, 4_000_000 // (count * vertices)))
        plain = adjacency.tolist()
        degrees, alpha = (
            [sum(row) for row in plain],
            [{int(v): 1.0 for v in members} for members in communities],
        )
        start = time.perf_counter()
        triple_loop(plain, degrees, alpha, rows)
        loop = (time.perf_counter() - start) * vertices / rows
        print(
            f"  {vertices} vertices, {count} communities: {1000 * spent:.1f} ms, Q = {value:.4f}; "
            f"triple loop {loop:.1f} s (from {rows} of {vertices} rows), {loop / spent:,.0f} times as long"
        )


def communities():
    for vertices, density in ((500, 0.1), (500, 1.0), (2000, 1.0)):
        adjacency, _ = planted(vertices, 10, density)
        graph = nx.from_numpy_array(adjacency.numpy())
        print(f"{vertices} vertices, {graph.number_of_edges():,} edges")

        def line(name, spent, found, adjacency=adjacency):
            print(
                f"  {name:34s} {1000 * spent:9.1f} ms   modularity {functional.modularity(adjacency, found):.4f}"
            )

        def membership(sets, n=vertices):
            found = torch.zeros(n, dtype=torch.int64)
            for number, members in enumerate(sets):
                found[list(members)] = number
            return found

        line("Louvain", *timed(lambda a=adjacency: louvain(a)))
        line("Leiden (igraph, with conversion)", *timed(lambda a=adjacency: leiden(a), 3))
        line("Louvain (igraph, with conversion)", *timed(lambda a=adjacency: igraph_louvain(a), 3))
        line("Kernighan-Lin", *timed(lambda a=adjacency: bisect(a)))
        if vertices <= 500:
            spent_nx, found = timed(lambda g=graph: nx.community.louvain_communities(g, seed=0), 1)
            line("Louvain (networkx)", spent_nx, membership(found))
            halves = nx.community.kernighan_lin_bisection
            spent_nx, found = timed(
                lambda g=graph, halves=halves: halves(g, weight="weight", seed=0), 1
            )
            line("Kernighan-Lin (networkx)", spent_nx, membership(found))


def igraph_louvain(adjacency):
    import igraph

    pairs = torch.nonzero(torch.triu(adjacency, 1))
    graph = igraph.Graph(n=len(adjacency), edges=pairs.numpy())
    weights = adjacency[pairs[:, 0], pairs[:, 1]].tolist()
    return torch.tensor(graph.community_multilevel(weights=weights).membership)


def cofiring(samples=60_000, size=256, repetitions=7):
    torch.manual_seed(0)
    model, inputs = fcnn(784, (512, 512), 10).eval(), torch.rand(samples, 1, 28, 28)
    labels = torch.arange(samples) % 10
    network = Network(model, inputs[:2])
    layers = network.activation_layers
    labelling = Labelling.of(network, (inputs, labels))
    rows = ClassRows(10, torch.arange(10))

    def whole_pass(state):
        start = time.perf_counter()
        about = network, (inputs, labels), labelling, rows, layers, "channel", state.observe, ""
        alone(network, pass_over(*about, batch_size=size), False)
        return time.perf_counter() - start

    class_samples = torch.bincount(labels)
    drawn = RandomLabels(shuffled_labels(class_samples, 10), class_samples, network.device)
    first = FirstPass(0.0, rows, drawn)
    whole_pass(first)
    plain = FirstPass(0.0, rows)
    whole_pass(plain)
    kinds = {
        "pass 2, histograms": lambda: SecondPass(plain, 100, "own"),
        "and the graph of class pairs": lambda: SecondPass(
            plain, 100, "own", pairs="class", top=50
        ),
        "and the graph of the union": lambda: SecondPass(plain, 100, "own", pairs="union", top=50),
        "and class pairs, 10 null graphs": lambda: SecondPass(
            first, 100, "own", pairs="class", top=50
        ),
    }
    for make in kinds.values():
        whole_pass(make())
    spent = {name: [] for name in kinds}
    for _ in range(repetitions):
        for name, make in kinds.items():
            spent[name].append(whole_pass(make()))
    base = spent["pass 2, histograms"]
    print(
        f"FCNN 784-512-512-10, {samples:,} samples in batches of {size}, {torch.get_num_threads()} threads"
    )
    for name, found in spent.items():
        ratios = [a / b for a, b in zip(found, base, strict=True)]
        print(
            f"  {name:34s} {statistics.median(found):6.2f} s   {statistics.median(ratios):5.2f} × pass 2 "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )


def study(data_root, epochs):
    options = StudyOptions(data="mnist")
    data = load_dataset("mnist", data_root, seed=0)
    train = (data.train_inputs, data.train_labels)
    network = Network(fcnn(784, (512, 512), 10, dropout=0.5), data.train_inputs[:2])
    spent = {"training": 0.0, "summary": 0.0, "graphs": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        course = Course.of(options, len(train[1]))
        training = Training(
            fcnn(784, (512, 512), 10, dropout=0.5),
            options,
            Samples(*train, data.class_names),
            course,
            Path(folder),
        )
        summarize(
            network,
            (train[0][:512], train[1][:512]),
            by_class=True,
            pairs="class",
            null_graphs=2,
            progress=False,
        )
        for number in range(1, epochs + 1):
            start = time.perf_counter()
            training.advance(lambda _: None)
            trained = time.perf_counter()
            now = network.with_weights(checkpoint_path(Path(folder), number))
            summary = summarize(
                now, train, by_class=True, pairs="class", null_graphs=10, progress=False
            )
            summarized = time.perf_counter()
            moment = {"checkpoint": number, "epoch": float(number), "step": None}
            graph_tables(
                summary, moment, {"train_accuracy": 1.0, "test_accuracy": None}, GraphOptions()
            )
            done = time.perf_counter()
            for name, took in zip(
                spent, (trained - start, summarized - trained, done - summarized), strict=True
            ):
                spent[name] += took
    print(
        f"MNIST, {epochs} epochs with a checkpoint each: "
        + ", ".join(f"{n} {s:.1f} s" for n, s in spent.items())
    )
    print(f"  analysis / training: {(spent['summary'] + spent['graphs']) / spent['training']:.2f}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("case", choices=["modularity", "communities", "cofiring", "study"])
    parser.add_argument("--data-root")
    parser.add_argument("--epochs", type=int, default=6)
    chosen = parser.parse_args()
    if chosen.case == "study":
        study(chosen.data_root, chosen.epochs)
    else:
        {"modularity": modularity, "communities": communities, "cofiring": cofiring}[chosen.case]()


if __name__ == "__main__":
    main()
