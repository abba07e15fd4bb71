#!/usr/bin/env bash
# As a Meson subproject gradgraph is the library and nothing else, and no warning of its sources
# or headers stops the build of a project whose own warnings are errors.
set -euo pipefail
here=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT
cd -- "$folder"

fail() {
    printf '%s\n' "$*"
    exit 1
}

mkdir -p subprojects/gradgraph
cp -r "$here"/../{include,src,packaging,meson.build,meson_options.txt} subprojects/gradgraph
for file in src/core/dtype.cpp include/gradgraph/dtype.h; do
    printf 'namespace { int unused_%s() { return 0; } }\n' "${file//[^a-z]/_}" \
        >>"subprojects/gradgraph/$file"
done
cat >meson.build <<'END'
project('parent', 'cpp', default_options: ['cpp_std=c++20', 'warning_level=3', 'werror=true'])
gradgraph_dep = subproject('gradgraph').get_variable('gradgraph_dep')
executable('main', 'main.cpp', dependencies: gradgraph_dep)
executable('strict', 'strict.cpp')
END
printf '#include <gradgraph/gradgraph.h>\nint main() { return 0; }\n' >main.cpp
printf 'static int unused_here() { return 0; }\nint main() { return 0; }\n' >strict.cpp

# check_build MESON OPTION...
check_build() {
    rm -rf build
    meson setup build -Db_pch=false "$@" >setup.log 2>&1 || fail "$(cat setup.log)"
    targets=$(ninja -C build -t targets all)
    own=$(sed -n 's/^\(.*generated.*_core\.cpp\.o\): .*/\1/p' <<<"$targets")
    # The parent's project is as strict as it wants to be.
    ! ninja -C build strict.p/strict.cpp.o >ninja.log || fail "warnings of the parent pass"
    ninja -C build "$own" main.p/main.cpp.o >ninja.log || fail "$(cat ninja.log)"
    grep -q 'warning: .*unused_src' ninja.log || fail "the library's own build does not warn"
    ! grep -qE 'graph_examples/|bench/|tests/' <<<"$targets" || fail "more than the library"
}

check_build
check_build -Dwerror=true
