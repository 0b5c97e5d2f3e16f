"""Vendors on the wire."""

from pydantic import Field

from app.api.wire.base import Shape
from app.api.wire.variable_set import Description


class VendorDocument(Shape):
    """What is told of a vendor beside its name."""

    name: Description | None = Field(
        default=None, description="its name for people, at most 4,096 characters", examples=["Vendor A"]
    )
    url: Description | None = Field(
        default=None,
        description="where people read of it, at most 4,096 characters; it is not checked",
        examples=["https://vendor-a.com"],
    )


class StoredVendor(Shape):
    """A registered vendor."""

    vendor: str = Field(description="its DNS domain; it owns all names that begin with it")
    name: str | None = Field(description="its name for people; null: none is told")
    url: str | None = Field(description="where people read of it; null: none is told")
