"""Vendors on the wire."""

from pydantic import Field

from app.wire.base import OpenShape, Shape
from app.wire.variable_set import Description


class VendorDocument(Shape):
    """The data of a vendor; the address has its domain."""

    name: Description | None = Field(
        default=None, description="the name for people, at most 4,096 characters", examples=["Vendor A"]
    )
    url: Description | None = Field(
        default=None,
        description="a page about the vendor, at most 4,096 characters; it is not checked",
        examples=["https://vendor-a.com"],
    )
    signed: bool | None = Field(
        default=None,
        description="true: the vendor's releases and profiles must be signed; it can be changed. Null: as before, at "
        "first false",
    )


class StoredVendor(OpenShape):
    """A registered vendor."""

    vendor: str = Field(description="the DNS domain of the vendor, which owns all names that begin with it")
    name: str | None = Field(description="the name for people; null: none")
    url: str | None = Field(description="a page about the vendor; null: none")
    signed: bool = Field(default=False, description="whether the vendor's releases and profiles must be signed")
