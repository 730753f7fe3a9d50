"""What the sections find in tables: courses, idle neurons, graphs, and what of them is chance."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from cofire.errors import OptionError
from cofire.report import Section, register_section
from cofire.report.colours import CLASS_COLOURS, DARK, LIGHT, contrast, palette
from cofire.report.section import SECTIONS, Results
from cofire.report.sections.course import Course, movement, moves_together
from cofire.report.sections.graph_drawing import EDGES, NEURONS, OWN_EDGES, drawings, strongest
from cofire.report.sections.graph_tables import GraphTables
from cofire.report.sections.graphs import Classes, Graphs, says
from cofire.report.sections.neurons import Idle, Neurons
from cofire.report.sections.papers import Papers
from cofire.study.trajectory import Trajectory

from . import synthetic
from .synthetic_graphs import with_graphs


@pytest.fixture(scope="module")
def results():
    return Results(with_graphs(synthetic.trajectory(layers=(200, 160), checkpoints=6), top=20))


@pytest.fixture(scope="module")
def graphs(results):
    return GraphTables(results)


def course(**keywords):
    return Course.of(Results(synthetic.trajectory(**keywords)))


def cells(table, place):
    """A column of a table as it is written."""
    return [row[place].value for _, rows in table.parts() for row in rows]


def test_an_id_that_is_no_address_or_taken_is_refused():
    class Mine(Section):
        id, title = "Not an address", "?"

    with pytest.raises(OptionError, match="Not an address"):
        register_section(Mine)
    Mine.id = "boost"
    with pytest.raises(OptionError, match="which Boosting has"):
        register_section(Mine)
    assert SECTIONS["boost"] is not Mine


@pytest.mark.parametrize(
    ("values", "way"), [([1.0, 2.0], "rose"), ([2.0, 1.0], "fell"), ([1.0, 1.001], "stayed")]
)
def test_movement(values, way):
    assert movement(np.array(values)).startswith(way)


def test_changes_that_correlate_no_more_than_chance_are_a_drift():
    drift = course(drift=True, seed=4).network
    assert drift["pearson_serial_high"] < 0
    assert not moves_together(drift)
    assert moves_together({**drift, "changes": -1.0})
    assert not moves_together({**drift, "changes": None})


def test_random_labels_are_the_control():
    assert course(random_labels=True, seed=1).random_labels
    assert not course().random_labels


def mirrored(run):
    """The same with accuracies mirrored, so that entropy rises with them."""
    place = run.layers.schema.get_field_index("train_accuracy")
    values = pc.subtract(1.0, run.layers["train_accuracy"])
    layers = run.layers.set_column(place, run.layers.schema.field(place), values)
    return Trajectory(layers, run.classes, run.neurons, run.options)


def test_entropy_that_rises_with_accuracy_on_real_labels_contradicts_the_papers():
    run = synthetic.trajectory()
    assert Course.of(Results(mirrored(run))).against_the_papers
    assert not Course.of(Results(run)).against_the_papers


def test_signs_of_layers_and_classes_are_held_to_five_percent_together():
    found = course()
    row = {**found.network, "pearson": -0.5, "pearson_serial_low": -0.79, "accuracy": "train"}
    barely = {**row, "pearson_serial_high": -0.02}
    found.correlations["class", "entropy"] = [barely]
    assert found.signs("class")["negative"] == 1
    found.correlations["class", "entropy"] = [barely] * 10
    assert found.signs("class") == {"subjects": 10, "negative": 0, "positive": 0, "undecided": 10}


def test_a_constant_series_is_not_defined_and_says_why():
    run = synthetic.trajectory(checkpoints=5)
    place = run.layers.schema.get_field_index("train_accuracy")
    flat = pa.array([0.5] * len(run.layers), pa.float64())
    layers = run.layers.set_column(place, run.layers.schema.field(place), flat)
    found = Course.of(Results(Trajectory(layers, run.classes, run.neurons, run.options)))
    table = found.tables()["correlation-network"]
    assert table.parts()[0][1][0][1].note == "constant training accuracy"
    few = course(checkpoints=2).tables()["correlation-network"]
    assert "too few, it takes 3" in few.parts()[0][1][0][1].note


def test_dead_neurons_are_named_by_layer_and_add_up():
    section = Idle.of(Results(synthetic.trajectory(layers=(300, 200), checkpoints=3)))
    table = section.tables()["dead"]
    assert sum(row[1] for row in table.rows) == section.total("dead")
    assert all(len(row[3].split(", ")) == row[1] for row in table.rows)


def test_of_many_layers_those_with_idle_neurons_are_drawn_and_those_that_stand_out_are_named():
    section = Idle.of(Results(synthetic.trajectory(layers=(60,) * 30, checkpoints=2)))
    assert len(section.drawn) == 12
    shares = section.counts["dead"][:, -1] + section.counts["always_active"][:, -1]
    assert min(shares[section.drawn]) >= max(np.delete(shares, section.drawn))
    heat = section.figures()["dead-neurons"]
    assert 2 < len(heat.layout.yaxis.ticktext) <= 8
    assert heat.layout.yaxis.ticktext[0] == "layer1.0.relu_0"


def test_layers_called_by_a_number_are_spoken_of_as_layers():
    run = synthetic.trajectory(layers=(20, 20), checkpoints=2, layer_names=["1", "relu"])
    assert Results(with_graphs(run, top=4)).layers == ("layer 1", "relu")
    rows = Neurons.of(Results(run)).tables()["layers"].rows
    assert [row[0].value for row in rows] == ["layer 1", "relu"]


def test_the_papers_numbers_stand_beside_the_studys():
    run = with_graphs(synthetic.trajectory(layers=(60, 60), checkpoints=20), top=12)
    recipe = {"recipe": "p2-mnist", "data": "digits"}
    section = Papers.of(Results(dataclasses.replace(run, options={**run.options, **recipe})))
    assert any("digits" in told for told in section.differing)
    rows = {(row[1], row[2]): row[3:] for row in section.tables()["papers"].rows}
    paper, ours, agrees = rows["Pearson’s r of entropy and training accuracy", "network"]
    assert paper == "−0.87"
    assert ours.note.count("to") == 1
    low = float(ours.note.split(" to ")[0].replace("−", "-"))
    high = float(ours.note.split(" to ")[1].replace("−", "-"))
    assert agrees == (low <= -0.87 <= high)
    unmade = {name: value for name, value in run.options.items() if name != "data"}
    assert Papers.of(Results(dataclasses.replace(run, options=unmade))) is None


def test_rarely_active_neurons_are_not_among_the_best():
    section = Neurons.of(Results(synthetic.trajectory(layers=(300,), checkpoints=2)))
    assert all(row[4] >= 0.01 for row in section.tables()["selectivity"].rows)
    best = [row[5] for row in section.tables()["selectivity"].rows]
    assert best == sorted(best, reverse=True)


def test_a_trajectory_without_graphs_has_no_sections_of_them():
    bare = Results(synthetic.trajectory(checkpoints=2))
    assert Classes.of(bare) is None
    assert Graphs.of(bare) is None


def row(q=0.3, mean=0.02, std=0.006, z=46.7, null="labels"):
    return {"modularity": q, f"{null}_mean": mean, f"{null}_std": std, f"{null}_z": z}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "more than chance"),
        ({"z": -1.9}, "no more than chance"),
        ({"z": 2.5}, "too little to rely on"),
        ({"z": -8.0}, "less than chance"),
        ({"q": 0.013, "mean": 0.001, "std": 0.0005, "z": 22.0}, "hardly more than zero"),
        ({"std": 0.0, "z": None}, "the null model does not vary"),
        ({"mean": None, "std": None, "z": None}, "not compared"),
        ({"z": float("nan")}, "too few graphs by chance"),
    ],
)
def test_a_modularity_is_held_against_chance(values, told):
    assert says(row(**values)) == told


def test_no_z_is_told_more_exactly_than_a_few_draws_give_it(graphs):
    run = graphs.results.trajectory
    rows = [{**r, "labels_z": 7818.0} for r in run.modularities.to_pylist()]
    far = pa.Table.from_pylist(rows, schema=run.modularities.schema)
    section = Graphs.of(Results(dataclasses.replace(run, modularities=far)))
    assert set(cells(section.tables()["chance"], 3)) == {"above +100"}
    bare = Graphs.of(Results(with_graphs(synthetic.trajectory(checkpoints=2), nulls=False)))
    assert bare.tables()["chance"].parts()[0][1][0][3].note == "not compared"


def test_correlations_of_what_is_chance_are_marked(results):
    run = with_graphs(synthetic.trajectory(layers=(200,), checkpoints=6), top=20, chance=True)
    chance = Graphs.of(Results(run)).tables()["correlations"]
    assert {r[2].tag for r in chance.rows if "size" not in r[1]} <= {"chance", "near zero"}
    clear = Graphs.of(results).tables()["correlations"]
    assert {r[2].tag for r in clear.rows} == {""}
    assert len(clear.rows) == 2 * 6


def test_unique_neurons_of_pairs_are_told_as_the_paper_words_them_too(graphs):
    pairs = [sum(len(c) == 2 for c in graphs.graph("relu_1", number).classes) for number in (1, 6)]
    assert [r[5] for r in Classes(graphs).tables()["unique"].rows[:2]] == pairs


def test_communities_are_listed_with_their_sizes(results, graphs):
    rows = Graphs.of(results).tables()["communities"].rows
    assert [r[:2] for r in rows] == [["relu_1", 1], ["relu_1", 6], ["relu_2", 1], ["relu_2", 6]]
    assert [n for n in rows[1][2:10] if n] == graphs.row("relu_1", 6)["community_sizes"][:8]


def test_classes_add_up_to_the_graph(graphs):
    rows = [r for r in Classes(graphs).tables()["classes"].rows if r[0] == "relu_2"]
    assert sum(r[3] for r in rows) == graphs.row("relu_2")["vertices"]
    assert sum(r[2] for r in rows) == graphs.row("relu_2")["unique_neurons"]


def test_every_vertex_has_a_role(graphs):
    graph = graphs.graph("relu_1")
    assert len(graph.roles()) == len(graph.neurons)
    assert "specialist" in graph.roles()


def one_graph(**keywords):
    return GraphTables(Results(with_graphs(synthetic.trajectory(checkpoints=1, **keywords))))


def test_the_drawing_keeps_the_strongest_edges_and_some_of_every_neuron():
    whole = one_graph(layers=(200,)).graph("relu_1")
    drawn = drawings([whole], 10)[0].graph
    assert len(drawn.weight) == EDGES < len(whole.weight)
    assert (np.diff(drawn.weight) <= 0).all()
    assert drawn.weight[0] == whole.weight.max()
    ends = np.concatenate([drawn.source, drawn.target])
    degree = np.bincount(ends, minlength=len(whole.neurons))
    assert (degree >= np.minimum(OWN_EDGES, whole.numbers["degree"])).all()


def test_of_very_many_neurons_the_strongest_are_drawn():
    whole = one_graph(layers=(900,), classes=tuple(map(str, range(40)))).graph("relu_1")
    kept = strongest(whole)
    assert len(kept.neurons) == NEURONS < len(whole.neurons)
    least = np.sort(whole.numbers["strength"])[-NEURONS]
    assert kept.numbers["strength"].min() >= least


def test_neurons_move_little_from_one_checkpoint_to_the_next(results):
    scene = Graphs.of(results).scenes["relu_1"]
    before, after = scene[-2:]
    places = dict(zip(before.graph.neurons.tolist(), before.where, strict=True))
    both = zip(after.graph.neurons.tolist(), after.where, strict=True)
    ways = [float(np.linalg.norm(places[n] - where)) for n, where in both if n in places]
    assert np.median(ways) < 0.25
    assert all(np.isfinite(p.where).all() for p in scene)


@pytest.mark.parametrize(("name", "theme"), [("light", LIGHT), ("dark", DARK)])
def test_every_colour_of_a_class_stands_out(name, theme):
    for colour in (*CLASS_COLOURS[name], *palette(100, name)):
        assert contrast(colour, theme.surface) >= 3, colour
