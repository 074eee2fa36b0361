"""The options as a type are the options of the detector."""

from __future__ import annotations

import inspect

from eot_core import TurnDetector
from eot_core.detector_options import DetectorOptions


def test_they_are_those_of_the_detector() -> None:
    parameters = dict(inspect.signature(TurnDetector.__init__).parameters)
    del parameters["self"], parameters["endpointing"]
    ours = {name: hint.__forward_arg__ for name, hint in DetectorOptions.__annotations__.items()}
    assert ours == {name: parameter.annotation for name, parameter in parameters.items()}
