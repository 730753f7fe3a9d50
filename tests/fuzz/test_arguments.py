"""Whatever is passed, a call works or raises an error of cofire; and every public function checks by its annotations.

`make fuzz` tries many, others every day.
"""

import importlib
import inspect
import warnings

import pytest
import torch
from torch import nn

import cofire
from cofire import evaluate, functional, receptive_field, statistics
from cofire.errors import CofireError
from cofire.graphs import force_layout
from cofire.study import cnn, correlate, fcnn

from .cage import cases, drawn, judged, told
from .spoiling import spoiled

CASES = 250
"""In CI; `make fuzz` tries twenty times as many."""

torch.manual_seed(0)
X, Y = torch.rand(12, 4), torch.arange(12) % 3
MAPS, FOUND = torch.rand(3, 8, 8), torch.tensor([True] * 3)
CORNERS, BOXES = torch.tensor([[0.0, 0, 4, 4]] * 3), [torch.tensor([[1.0, 1, 6, 6]])] * 3
MEMBERS = torch.tensor([0, 0, 1, 1])
ADJACENCY = torch.tensor([[0, 1.0, 0.2, 0], [1, 0, 0, 0.5], [0.2, 0, 0, 1], [0, 0.5, 1, 0]])


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return cofire.Network(
        nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)), torch.zeros(1, 4)
    )


def calls(network):
    """Calls that work: a function and its arguments."""
    state = {name: value.clone() for name, value in network.state_dict().items()}
    found = cofire.explain(network, X[:2])
    summary = cofire.summarize(network, (X, Y), by_class=True, pairs="class", top=2, progress=False)
    graph = summary.graph("1")
    booster = cofire.Booster(network).fit((X, Y), (1 - X, Y), progress=False)
    confidence = cofire.PatternConfidence(network).fit((X, Y))
    return [
        (functional.activation_entropy, {"activations": X, "bins": 10, "range": "own"}),
        (functional.mean_activation, {"activations": X, "labels": Y, "num_classes": 3}),
        (
            functional.activation_probability,
            {"activations": X, "labels": Y, "num_classes": 3, "threshold": 0.5},
        ),
        (
            functional.activation_pattern_graph,
            {"activations": X, "labels": Y, "num_classes": 3, "top": 2},
        ),
        (
            functional.modularity,
            {"adjacency": ADJACENCY, "membership": MEMBERS, "resolution": 1.0},
        ),
        (
            functional.overlapping_modularity,
            {"adjacency": ADJACENCY, "communities": [[0, 1], [2, 3]]},
        ),
        (
            functional.participation_coefficient,
            {"adjacency": ADJACENCY, "membership": MEMBERS},
        ),
        (functional.representative_neurons, {"mean_activation": X[:3], "top": 2}),
        (functional.unique_neuron_matrix, {"representatives": torch.tensor([[0, 1], [1, 2]])}),
        (
            cofire.summarize,
            {"network": network, "data": (X, Y), "bins": 10, "by_class": True, "batch_size": 5},
        ),
        (network.run, {"inputs": X, "layers": None}),
        (network.select, {"layers": "*"}),
        (network.with_weights, {"weights": state}),
        (
            cofire.explain,
            {"network": network, "inputs": X[:2], "target": torch.tensor([0, 1]), "k": 2},
        ),
        (found.heatmap, {"sigma": 0.05}),
        (found.points, {"image": 0}),
        (found.__getitem__, {"key": 0}),
        (graph.communities, {"method": "representatives", "seed": 0}),
        (graph.layout, {"iterations": 3, "seed": 0}),
        (graph.significance, {"measure": "weighted-overlap", "runs": 3, "seed": 0}),
        (evaluate.pointing_hits, {"maps": MAPS, "boxes": BOXES, "tolerance": 1.0}),
        (evaluate.iou, {"first": CORNERS, "second": CORNERS}),
        (evaluate.best_iou, {"corners": CORNERS, "found": FOUND, "boxes": BOXES}),
        (evaluate.threshold_boxes, {"maps": MAPS, "thresholds": [0.2, 0.5], "connected": True}),
        (evaluate.fixed_boxes, {"maps": MAPS, "area": 0.25}),
        (evaluate.rank_correlation, {"first": MAPS, "second": MAPS}),
        (evaluate.confidence_change, {"before": torch.rand(3), "after": torch.rand(3)}),
        (evaluate.ucb1, {"arms": 3, "pull": torch.rand(9, 3), "trials": 9}),
        (summary.graph, {"layer": "1", "top": 2}),
        (graph.modularity, {"measure": "louvain", "resolution": 1.0, "seed": 0}),
        (graph.stability, {"method": "louvain", "runs": 2, "seed": 0}),
        (functional.within_community_strength, {"adjacency": ADJACENCY, "membership": MEMBERS}),
        (
            functional.propose,
            {
                "predicted": torch.full((12, 3), 1 / 3),
                "activation_probability": torch.rand(3, 4),
                "activations": X,
                "threshold": 0.5,
            },
        ),
        (force_layout, {"adjacency": ADJACENCY, "iterations": 3, "gravity": 1.0, "seed": 0}),
        (booster.predict, {"images": X}),
        (booster.logits, {"images": X}),
        (confidence.predict, {"images": X}),
        (confidence.scores, {"images": X}),
        (found.boxes, {"min_share": 0.1, "radius": 2.0, "threshold": 0.5}),
        (found.path, {"image": 0, "y": 0, "x": 1}),
        (found.layer, {"name": "1"}),
        (evaluate.soft_map, {"images": torch.rand(3, 3, 8, 8), "maps": MAPS}),
        (statistics.mean_interval, {"values": X[:, 0], "draws": 20, "seed": 0, "left_out": 1}),
        (statistics.paired_bootstrap, {"differences": X.T, "draws": 20, "seed": 0}),
        (statistics.sign_flip, {"differences": X, "flips": 20, "seed": 0}),
        (statistics.crossed_interval, {"values": X, "draws": 20, "seed": 0}),
        (statistics.exact_interval, {"successes": 3, "samples": 9}),
        (statistics.seed_interval, {"values": X[0]}),
        (statistics.wilson, {"share": 0.3, "samples": 9}),
        (statistics.newcombe, {"area": 0.7, "negatives": 9, "positives": 8}),
        (statistics.holm, {"p": [0.1, 0.01]}),
        (statistics.verdict, {"low": 0.1, "high": 0.3, "margin": 0.0}),
        (correlate, {"first": X[:, 0].tolist(), "second": X[:, 1].tolist(), "confidence": 0.9}),
        (receptive_field, {"network": network, "layer": "1"}),
        (fcnn, {"inputs": 4, "hidden": (3,), "classes": 2, "dropout": 0.1}),
        (cnn, {"shape": (3, 16, 16), "hidden": (4,), "classes": 2, "dropout": 0.1}),
        (evaluate.PerImage, {"values": torch.rand(3), "counted": FOUND}),
        (
            cofire.StudyOptions.of,
            {"hidden": (8,), "epochs": 1, "seed": 0, "top": 3, "validation": 0.1},
        ),
    ]


def test_a_spoiled_call_works_or_raises_an_error_of_ours(network):
    given, faults = calls(network), []
    for function, arguments in given:
        function(**arguments)
    with warnings.catch_warnings():
        # torch warns of nested and sparse tensors while they are made.
        warnings.simplefilter("ignore")
        for number in cases(CASES):
            draw = drawn(number)
            function, arguments = draw.choice(given)
            names = draw.sample(list(arguments), min(len(arguments), draw.choice([1, 1, 2])))
            tried = {**arguments, **{name: spoiled(draw, arguments[name]) for name in names}}
            with judged(faults, number, f"{function.__qualname__} of {names}"):
                found = function(**tried)
                if "NaN" not in (function.__doc__ or ""):
                    check_finite(found)
    assert not faults, told(faults, "arguments")


def check_finite(found):
    """Fails if a result holds what is no number."""
    if isinstance(found, torch.Tensor) and found.is_floating_point():
        assert not found.isnan().any(), "a result with NaN"
    elif isinstance(found, float):
        assert found == found, "NaN"
    elif isinstance(found, dict | list | tuple):
        for one in found.values() if isinstance(found, dict) else found:
            check_finite(one)


def public():
    for module in (
        "cofire",
        "cofire.functional",
        "cofire.evaluate",
        "cofire.boost",
        "cofire.graphs",
        "cofire.study",
        "cofire.report",
        "cofire.explain",
    ):
        namespace = importlib.import_module(module)
        for name in namespace.__all__:
            thing = getattr(namespace, name)
            if inspect.isfunction(thing):
                yield f"{module}.{name}", thing
            elif inspect.isclass(thing) and thing.__module__.startswith("cofire."):
                for method, member in vars(thing).items():
                    member = getattr(member, "__func__", member)
                    if inspect.isfunction(member) and not method.startswith("_"):
                        yield f"{module}.{name}.{method}", member


# Classes that users write themselves or that pydantic checks, parts of the report's own pages, and
# what takes nothing that could be wrong.
OTHERWISE = {
    *("Rule", "Step", "StudyOptions", "CofireError", "Method"),
    *("Column", "Results", "Section", "Table", "register_section"),
    *("deletion", "insertion"),  # what they share checks
}


def test_every_public_function_checks_its_arguments_by_their_annotations():
    unchecked = [
        name
        for name, function in public()
        if not hasattr(function, "__declared__")
        and len(inspect.signature(function).parameters) > (1 if name.count(".") > 2 else 0)
        and OTHERWISE.isdisjoint(name.split(".")[-2:])
    ]
    assert not unchecked


def test_the_annotations_of_every_public_function_can_be_read():
    for _, function in public():
        if hasattr(function, "__declared__"):
            function.__declared__()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"dropout": 1.0}, "below 1"),
        ({"hidden": (0,)}, "from 1 to"),
        ({"hidden": (2**20, 2**20)}, "weights.*take fewer hidden units"),
    ],
)
def test_sizes_of_networks_are_checked_before_memory_is_taken(wrong, said):
    with pytest.raises(CofireError, match=said):
        fcnn(**{"inputs": 4, "hidden": (3,), "classes": 3, **wrong})


class Faulty(torch.utils.data.Dataset):
    def __init__(self, fault):
        self.fault = fault

    def __len__(self):
        return 12

    def __getitem__(self, at):
        return self.fault(at)


def _raise(error):
    raise error


@pytest.mark.parametrize(
    "fault",
    [
        lambda at: _raise(OSError("disk gone")),
        lambda at: _raise(StopIteration),
        lambda at: (X[0][: 2 + at % 2], 0),
        lambda at: None,
        lambda at: (X[0], "cat"),
        lambda at: (X[0], 0.5),
        lambda at: (X[0] * torch.nan, 0),
        lambda at: (X[0], 7),
    ],
)
def test_a_fault_of_the_data_set_is_an_error_that_says_where(network, fault):
    with pytest.raises(cofire.errors.DataError, match=r"batch 0|after 0 of 12"):
        cofire.summarize(network, Faulty(fault), progress=False)


def test_an_order_to_exit_passes(network):
    with pytest.raises(SystemExit):
        cofire.summarize(network, Faulty(lambda at: _raise(SystemExit(3))), progress=False)


def test_arrays_with_negative_strides_and_numbers_of_numpy_work(network):
    turned = cofire.summarize(
        network, (X.numpy()[::-1], Y.numpy()[::-1]), bins=torch.tensor(20), progress=False
    )
    assert (
        turned.entropy()
        == cofire.summarize(network, (X.flip(0), Y.flip(0)), bins=20, progress=False).entropy()
    )


@pytest.mark.parametrize("name", ["bell\x07", "caf\udce9", "two\nlines"])
def test_names_that_no_file_can_hold_are_refused_where_they_come_in(network, name, tmp_path):
    class Named(Faulty):
        classes = ["a", "b", name]

    with pytest.raises(cofire.errors.OptionError, match=r"class_names\[2\].*take"):
        cofire.summarize(network, (X, Y), class_names=["a", "b", name], progress=False)
    with pytest.raises(cofire.errors.OptionError, match=r"classes\[2\].*take"):
        cofire.summarize(network, Named(lambda at: (X[at], at % 3)), progress=False)


def test_a_sequence_that_no_checked_copy_can_be_made_of_is_read_as_a_tuple():
    maps = torch.rand(1, 4, 4)
    with pytest.raises(CofireError, match="threshold"):
        evaluate.threshold_boxes(maps, torch.Size([2]))
    found = evaluate.threshold_boxes(maps, torch.Size([1]))
    torch.testing.assert_close(found, evaluate.threshold_boxes(maps, [1.0]), equal_nan=True)
