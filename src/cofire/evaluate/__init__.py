"""Judge explanations: localisation, faithfulness, sensitivity to the class, robustness, with intervals."""

from cofire.evaluate.bandit import BanditRun, ucb1
from cofire.evaluate.deepfool import Attacked, deepfool
from cofire.evaluate.evaluation import Difference, Evaluation
from cofire.evaluate.faithfulness import (
    Curve,
    Fill,
    confidence_change,
    deletion,
    insertion,
    kept,
    probability_of,
    soft_map,
)
from cofire.evaluate.localisation import best_iou, fixed_boxes, iou, pointing_hits, threshold_boxes
from cofire.evaluate.measures import GROUPS, MEASURES, register_measure
from cofire.evaluate.methods import EVALUATED, baseline, explained
from cofire.evaluate.metrics import (
    ChangeInConfidence,
    ClassSensitivity,
    DeletionInsertion,
    EvidenceInside,
    ExplanationShift,
    Localisation,
    Measure,
    PointingGame,
    SoftChange,
    as_torchmetric,
)
from cofire.evaluate.mistakes import BothClasses, mistakes
from cofire.evaluate.per_image import PerImage
from cofire.evaluate.results import Robustness
from cofire.evaluate.robustness import run_robustness
from cofire.evaluate.running import run_evaluation
from cofire.evaluate.sensitivity import (
    Cascade,
    Shift,
    Stability,
    jaccard,
    randomisation,
    rank_correlation,
    shift,
    stability,
)
from cofire.evaluate.tuned import Tuned, read_tuned
from cofire.evaluate.tuning import tune
from cofire.evaluate.two_networks import Side, compare_networks
from cofire.explain import BASELINES
from cofire.renamed import removed
from cofire.statistics import Interval as Estimate

__all__ = [
    "BASELINES",
    "EVALUATED",
    "GROUPS",
    "MEASURES",
    "Attacked",
    "BanditRun",
    "BothClasses",
    "Cascade",
    "ChangeInConfidence",
    "ClassSensitivity",
    "Curve",
    "DeletionInsertion",
    "Difference",
    "Estimate",
    "Evaluation",
    "EvidenceInside",
    "ExplanationShift",
    "Fill",
    "Localisation",
    "Measure",
    "PerImage",
    "PointingGame",
    "Robustness",
    "Shift",
    "Side",
    "SoftChange",
    "Stability",
    "Tuned",
    "as_torchmetric",
    "baseline",
    "best_iou",
    "compare_networks",
    "confidence_change",
    "deepfool",
    "deletion",
    "explained",
    "fixed_boxes",
    "insertion",
    "iou",
    "jaccard",
    "kept",
    "mistakes",
    "pointing_hits",
    "probability_of",
    "randomisation",
    "rank_correlation",
    "read_tuned",
    "register_measure",
    "run_evaluation",
    "run_robustness",
    "shift",
    "soft_map",
    "stability",
    "threshold_boxes",
    "tune",
    "ucb1",
]

__getattr__ = removed(__name__)
