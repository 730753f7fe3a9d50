"""Train, checkpoint, follow a trajectory, correlate, replicate the papers."""

from cofire.study.accuracy import Tally, tally
from cofire.study.cnn import cnn
from cofire.study.correlation import Correlation, correlate
from cofire.study.datasets import DATASETS, LabelledData, data_root, load_dataset
from cofire.study.fcnn import fcnn
from cofire.study.follow import follow
from cofire.study.options import StudyOptions
from cofire.study.rows import Moment, trajectory_of
from cofire.study.study import run_study
from cofire.study.trajectory import Trajectory

__all__ = [
    "DATASETS",
    "Correlation",
    "LabelledData",
    "Moment",
    "StudyOptions",
    "Tally",
    "Trajectory",
    "cnn",
    "correlate",
    "data_root",
    "fcnn",
    "follow",
    "load_dataset",
    "run_study",
    "tally",
    "trajectory_of",
]
