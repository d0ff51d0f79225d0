"""The benchmark of GPUs: optimizer steps, and what the device's memory moves."""
