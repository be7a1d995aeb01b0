"""Runs in MLflow: the only layer that imports it."""

from conical.tracking.mlflow_tracker import MlflowTracker, check, serve_ui

__all__ = ["MlflowTracker", "check", "serve_ui"]
