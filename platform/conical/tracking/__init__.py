"""Runs in MLflow: the only layer that imports it."""

from conical.tracking.mlflow_tracker import MlflowTracker, TrackedDataset, check
from conical.tracking.server import require_free_port, serve_ui, view_links

__all__ = ["MlflowTracker", "TrackedDataset", "check", "require_free_port", "serve_ui", "view_links"]
