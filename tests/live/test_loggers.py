"""What a monitor logs is read back from each logger by the logger's own reader, offline."""

import json
import os
import subprocess
import sys
import warnings

import pytest
import torch
from PIL import Image

from cofire.errors import OptionError
from cofire.live import Monitor, logger
from tests.live.test_monitor import data, network, train

pytestmark = pytest.mark.filterwarnings("ignore")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import mlflow
    import wandb
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter


def run(log):
    """A run of two epochs that logs; what a function is given by the same."""
    told = {}
    for target in (log, lambda name, value, step: told.setdefault((name, step), value)):
        model = network()
        train(Monitor(model, every=1, reference=data(), log=target), model)
    return told


def test_tensorboard_reads_scalars_histograms_and_the_image_of_the_graph(tmp_path):
    writer = SummaryWriter(tmp_path)
    told = run(writer)
    writer.close()
    events = EventAccumulator(str(tmp_path), {"histograms": 0, "images": 0, "scalars": 0}).Reload()
    for (name, step), value in told.items():
        if isinstance(value, float):
            found = {event.step: event.value for event in events.Scalars(name)}
            assert found[step] == pytest.approx(value, rel=1e-6, abs=1e-6), name
        elif isinstance(value, torch.Tensor):
            found = {e.step: e.histogram_value for e in events.Histograms(name)}[step]
            assert (found.num, found.max) == (len(value), pytest.approx(float(value.max())))
        else:
            assert (events.Images(name)[0].width, events.Images(name)[0].height) == value.size
    tags = events.Tags()
    assert "cofire/1/dead_share" in tags["scalars"]
    assert "cofire/1/entropy_of_neurons" in tags["histograms"]
    assert tags["images"] == ["cofire/4/graph"]


def test_mlflow_reads_numbers_and_the_image_from_its_local_store(tmp_path):
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = mlflow.create_experiment("live", artifact_location=(tmp_path / "out").as_uri())
    with mlflow.start_run(experiment_id=experiment) as active:
        told = run("mlflow")
    client = mlflow.MlflowClient()
    for (name, step), value in told.items():
        if isinstance(value, float):
            history = client.get_metric_history(active.info.run_id, name)
            assert {point.step: point.value for point in history}[step] == pytest.approx(value)
    images = client.list_artifacts(active.info.run_id, "cofire/4/graph")
    assert [one.path.rpartition("/")[2] for one in images] == ["12.png", "6.png"]


def test_wandb_takes_numbers_histograms_and_images_offline(tmp_path):
    with wandb.init(project="live", mode="offline", dir=tmp_path) as active:
        told = run(active)
        kept = dict(active.summary)
    for name, value in {name: value for (name, _), value in told.items()}.items():
        if isinstance(value, float):
            assert kept[name] == pytest.approx(value), name
    assert kept["cofire/1/entropy_of_neurons"]["_type"] == "histogram"
    assert kept["cofire/4/graph"]["_type"] == "image-file"
    assert kept["cofire/step"] == 12
    assert list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))


@pytest.mark.slow
def test_trackio_reads_numbers_from_its_own_database(tmp_path):
    code = """
import json, sys
import trackio
from trackio.sqlite_storage import SQLiteStorage
from tests.live.test_loggers import run
trackio.init("live", name="one", embed=False)
told = run("trackio")
trackio.finish()
logs = SQLiteStorage.get_logs("live", "one")
floats = {f"{name}|{step}": value for (name, step), value in told.items() if isinstance(value, float)}
print(json.dumps({"told": floats, "logs": logs}, default=str))
"""
    place = {"TRACKIO_DIR": str(tmp_path), "HF_HUB_OFFLINE": "1", "TRACKIO_LOGO_LIGHT_URL": "x"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **place},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    read = {(n, row["step"]): v for row in found["logs"] for n, v in row.items()}
    for name, value in found["told"].items():
        name, _, step = name.partition("|")
        assert read[name, int(step)] == pytest.approx(value, abs=1e-6)


def test_several_loggers_at_once_and_one_of_lightning(tmp_path):
    from lightning.pytorch.loggers import CSVLogger, MLFlowLogger

    csv = CSVLogger(tmp_path)
    store = MLFlowLogger(tracking_uri=f"sqlite:///{tmp_path / 'other.db'}")
    several = logger([csv, store, lambda *_: None])
    several("cofire/a:1/dead", 3.0, 7)
    several("cofire/a:1/entropy_of_neurons", torch.ones(3), 7)
    csv.save()
    assert "cofire/a:1/dead" in (tmp_path / "lightning_logs/version_0/metrics.csv").read_text()
    history = store.experiment.get_metric_history(store.run_id, "cofire/a.1/dead")
    assert [(point.step, point.value) for point in history] == [(7, 3.0)]


@pytest.mark.parametrize("target", [3, "tensorflow", "wandb", "mlflow", "trackio"])
def test_what_is_no_logger_or_has_no_run_is_refused(target):
    with pytest.raises(OptionError, match="log="):
        logger(target)


def test_a_logger_that_fails_costs_one_line_and_no_training(caplog):
    def fails(name, value, step):
        raise OSError("no space left")

    model = network()
    train(Monitor(model, every=1, log=fails), model)
    lines = [r.getMessage() for r in caplog.records if r.name == "cofire.live"]
    assert lines == ["log: OSError: no space left (training goes on)"]


def test_the_image_shows_neurons_in_the_colours_of_their_classes():
    told = run(lambda *_: None)
    image = told["cofire/4/graph", 12]
    assert isinstance(image, Image.Image)
    assert image.size == (480, 480)
    assert len(image.getcolors(1 << 20)) >= 4
