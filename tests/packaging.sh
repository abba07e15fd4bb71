#!/usr/bin/env bash
# The installed library serves a program through pkg-config and CMake, shared and static, from
# wherever the tree stands, and is found when the program starts; its headers stand alone; it
# exports its own names only.
set -euo pipefail
here=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT
cd -- "$folder"

fail() {
    printf '%s\n' "$*"
    exit 1
}

build=${GRADGRAPH_BUILD:?a build folder}
unset LD_LIBRARY_PATH
! ninja -C "$build" -t inputs library | grep -E '^(tests|graph_examples|bench)/' ||
    fail "installing builds what it does not install"
meson install -C "$build" --no-rebuild --quiet --destdir "$folder/tree"
pc=$(find tree -name gradgraph.pc)
libdir=$folder/$(dirname -- "$(dirname -- "$pc")")
export PKG_CONFIG_PATH=$libdir/pkgconfig CMAKE_PREFIX_PATH=$libdir/cmake

# check_program FILE
check_program() {
    [[ $("$1") == 12.5 ]] || fail "$1 does not print 12.5"
}

read -ra compile < <(pkg-config --cflags gradgraph)
read -ra link < <(pkg-config --libs gradgraph)
read -ra link_static < <(pkg-config --libs --static gradgraph |
    sed 's/-lgradgraph/-l:libgradgraph.a/')
read -ra compiler <<<"${CXX:-c++}"
compile=("${compiler[@]}" -std=c++20 -Wall -Wextra -Wpedantic -Werror "${compile[@]}")
"${compile[@]}" "$here/packaging/main.cpp" -o by_pkg_config "${link[@]}"
check_program ./by_pkg_config
"${compile[@]}" "$here/packaging/main.cpp" -o by_pkg_config_static "${link_static[@]}"
check_program ./by_pkg_config_static
"${compile[@]}" "$here/packaging/own_op.cpp" -o own_op "${link[@]}"
expected='float32[2] [0.75, -0.5]
float32[2] [0.0625, 0.25]
[softsign] '"'softsign'"': the width must be positive: float32[2]  (own_op.cpp:'
[[ $(./own_op) == "$expected"* ]] || fail "own_op prints $(./own_op)"
"${compile[@]}" "$here/packaging/own_op.cpp" -o own_op_static "${link_static[@]}"
[[ $(./own_op_static) == "$expected"* ]] || fail "own_op_static prints $(./own_op_static)"
readelf -d by_pkg_config | grep -q 'NEEDED.*libgradgraph\.so\.0' || fail "no soversion"
! readelf -d by_pkg_config_static | grep -q 'NEEDED.*libgradgraph' || fail "not static"

for static in OFF ON; do
    cmake -G Ninja -S "$here/packaging" -B "cmake_$static" -DGRADGRAPH_STATIC=$static >/dev/null
    cmake --build "cmake_$static" >/dev/null
    check_program "cmake_$static/main"
done
! readelf -d cmake_ON/main | grep -q 'NEEDED.*libgradgraph' || fail "not static with CMake"

for header in tree/usr/local/include/gradgraph/*.h; do
    "${compile[@]}" -fsyntax-only -x c++ - <<<"#include <gradgraph/${header##*/}>"
done

library=$libdir/libgradgraph.so
# Instances of the standard library's templates are weak and the same for everybody, and so is
# fmt's exception, which fmt marks as visible.
exported=$(nm -DC --defined-only "$library" | sed -E 's/^[0-9a-f]+ . //')
# Names of constrained templates, as clang 19 has them, are none that every nm can read: these
# begin with their namespace.
ours='\b(gradgraph|std)::|^_Z(T[ISV])?Z?N[rVKRO]*(St|9gradgraph)'
others=$(grep -vE "$ours|\bfmt::v[0-9]+::format_error\b" <<<"$exported" || true)
[[ -z $others ]] || fail "the shared library exports: $others"
! grep -E 'gradgraph(::|14)KernelRegistry' <<<"$exported" ||
    fail "the shared library exports insides"

strip -o stripped "$library"
size=$(stat -c %s stripped)
((size <= 10000000)) || fail "the stripped library has $size bytes"
