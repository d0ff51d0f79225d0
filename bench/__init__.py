"""fastopt compared with other libraries, with CUDA C and with the project's goals: for a checkout, not in the wheel.

``python -m bench`` is ``fastopt bench`` with more contenders; ``bench/README.md`` says which, and what to install.
"""
