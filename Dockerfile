# The service on port 8000, with SQLite in the volume /registry/var. docker-compose.yml adds PostgreSQL and TLS.
# Exact versions, not digests: no engine was at hand to look digests up. Add them with `docker buildx imagetools inspect`.
FROM python:3.13.9-slim-trixie AS build
WORKDIR /registry
COPY requirements/runtime.txt requirements/runtime.txt
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements/runtime.txt

FROM python:3.13.9-slim-trixie
WORKDIR /registry
RUN useradd --system --uid 10001 registry && mkdir var && chown registry var
COPY --from=build /venv /venv
COPY app app
COPY migrations migrations
# No REGISTRY_DATABASE_URL: it would go before the file that REGISTRY_DATABASE_URL_FILE names.
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
VOLUME /registry/var
EXPOSE 8000
# Not /readyz: a restart does not repair a database. Migrating it can take a while before the service listens.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5m --start-interval=1s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["python", "-m", "app.cli"]
CMD ["serve", "--host", "0.0.0.0"]
