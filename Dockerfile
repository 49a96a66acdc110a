# syntax=docker/dockerfile:1

# The very Node that package.json pins for development (test/deploy/image.test.ts holds the two together).
ARG NODE_VERSION=26.10.0

# Compiles TypeScript. Nothing of this stage but dist/ reaches the image.
FROM node:${NODE_VERSION}-slim AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY src/ src/
RUN npm run build

# Installs what runs, and no more: the demonstration's issuer and the pinned Node are optional dependencies.
FROM node:${NODE_VERSION}-slim AS dependencies
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund

FROM node:${NODE_VERSION}-slim AS runtime
LABEL org.opencontainers.image.title="postern" \
      org.opencontainers.image.description="Decides, call by call, whether an AI agent may use an API" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV NODE_ENV=production
WORKDIR /opt/postern
COPY LICENSE package.json ./
COPY --from=dependencies /build/node_modules/ node_modules/
COPY --from=build /build/dist/ dist/
COPY rules/ rules/
# A number, so that Kubernetes can see that it is not root (runAsNonRoot). It owns no file of the image.
USER 65532:65532
EXPOSE 8080 9901
# No shell stands between: Node is process 1, and SIGTERM reaches Postern itself, which drains and exits with 0.
# There is no HEALTHCHECK, because health is told on the admin port (/livez, /readyz): see deploy/.
ENTRYPOINT ["node", "/opt/postern/dist/main.js"]
CMD ["run", "--config", "/etc/postern/postern.yaml", "--json"]
