"""Train, checkpoint, follow a trajectory, correlate, replicate the papers."""

from cofire.study.analyse import Moment, Tally, tally, trajectory_of
from cofire.study.correlation import Correlation, correlate
from cofire.study.follow import follow
from cofire.study.networks import cnn, fcnn
from cofire.study.options import StudyOptions
from cofire.study.sources import DATASETS, LabelledData, data_root, load_dataset
from cofire.study.study import open_study, run_study
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
    "open_study",
    "run_study",
    "tally",
    "trajectory_of",
]
