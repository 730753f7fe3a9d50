"""Results and data by URL, held against an object store that runs on loopback, and against fsspec's memory."""

import io
import json
import tarfile
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from cofire.atomic import atomic_folder, claimed, write_text
from cofire.cli.options import BoxedImagesOptions
from cofire.errors import DataError, MissingExtraError, OptionError, ResultError
from cofire.reading import named
from cofire.remote import content_of, in_urls, is_url, local, place_of
from cofire.storage import load_json, save_json
from cofire.study.data import open_data
from tests.cli.test_cli import SMALL, cofire
from tests.scale.store import BUCKET, object_store


@pytest.fixture(scope="module")
def store():
    with object_store() as found:
        yield found


@pytest.fixture
def url(store, request):
    """A folder of its own in the store."""
    return f"s3://{BUCKET}/{request.node.name}"


def held(store, url):
    """The files at a URL by their paths below it."""
    store.invalidate_cache()
    start = len(url.removeprefix("s3://")) + 1
    return {name[start:] for name in store.find(url)}


def test_a_file_by_url_is_there_whole_once_it_is_written(store, url):
    save_json(f"{url}/deep/a.json", {"seed": 1})
    assert held(store, url) == {"deep/a.json"}
    assert load_json(local(f"{url}/deep/a.json")) == {"seed": 1}
    with pytest.raises(ZeroDivisionError), claimed(f"{url}/out", "a summary", ["a"]):
        raise ZeroDivisionError
    assert held(store, url) == {"deep/a.json"}


def test_what_others_changed_and_removed_there_is_seen(store, url):
    write_text(f"{url}/a.txt", "old")
    write_text(f"{url}/b.txt", "old")
    assert local(f"{url}/a.txt").read_text() == "old"
    store.pipe_file(f"{url}/a.txt", b"new")
    store.rm_file(f"{url}/b.txt")
    place = local(url)
    assert [(file.name, file.read_text()) for file in place.iterdir()] == [("a.txt", "new")]


def test_a_claimed_folder_is_marked_until_it_is_whole(store, url):
    with claimed(url, "a summary", ["a.json"]) as claim:
        assert held(store, url) == {".cofire.json"}
        write_text(claim.folder / "a.json", "{}")
        assert held(store, url) == {".cofire.json", "a.json"}
        with atomic_folder(claim.folder / "rows") as partial:
            write_text(partial / "b.json", "{}")
            assert "rows/b.json" not in held(store, url)
        assert "rows/b.json" in held(store, url)
        (claim.folder / "other.txt").write_text("written by a library")
    assert held(store, url) == {"a.json", "rows/b.json", "other.txt"}
    with claimed(url, "a summary", ["a.json"]) as claim:
        assert claim.earlier
        (claim.folder / "other.txt").unlink()
    assert held(store, url) == {"a.json", "rows/b.json"}
    with (
        pytest.raises(OptionError, match="holds other files"),
        claimed(url, "a graph", ["graph.json"]),
    ):
        pass


def test_a_bucket_that_is_not_there_is_told_before_anything_is_computed(store):
    with (
        pytest.raises(
            ResultError, match=r"'s3://no-such-bucket/out/.cofire.json' cannot be written"
        ),
        claimed("s3://no-such-bucket/out", "a summary", ["a.json"]),
    ):
        pass


def test_a_summary_goes_to_a_store_and_comes_from_it(store, url, tmp_path):
    (tmp_path / "net.py").write_text(
        "import torch\n"
        "def flat():\n"
        "    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 12), torch.nn.ReLU(), "
        "torch.nn.Linear(12, 10))\n"
    )
    command = ("summarize", "--model", "net:flat", "--data", "digits", "--split", "test")
    told = cofire(*command, "--out", f"{url}/out", "--json", cwd=tmp_path)
    assert json.loads(told.stdout)["report"] == f"{url}/out/report.html"
    cofire(*command, "--out", "here", cwd=tmp_path)
    here = {path.name for path in (tmp_path / "here").iterdir()}
    assert held(store, f"{url}/out") == here
    same = content_of(f"{url}/out/summary.safetensors")
    assert same == (tmp_path / "here" / "summary.safetensors").read_bytes()
    told = cofire("report", f"{url}/out", cwd=tmp_path)
    assert f"Report: {url}/out/report.html" in told.stdout
    told = cofire("report", f"{url}/nothing", cwd=tmp_path, ok=False)
    assert f"{url}/nothing" in told.stderr


@pytest.mark.slow
def test_a_study_goes_on_where_the_store_says_that_it_was(store, url, tmp_path):
    small = (*SMALL, "--epochs", "1", "--checkpoints", "1", "--null-graphs", "0")
    cofire(*small, "--out", f"{url}/s", cwd=tmp_path)
    assert {"study.json", "report.html"} < held(store, f"{url}/s")
    told = cofire(*small, "--hidden", "8", "--out", f"{url}/s", cwd=tmp_path, ok=False)
    assert f"'{url}/s' was started with other values" in told.stderr


def test_names_and_places():
    assert is_url("s3://a/b")
    assert not is_url("a/b")
    assert str(place_of("file:///a/b")) == "/a/b"
    assert in_urls(f"in {place_of('s3://a/b')}/c") == "in s3://a/b/c"
    with pytest.raises(ResultError, match=r"without '\.\.'"):
        place_of("s3://a/../../b")


def test_weights_and_lists_come_from_a_url(store, url):
    from safetensors.torch import save

    from cofire.network.weights import load_weights

    store.pipe_file(f"{url}/w.safetensors", save({"w": torch.ones(2)}))
    assert load_weights(f"{url}/w.safetensors")["w"].tolist() == [1, 1]


def test_a_store_whose_library_is_missing_says_what_to_install(monkeypatch):
    def missing(url):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'cofire\[cloud\]'"):
        local("s3://some/thing")


def test_an_address_nobody_answers_at_is_an_error_in_seconds(monkeypatch):
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(ResultError, match="'s3://some/thing' cannot be reached"):
        local("s3://some/thing")
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Images of two classes with parts, as folders, Parquet files as Hugging Face writes them, and tars."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for part, count in (("train", 4), ("test", 2)):
        rows = []
        with tarfile.open(root / f"{part}-0.tar", "w") as tar:
            for label, name in enumerate(("ant", "bee")):
                (root / "folders" / part / name).mkdir(parents=True)
                for number in range(count):
                    image = Image.fromarray(rng.integers(0, 255, (9, 8, 3), dtype=np.uint8))
                    file = root / "folders" / part / name / f"{number}.png"
                    image.save(file)
                    rows.append(
                        {"image": {"bytes": file.read_bytes(), "path": None}, "label": label}
                    )
                    tar.add(file, f"{name}{number}.png")
                    told = io.BytesIO(name.encode())
                    note = tarfile.TarInfo(f"{name}{number}.cls")
                    note.size = len(name)
                    tar.addfile(note, told)
        names = {"info": {"features": {"label": {"names": ["ant", "bee"]}}}}
        table = pa.Table.from_pylist(rows).replace_schema_metadata(
            {"huggingface": json.dumps(names)}
        )
        pq.write_table(table, root / f"{part}-0.parquet", row_group_size=3)
    return root


@pytest.mark.parametrize("kind", ["imagefolder", "parquet", "webdataset"])
def test_images_are_the_same_wherever_they_lie(store, url, pictures, kind):
    files = pictures / "folders" if kind == "imagefolder" else pictures
    ending = {"parquet": "*.parquet", "webdataset": "*.tar"}.get(kind, "*")
    for file in files.rglob(ending):
        if file.is_file():
            store.put_file(str(file), f"{url}/{file.relative_to(files).as_posix()}")
    here = open_data(f"imagefolder:{pictures / 'folders'}", split="test")
    there = open_data(f"{kind}:{url}", split="test")
    assert (there.classes, there.targets) == (["ant", "bee"], here.targets)
    assert all(torch.equal(one[0], two[0]) for one, two in zip(here, there, strict=True))
    assert len(open_data(f"{kind}:{url}")) == 8
    if kind != "imagefolder":
        local = open_data(f"{kind}:{files}", split="test")
        assert torch.equal(local[3][0], here[3][0])


def test_data_that_is_not_there_or_is_none_is_told(store, url, tmp_path):
    with pytest.raises(DataError, match="no parquet data at"):
        open_data(f"parquet:{url}")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("one.png"))
    with pytest.raises(DataError, match="sample /one without a class"):
        open_data(f"webdataset:{tmp_path}")
    pq.write_table(pa.table({"picture": [b""]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="columns picture, none of images and labels"):
        open_data(f"parquet:{tmp_path}")


def test_what_does_not_fit_on_the_disk_is_told_before_it_is_fetched(monkeypatch):
    import fsspec

    fsspec.filesystem("memory").pipe_file("/large/a.bin", b"12345")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=4))
    with pytest.raises(ResultError, match="'memory://large', 5 bytes"):
        local("memory://large")


def test_images_with_boxes_are_fetched(store, url, pictures):
    store.put_file(str(pictures / "folders/test/ant/0.png"), f"{url}/ant/0.png")
    folder = BoxedImagesOptions(model="torchvision:resnet18", data=url).folder
    assert [file.name for file in folder.rglob("*.png")] == ["0.png"]
    assert named(folder) == url
