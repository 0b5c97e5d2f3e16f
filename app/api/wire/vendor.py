"""Vendors on the wire."""

from pydantic import Field

from app.api.wire.base import Shape
from app.api.wire.variable_set import Description


class VendorDocument(Shape):
    """What is told of a vendor beside its name."""

    name: Description | None = Field(default=None, description="its name for people", examples=["Vendor A"])
    url: Description | None = Field(default=None, examples=["https://vendor-a.com"])


class StoredVendor(Shape):
    """A registered vendor."""

    vendor: str = Field(description="its DNS domain; it owns all names that begin with it")
    name: str | None
    url: str | None
