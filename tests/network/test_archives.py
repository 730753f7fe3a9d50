"""Exported programs are read without running what their files hold."""

import io
import json
import os
import zipfile

import pytest
import torch
from torch import nn

from cofire.errors import ExportError
from cofire.network import Network
from cofire.network.archives import _check_operator, _check_size, _UnsafeError

from .models import NoGrad, Reused, SqueezeExcite

DYNAMIC = ({0: torch.export.Dim("batch")},)


class Reshaping(nn.Module):
    """Sizes that follow from the batch, and outputs by name."""

    def __init__(self):
        super().__init__()
        self.fc, self.head = nn.Linear(4, 6), nn.Linear(3, 2)
        self.register_buffer("scale", torch.ones(6))

    def forward(self, x):
        halves = torch.relu(self.fc(x) * self.scale).reshape(x.shape[0] * 2, 3)
        return {"logits": self.head(halves)[: x.shape[0]]}


def written(model, example, path):
    torch.export.save(torch.export.export(model.eval(), (example,), dynamic_shapes=DYNAMIC), path)
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    torch.manual_seed(0)
    path = written(Reshaping(), torch.zeros(2, 4), tmp_path_factory.mktemp("programs") / "good.pt2")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize(
    ("model", "shape"),
    [(Reused, (3, 8, 8)), (NoGrad, (4,)), (SqueezeExcite, (3, 6, 6)), (Reshaping, (4,))],
)
def test_programs_that_torch_writes_are_read(tmp_path, model, shape):
    torch.manual_seed(0)
    made, inputs = model().eval(), torch.randn(3, *shape)
    network = Network.load(written(made, torch.zeros(2, *shape), tmp_path / "a.pt2"))
    expected = made(inputs)
    torch.testing.assert_close(
        network.run(inputs), (expected["logits"] if isinstance(expected, dict) else expected)
    )


class Mark:
    """What a pickle can do: here it only makes an empty folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def pickled(mark):
    held = io.BytesIO()
    torch.save((Mark(mark),), held)
    return held.getvalue()


def named(entries, ending):
    (name,) = [name for name in entries if name.endswith(ending)]
    return name


def with_model(change):
    def changed(entries, mark):
        described = json.loads(entries[named(entries, "models/model.json")])
        change(described, mark)
        return {**entries, named(entries, "models/model.json"): json.dumps(described).encode()}

    return changed


def every(part, key):
    """All dictionaries below that have a key."""
    if isinstance(part, dict):
        yield from ([part] if key in part else [])
        part = list(part.values())
    if isinstance(part, list):
        for value in part:
            yield from every(value, key)


def code(mark):
    return f"__import__('os').mkdir({str(mark)!r})"


def expression(described, mark):
    for part in every(described, "expr_str"):
        part["expr_str"] = f"{code(mark)} or 5"


def placeholder(described, mark):
    old = described["graph_module"]["signature"]["input_specs"][-1]["user_input"]["arg"][
        "as_tensor"
    ]["name"]
    text = json.dumps(described).replace(json.dumps(old), json.dumps(f"{old}={code(mark)}"))
    described.clear()
    described.update(json.loads(text))


def operator(name):
    def change(described, mark):
        described["graph_module"]["graph"]["nodes"][0]["target"] = name

    return change


def tree(**given):
    def change(described, mark):
        signature = described["graph_module"]["module_call_graph"][0]["signature"]
        protocol, spec = json.loads(signature["out_spec"])
        signature["out_spec"] = json.dumps([protocol, {**spec, **given}])

    return change


def argument_name(described, mark):
    described["graph_module"]["module_call_graph"][0]["signature"]["forward_arg_names"] = [
        f"x={code(mark)}"
    ]


def nested(described, mark):
    deep = []
    for _ in range(300):
        deep = [deep]
    described["graph_module"]["graph"]["outputs"] = deep


def payload(**given):
    def changed(entries, mark):
        name = named(entries, "model_weights_config.json")
        config = json.loads(entries[name])
        next(iter(config["config"].values())).update(given)
        return {
            **entries,
            name: json.dumps(config).encode(),
            "good/data/weights/weight_0": pickled(mark),
        }

    return changed


ENUM = json.dumps([{"__enum__": True, "fqn": "this:c", "name": "a"}])
SAMPLES = "good/data/sample_inputs/model.pt"
SAFE_TO_FILE = {
    "a pickle among the sample inputs": lambda entries, mark: {**entries, SAMPLES: pickled(mark)},
    "a pickle of weights as once written": lambda entries, mark: {
        **entries,
        "good/data/weights/model.pt": pickled(mark),
    },
    "a weight that is pickled": payload(use_pickle=True),
    "a custom object": payload(path_name="custom_obj_0"),
    "an opaque object": payload(path_name="opaque_obj_0"),
    "an expression": with_model(expression),
    "a name that ends the source code": with_model(placeholder),
    "an argument that ends the source code": with_model(argument_name),
    "a function of the system": with_model(operator("torch.os.system")),
    "a library": with_model(operator("torch.ops.load_library")),
    "an operator that is not PyTorch's": with_model(operator("torch.ops.image.write_file.default")),
    "an operator that opens files": with_model(operator("torch.ops.aten.from_file.default")),
    "an extension": with_model(operator("#other:name")),
    "a getter": with_model(operator("_operator.methodcaller")),
    "a module to import": with_model(tree(context=ENUM)),
    "a container of others": with_model(tree(type="argparse.Namespace")),
    "a description nested too deep": with_model(nested),
    "a compiled library": lambda entries, mark: {
        **entries,
        "good/data/aotinductor/model/a.so": b"\x7fELF",
    },
    "another program": lambda entries, mark: {
        **entries,
        "good/models/other.json": entries[named(entries, "models/model.json")],
    },
    "two entries of one name": lambda entries, mark: {**entries, "good/MODELS/MODEL.json": b"{}"},
    "a second folder": lambda entries, mark: {**entries, "version": b"1.0"},
}


@pytest.mark.parametrize("attack", SAFE_TO_FILE)
def test_what_could_run_code_is_refused_and_not_run(tmp_path, good, attack):
    mark = tmp_path / "mark"
    with zipfile.ZipFile(tmp_path / "bad.pt2", "w") as archive:
        for name, content in SAFE_TO_FILE[attack](good, mark).items():
            archive.writestr(name, content)
    with pytest.raises(ExportError, match=r"bad\.pt2' holds .* not loaded.*if you trust the file"):
        Network.load(tmp_path / "bad.pt2")
    assert not mark.exists()


def test_a_small_file_does_not_become_a_large_one(tmp_path, good):
    with zipfile.ZipFile(tmp_path / "bomb.pt2", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**good, "good/data/weights/weight_0": bytes(10**7)}.items():
            archive.writestr(name, content)
    with pytest.raises(ExportError, match="compressed entries"):
        Network.load(tmp_path / "bomb.pt2")
    name = named(good, "model_weights_config.json")
    config = json.loads(good[name])
    first = next(iter(config["config"].values()))
    first["tensor_meta"]["sizes"] = [{"as_int": 2**20}, {"as_int": 2**20}]
    emptied = {
        **good,
        name: json.dumps(config).encode(),
        f"good/data/weights/{first['path_name']}": b"",
    }
    with zipfile.ZipFile(tmp_path / "bomb.pt2", "w") as archive:
        for name, content in emptied.items():
            archive.writestr(name, content)
    with pytest.raises(ExportError, match="larger than its bytes"):
        Network.load(tmp_path / "bomb.pt2")


def test_damaged_programs_are_named(tmp_path, good):
    with zipfile.ZipFile(tmp_path / "a.pt2", "w") as archive:
        for name, content in good.items():
            archive.writestr(name, content)
    whole = (tmp_path / "a.pt2").read_bytes()
    for content in (b"", b"PK", whole[:-30], whole[: len(whole) // 2], b"\x80\x04."):
        (tmp_path / "cut.pt2").write_bytes(content)
        with pytest.raises(ExportError, match=r"cut\.pt2"):
            Network.load(tmp_path / "cut.pt2")


def test_a_trusted_program_can_be_loaded_as_the_message_says(tmp_path):
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    path = written(model, torch.zeros(2, 4), tmp_path / "a.pt2")
    network = Network(torch.export.load(path).module(), torch.zeros(2, 4))
    torch.testing.assert_close(network.run(torch.ones(3, 4)), model(torch.ones(3, 4)))


@pytest.mark.parametrize(
    "text",
    [
        "Symbol('s77', positive=True, integer=True)",
        "Mul(Integer(2), Symbol('s77', positive=True, integer=True))",
        "Add(FloorDiv(Symbol('s0', integer=True), Integer(2)), Integer(-1))",
        "Pow(Symbol('s0'), Integer(-1))",
        "2*s0 + 1",
        "s0//2",
        "Eq(s0, 1)",
        "LessThan(Integer(2), Symbol('u0', integer=True))",
        "Max(Integer(1), Symbol('s0'))",
        "true",
        "IntTrueDiv(Symbol('s0'), Float('2.0', precision=53))",
    ],
)
def test_sizes_are_arithmetic_on_symbols(text):
    _check_size(text)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "Symbol('s0').func",
        "Symbol(__import__('os'))",
        "Integer(9)**Integer(9)**Integer(9)",
        "9**9**9",
        "Pow(Integer(9), Pow(Integer(9), Integer(9)))",
        "Pow(Pow(Pow(Pow(Integer(9), 8), 8), 8), 8)",
        "factorial(Integer(10000000))",
        "Symbol('s0; import os')",
        "eval('1')",
        "lambda: 1",
        "[x for x in (1,)]",
        "f'{1}'",
        "os",
        "Add(*s0)",
        "Add(**s0)",
        "Float('1' * 9)",
        "Integer('1')",
        "(" * 500 + ")" * 500,
        "1" + "+1" * 6000,
        "",
        5,
    ],
)
def test_sizes_are_nothing_else(text):
    with pytest.raises(_UnsafeError):
        _check_size(text)


def test_no_operator_that_is_taken_opens_a_file():
    opening = {
        schema.name.split("::")[1]
        for schema in torch._C._jit_get_all_schemas()
        if schema.name.startswith(("aten::", "prims::"))
        and any(
            str(a.type) == "str" and ("file" in a.name or "path" in a.name)
            for a in schema.arguments
        )
    }
    assert opening
    for name in opening:
        with pytest.raises(_UnsafeError):
            _check_operator(f"torch.ops.aten.{name}.default")
    _check_operator("torch.ops.aten.__and__.Tensor")
