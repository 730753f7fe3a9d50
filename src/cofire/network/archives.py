"""Exported programs in `.pt2` files, read without running what a file holds.

`torch.export.load` falls back to full unpickling, evaluates the text of symbolic sizes, writes
names into source code that it runs, imports modules that a file names, and loads compiled
libraries. So an archive is looked through first, by the reader that torch itself uses, and refused
if it holds anything but plain tensors, PyTorch's own operators, names, and arithmetic on sizes.
"""

from __future__ import annotations

import ast
import io
import json
import math
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch.export import ExportedProgram

from cofire.errors import ExportError

_MODEL = "models/model.json"
_SAMPLES = "data/sample_inputs/model.pt"
_CONFIGS = {
    "data/weights/": "data/weights/model_weights_config.json",
    "data/constants/": "data/constants/model_constants_config.json",
}
# Versions before the two configurations kept all tensors of a kind in one file of torch.save.
_PICKLES = (_SAMPLES, "data/weights/model.pt", "data/constants/model.pt")
_RECORD = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/\w+|\.format_version|\.storage_alignment"
    r"|models/model\.json|extra/.+|data/sample_inputs/model\.pt"
    r"|data/(weights|constants)/(model\.pt|model_\w+_config\.json|(weight|tensor)_\d+)"
)
_MOST_RECORDS = 200_000
_SMALL = (
    1 << 20
)  # elements: a tensor without bytes of its own, or one that repeats them, may be as large

_NAME = re.compile(
    r"[\w.\- /]*"
)  # nothing that could end a name in the source code that torch generates
_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims|torchvision|quantized_decomposed)\.(__i?(?:and|or|xor|lshift|rshift)__|(?!\w*__)\w+)"
    r"(\.(?!\w*__)\w+)?"
)
_NESTED = re.compile(
    r"torch\.ops\.higher_order\.(wrap_with_set_grad_enabled|wrap_with_autocast|cond|while_loop)"
)
_ON_SIZES = re.compile(
    r"_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|not_|xor|invert)"
    r"|math\.(ceil|floor|trunc|sqrt)|torch\.(sym_[a-z]+|_sym_[a-z]+)"
)
_ON_FILES = frozenset({"from_file", "save", "load"})
_TREES = {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}
_FREE = frozenset({"metadata", "guards_code", "as_string", "as_strings", "torch_version"})

_FUNCTIONS = re.compile(
    "Add|Mul|Max|Min|Mod|Abs|Symbol|Integer|Rational|Float|Eq|Ne|Lt|Le|Gt|Ge|Equality|Unequality|StrictLessThan|LessThan"
    "|StrictGreaterThan|GreaterThan|And|Or|Not|FloorDiv|CeilDiv|CleanDiv|PythonMod|ModularIndexing|Where|CeilToInt"
    "|FloorToInt|TruncToInt|TruncToFloat|RoundToInt|ToFloat|Identity|IntTrueDiv|FloatTrueDiv|Pow|PowByNatural|ceiling"
    "|floor"
)
_NODES = """
Expression Call Name Load Constant keyword BinOp UnaryOp Compare Add Sub Mult Div FloorDiv Mod USub UAdd Eq NotEq Lt
LtE Gt GtE
"""
_PARTS = tuple(getattr(ast, name) for name in _NODES.split())
_LONGEST = 10_000
_DEEPEST = 200
_MOST_POWERS = 3


class _UnsafeError(Exception):
    """What an archive holds that is not taken."""


def load_program(file: Path) -> ExportedProgram:
    """An exported program from a `.pt2` file, without running any code from it.

    Args:
        file: That `torch.export.save` wrote, with PyTorch 2.9 or later.

    Raises:
        ExportError: The file is missing or damaged, holds no program, or holds what could run code.
    """
    if not file.is_file():
        raise ExportError(f"no file {str(file)!r}", "a .pt2 file", "check the path")
    try:
        with file.open("rb") as opened:
            _look_through(opened)
            opened.seek(0)
            with warnings.catch_warnings():
                # Some versions of PyTorch read constants from bytes that cannot be written to, and
                # warn of it.
                warnings.filterwarnings("ignore", message="The given buffer is not writable")
                program = torch.export.load(opened)
    except _UnsafeError as error:
        raise ExportError(
            f"{str(file)!r} holds {error}, which could run code or take any amount of memory: not loaded",
            "a program of PyTorch's own operators with plain tensors, as torch.export.save writes it",
            "if you trust the file, load it yourself: cofire.Network(torch.export.load(path).module(), example)",
        ) from error
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[0]
        raise ExportError(
            f"{str(file)!r} is no readable exported program: {said[:300] or type(error).__name__}",
            "a file that torch.export.save wrote",
            "export the model again with this version of PyTorch",
        ) from error
    # Conditions on inputs are source code that torch runs when the program becomes a module;
    # nothing here needs them.
    if getattr(program, "_guards_code", None):
        program._guards_code = []
    return program


def _look_through(opened: BinaryIO) -> None:
    """Refuse an archive with anything that could run code or unpack to more than the file's own size.

    Raises:
        _UnsafeError: It holds such a thing.
    """
    # It brings torch's compiler along, which takes seconds to import.
    from torch.export.pt2_archive._package import PT2ArchiveReader

    names = _check_stored(opened)
    if len({name.partition("/")[0] for name in names}) != 1:
        raise _UnsafeError("entries of several folders")
    opened.seek(0)
    reader = PT2ArchiveReader(opened)  # type: ignore[no-untyped-call,unused-ignore]
    records = set(reader.get_file_names())
    if {name.partition("/")[2] for name in names} != records:
        raise _UnsafeError("entries that readers of archives disagree about")
    for record in sorted(records):
        if not _RECORD.fullmatch(record):
            raise _UnsafeError(f"'{record[:80]}'")
    for record in records.intersection(_PICKLES):
        _check_tensors(record, reader.read_bytes(record))
    sizes = {name.partition("/")[2]: size for name, size in names.items()}
    for folder, record in _CONFIGS.items():
        if record in records:
            _check_payload(json.loads(reader.read_bytes(record).decode("utf-8")), folder, sizes)
    _check_model(json.loads(reader.read_bytes(_MODEL).decode("utf-8")), None, 0)


def _check_stored(opened: BinaryIO) -> dict[str, int]:
    """The entries of an archive with their sizes, none compressed, none twice, together no more than the file has."""
    with zipfile.ZipFile(opened) as archive:
        entries = archive.infolist()
    size = opened.seek(0, io.SEEK_END)
    if len(entries) > _MOST_RECORDS or len({entry.filename.lower() for entry in entries}) < len(
        entries
    ):
        raise _UnsafeError("entries that have one name, or too many of them")
    if (
        any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        or sum(e.file_size for e in entries) > size
    ):
        raise _UnsafeError("compressed entries, which torch does not write")
    return {entry.filename: entry.file_size for entry in entries}


def _check_tensors(record: str, content: bytes) -> None:
    """Refuse a pickle that `weights_only` does not read, which torch would unpickle without it."""
    if not content:
        return
    held = io.BytesIO(content)
    if zipfile.is_zipfile(held):
        _check_stored(held)
    held.seek(0)
    try:
        # Called as torch calls it, so that it cannot fail there and be unpickled after all.
        torch.load(held, weights_only=True)
    except Exception as error:
        raise _UnsafeError(f"more than tensors in '{record}'") from error


def _check_payload(config: Any, folder: str, sizes: Mapping[str, int]) -> None:
    """Refuse tensors that are pickled, or much larger than their bytes."""
    for entry in config["config"].values():
        record = f"{folder}{entry['path_name']}"
        if entry.get("use_pickle") or not re.fullmatch(r"(weight|tensor)_\d+", entry["path_name"]):
            raise _UnsafeError(f"a pickled object in '{record[:80]}'")
        extents = [size.get("as_int") for size in entry["tensor_meta"]["sizes"]]
        if any(type(extent) is not int or extent < 0 for extent in extents):
            raise _UnsafeError(f"a tensor of unknown size in '{record}'")
        if math.prod(extents) > max(sizes[record], _SMALL):
            raise _UnsafeError(f"a tensor in '{record}' that is larger than its bytes")
    _check_model(config, None, 0)


def _check_model(part: Any, key: str | None, depth: int) -> None:
    """Walk a program's description; everything in it is a number, a name, an operator, a size or a tree of names.

    Args:
        part: Of it.
        key: That leads to it.
        depth: How deep it lies.
    """
    if depth > _DEEPEST:
        raise _UnsafeError("a description nested too deep")
    if key in ("as_custom_obj", "custom_obj") or (key == "custom_obj_values" and part):
        raise _UnsafeError("custom objects")
    if key == "expr_str":
        _check_size(part)
    elif key in ("target", "as_operator"):
        _check_operator(part)
    elif key in ("in_spec", "out_spec"):
        _, tree = json.loads(part)
        _check_tree(tree, depth)
    elif key in _FREE:
        return
    elif isinstance(part, dict):
        for name, value in part.items():
            _check_name(name)
            _check_model(value, name, depth + 1)
    elif isinstance(part, list):
        for value in part:
            _check_model(value, None, depth + 1)
    elif isinstance(part, str):
        _check_name(part)


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _UnsafeError(f"{name!r:.80} for a name")


def _check_operator(target: Any) -> None:
    """Refuse all but PyTorch's own operators, and of those the ones that open files."""
    found = isinstance(target, str) and (
        _OPERATOR.fullmatch(target) or _NESTED.fullmatch(target) or _ON_SIZES.fullmatch(target)
    )
    if not found or (found.re is _OPERATOR and found[2] in _ON_FILES):
        raise _UnsafeError(f"the operator {target!r:.120}")


def _check_tree(tree: Any, depth: int) -> None:
    """Refuse containers of inputs and outputs that torch would import or build by other code."""
    if depth > _DEEPEST:
        raise _UnsafeError("a description nested too deep")
    if tree["type"] not in _TREES:
        raise _UnsafeError(f"the container {tree['type']!r:.80}")
    context = tree["context"] if tree["context"] is None else json.loads(tree["context"])
    if context is not None:
        if not isinstance(context, list) or len(context) > _LONGEST:
            raise _UnsafeError(f"{tree['context']!r:.80} for the keys of a container")
        for name in context:
            if type(name) is not int:
                _check_name(name)
    for child in tree["children_spec"]:
        _check_tree(child, depth + 1)


def _check_size(text: Any) -> None:
    """Refuse a size that is more than arithmetic on symbols and whole numbers, since torch evaluates its text."""
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise _UnsafeError("a size that is no short text")
    try:
        parts = list(ast.walk(ast.parse(text.strip(), mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _UnsafeError(f"{text!r:.80} for a size") from error
    named = {id(call.args[0]) for call in parts if isinstance(call, ast.Call) and _names(call)}
    called = {id(call.func) for call in parts if isinstance(call, ast.Call)}
    # A power of a power of a power takes any amount of memory, however small the exponents are.
    if text.count("Pow") > _MOST_POWERS:
        raise _UnsafeError(f"{text!r:.80} for a size")
    for part in parts:
        fits = isinstance(part, _PARTS)
        if isinstance(part, ast.Call):
            known = isinstance(part.func, ast.Name) and _FUNCTIONS.fullmatch(part.func.id)
            plain = all(kw.arg and isinstance(kw.value, ast.Constant) for kw in part.keywords)
            fits = bool(known) and _small_power(part) and plain
        elif isinstance(part, ast.Name):
            symbol = re.fullmatch(r"[a-z]{1,3}\d{1,9}|true|false|oo|int_oo", part.id)
            fits = id(part) in called or symbol is not None
        elif isinstance(part, ast.Constant):
            number = isinstance(part.value, (int, float)) and abs(part.value) < 2**63
            fits = id(part) in named or number
        if not fits:
            raise _UnsafeError(f"{text!r:.80} for a size")


def _names(call: ast.Call) -> bool:
    """Whether it is Symbol('s0') or Float('0.5'), the text in which may be no more than that."""
    if (
        not isinstance(call.func, ast.Name)
        or len(call.args) != 1
        or not isinstance(call.args[0], ast.Constant)
    ):
        return False
    text = call.args[0].value
    pattern = {
        "Symbol": r"[A-Za-z]\w{0,40}",
        "Float": r"-?\d{1,40}(\.\d{0,40})?(e[+-]?\d{1,3})?",
    }.get(call.func.id)
    return pattern is not None and isinstance(text, str) and re.fullmatch(pattern, text) is not None


def _small_power(call: ast.Call) -> bool:
    """Whether a power, if it is one, has a small whole exponent: others take any amount of memory."""
    if not isinstance(call.func, ast.Name) or call.func.id not in ("Pow", "PowByNatural"):
        return True
    if len(call.args) != 2:
        return False
    exponent = ast.unparse(call.args[1])
    return re.fullmatch(r"(Integer\()?-?[0-8]\)?", exponent) is not None
