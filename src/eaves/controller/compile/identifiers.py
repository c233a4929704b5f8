"""UUIDs in device configs: the objects' own where there is an object, else made from the object and a role.

The same object always gets the same UUIDs, on every controller, so that compiling needs no memory. Observation uses
the same functions to find the object that a device's message is about.
"""

from __future__ import annotations

import functools
import uuid

from eaves.kinds.app import App
from eaves.kinds.app_spec import image_format_of
from eaves.kinds.image_format import ImageFormat
from eaves.kinds.volume import Volume

_EAVES = uuid.uuid5(uuid.NAMESPACE_DNS, "eaves.dev")


@functools.lru_cache(maxsize=4096)
def derived_id(*parts: str) -> str:
    """A UUID made from ``parts``; equal parts give equal UUIDs."""
    return str(uuid.uuid5(_EAVES, "\n".join(parts)))


def registry_id(host: str) -> str:
    """Datastore of a registry that an image reference names without a Datastore object."""
    return derived_id("registry", host)


def content_tree_id(app: App) -> str:
    """The app's image. Another image, datastore or format is another content tree."""
    datastore = app.spec.datastore_ref.name if app.spec.datastore_ref else ""
    image_format = image_format_of(app.spec)
    is_disk = image_format is not None and image_format is not ImageFormat.CONTAINER
    return derived_id("image", app.metadata.uid, app.spec.image, datastore, *([image_format] if is_disk else []))


def root_volume_id(app: App) -> str:
    """The app's root file system. It goes with the image: a volume never changes its origin."""
    return derived_id("root", app.metadata.uid, content_tree_id(app))


def app_volume_id(app_uid: str, name: str) -> str:
    """A volume of the app's own, which stays through updates of the image."""
    return derived_id("volume", app_uid, name)


def source_tree_id(volume: Volume) -> str:
    """The image that a Volume object starts from."""
    return derived_id("source", volume.metadata.uid)


def uplink_network_id(node_uid: str, name: str) -> str:
    """IP settings of one uplink of one node."""
    return derived_id("uplink", node_uid, name)
