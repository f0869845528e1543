# A tuning job that is configured by environment variables, in a folder of yours:
#
#     docker build -t state-tune .
#     docker run --rm --user "$(id -u)" -v "$PWD:/work" -e STATE_TUNE_MODEL_URL=hf://... state-tune
#
# For processors. The program needs libc and, to fetch anything, the TLS certificates.
FROM rust:1-slim-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
WORKDIR /source
COPY . .
RUN cargo build --release --locked

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home tuner \
    && install --directory --owner=tuner /work
COPY --from=build /source/target/release/state-tune /usr/local/bin/
USER tuner
WORKDIR /work
ENTRYPOINT ["state-tune"]
