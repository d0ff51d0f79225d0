"""The benchmark: what an optimizer step and a training cost here, beside the roof and beside other libraries.

Nothing of the library imports this; it uses what any user could. ``fastopt bench`` is its command.
"""
