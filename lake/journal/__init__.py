"""The journal: what a shard has logged, hour by hour, durable as it is acknowledged."""
