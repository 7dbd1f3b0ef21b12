"""The roof: operator commands and the supervisor behind ``up``. Nobody imports it."""
