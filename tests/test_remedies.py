"""What an error says to do works: each of these provokes a message, does what it says, and is not refused again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import cofire
from cofire import errors, evaluate, functional
from cofire.boost import compare
from cofire.network import Network

Act = Callable[[], Any]
CASES: list[tuple[str, type[errors.CofireError], str, Callable[[Any, Path], tuple[Act, Act]]]] = []


def remedy(error: type[errors.CofireError], says: str):
    """A case: gives what provokes the error, and what its remedy (which says so) makes of it."""

    def add(case):
        CASES.append((case.__name__, error, says, case))
        return case

    return add


def images(count=4, side=12):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def cnn(outputs=3):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, outputs),
    ).eval()


def network():
    return Network(cnn(), images()[:1])


# Labels and batches


@remedy(errors.LabelError, "labels.long()")
def floating_labels(tiny, _):
    whole = tiny.labels.float()
    return (
        lambda: cofire.summarize(tiny.network, (tiny.inputs, whole)),
        lambda: cofire.summarize(tiny.network, (tiny.inputs, whole.long())),
    )


@remedy(errors.LabelError, "labels.argmax(dim=1)")
def soft_labels(tiny, _):
    soft = torch.nn.functional.one_hot(tiny.labels, 3) * 0.9 + 0.1 / 3
    return (
        lambda: cofire.summarize(tiny.network, (tiny.inputs, soft)),
        lambda: cofire.summarize(tiny.network, (tiny.inputs, soft.argmax(dim=1))),
    )


@remedy(errors.LabelError, "labels.argmax(dim=1)")
def one_hot_labels(tiny, _):
    rows = torch.nn.functional.one_hot(tiny.labels, 3)
    return (
        lambda: cofire.summarize(tiny.network, (tiny.inputs, rows)),
        lambda: cofire.summarize(tiny.network, (tiny.inputs, rows.argmax(dim=1))),
    )


@remedy(errors.LabelError, "labels.squeeze(1)")
def labels_with_a_second_axis(tiny, _):
    column = tiny.labels[:, None]
    return (
        lambda: cofire.summarize(tiny.network, (tiny.inputs, column)),
        lambda: cofire.summarize(tiny.network, (tiny.inputs, column.squeeze(1))),
    )


@remedy(errors.LabelError, "number the classes from 0")
def labels_from_one(tiny, _):
    from_one = tiny.labels + 1
    return (
        lambda: cofire.summarize(tiny.network, (tiny.inputs, from_one)),
        lambda: cofire.summarize(tiny.network, (tiny.inputs, from_one - 1)),
    )


@remedy(errors.LabelError, "set min_class_samples=1")
def a_class_with_one_sample(tiny, _):
    few = (tiny.inputs[:5], torch.tensor([0, 0, 1, 1, 2]))
    return (
        lambda: cofire.summarize(tiny.network, few, by_class=True),
        lambda: cofire.summarize(tiny.network, few, by_class=True, min_class_samples=1),
    )


@remedy(errors.DataError, "a list of batches")
def a_generator(tiny, _):
    batches = [(tiny.inputs, tiny.labels)]
    return (
        lambda: cofire.summarize(tiny.network, (batch for batch in batches)),
        lambda: cofire.summarize(tiny.network, batches),
    )


@remedy(errors.DataError, "pass inputs together with their labels")
def inputs_alone(tiny, _):
    return lambda: cofire.summarize(tiny.network, 3), lambda: cofire.summarize(
        tiny.network, tiny.data
    )


@remedy(errors.BatchError, ".float() / 255")
def bytes_for_floats(_, __):
    raw = (images() * 255).byte()
    labels = torch.arange(4) % 3
    return (
        lambda: cofire.summarize(network(), (raw, labels)),
        lambda: cofire.summarize(network(), (raw.float() / 255, labels)),
    )


@remedy(errors.BatchError, "resize the inputs")
def inputs_of_another_size(_, __):
    labels = torch.arange(4) % 3
    return (
        lambda: cofire.summarize(network(), (images(side=9), labels)),
        lambda: cofire.summarize(
            network(), (nn.functional.interpolate(images(side=9), size=(12, 12)), labels)
        ),
    )


@remedy(errors.BatchError, "transforms.ToTensor()")
def a_data_set_of_images(_, tmp_path):
    from PIL import Image
    from torchvision import datasets, transforms

    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.new("RGB", (12, 12), (90 * number, 20, 10)).save(
                tmp_path / name / f"{number}.png"
            )
    return (
        lambda: cofire.summarize(network(), datasets.ImageFolder(str(tmp_path))),
        lambda: cofire.summarize(
            network(), datasets.ImageFolder(str(tmp_path), transforms.ToTensor())
        ),
    )


# Summaries and graphs


@remedy(errors.OptionError, "'own'")
def an_unknown_range(tiny, _):
    return (
        lambda: cofire.summarize(tiny.network, tiny.data, range="mine"),
        lambda: cofire.summarize(tiny.network, tiny.data, range="own"),
    )


@remedy(errors.OptionError, "pass 'statistics'")
def an_unknown_by_class(tiny, _):
    return (
        lambda: cofire.summarize(tiny.network, tiny.data, by_class="yes"),
        lambda: cofire.summarize(tiny.network, tiny.data, by_class="statistics"),
    )


@remedy(errors.OptionError, "pass pairs='class'")
def graph_options_without_pairs(tiny, _):
    return (
        lambda: cofire.summarize(tiny.network, tiny.data, by_class=True, null_graphs=10),
        lambda: cofire.summarize(
            tiny.network, tiny.data, by_class=True, pairs="class", top=3, null_graphs=10
        ),
    )


@remedy(errors.OptionError, "pass by_class=True")
def pairs_without_classes(tiny, _):
    return (
        lambda: cofire.summarize(tiny.network, tiny.data, pairs="class", top=3),
        lambda: cofire.summarize(tiny.network, tiny.data, pairs="class", top=3, by_class=True),
    )


@remedy(errors.OptionError, "pass null_graphs=10")
def one_null_graph(tiny, _):
    return (
        lambda: cofire.summarize(
            tiny.network, tiny.data, by_class=True, pairs="class", top=3, null_graphs=1
        ),
        lambda: cofire.summarize(
            tiny.network, tiny.data, by_class=True, pairs="class", top=3, null_graphs=10
        ),
    )


@remedy(errors.BudgetError, "raise max_bytes")
def a_state_above_the_cap(tiny, _):
    return (
        lambda: cofire.summarize(tiny.network, tiny.data, max_bytes=100),
        lambda: cofire.summarize(tiny.network, tiny.data, max_bytes=10**9),
    )


@remedy(errors.DataError, "summarize with by_class=")
def a_summary_without_classes(tiny, _):
    return (
        lambda: cofire.summarize(tiny.network, tiny.data).layers[0].selectivity(),
        lambda: cofire.summarize(tiny.network, tiny.data, by_class=True).layers[0].selectivity(),
    )


@remedy(errors.DataError, "summarize with by_class=True, pairs='class'")
def a_summary_without_pairs(tiny, _):
    return (
        lambda: cofire.summarize(tiny.network, tiny.data, by_class=True).graph("1"),
        lambda: cofire.summarize(
            tiny.network, tiny.data, by_class=True, pairs="class", top=3
        ).graph("1"),
    )


@remedy(errors.LayerError, "try '1'")
def a_layer_that_is_not_there(tiny, _):
    summary = cofire.summarize(tiny.network, tiny.data)
    return lambda: summary["11"], lambda: summary["1"]


@remedy(errors.LayerError, "near it are")
def a_selector_of_nothing(tiny, _):
    def refused():
        tiny.network.select("layer9")

    with pytest.raises(errors.LayerError) as caught:
        refused()
    named = caught.value.remedy.split("'")[1]
    return refused, lambda: tiny.network.select(named)


def graph_of(tiny, **options):
    return cofire.summarize(
        tiny.network, tiny.data, by_class=True, pairs="class", top=3, **options
    ).graph("1")


@remedy(errors.DataError, "null_graphs=10")
def significance_without_null_graphs(tiny, _):
    return (
        lambda: graph_of(tiny).significance("weighted-overlap", null="labels"),
        lambda: graph_of(tiny, null_graphs=10).significance("weighted-overlap", null="labels"),
    )


@remedy(errors.OptionError, "pass 'louvain'")
def communities_of_a_misspelt_method(tiny, _):
    return lambda: graph_of(tiny).communities("luvain"), lambda: graph_of(tiny).communities(
        "louvain"
    )


@remedy(errors.OptionError, "leave resolution out")
def a_resolution_where_there_is_none(tiny, _):
    return (
        lambda: graph_of(tiny).communities("kernighan-lin", resolution=2.0),
        lambda: graph_of(tiny).communities("kernighan-lin"),
    )


# Pure functions


@remedy(errors.DataError, "(adjacency + adjacency.T) / 2")
def a_graph_with_directions(_, __):
    weights = torch.tensor([[0.0, 1.0], [0.5, 0.0]])
    parts = torch.tensor([0, 0])
    return (
        lambda: functional.modularity(weights, parts),
        lambda: functional.modularity((weights + weights.T) / 2, parts),
    )


@remedy(errors.DataError, "torch.nonzero(mask).flatten()")
def communities_as_masks(_, __):
    weights = torch.ones(3, 3) - torch.eye(3)
    masks = [torch.tensor([True, True, False]), torch.tensor([False, True, True])]
    return (
        lambda: functional.overlapping_modularity(weights, masks),
        lambda: functional.overlapping_modularity(
            weights, [torch.nonzero(mask).flatten() for mask in masks]
        ),
    )


@remedy(errors.DataError, "logits.softmax(dim=1)")
def logits_for_probabilities(_, __):
    logits, shares = torch.randn(4, 3), torch.rand(3, 5)
    fires = torch.rand(4, 5)
    return (
        lambda: functional.propose(logits, shares, fires),
        lambda: functional.propose(logits.softmax(dim=1), shares, fires),
    )


@remedy(errors.DataError, "flatten feature maps to one column per neuron")
def activations_that_are_no_matrix(_, __):
    maps = torch.rand(6, 2, 3)
    return lambda: functional.activation_entropy(maps), lambda: functional.activation_entropy(
        maps.flatten(1)
    )


@remedy(errors.DataError, "pass activations.real")
def complex_activations(_, __):
    values = torch.complex(torch.rand(6, 2), torch.rand(6, 2))
    return lambda: functional.activation_entropy(values), lambda: functional.activation_entropy(
        values.real
    )


@remedy(errors.OptionError, "choose fewer representative neurons")
def more_representatives_than_neurons(_, __):
    means = torch.rand(3, 5)
    return (
        lambda: functional.representative_neurons(means, top=9),
        lambda: functional.representative_neurons(means, top=5),
    )


# Networks and weights


@remedy(errors.OptionError, "torch.cat([-z, z], dim=1) / 2")
def sigmoids_of_classes(_, __):
    sigmoids = nn.Sequential(cnn(outputs=3), nn.Sigmoid()).eval()

    class Against(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = sigmoids

        def forward(self, x):
            z = torch.logit(self.inner(x))[:, 1:2]
            return torch.cat([-z, z], dim=1) / 2

    return (
        lambda: cofire.explain(Network(sigmoids, images()[:1]), images()),
        lambda: cofire.explain(Network(Against().eval(), images()[:1]), images()),
    )


@remedy(errors.LabelError, "torch.cat([-z, z], dim=1) / 2")
def one_logit_and_one_class(_, __):
    class Two(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            z = self.inner(x)
            return torch.cat([-z, z], dim=1) / 2

    one = cnn(outputs=1)
    data = images(), torch.zeros(len(images()), dtype=torch.int64)
    return (
        lambda: cofire.summarize(Network(one, images()[:1]), data),
        lambda: cofire.summarize(Network(Two(one).eval(), images()[:1]), data),
    )


@remedy(errors.ExportError, "torch.logit of the output")
def a_single_output_made_of_a_probability(_, __):
    class Other(nn.Module):
        def __init__(self, logit):
            super().__init__()
            self.inner, self.logit = cnn(outputs=1), logit

        def forward(self, x):
            share = 1 - self.inner(x).sigmoid()
            return torch.logit(share) if self.logit else share

    return (
        lambda: Network(Other(False).eval(), images()[:1]),
        lambda: Network(Other(True).eval(), images()[:1]),
    )


@remedy(errors.ExportError, 'capture="calls"')
def a_model_that_does_not_export(_, __):
    class Loops(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = cnn()

        def forward(self, x):
            if float(x.detach().sum()) > 1e9:
                x = x * 0
            return self.inner(x)

    return lambda: Network(Loops().eval(), images()[:1]), lambda: Network(
        Loops().eval(), images()[:1], capture="calls"
    )


@remedy(errors.ExportError, "with the batch axis in front")
def an_example_without_a_batch_axis(_, __):
    return lambda: Network(cnn(), images()[0]), lambda: Network(cnn(), images()[0][None])


@remedy(errors.ExportError, "returns the logits alone")
def outputs_of_two_kinds(_, __):
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = cnn()

        def forward(self, x):
            z = self.inner(x)
            return {"a": z, "b": 2 * z}

    class Alone(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Pair()

        def forward(self, x):
            return self.inner(x)["a"]

    return lambda: Network(Pair().eval(), images()[:1]), lambda: Network(
        Alone().eval(), images()[:1]
    )


@remedy(errors.WeightsError, "torch.save(model.state_dict(), path)")
def a_file_without_tensors(tiny, tmp_path):
    path = tmp_path / "weights.pt"

    def broken():
        torch.save([1, 2], path)
        tiny.network.with_weights(path)

    def mended():
        torch.save(tiny.model.state_dict(), path)
        tiny.network.with_weights(path)

    return broken, mended


@remedy(errors.WeightsError, "check the path; near it are")
def a_misspelt_file(tiny, tmp_path):
    torch.save(tiny.model.state_dict(), tmp_path / "epoch10.pt")
    return (
        lambda: tiny.network.with_weights(tmp_path / "epoch01.pt"),
        lambda: tiny.network.with_weights(tmp_path / "epoch10.pt"),
    )


# Boosters


@remedy(errors.OptionError, "call booster.fit(train_loader) first")
def a_booster_that_is_not_fitted(tiny, _):
    def broken():
        cofire.Booster(tiny.network)(tiny.inputs)

    return broken, lambda: cofire.Booster(tiny.network).fit(tiny.data)(tiny.inputs)


@remedy(errors.OptionError, "pass unit='channel-mean'")
def a_booster_of_positions(_, __):
    return (
        lambda: cofire.Booster(network(), unit="channel"),
        lambda: cofire.Booster(network(), unit="channel-mean"),
    )


@remedy(errors.DataError, "torch.utils.data.random_split")
def judged_data_among_the_training_data(tiny, _):
    whole = torch.utils.data.TensorDataset(*tiny.data)
    parts = torch.utils.data.random_split(whole, [50, 20, 20], torch.Generator().manual_seed(0))
    return (
        lambda: compare(tiny.network, whole, None, parts[2], methods=("readout",), draws=20),
        lambda: compare(tiny.network, *parts, methods=("readout",), draws=20),
    )


@remedy(errors.OptionError, "boosted.pt2")
def a_booster_exported_to_another_ending(tiny, tmp_path):
    booster = cofire.Booster(tiny.network).fit(tiny.data)
    return lambda: booster.export(tmp_path / "boosted.onnx"), lambda: booster.export(
        tmp_path / "boosted.pt2"
    )


# Explanations and what judges them


@remedy(errors.OptionError, "pass 'gradcam'")
def a_misspelt_method(_, __):
    return (
        lambda: cofire.explain(network(), images(), method="grad-cam"),
        lambda: cofire.explain(network(), images(), method="gradcam"),
    )


@remedy(errors.LabelError, "pass one of these")
def a_target_that_is_no_class(_, __):
    return lambda: cofire.explain(network(), images(), target=7), lambda: cofire.explain(
        network(), images(), target=2
    )


@remedy(errors.ExplanationError, "method='discernible'")
def the_points_of_a_map(_, __):
    return (
        lambda: cofire.explain(network(), images(), method="gradcam").points(0),
        lambda: cofire.explain(network(), images(), method="discernible").points(0),
    )


@remedy(errors.OptionError, "leave it out")
def an_option_of_another_method(_, __):
    return (
        lambda: cofire.explain(network(), images(), method="gradcam", k=3),
        lambda: cofire.explain(network(), images(), method="gradcam"),
    )


@remedy(errors.DataError, "logits.softmax(1)")
def a_predictor_of_logits(_, __):
    maps, classes = torch.rand(4, 12, 12), torch.zeros(4, dtype=torch.int64)
    model = cnn()
    return (
        lambda: evaluate.deletion(model, images(), maps, classes, steps=4),
        lambda: evaluate.deletion(lambda x: model(x).softmax(1), images(), maps, classes, steps=4),
    )


@remedy(errors.DataError, "pass a tensor or array")
def an_image_without_boxes(_, __):
    maps = torch.rand(2, 12, 12)
    box = torch.tensor([[1.0, 2.0, 8.0, 9.0]])
    return (
        lambda: evaluate.pointing_hits(maps, [box, None]),
        lambda: evaluate.pointing_hits(maps, [box, torch.zeros(0, 4)]),
    )


@remedy(errors.DataError, "pass maps.float()")
def maps_of_bytes(_, __):
    maps = torch.ones(2, 12, 12, dtype=torch.uint8)
    box = [torch.tensor([[1.0, 2.0, 8.0, 9.0]])] * 2
    return lambda: evaluate.pointing_hits(maps, box), lambda: evaluate.pointing_hits(
        maps.float(), box
    )


@remedy(errors.DataError, "maps.clamp(min=0)")
def maps_below_zero(_, __):
    maps = torch.randn(2, 12, 12)
    return (
        lambda: evaluate.threshold_boxes(maps, [0.5]),
        lambda: evaluate.threshold_boxes(maps.clamp(min=0), [0.5]),
    )


# Studies


@remedy(errors.OptionError, "sorted(Path(folder).glob('*.safetensors'))")
def checkpoints_as_a_folder(tiny, tmp_path):
    for number in range(2):
        cofire.save_weights(tiny.model.state_dict(), tmp_path / f"{number}.safetensors")
    return (
        lambda: cofire.follow(tiny.network, str(tmp_path), tiny.data),
        lambda: cofire.follow(tiny.network, sorted(tmp_path.glob("*.safetensors")), tiny.data),
    )


@remedy(errors.OptionError, "pass test as well")
def boosting_without_test_data(tiny, _):
    states = [tiny.model.state_dict()]
    fresh = (tiny.inputs + 0.01, tiny.labels)
    return (
        lambda: cofire.follow(tiny.network, states, tiny.data, boost="readout"),
        lambda: cofire.follow(tiny.network, states, tiny.data, fresh, boost="readout"),
    )


@remedy(errors.OptionError, "leave boost_layers out")
def options_of_boosting_without_it(tiny, _):
    states = [tiny.model.state_dict()]
    return (
        lambda: cofire.follow(tiny.network, states, tiny.data, boost_layers="LL"),
        lambda: cofire.follow(tiny.network, states, tiny.data),
    )


# Tensors and arrays


@remedy(errors.DataError, "torch.nested.to_padded_tensor")
def a_nested_tensor(_, __):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a prototype, it says
        rows = torch.nested.nested_tensor([torch.rand(3), torch.rand(2)])
    return (
        lambda: functional.activation_entropy(rows),
        lambda: functional.activation_entropy(torch.nested.to_padded_tensor(rows, 0.0)),
    )


@remedy(errors.DataError, "such as 'cpu'")
def a_tensor_without_values(_, __):
    rows = torch.rand(4, 2, device="meta")
    return (
        lambda: functional.activation_entropy(rows),
        lambda: functional.activation_entropy(torch.zeros_like(rows, device="cpu")),
    )


@remedy(errors.DataError, "torch.stack(values)")
def a_list_of_tensors(_, __):
    rows = [torch.rand(3), torch.rand(3)]
    return lambda: functional.activation_entropy(rows), lambda: functional.activation_entropy(
        torch.stack(rows)
    )


@remedy(errors.DataError, ".filled(0)")
def an_array_with_gaps(_, __):
    import numpy as np

    rows = np.ma.masked_array([[1.0, 2.0], [3.0, 4.0]], mask=[[0, 1], [0, 0]])
    return lambda: functional.activation_entropy(rows), lambda: functional.activation_entropy(
        rows.filled(0)
    )


@remedy(errors.DataError, "scale them down")
def numbers_that_no_float_or_int64_holds(_, __):
    import numpy as np

    rows = np.array([[2**63, 1], [2, 3]], dtype=np.uint64)
    return lambda: functional.activation_entropy(rows), lambda: functional.activation_entropy(
        rows / 2**32
    )


@remedy(errors.DataError, "number the classes that occur from 0")
def a_class_that_does_not_occur(_, __):
    rows, labels = torch.rand(4, 2), torch.tensor([0, 2, 0, 2])
    return (
        lambda: functional.activation_probability(rows, labels, 3),
        lambda: functional.activation_probability(rows, labels // 2, 2),
    )


@remedy(errors.DataError, "what representative_neurons gives")
def representatives_that_are_a_row(_, __):
    means = torch.rand(3, 8)
    return (
        lambda: functional.unique_neuron_matrix(torch.tensor([0, 1, 2])),
        lambda: functional.unique_neuron_matrix(functional.representative_neurons(means, top=2)),
    )


@remedy(errors.DataError, "drop the second of the two")
def a_representative_that_stands_twice(_, __):
    return (
        lambda: functional.unique_neuron_matrix(torch.tensor([[0, 0], [1, 2]])),
        lambda: functional.unique_neuron_matrix(torch.tensor([[0], [1]])),
    )


# Networks of other kinds, and options of commands


@remedy(errors.RuleError, "wrap the model so that it takes images alone")
def explaining_a_network_of_two_inputs(_, __):
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = cnn()

        def forward(self, x, y):
            return self.inner(x + y)

    class One(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Both()

        def forward(self, x):
            return self.inner(x, x)

    from cofire.explain.tracing.plan import plan_of

    one = images()[:1]
    return (
        lambda: plan_of(Network(Both().eval(), (one, one))),
        lambda: cofire.explain(Network(One().eval(), one), images()),
    )


@remedy(errors.OptionError, "register_rule(")
def a_rule_for_nothing(_, __):
    return lambda: cofire.register_rule(), lambda: cofire.register_rule("an_operator_of_nobody")


@remedy(errors.OptionError, "controls and ablations are always fitted")
def boosting_by_a_control(tiny, _):
    states = [tiny.model.state_dict()]
    fresh = (tiny.inputs + 0.01, tiny.labels)
    return (
        lambda: cofire.follow(tiny.network, states, tiny.data, fresh, boost="last-layer"),
        lambda: cofire.follow(tiny.network, states, tiny.data, fresh, boost="readout"),
    )


@remedy(errors.MergeError, "under one set of options")
def trajectories_of_other_bins(tiny, _):
    def followed(first, bins):
        return cofire.follow(
            tiny.network, [tiny.model.state_dict()], tiny.data, epochs=[first], bins=bins
        )

    one = followed(1, 10)
    return (
        lambda: cofire.Trajectory.concat([one, followed(1, 20)]),
        lambda: cofire.Trajectory.concat([one]),
    )


@remedy(errors.ExportError, 'torch.export.Dim("batch")')
def a_program_of_one_batch_size(_, tmp_path):
    def read(**options):
        path = tmp_path / "program.pt2"
        torch.export.save(torch.export.export(cnn(), (images()[:2],), **options), path)
        return Network.load(path)

    return read, lambda: read(dynamic_shapes=({0: torch.export.Dim("batch")},))


@remedy(errors.DataError, "pass at least one")
def no_differences(_, __):
    from cofire.statistics import paired_bootstrap

    return lambda: paired_bootstrap(torch.zeros(2, 0)), lambda: paired_bootstrap(torch.zeros(2, 1))


def on_the_command_line(*words):
    """What a command does, in this process."""
    from typer.testing import CliRunner

    from cofire.cli.main import app

    def run():
        found = CliRunner().invoke(app, [str(word) for word in words])
        if found.exception is not None:
            raise found.exception

    return run


@remedy(errors.ResultError, "--pairs class")
def a_graph_of_a_summary_without_graphs(tiny, tmp_path):
    for name, options in (("plain", {"pairs": None}), ("graphs", {"pairs": "class", "top": 3})):
        cofire.follow(tiny.network, [tiny.model.state_dict()], tiny.data, **options).save(
            tmp_path / name
        )
    return on_the_command_line("graph", tmp_path / "plain"), on_the_command_line(
        "graph", tmp_path / "graphs"
    )


@remedy(errors.OptionError, "one of these endings")
def a_graph_in_a_format_of_nobody(tiny, tmp_path):
    cofire.follow(tiny.network, [tiny.model.state_dict()], tiny.data, pairs="class", top=3).save(
        tmp_path
    )
    words = ("graph", tmp_path, "--out")
    return on_the_command_line(*words, tmp_path / "a.txt"), on_the_command_line(
        *words, tmp_path / "a.gexf"
    )


@pytest.mark.parametrize(
    ("error", "says", "case"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_the_remedy_works(error, says, case, tiny, tmp_path):
    broken, mended = case(tiny, tmp_path)
    with pytest.raises(error) as caught:
        broken()
    assert says in caught.value.remedy
    mended()
