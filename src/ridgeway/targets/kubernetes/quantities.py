"""Kubernetes' quantities as numbers, and back in the form that the cluster itself writes."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


def number(quantity: str | float) -> Fraction:
    """The exact value of a quantity.

    Raises:
        ValueError: It is none.

    Example:
        >>> number("500m"), number("1Gi") == number("1024Mi"), number(2)
        (Fraction(1, 2), True, Fraction(2, 1))
    """
    text = str(quantity).strip()
    for suffix, factor in _BINARY.items():
        if text.endswith(suffix):
            return Fraction(Decimal(text[:-2])) * factor
    if text and text[-1] in _DECIMAL:
        return Fraction(Decimal(text[:-1])) * Fraction(10) ** _DECIMAL[text[-1]]
    return Fraction(Decimal(text))


def cpu_quantity(cores: float) -> str:
    """Cores as Kubernetes writes them.

    Example:
        >>> cpu_quantity(1), cpu_quantity(0.25), cpu_quantity(1.5)
        ('1', '250m', '1500m')
    """
    thousandths = round(cores * 1000)
    return str(thousandths // 1000) if thousandths % 1000 == 0 else f"{thousandths}m"


def memory_quantity(mib: int) -> str:
    """Memory as Kubernetes writes it.

    Example:
        >>> memory_quantity(512), memory_quantity(2048)
        ('512Mi', '2Gi')
    """
    return f"{mib // 1024}Gi" if mib % 1024 == 0 else f"{mib}Mi"


def shown(resource: str, value: Fraction) -> str:
    """A value of a resource for people.

    Example:
        >>> shown("memory", number("1.5Gi")), shown("cpu", number("250m")), shown("nvidia.com/gpu", number(3))
        ('1536 MiB', '0.25', '3')
    """
    if resource == "memory":
        return f"{float(value / 2**20):.0f} MiB"
    return f"{float(value):g}"


def total(requests: Mapping[str, str]) -> dict[str, Fraction]:
    """A mapping of quantities as numbers."""
    return {name: number(value) for name, value in requests.items()}
