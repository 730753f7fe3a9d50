"""The sections of the report, in the page's order."""

from cofire.report.section import SECTIONS, register_section
from cofire.report.sections.boost import Boosting
from cofire.report.sections.course import Course
from cofire.report.sections.explanations import Explanations
from cofire.report.sections.graphs import Classes, Graphs
from cofire.report.sections.neurons import Idle, Neurons
from cofire.report.sections.papers import Papers
from cofire.report.sections.strips import Strips

__all__ = ["SECTIONS"]

for section in (Course, Idle, Classes, Graphs, Neurons, Strips, Boosting, Explanations, Papers):
    register_section(section)
