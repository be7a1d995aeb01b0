"""Real pretrained towers and real frames, to measure on without a hub: docs/real_frames.md."""
