# One image for a worker (the default), a beat, Flower and an exporter. See docker-compose.yml.
ARG PYTHON=3.13.1-slim-bookworm

FROM python:${PYTHON} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY manager manager
COPY tasks tasks
RUN python3 -m venv /opt/tempfleet \
 && /opt/tempfleet/bin/pip install --no-cache-dir '.[compression,flower]'

FROM python:${PYTHON}
# tini reaps orphaned processes and forwards signals. PATH lets a shell find tempfleet and celery.
RUN command -v tini >/dev/null \
 || (apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/*)
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/tempfleet --create-home tempfleet \
 && chmod 0750 /var/lib/tempfleet
COPY --from=build /opt/tempfleet /opt/tempfleet
COPY deploy/docker/probe.py deploy/docker/show.py /usr/local/share/tempfleet/

ENV PATH=/opt/tempfleet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TEMP_FILE_BASE_DIR=/var/lib/tempfleet/files
USER tempfleet
WORKDIR /var/lib/tempfleet
VOLUME /var/lib/tempfleet
EXPOSE 9090
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python3", "/usr/local/share/tempfleet/probe.py"]
ENTRYPOINT ["tini", "--"]
CMD ["tempfleet", "worker"]
