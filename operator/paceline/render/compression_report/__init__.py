"""A CompressionJob's report, as Markdown and as one HTML page: pure functions of the job as the API server has it.

What is unknown is said to be, never told as 0; a gain is told with the settings that it holds for.
"""

from paceline.render.compression_report.page import html
from paceline.render.compression_report.text import markdown

__all__ = ["html", "markdown"]
