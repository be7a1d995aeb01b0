"""Scenes: generated clips of moving shapes, with partial captions and the full ground truth."""
