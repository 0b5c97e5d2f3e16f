# The service on port 8000, with SQLite in the volume /registry/var. docker-compose.yml adds PostgreSQL and TLS.
# BASE: any image with `python` 3.11 or newer and its venv module. .ci/image builds this file with another one where no
# registry of images can be reached. An exact version, not a digest: add yours with `docker buildx imagetools inspect`.
ARG BASE=python:3.13.9-slim-trixie
FROM ${BASE} AS build
WORKDIR /registry
COPY requirements/runtime.txt requirements/runtime.txt
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements/runtime.txt

FROM ${BASE}
WORKDIR /registry
# Numbers, so that Kubernetes can tell that the user is not root.
RUN groupadd --gid 10001 registry \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin registry \
    && mkdir var && chown 10001:10001 var \
    && printf '#!/bin/sh\nexec python -m app.cli "$@"\n' >/usr/local/bin/profile-registry \
    && chmod 755 /usr/local/bin/profile-registry
COPY --from=build /venv /venv
COPY app app
COPY migrations migrations
# The guides that the pages serve.
COPY docs/pages docs/pages
# No REGISTRY_DATABASE_URL: it would go before the file that REGISTRY_DATABASE_URL_FILE names.
ENV PATH=/venv/bin:$PATH PYTHONPATH=/registry PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
VOLUME /registry/var
EXPOSE 8000
# Not /readyz: a restart does not repair a database. Migrating it can take a while before the service listens.
HEALTHCHECK --interval=5s --timeout=3s --start-period=5m CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["profile-registry"]
CMD ["serve", "--host", "0.0.0.0"]
