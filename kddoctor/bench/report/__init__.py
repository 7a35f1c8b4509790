"""The benchmark's report: the same tables as Markdown, HTML, CSV and in the README."""
