"""A local Kalshi: the venue's websocket and REST dialect, fed by a generator or a capture, with faults on demand."""
