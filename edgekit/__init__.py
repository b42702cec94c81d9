"""edgekit takes image classifiers to edge devices: a verified bundle from a network, with proof at
every step.
"""

__version__ = "0.1.0"
