"""The activation pattern graph as an object: hand-computed toys, communities, chance, files of other tools."""

import sys
import xml.etree.ElementTree as ET
from dataclasses import replace

import networkx as nx
import pytest
import torch

import cofire
from cofire.errors import DataError, MissingExtraError, OptionError, ResultError
from cofire.graphs import ActivationPatternGraph


def toy(**changes):
    """Classes of neurons 1-2-4 and 4-6-7 of a layer; 4 belongs to the first, where it fires more."""
    adjacency = torch.zeros(5, 5, dtype=torch.float64)
    for p, q, weight in ((0, 1, 0.5), (0, 2, 0.25), (1, 2, 0.25), (2, 3, 0.1), (3, 4, 0.4)):
        adjacency[p, q] = adjacency[q, p] = weight
    fields = {
        "layer": "relu",
        "class_names": ("cat & <dog>", 'a "bird"'),
        "neurons": torch.tensor([1, 2, 4, 6, 7]),
        "representatives": torch.tensor([[1, 4, 2], [7, 6, 4]]),
        "class_means": torch.tensor([[3.0, 2.0, 1.0], [5.0, 2.0, 1.5]], dtype=torch.float64),
        "adjacency": adjacency,
        "mean_activation": torch.tensor([1.0, 0.5, 1.75, 1.0, 2.5], dtype=torch.float64),
        "entropy": torch.tensor([3.0, 2.0, 3.5, 1.0, 0.0], dtype=torch.float64),
        "pairs": "class",
        "top_asked": 3,
    }
    return ActivationPatternGraph(**{**fields, **changes})


@pytest.fixture(scope="module")
def found():
    """A graph with something to find: four classes of a random network, with graphs by chance."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(12, 60), torch.nn.ReLU(), torch.nn.Linear(60, 4))
    labels = torch.arange(800) % 4
    inputs = torch.randn(4, 12)[labels] * 1.5 + torch.randn(800, 12)
    network = cofire.Network(model, inputs[:2])
    summary = cofire.summarize(
        network, (inputs, labels), by_class=True, pairs="class", top=12, null_graphs=6
    )
    return summary.graph("1")


def test_what_belongs_to_vertices_is_as_computed_by_hand():
    graph = toy()
    assert graph.members.tolist() == [[0, 2, 1], [4, 3, 2]]
    assert graph.partition.tolist() == [0, 0, 0, 1, 1]
    assert graph.degree().tolist() == [2, 2, 3, 2, 1]
    assert graph.strength().tolist() == pytest.approx([0.75, 0.75, 0.6, 0.5, 0.4])
    assert graph.within_strength().tolist() == pytest.approx([0.75, 0.75, 0.5, 0.4, 0.4])
    assert graph.participation().tolist() == pytest.approx(
        [0, 0, 1 - (5 / 6) ** 2 - (1 / 6) ** 2, 2 * 0.8 * 0.2, 0]
    )
    assert graph.unique_neuron_matrix().tolist() == [[2, 1], [1, 2]]
    assert graph.unique_neuron_matrix(exclusive=True).tolist() == [[2, 1], [1, 2]], (
        "there is no third class"
    )
    pairs, weights = graph.edges()
    assert pairs.tolist() == [[0, 1], [0, 2], [1, 2], [2, 3], [3, 4]]
    assert weights.tolist() == [0.5, 0.25, 0.25, 0.1, 0.4]


def test_the_measures_are_those_of_their_equations():
    graph = toy()
    k, two_m = graph.adjacency.sum(dim=1), float(graph.adjacency.sum())
    by_hand = sum(
        float(graph.adjacency[v, w] - k[v] * k[w] / two_m)
        for v in range(5)
        for w in range(5)
        if graph.partition[v] == graph.partition[w]
    )
    assert graph.modularity("no-overlap") == pytest.approx(by_hand / two_m, abs=1e-12)
    # Vertex 2 has 0.5 of its weight in the first class and 0.1 in the second.
    alpha = torch.tensor([[1, 1, 5 / 6, 0, 0], [0, 0, 1 / 6, 1, 1]], dtype=torch.float64)
    b = graph.adjacency - k[:, None] * k / two_m
    assert graph.modularity() == pytest.approx(
        float(torch.einsum("cv,vw,cw->", alpha, b, alpha)) / two_m, abs=1e-12
    )
    ones = (graph.adjacency > 0).to(torch.float64)
    alpha = torch.tensor([[1, 1, 0.5, 0, 0], [0, 0, 0.5, 1, 1]], dtype=torch.float64)
    b = ones - ones.sum(1)[:, None] * ones.sum(1) / ones.sum()
    expected = float(torch.einsum("cv,vw,cw->", alpha, b, alpha) / ones.sum())
    assert graph.modularity("unweighted-overlap") == pytest.approx(expected, abs=1e-12)


def test_representatives_are_overlapping_communities():
    found = toy().communities()
    assert [m.tolist() for m in found.members] == [[0, 1, 2], [2, 3, 4]]
    assert (found.sizes, found.mean_size, found.seed, found.resolution) == ((3, 3), 3.0, None, None)
    assert (found.nmi, found.ari) == (1.0, 1.0)


@pytest.mark.parametrize("method", ["louvain", "leiden", "kernighan-lin"])
def test_methods_find_communities_that_repeat_with_their_seed(found, method):
    if method == "leiden":
        pytest.importorskip("igraph")
    one, again = found.communities(method, seed=3), found.communities(method, seed=3)
    assert torch.equal(one.membership, again.membership)
    assert sum(one.sizes) == found.vertices
    assert list(one.sizes) == sorted(one.sizes, reverse=True)
    assert [len(m) for m in one.members] == [
        int((one.membership == c).sum()) for c in range(len(one.members))
    ]
    groups = [set(m.tolist()) for m in one.members]
    graph = nx.from_numpy_array(found.adjacency.numpy())
    assert one.modularity == pytest.approx(nx.community.modularity(graph, groups), abs=1e-12)
    assert 0 <= one.nmi <= 1


def test_leiden_leaves_the_process_random_numbers_alone(found):
    pytest.importorskip("igraph")
    import random

    random.seed(5)
    expected = random.random()
    random.seed(5)
    found.communities("leiden")
    assert random.random() == expected


def test_more_resolution_makes_more_communities(found):
    few, many = (found.communities("louvain", resolution=gamma) for gamma in (0.5, 4.0))
    assert len(few.members) < len(many.members)


def test_stability_says_how_seeds_differ(found):
    stability = found.stability("kernighan-lin", runs=6)
    assert len(stability.modularities) == 6
    assert stability.low <= stability.median <= stability.high
    assert -1 <= stability.agreement <= 1
    same = [found.communities("kernighan-lin", seed=s).modularity for s in range(6)]
    assert list(stability.modularities) == same
    assert found.stability(runs=1).agreement is None


def test_shuffled_weights_keep_edges_and_weights(found):
    made = list(found.shuffled(runs=3, seed=0))
    again = list(found.shuffled(runs=5, seed=0))
    for other, same in zip(made, again, strict=False):
        assert torch.equal(other.adjacency > 0, found.adjacency > 0)
        assert torch.equal(other.adjacency, other.adjacency.T)
        weights = other.adjacency.triu()[other.adjacency.triu() > 0]
        assert torch.equal(torch.sort(weights).values, torch.sort(found.edges()[1]).values)
        assert not torch.equal(other.adjacency, found.adjacency)
        assert torch.equal(other.adjacency, same.adjacency)


def test_significance_is_the_distance_from_chance_in_deviations(found):
    result = found.significance("no-overlap", null="labels")
    values = torch.tensor(
        [graph.modularity("no-overlap") for graph in found.by_chance], dtype=torch.float64
    )
    assert result.runs == 6
    assert result.mean == pytest.approx(float(values.mean()))
    assert result.std == pytest.approx(float(values.std()))
    assert result.z == pytest.approx((found.modularity("no-overlap") - result.mean) / result.std)
    assert result.z > 3  # classes that differ, against labels that say nothing
    weights = found.significance("weighted-overlap", runs=8, seed=1)
    assert weights == found.significance("weighted-overlap", runs=8, seed=1)
    assert weights.runs == 8


def test_chance_that_does_not_vary_has_no_z(found):
    result = found.significance("unweighted-overlap", null="weights", runs=3)
    assert result.z is None
    assert result.mean == pytest.approx(result.value)


def test_random_labels_against_random_labels_are_no_surprise(found):
    one, *others = found.by_chance
    result = replace(one, by_chance=tuple(others)).significance("no-overlap", null="labels")
    assert abs(result.z) < 5


def test_graphs_without_edges_have_no_communities_worth_the_name():
    graph = toy(adjacency=torch.zeros(5, 5, dtype=torch.float64))
    for measure in (
        "no-overlap",
        "unweighted-overlap",
        "weighted-overlap",
        "louvain",
        "kernighan-lin",
    ):
        assert graph.modularity(measure) == 0.0
        assert graph.significance(measure, runs=5).z is None
    assert graph.communities("louvain").sizes == (1, 1, 1, 1, 1)
    assert graph.participation().tolist() == [0.0] * 5
    assert torch.isfinite(graph.layout()).all()


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda g: g.communities("girvan-newman"), "girvan-newman"),
        (lambda g: g.communities("louvain", resolution=0.0), "above 0"),
        (lambda g: g.communities("kernighan-lin", resolution=2.0), "a method that has one"),
        (lambda g: g.modularity("weighted-overlap", resolution=2.0), "louvain, leiden"),
        (lambda g: g.modularity("conductance"), "conductance"),
        (lambda g: g.stability("representatives"), "one of 'louvain'"),
        (lambda g: g.stability("louvain", runs=0), "runs=0"),
        (lambda g: g.significance(runs=1), "runs=1"),
        (lambda g: g.stability(runs=2.5), "runs=2.5"),
        (lambda g: g.communities("louvain", seed=-1), "seed=-1"),
        (lambda g: g.communities("louvain", resolution="2"), "resolution='2'"),
        (lambda g: g.layout(iterations=-5), "iterations=-5"),
        (lambda g: g.significance(null="edges"), "null='edges'"),
    ],
)
def test_options_that_cannot_be_are_refused(act, message):
    with pytest.raises(OptionError, match=message):
        act(toy())


def test_few_graphs_by_chance_have_no_z(found):
    result = found.significance("no-overlap", runs=4)
    assert result.z is None
    assert result.std > 0
    assert found.significance("no-overlap", runs=5).z is not None


def test_a_layout_starts_where_it_is_told_or_says_why_not():
    with pytest.raises(DataError, match=r"initial of shape \(4, 2\)"):
        toy().layout(initial=torch.zeros(4, 2))
    with pytest.raises(DataError, match="finite"):
        toy().layout(initial=torch.full((5, 2), torch.nan))


def test_labels_need_graphs_made_with_them():
    with pytest.raises(DataError, match="null_graphs=10"):
        toy().significance(null="labels")


def test_a_graph_whose_parts_do_not_fit_is_refused():
    with pytest.raises(DataError, match="entropy of shape"):
        toy(entropy=torch.zeros(4))
    with pytest.raises(DataError, match="union of the representatives"):
        toy(neurons=torch.tensor([1, 2, 4, 6, 8]))


def test_an_absent_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "igraph", None)
    with pytest.raises(MissingExtraError, match="pip install igraph"):
        toy().communities("leiden")
    with pytest.raises(MissingExtraError, match="to_igraph"):
        toy().to_igraph()


def test_networkx_has_everything(found):
    communities = found.communities("louvain")
    graph = found.to_networkx(communities)
    assert list(graph.nodes) == found.neurons.tolist()
    assert torch.equal(torch.from_numpy(nx.to_numpy_array(graph)), found.adjacency)
    for vertex, (neuron, data) in enumerate(graph.nodes(data=True)):
        assert data["neuron"] == neuron
        assert data["class"] == int(found.partition[vertex])
        assert data["community"] == int(communities.membership[vertex])
        assert data["entropy"] == float(found.entropy[vertex])
        assert data["classes_represented"] == int((found.members == vertex).sum())


def test_igraph_has_everything(found):
    pytest.importorskip("igraph")
    graph = found.to_igraph(found.communities("louvain"))
    assert graph.vs["neuron"] == found.neurons.tolist()
    assert graph.es["weight"] == found.edges()[1].tolist()
    assert graph.modularity(found.partition.tolist(), weights="weight") == pytest.approx(
        found.modularity("no-overlap"), abs=1e-12
    )


@pytest.mark.parametrize("kind", ["gexf", "graphml"])
def test_files_are_read_back_without_loss(found, tmp_path, kind):
    communities = found.communities("louvain")
    named = replace(found, class_names=("cat & <dog>", 'a "bird"', "Ü", "4"))
    path = getattr(named, f"write_{kind}")(tmp_path / f"graph.{kind}", communities)
    graph = (
        nx.read_gexf(path, node_type=int)
        if kind == "gexf"
        else nx.read_graphml(path, node_type=int)
    )
    expected = named.to_networkx(communities)
    assert set(graph.nodes) == set(expected.nodes)
    for neuron, data in expected.nodes(data=True):
        assert {name: graph.nodes[neuron][name] for name in data} == data
    weights = {frozenset(edge): w for *edge, w in expected.edges(data="weight")}
    assert {frozenset(edge): w for *edge, w in graph.edges(data="weight")} == weights


def test_gexf_keeps_to_the_rules_of_its_format(found, tmp_path):
    """GEXF 1.2: what it demands of ids, types, references, values and the images' attributes."""
    root = ET.parse(
        found.write_gexf(tmp_path / "graph.gexf", found.communities("louvain"))
    ).getroot()
    ns = {"g": "http://www.gexf.net/1.2draft", "viz": "http://www.gexf.net/1.2draft/viz"}
    assert root.tag == f"{{{ns['g']}}}gexf"
    assert root.get("version") == "1.2"
    (graph,) = root.findall("g:graph", ns)
    assert graph.get("defaultedgetype") == "undirected"
    declared = {}
    for attributes in graph.findall("g:attributes", ns):
        assert attributes.get("class") in ("node", "edge")
        for attribute in attributes:
            assert attribute.get("type") in (
                "integer",
                "long",
                "double",
                "float",
                "boolean",
                "liststring",
                "string",
                "anyURI",
            )
            declared[attributes.get("class"), attribute.get("id")] = attribute.get("type")
    parse = {"long": int, "double": float, "string": str}
    nodes = graph.find("g:nodes", ns)
    ids = [node.get("id") for node in nodes]
    assert len(set(ids)) == len(ids) == found.vertices
    for node in nodes:
        assert node.get("label") == node.get("id")
        for value in node.find("g:attvalues", ns):
            parse[declared["node", value.get("for")]](value.get("value"))
        color, size, place = (
            node.find(f"viz:{name}", ns) for name in ("color", "size", "position")
        )
        assert all(0 <= int(color.get(channel)) <= 255 for channel in "rgb")
        assert float(size.get("value")) > 0
        assert all(abs(float(place.get(axis))) < 1e4 for axis in "xyz")
    edges = graph.find("g:edges", ns)
    assert len(edges) == len(found.edges()[0])
    assert len({edge.get("id") for edge in edges}) == len(edges)
    for edge in edges:
        assert {edge.get("source"), edge.get("target")} <= set(ids)
        assert float(edge.get("weight")) > 0


def test_a_graph_is_saved_and_read_back(found, tmp_path):
    again = ActivationPatternGraph.load(found.save(tmp_path / "graph.safetensors"))
    assert torch.equal(again.adjacency, found.adjacency)
    assert again.class_names == found.class_names
    assert len(again.by_chance) == 6
    assert again.significance(null="labels") == found.significance(null="labels")
    with pytest.raises(ResultError, match="make the graph again"):
        ActivationPatternGraph.load(tmp_path / "other.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "graph.safetensors").read_bytes()[:-10])
    with pytest.raises(ResultError):
        ActivationPatternGraph.load(tmp_path / "cut.safetensors")


@pytest.mark.parametrize("kind", ["gexf", "graphml"])
def test_files_are_named_after_their_format(tmp_path, kind):
    with pytest.raises(OptionError, match=f"ending in .{kind}"):
        getattr(toy(), f"write_{kind}")(tmp_path / "graph.xml")
    assert not list(tmp_path.iterdir())


def test_a_graph_introduces_itself():
    assert repr(toy()).startswith(
        "ActivationPatternGraph('relu', 5 neurons of 2 classes, 5 edges of weight 1.5"
    )
    assert "the 2 classes themselves, 3 neurons each, overlapping" in repr(toy().communities())
    assert "at γ = 2, " in repr(toy().communities("louvain", resolution=2.0))
    assert "over 3 seeds, ARI between seeds" in repr(toy().stability(runs=3))


def test_every_class_of_a_graph_has_a_name():
    names = toy().class_names
    with pytest.raises(DataError, match=r"class names, and representatives of.*name every class"):
        toy(class_names=names[:-1])
