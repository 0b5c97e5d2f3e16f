"""What has a name in the registry, or else the error that says that nothing has."""

from app.api.errors import unknown
from app.domain.model import Model
from app.domain.profile import Profile
from app.domain.release import Release
from app.storage.catalog import Standing


def known_model(name: str, current: Standing) -> Model:
    """Return the device model; raises the error for one that is not published."""
    found = current.model(name)
    if found is None:
        raise unknown(name, "model")
    return found


def known_release(name: str, current: Standing) -> Release:
    """Return the release; raises the error for one that is not published."""
    found = current.release(name)
    if found is None:
        raise unknown(name, "release")
    return found


def known_profile(name: str, current: Standing) -> Profile:
    """Return the profile; raises the error for one that is not published."""
    found = current.profile(name)
    if found is None:
        raise unknown(name, "profile")
    return found
