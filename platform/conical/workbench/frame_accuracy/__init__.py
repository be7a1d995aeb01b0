"""The frame-accuracy suite: clips whose frames name themselves, read by every decoder."""
