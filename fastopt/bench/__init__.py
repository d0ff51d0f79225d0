"""The benchmark: the costs of optimizer steps, of training and of a start, and the share of the machine's roof.

``fastopt bench`` is its command. It compares fastopt's backends and a user's own rule with the machine's roof and with
NumPy; :func:`register` adds further contenders. Nothing else in the library imports this package.
"""

from .cases import GpuCase, StepCase, TrainCase
from .contenders import Contender, register
from .contenders.base import DeviceStepper, Stepper, Trainer

__all__ = ["Contender", "DeviceStepper", "GpuCase", "StepCase", "Stepper", "TrainCase", "Trainer", "register"]
