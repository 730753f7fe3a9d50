import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from cofire.report.colours import DARK, LIGHT, contrast
from cofire.report.facts import Facts
from cofire.report.graphs import tables, wording
from cofire.report.graphs.facts import graphs_of
from cofire.report.graphs.palette import DOZEN, palette
from cofire.report.graphs.picture import EDGES, NEURONS, OWN_EDGES, pictures, strongest
from cofire.report.graphs.roles import roles
from cofire.report.graphs.section import Section

from . import synthetic
from .synthetic_graphs import with_graphs


@pytest.fixture(scope="module")
def facts():
    return graphs_of(
        Facts(with_graphs(synthetic.trajectory(layers=(200, 160), checkpoints=6), top=20))
    )


def row(q=0.3, mean=0.02, std=0.006, z=46.7, null="labels"):
    return {"modularity": q, f"{null}_mean": mean, f"{null}_std": std, f"{null}_z": z}


def test_a_trajectory_without_graphs_has_no_facts():
    assert graphs_of(Facts(synthetic.trajectory(checkpoints=2))) is None


def test_far_above_chance_is_said_with_its_distance():
    assert wording.meaning(row()).endswith(
        "47 standard deviations above what random labels give (0.020 ± 0.006)"
    )


def test_no_z_is_told_more_exactly_than_a_few_draws_give_it():
    assert "more than 100 standard deviations above" in wording.meaning(row(z=7818.0))
    assert (wording.z_text(7818.0), wording.z_text(-300.0), wording.z_text(12.4)) == (
        "above +100",
        "below −100",
        "+12",
    )


def test_chance_is_called_chance():
    assert wording.meaning(row(z=-1.9)).endswith("no more than chance")
    assert "too little to rely on" in wording.meaning(row(z=2.5))
    assert "below" in wording.meaning(row(z=-8.0))


def test_a_value_near_zero_is_none_to_speak_of_however_far_from_chance():
    assert "no communities to speak of" in wording.meaning(
        row(q=0.013, mean=0.001, std=0.0005, z=22.0)
    )
    assert "no communities" not in wording.meaning(row())


def test_no_z_says_why():
    assert "does not vary" in wording.meaning(row(std=0.0, z=None))
    assert "was not held against" in wording.meaning(row(mean=None, std=None, z=None))
    assert "too few graphs by chance" in wording.meaning(row(z=float("nan")))
    cell = tables.null_rows(
        graphs_of(Facts(with_graphs(synthetic.trajectory(checkpoints=2), nulls=False)))
    )[0]
    assert cell.moments[0][2].note == "not compared"


def test_without_random_labels_the_shuffled_weights_are_what_it_is_held_against():
    run = with_graphs(synthetic.trajectory(layers=(200,), checkpoints=2), top=20)
    place = run.modularities.schema.get_field_index("labels_mean")
    nothing = pa.nulls(len(run.modularities), pa.float64())
    rows = run.modularities.set_column(place, run.modularities.schema.field(place), nothing)
    bare = graphs_of(Facts(dataclasses.replace(run, modularities=rows)))
    assert all(
        "with its weights shuffled" in text for _, text in wording.modularity_told(bare, "relu_1")
    )
    assert "it is open whether a value is more than chance" in Section(bare, set(), test=True).draws


def test_unique_neurons_are_told_from_first_to_last(facts):
    first, last = (facts.row("relu_1", number) for number in (1, 6))
    told = wording.unique_told(facts, "relu_1")
    assert f"rose from {first['unique_neurons']} to {last['unique_neurons']}" in told
    assert f"{first['shared_neurons']} to {last['shared_neurons']}" in told.replace(",", "")


def test_unique_neurons_of_pairs_are_told_as_the_paper_words_them_too(facts):
    pairs = [sum(len(c) == 2 for c in facts.graph("relu_1", number).classes) for number in (1, 6)]
    assert [facts.exclusive("relu_1", number) for number in (1, 6)] == pairs
    told = wording.unique_told(facts, "relu_1")
    assert f"from {pairs[0]} to {pairs[1]}." in told.split("two classes and no third")[1]


def test_the_paper_is_contradicted_where_the_numbers_do():
    run = with_graphs(synthetic.trajectory(layers=(200,), checkpoints=3), top=20)
    turned = run.graphs.to_pylist()
    for place, source in zip(turned, reversed(run.graphs.to_pylist()), strict=True):
        place.update(
            unique_neurons=source["unique_neurons"], shared_neurons=source["shared_neurons"]
        )
    graphs = pa.Table.from_pylist(turned, schema=run.graphs.schema)
    other = type(run)(
        run.layers, run.classes, run.neurons, run.options, graphs, run.modularities, run.vertices
    )
    assert "in no layer" in wording.classes_told(graphs_of(Facts(other)))
    assert "this layer" in wording.classes_told(graphs_of(Facts(run)))


def test_correlations_of_what_is_chance_are_marked():
    chance = graphs_of(
        Facts(with_graphs(synthetic.trajectory(layers=(200,), checkpoints=6), top=20, chance=True))
    )
    assert {r.doubt for r in tables.measure_rows(chance, test=True) if "size" not in r.measure} <= {
        "chance",
        "near zero",
    }
    assert "read nothing into this table" in wording.doubts_told(chance)


def test_correlations_of_what_is_more_are_not(facts):
    rows = tables.measure_rows(facts, test=True)
    assert not any(r.doubt for r in rows)
    assert len(rows) == 2 * 6
    assert all(len(r.cells) == 6 for r in rows)
    assert "None of those here is" in wording.doubts_told(facts)


def test_communities_are_listed_with_their_sizes(facts):
    rows = tables.community_rows(facts)
    assert [(r.layer, r.checkpoint) for r in rows] == [
        ("relu_1", 1),
        ("relu_1", 6),
        ("relu_2", 1),
        ("relu_2", 6),
    ]
    sizes = facts.row("relu_1", 6)["community_sizes"][:8]
    assert rows[1].largest == tuple(str(s) for s in sizes)


def test_classes_add_up_to_the_graph(facts):
    rows = tables.class_rows(facts, "relu_2")
    assert sum(int(r.own) for r in rows) == facts.row("relu_2", 6)["vertices"]
    assert sum(int(r.alone) for r in rows) == facts.row("relu_2", 6)["unique_neurons"]


def test_every_vertex_has_a_role(facts):
    graph = facts.graph("relu_1", 6)
    assert len(roles(graph)) == graph.size
    assert "specialist" in roles(graph)


def test_the_picture_keeps_the_strongest_edges_and_some_of_every_neuron():
    facts = graphs_of(Facts(with_graphs(synthetic.trajectory(layers=(200,), checkpoints=1))))
    whole = facts.graph(facts.layers[0], 1)
    drawn = pictures(facts)[0].pictures[0].graph
    assert len(drawn.weight) == EDGES < len(whole.weight)
    assert (np.diff(drawn.weight) <= 0).all()
    assert drawn.weight[0] == whole.weight.max()
    degree = np.bincount(np.concatenate([drawn.source, drawn.target]), minlength=whole.size)
    assert (degree >= np.minimum(OWN_EDGES, whole.numbers["degree"])).all()


def test_of_very_many_neurons_the_strongest_are_drawn():
    names = tuple(str(i) for i in range(40))
    facts = graphs_of(
        Facts(with_graphs(synthetic.trajectory(layers=(900,), checkpoints=1, classes=names)))
    )
    whole = facts.graph(facts.layers[0], 1)
    kept = strongest(whole)
    assert kept.size == NEURONS < whole.size
    strength = whole.numbers["strength"]
    assert kept.numbers["strength"].min() >= np.sort(strength)[-NEURONS]
    assert pictures(facts)[0].pictures[0].left_out == whole.size - NEURONS


def test_neurons_move_little_from_one_checkpoint_to_the_next(facts):
    scene = pictures(facts)[0]
    before, after = scene.pictures[-2:]
    places = dict(zip(before.graph.neurons.tolist(), before.where, strict=True))
    ways = [
        float(np.linalg.norm(places[n] - where))
        for n, where in zip(after.graph.neurons.tolist(), after.where, strict=True)
        if n in places
    ]
    assert np.median(ways) < 0.25
    assert all(np.isfinite(p.where).all() for p in scene.pictures)


@pytest.mark.parametrize(("name", "theme"), [("light", LIGHT), ("dark", DARK)])
def test_every_colour_of_a_class_stands_out(name, theme):
    for colour in (*DOZEN[name], *palette(100, name)):
        assert contrast(colour, theme.surface) >= 3, colour


def test_the_top_of_the_page_says_how_far_classes_keep_to_themselves():
    run = with_graphs(synthetic.trajectory(layers=(200, 160), checkpoints=6), top=20)
    told = wording.lead_told(graphs_of(Facts(run)))
    rows = [r for r in run.modularities.to_pylist() if r["measure"] == "weighted-overlap"]
    last = [r for r in rows if r["layer"] == rows[-1]["layer"]]
    assert f"from {last[0]['modularity']:.2f} to {last[-1]['modularity']:.2f}" in told
    assert f"with random labels it is {last[-1]['labels_mean']:.2f}." in told
