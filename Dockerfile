# The service on port 8000, with SQLite in the volume /data. docker-compose.yml adds PostgreSQL.
FROM python:3.13-slim AS build
WORKDIR /registry
COPY requirements/runtime.txt requirements/runtime.txt
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements/runtime.txt

FROM python:3.13-slim
RUN useradd --system --uid 10001 registry && mkdir /data && chown registry /data
COPY --from=build /venv /venv
WORKDIR /registry
COPY app app
COPY migrations migrations
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 REGISTRY_DATABASE_URL=sqlite:////data/registry.db
USER registry
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz')"]
ENTRYPOINT ["python", "-m", "app.cli"]
CMD ["serve", "--host", "0.0.0.0"]
