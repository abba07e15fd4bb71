#!/usr/bin/env bash
# The shell scripts are clean, and the sources are formatted.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
shellcheck run .ci/run tests/*.sh
exec ./run format --check
