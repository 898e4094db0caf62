"""Grafana dashboards: written in Python, committed as JSON, drawn for the docs."""
