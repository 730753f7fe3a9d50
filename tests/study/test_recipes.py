"""Recipes: the papers' experiments under a name, with the numbers that the papers print."""

import pytest

from cofire.errors import OptionError
from cofire.study.recipes import PAPERS, recipe, recipe_names, recipes

# Typed from the papers by hand, some of each table: recipe, table, quantity, what else there is to
# say of it, and (checkpoint, layer or class, value) with 0 for the network and for all checkpoints.
SPOTS = [
    ("p1-cifar10-resnet50", "P1 Table 1", "entropy", "pearson", "", [(0, 0, -0.68)]),
    ("p1-cifar10-resnet50", "P1 Table 1", "entropy", "spearman", "", [(0, 0, -0.67)]),
    ("p1-cifar100-inceptionv3", "P1 Table 1", "entropy", "pearson", "", [(0, 0, -0.51)]),
    ("p1-cifar100-inceptionv3", "P1 Table 1", "entropy", "spearman", "", [(0, 0, -0.58)]),
    ("p1-plantvillage-resnet50", "P1 Table 1", "entropy", "pearson", "", [(0, 0, 0.29)]),
    ("p1-plantvillage-resnet50", "P1 Table 1", "entropy", "spearman", "", [(0, 0, -0.22)]),
    ("p1-mnist", "P1 Table 2", "train accuracy", "percent", "", [(1, 0, 95.7), (7, 0, 97.4)]),
    ("p1-mnist", "P1 Table 2", "boosted train accuracy", "percent", "all", [(7, 0, 99.4)]),
    ("p1-mnist", "P1 Table 2", "test accuracy", "percent", "", [(7, 0, 96.5), (20, 0, 96.7)]),
    ("p1-mnist", "P1 Table 2", "boosted test accuracy", "percent", "all", [(18, 0, 98.4)]),
    ("p1-mnist", "P1 Table 2", "train gain", "points", "all", [(0, 0, 2.1)]),
    ("p1-fashion-mnist", "P1 Table 2", "test gain", "points", "all", [(0, 0, 0.4)]),
    ("p1-fashion-mnist", "P1 Table 2", "test accuracy", "percent", "", [(16, 0, 88.4)]),
    ("p1-cifar10-resnet50", "P1 Table 2", "train accuracy", "percent", "", [(7, 0, 81.6)]),
    ("p1-cifar10-resnet50", "P1 Table 2", "boosted test accuracy", "percent", "L2L", [(7, 0, 70.9)]),
    ("p1-cifar10-resnet50", "P1 Table 3", "boosted test accuracy", "percent", "LL", [(15, 0, 69.0)]),
    ("p1-cifar10-resnet50", "P1 Table 4", "test gain", "points", "LL", [(0, 0, 1.1)]),
    ("p1-cifar10-vgg16", "P1 Table 3", "train accuracy", "percent", "", [(1, 0, 44.5), (15, 0, 85.2)]),
    ("p1-cifar10-vgg16", "P1 Table 3", "boosted test accuracy", "percent", "LL", [(20, 0, 71.7)]),
    ("p1-cifar10-fcnn", "P1 Table 3", "boosted train accuracy", "percent", "LL", [(20, 0, 45.0)]),
    ("p1-cifar10-fcnn", "P1 Table 3", "test gain", "points", "LL", [(0, 0, 5.4)]),
    ("p1-cifar100-inceptionv3", "P1 Table 2", "test accuracy", "percent", "", [(1, 0, 67.3)]),
    # The paper's own tables disagree about this checkpoint.
    ("p1-plantvillage-resnet50", "P1 Table 2", "train accuracy", "percent", "", [(8, 0, 68.5)]),
    ("p1-plantvillage-resnet50", "P1 Table 4", "train accuracy", "percent", "", [(8, 0, 98.5)]),
    ("p1-plantvillage-resnet50", "P1 Table 4", "boosted test accuracy", "percent", "L2L", [(8, 0, 96.4)]),
    ("p1-plantvillage-resnet50", "P1 Table 4", "boosted test accuracy", "percent", "LL", [(8, 0, 96.0)]),
    ("p2-mnist", "P2 Table 1", "train accuracy", "percent", "", [(20, 0, 99.56)]),
    ("p2-cifar10", "P2 Table 1", "test accuracy", "percent", "", [(20, 0, 43.43)]),
    ("p2-mnist", "P2 Table 2", "unique neurons", "count", "", [(1, 1, 20), (1, 9, 3), (20, 2, 23)]),
    ("p2-mnist", "P2 Table 2", "shared neurons", "count", "", [(1, 1, 464), (20, 1, 381)]),
    ("p2-mnist-mixed", "P2 Table 4", "kernighan-lin", "spearman", "", [(0, 1, -0.81), (0, 2, -0.84)]),
    ("p2-fashion-mnist", "P2 Table 4", "weighted-overlap", "pearson", "", [(0, 2, 0.78)]),
    ("p2-cifar10", "P2 Table 4", "no-overlap", "pearson", "", [(0, 1, -0.05), (0, 6, -0.49)]),
    ("p2-plantvillage", "P2 Table 4", "unweighted-overlap", "spearman", "", [(0, 7, 0.82)]),
    ("p2-fashion-mnist-mixed", "P2 Table 5, P1 Table 1", "entropy", "pearson", "", [(0, 0, 0.57)]),
    ("p2-plantvillage", "P2 Table 5", "entropy", "spearman", "", [(0, 0, -1)]),
    ("p2-mnist-mixed", "P2 Table 6", "entropy", "spearman", "", [(0, 1, -0.29), (0, 9, 0.62)]),
    ("p2-fashion-mnist", "P2 Table 6", "entropy", "pearson", "", [(0, 1, 0.1), (0, 9, -0.9)]),
    ("p2-cifar10", "P2 Table 6", "entropy", "spearman", "", [(0, 2, 0.66), (0, 10, -0.26)]),
    ("p2-plantvillage", "P2 Table 6", "entropy", "pearson", "", [(0, 9, -0.81)]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "table", "quantity", "statistic", "layers", "spots"), SPOTS)
def test_numbers_are_those_of_the_paper(name, table, quantity, statistic, layers, spots):
    found = {
        (one.checkpoint, one.number): one.value
        for one in recipe(name).printed()
        if (one.table, one.quantity, one.statistic, one.layers)
        == (table, quantity, statistic, layers)
    }
    assert {spot[:2]: found.get(spot[:2]) for spot in spots} == {
        spot[:2]: spot[2] for spot in spots
    }


def test_every_column_of_a_paper_is_whole():
    for one in recipes():
        for numbers in one.numbers:
            lengths = {
                len(values)
                for values in (
                    numbers.pearson,
                    numbers.spearman,
                    numbers.percent,
                    numbers.points,
                    numbers.count,
                )
                if values
            }
            hidden = len(one.options.get("hidden", (512, 512)))
            whole = {"layer": hidden if numbers.pearson else 1, "class": one.classes}
            expected = whole.get(numbers.scope)
            assert lengths <= ({1, 20} if expected is None else {expected}), (one.name, numbers)


@pytest.mark.parametrize("name", [n for n in recipe_names() if n.startswith("p1")])
def test_printed_gains_are_the_means_of_printed_accuracies(name):
    """So that a column of Tables 2 to 4 that was typed wrong would show."""
    columns = {}
    for one in recipe(name).printed():
        columns.setdefault((one.table, one.quantity, one.layers), []).append(one.value)
    for (table, quantity, layers), (gain,) in (
        (key, values) for key, values in columns.items() if key[1].endswith("gain")
    ):
        part = quantity.removesuffix(" gain")
        base = columns.get((table, f"{part} accuracy", ""))
        boosted = columns.get((table, f"boosted {part} accuracy", layers))
        if base and boosted and (name, table) != ("p1-plantvillage-resnet50", "P1 Table 4"):
            mean = sum(b - a for a, b in zip(base, boosted, strict=True)) / len(base)
            assert mean == pytest.approx(gain, abs=0.07), (table, quantity)


def test_every_recipe_says_what_it_is():
    names = recipe_names()
    assert len(set(names)) == len(names)
    assert {
        "p1-cifar10-resnet50",
        "p2-plantvillage",
        "digits",
        "mnist",
        "fashion-mnist-mixed",
    } < set(names)
    for one in recipes():
        assert one.title
        assert one.paper in ("", *PAPERS)
        assert all(table.startswith(("P1 Table", "P2 Table")) for table in one.tables)


def test_a_data_sets_own_recipe_is_the_study_of_today():
    assert recipe("mnist-mixed").options == {"data": "mnist-mixed"}
    assert recipe("mnist").printed() == recipe("p2-mnist").printed()


def test_a_misspelt_name_is_told_the_right_one():
    with pytest.raises(OptionError, match="try 'p1-cifar10-resnet50'"):
        recipe("p1-cifar10-resnet")


def test_a_users_own_file_is_a_recipe(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text('data = "digits"\nepochs = 3\n')
    assert recipe(str(own)).options == {"data": "digits", "epochs": 3}
    own.write_text(
        'title = "Mine"\n[options]\nepochs = 3\n[[numbers]]\ntable = "T"\nquantity = "entropy"\npearson = [0.5]\n'
    )
    found = recipe(str(own))
    assert (found.title, found.tables) == ("Mine", ("T",))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("data = ", "a readable TOML file"),
        ('tilte = "x"\n[options]\n', "write title in its place"),
        ("title = 3\n[options]\n", "title=3"),
        ('title = "x"\nsamples = -1\n[options]\n', "samples=-1"),
        (
            'title = "x"\n[options]\n[[numbers]]\ntable = "T"\nquantity = "entropi"\n',
            "quantity='entropi'",
        ),
        ('title = "x"\nnumbers = [3]\n[options]\n', "numbers"),
        ('title = "x"\noptions = 3\n', "options=3"),
    ],
)
def test_a_wrong_file_is_one_clear_error(text, told, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text(text)
    with pytest.raises(OptionError, match=told) as caught:
        recipe(str(own))
    assert "To fix it:" in str(caught.value)
