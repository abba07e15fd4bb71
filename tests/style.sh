#!/usr/bin/env bash
# The sources are formatted, and the shell scripts are clean.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
shellcheck run .ci/run tests/*.sh
./run format --check
