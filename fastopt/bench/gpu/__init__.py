"""The benchmark of GPUs: optimizer steps beside what the device's memory moves, and beside other libraries."""
