"""Pages of what has no trajectory: explained images, methods judged, attacks, two networks, and options learnt."""

from cofire.report.pages.cases import Case, choose_cases, show_cases
from cofire.report.pages.evaluation import markdown, write_evaluation
from cofire.report.pages.explained import (
    IMAGES,
    MARK,
    PAGE,
    Explained,
    join_explained,
    record_of,
    replaced,
    settled,
    write_png,
    write_records,
)
from cofire.report.pages.explanations import MOST_IMAGES, Shown, shown, write_explanations
from cofire.report.pages.mistakes import Mistake, show_mistakes
from cofire.report.pages.occluded import Occluded, show_occluded
from cofire.report.pages.page import Setup, left_out
from cofire.report.pages.robustness import write_robustness
from cofire.report.pages.tuned import findings as tuned_findings
from cofire.report.pages.tuned import option_title, tuned_figures, write_tuned
from cofire.report.pages.two_networks import write_two_networks

__all__ = [
    "IMAGES",
    "MARK",
    "MOST_IMAGES",
    "PAGE",
    "Case",
    "Explained",
    "Mistake",
    "Occluded",
    "Setup",
    "Shown",
    "choose_cases",
    "join_explained",
    "left_out",
    "markdown",
    "option_title",
    "record_of",
    "replaced",
    "settled",
    "show_cases",
    "show_mistakes",
    "show_occluded",
    "shown",
    "tuned_figures",
    "tuned_findings",
    "write_evaluation",
    "write_explanations",
    "write_png",
    "write_records",
    "write_robustness",
    "write_tuned",
    "write_two_networks",
]
