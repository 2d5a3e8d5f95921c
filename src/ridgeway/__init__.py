"""Ridgeway: an MLOps pipeline framework, from a data file to a production endpoint.

The package is a stack of layers, lowest first: ``errors``, ``artifacts`` (the nouns), ``settings``, ``rules`` and
``project`` (pure decisions and the user's folder), the doors to outside systems (one module each), ``actions`` (what
combines doors) and ``cli`` (the only code that prints or exits). The import contracts in ``pyproject.toml`` hold it up.
"""

__version__ = "0.1.0"
