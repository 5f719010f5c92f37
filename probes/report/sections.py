"""The sections of the page in the order a reader asks: is it only when, is it there, what moved, what it says, how."""

from __future__ import annotations

from probes.report.already_there import already_there
from probes.report.blocks import Section
from probes.report.folder import StudyReader
from probes.report.how_it_got_there import how_it_got_there
from probes.report.method import manifest, method
from probes.report.only_when import only_when
from probes.report.verdicts import verdicts
from probes.report.what_it_says import what_it_says
from probes.report.what_moved import what_moved

ORDER = (only_when, already_there, what_moved, what_it_says, how_it_got_there, verdicts, method, manifest)
"""Every section is a function of the study folder alone."""


def sections(reader: StudyReader) -> tuple[Section, ...]:
    """All sections; one without its tables says what it needs. Method comes late: it names broken files."""
    return tuple(build(reader) for build in ORDER)
