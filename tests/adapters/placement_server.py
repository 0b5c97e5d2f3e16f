"""Serve OpenStack's Placement on a SQLite file: run by the Python of var/openstack-placement, not by ours.

The arguments are the file and a port. Any token is accepted; `admin` may do everything (noauth2).
"""

import sys
from wsgiref.simple_server import WSGIRequestHandler, make_server

from oslo_config import cfg
from placement import conf, db_api, deploy  # type: ignore[import-not-found]


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


def main() -> None:
    file, port = sys.argv[1:]
    config = cfg.ConfigOpts()
    conf.register_opts(config)
    config.set_override("auth_strategy", "noauth2", group="api")
    config.set_override("connection", f"sqlite:///{file}", group="placement_database")
    config.set_override("sync_on_startup", True, group="placement_database")
    config([], default_config_files=[])
    db_api.configure(config)
    with make_server("127.0.0.1", int(port), deploy.loadapp(config), handler_class=_Quiet) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
