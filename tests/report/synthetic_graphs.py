"""Activation pattern graphs of neurons that are simulated, so that the tables fit together as real ones do."""

import dataclasses

import numpy as np
import pyarrow as pa

from cofire.study.tables import TABLES

MEASURES = ("kernighan-lin", "louvain", "no-overlap", "unweighted-overlap", "weighted-overlap")
SAMPLES = 120


def with_graphs(trajectory, *, top=50, seed=0, edgeless=False, chance=False, nulls=True):
    """The trajectory with a graph for each of its checkpoints and layers.

    Args:
        trajectory: Made by `synthetic.trajectory`.
        top: Representative neurons per class.
        seed: Of all that is random.
        edgeless: Leave every edge out.
        chance: The graphs say nothing about the classes, at any checkpoint.
        nulls: Whether there were null models.
    """
    classes = max(1, len(trajectory.options.get("classes") or "0123456789"))
    rows = {"graphs": [], "modularities": [], "vertices": []}
    edges = []
    moments = {r["checkpoint"]: r for r in trajectory.layers.to_pylist()}
    for row in trajectory.layers.to_pylist():
        order = sorted(moments).index(row["checkpoint"])
        time = 1.0 if len(moments) == 1 else order / (len(moments) - 1)
        sharp = (
            0.0
            if chance
            else (0.35 + 0.9 * (1 - np.exp(-3 * time))) * (0.75 + 0.4 * row["layer_index"])
        )
        graph = _Graph(
            row["neurons"],
            classes,
            min(top, row["neurons"]),
            sharp,
            time,
            [seed, row["layer_index"]],
        )
        if edgeless:
            graph.adjacency[:] = 0
        moment = {k: row[k] for k in ("checkpoint", "epoch", "step", "layer_index", "layer")}
        accuracies = {k: row[k] for k in ("train_accuracy", "test_accuracy")}
        rows["graphs"].append(moment | graph.row(top) | accuracies)
        rows["modularities"] += [
            moment | r | accuracies for r in graph.modularities(nulls, order, chance)
        ]
        rows["vertices"] += [moment | r for r in graph.vertex_rows()]
        edges.append(graph.edges(row["checkpoint"], row["layer_index"]))
    return dataclasses.replace(
        trajectory,
        graphs=pa.Table.from_pylist(rows["graphs"], schema=TABLES["graphs"].schema),
        modularities=pa.Table.from_pylist(
            rows["modularities"], schema=TABLES["modularities"].schema
        ),
        vertices=pa.Table.from_pylist(rows["vertices"], schema=TABLES["vertices"].schema),
        edges=pa.concat_tables(edges),
    )


class _Graph:
    def __init__(self, neurons, classes, top, sharp, time, seed):
        fixed = np.random.default_rng(seed)
        base = fixed.gamma(3, 0.3, neurons)
        prefers = fixed.normal(0, 1, (classes, neurons))
        loads = fixed.normal(0, 1, (classes, neurons, 2))
        drift = np.random.default_rng([*seed, int(1000 * time)]).normal(0, 0.12, (classes, neurons))
        rng = np.random.default_rng([*seed, int(1000 * time), 1])
        self.means = np.maximum(0.02, 0.55 * base + sharp * prefers + drift + 0.2)
        best = np.argsort(-self.means, axis=1, kind="stable")[:, :top]
        self.neurons = np.unique(best)
        place = np.full(neurons, -1)
        place[self.neurons] = np.arange(len(self.neurons))
        self.adjacency = np.zeros((len(self.neurons),) * 2)
        self.member = np.zeros((classes, len(self.neurons)), dtype=bool)
        for number in range(classes):
            chosen = best[number]
            shared = rng.normal(0, 1, (SAMPLES, 2)) @ loads[number, chosen].T * 0.35
            fires = shared + rng.normal(0, 1, (SAMPLES, top)) > 0
            both = fires.T.astype(float) @ fires / SAMPLES
            np.fill_diagonal(both, 0)
            self.adjacency[np.ix_(place[chosen], place[chosen])] += both
            self.member[number, place[chosen]] = True
        self.means = self.means[:, self.neurons]
        self.own = np.where(self.member, self.means, -1).argmax(axis=0)
        strays = rng.random(len(self.neurons)) < 0.28 - 0.2 * time
        found = np.where(strays, rng.integers(0, classes, len(strays)), self.own)
        sizes = np.bincount(found, minlength=classes)
        rank = np.empty(classes, dtype=int)
        rank[np.argsort(-sizes, kind="stable")] = np.arange(classes)
        self.found = rank[found]
        self.rng = rng

    def row(self, asked):
        within = (self.member.astype(int) @ self.member.T).astype(int)
        alone = self.member.sum(axis=0) == 1
        np.fill_diagonal(within, (self.member & alone).sum(axis=1))
        degree = (self.adjacency > 0).sum(axis=0)
        found = np.where(degree > 0, self.found, 10_000 + np.arange(len(degree)))
        sizes = sorted(np.unique(found, return_counts=True)[1].tolist(), reverse=True)
        agree = 0.0 if not degree.any() else float(np.mean(self.found == self.found[0]) + 0.4)
        return {
            "pairs": "class",
            "top": int(self.member[0].sum()),
            "top_asked": asked,
            "vertices": len(degree),
            "isolated": int((degree == 0).sum()),
            "edges": int(degree.sum() // 2),
            "edges_kept": int(degree.sum() // 2),
            "weight": float(self.adjacency.sum() / 2),
            "resolution": 2.0,
            "communities": len(sizes),
            "singletons": sizes.count(1),
            "community_sizes": sizes,
            "community_mean_size": len(degree) / len(sizes),
            "nmi": min(1.0, agree),
            "ari": min(1.0, 0.8 * agree),
            "stability": 0.9 if degree.any() else None,
            "unique_neurons": int(np.trace(within)),
            "shared_neurons": int(np.triu(within, 1).sum()),
            "unique_matrix": within.ravel().tolist(),
        }

    def modularities(self, nulls, order, chance):
        total = self.adjacency.sum()
        value = 0.0
        if total:
            strength = self.adjacency.sum(axis=0)
            same = self.own[:, None] == self.own[None]
            value = float(
                ((self.adjacency - np.outer(strength, strength) / total) * same).sum() / total
            )
        for measure, factor in zip(MEASURES, (0.7, 1.12, 1.0, 0.8, 0.93), strict=True):
            q = factor * value
            seeded = measure in ("kernighan-lin", "louvain")
            null = q if chance else 0.02 * factor
            spread = 0.003 + 0.0005 * self.rng.random()
            noise = spread * self.rng.normal()
            both = nulls and total > 0
            yield {
                "measure": measure,
                "modularity": q,
                "low": 0.9 * q if seeded else None,
                "high": 1.05 * q if seeded else None,
                "runs": 10 if seeded else 1,
                "weights_mean": 0.97 * q if both else None,
                "weights_std": 0.002 if both else None,
                "weights_z": 0.03 * q / 0.002 if both else None,
                "weights_runs": 10 if both else 0,
                "labels_runs": 10 if both else 0,
                "labels_mean": null + noise if both else None,
                "labels_std": (0.0 if measure == "louvain" and order == 0 else spread)
                if both
                else None,
                "labels_z": (
                    None if measure == "louvain" and order == 0 else (q - null - noise) / spread
                )
                if both
                else None,
            }

    def vertex_rows(self):
        strength = self.adjacency.sum(axis=0)
        for i, neuron in enumerate(self.neurons.tolist()):
            own = np.flatnonzero(self.member[:, i])
            to_each = np.bincount(self.own, weights=self.adjacency[i], minlength=len(self.member))
            share = to_each / strength[i] if strength[i] else to_each
            yield {
                "neuron": neuron,
                "classes": own.tolist(),
                "class_means": self.means[own, i].tolist(),
                "class": int(self.own[i]),
                "community": int(self.found[i]),
                "mean_activation": float(self.means[:, i].mean()),
                "entropy": 3.2 + 0.6 * float(np.sin(neuron)),
                "degree": int((self.adjacency[i] > 0).sum()),
                "strength": float(strength[i]),
                "within_strength": float(to_each[self.own[i]]),
                "participation": float(1 - (share**2).sum()) if strength[i] else 0.0,
            }

    def edges(self, checkpoint, layer):
        source, target = np.nonzero(np.triu(self.adjacency, 1))
        count = len(source)
        columns = [
            np.full(count, checkpoint, dtype=np.int32),
            np.full(count, layer, dtype=np.int32),
            np.full(count, self.member.sum(axis=1)[0], dtype=np.int64),
            self.neurons[source].astype(np.int32),
            self.neurons[target].astype(np.int32),
            self.adjacency[source, target],
        ]
        return pa.Table.from_arrays([pa.array(c) for c in columns], schema=TABLES["edges"].schema)
