#!/usr/bin/env python3
"""A program that uses every function, constructor and operator that the public headers declare
links with the shared library alone.

The headers are read here rather than by a compiler, so that any compiler will do. What the
library exports is the check on that: a function of a known class or namespace that was not found
in the headers is a failure too.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("GRADGRAPH_BUILD", ROOT / "build")).resolve()
HEADERS = ROOT / "include/gradgraph"
# What stands for a template's type, by its concept.
ARGUMENTS = {"class": "bool", "Element": "float", "Arithmetic": "int",
             "FunctionOfOutput": "Output (*)(Output, SourceLocation)",
             "RenamingFunction": "std::string (*)(const std::string&)",
             "OptimizerSettings": "GradientDescent", "std::integral": "std::int64_t",
             "BatchFunction": "void (*)(data::Batch&)",
             "RangeFunction": "void (*)(std::int64_t, std::int64_t)",
             "ScheduleFunction": "Output (*)(Output)"}
OPENING, CLOSING = "([{", ")]}"


class Function:
    def __init__(self, scope, owner, head, public):
        self.owner, self.public = owner, public
        template = re.match(r"template <([^>]*)> ", head)
        self.template = template[1] if template else ""
        head = head[template.end():] if template else head
        self.friend = head.startswith("friend ")
        self.static = "static " in head.split("(")[0]
        self.name, parameters, rest = split_declarator(head)
        self.types = [without_name(p) for p in split_at_commas(parameters)]
        self.const = rest.startswith("const")
        self.deleted = bool(re.search(r"= delete$", rest))
        self.scope = scope if self.friend or not owner else scope + [*owner]

    @property
    def qualified_name(self):
        return "::".join([*self.scope, self.name])

    def callable(self):
        """Destructors are used with the constructors; packs by what they are made of."""
        variadic = any("..." in part for part in [self.template, *self.types])
        return self.public and not (self.deleted or self.name.startswith("~") or variadic or
                                    "," in self.template)

    def use(self, number):
        """A definition that calls this function, with parameters of the same types."""
        names = [f"p{i}" for i in range(len(self.types))]
        parameters = [f"{kind} {name}" for kind, name in zip(self.types, names)]
        arguments = ", ".join(f"static_cast<decltype({name})&&>({name})" for name in names)
        using = base = ""
        call = self.name
        if self.template:
            concept, name = self.template.split()
            using = f"using {name} = {ARGUMENTS[concept]}; "
        if self.owner and not self.friend:
            owner = "::".join(self.owner)
            base = f" : {owner}"
            if self.name == self.owner[-1]:
                parameters.append("void* place")
                call = f"::new (place) {owner}"
            else:
                if self.static:
                    call = f"{owner}::"
                else:
                    parameters.append(f"{'const ' * self.const}{owner}& self")
                    call = "self."
                call += f"template {self.name}<{name}>" if self.template else self.name
        return (f"struct Use{number}{base} {{ {using}[[gnu::used]] static void use("
                f"{', '.join(parameters)}) {{ (void){call}({arguments}); }} }};")


def split_at_commas(text):
    parts, depth = [""], 0
    for c in text:
        depth += (c in OPENING or c == "<") - (c in CLOSING or c == ">")
        if c == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return [part.strip() for part in parts if part.strip()]


def without_name(parameter):
    kind = parameter.split(" = ")[0].strip()
    named = re.fullmatch(r"(.*[\s&*>.])(\w+)", kind)
    return named[1].strip() if named and named[1].strip() != "const" else kind


def split_declarator(head):
    """(name, parameters, what follows them) of a function's declaration."""
    found = re.search(r"(operator ?\(\)|operator ?[^\s\w(]+|operator [\w: ]+|~?\w+)\(", head)
    at = found.end()
    end = skip(head, at - 1)
    name = re.sub(r"operator (?=\W)", "operator", found[1])
    return name, head[at:end - 1], head[end:].strip()


def skip(text, at):
    """Behind the bracket that closes the one at `at`."""
    depth = 0
    for i in range(at, len(text)):
        depth += (text[i] in OPENING) - (text[i] in CLOSING)
        if depth == 0:
            return i + 1
    sys.exit(f"a bracket stays open: {text[at:at + 80]}")


def is_function(head):
    head = re.sub(r"operator ?[^\w\s(]+", "operator", head)
    # The parentheses of std::function<void(int)> are not its own.
    while head != (head := re.sub(r"<[^<>]*>", "", head)):
        pass
    return (re.match(r"[^=(]*\((?!\*)", head) is not None and
            not re.match(r"(using|static_assert|typedef)\b", head))


class Reader:
    """The functions, classes and namespaces of the headers."""

    def __init__(self):
        self.functions, self.classes, self.scopes = [], [], {"gradgraph"}

    def read(self, text):
        text = re.sub(r"//[^\n]*|/\*.*?\*/|^#[^\n]*", "", text, flags=re.M | re.S)
        text = re.sub(r"\[\[[^]]*\]\]|\bGRADGRAPH_API\b", "", text)
        self.read_scope(re.sub(r"\s+", " ", text), [], (), True)

    def read_scope(self, text, scope, owner, public):
        at = 0
        while at < len(text):
            label = re.compile(r"\s*(public|protected|private):").match(text, at)
            if label:
                public, at = label[1] == "public", label.end()
                continue
            head, body, at = self.statement(text, at)
            self.declaration(head, body, scope, owner, public)

    @staticmethod
    def statement(text, at):
        """(what is declared, what stands in its braces or None, where the next one begins)"""
        start = at
        while at < len(text) and text[at] != ";":
            head = text[start:at].strip()
            if text[at] == "{":
                end = skip(text, at)
                # A member's initial value, in a declaration or in a constructor.
                if not re.search(r"\) :.*\w$|= ?$", head) and (
                        is_function(head) or re.match(
                            r"(template <[^>]*> ?)?(namespace|class|struct|enum)\b|.*\brequires$",
                            head)):
                    after = re.compile(r"\s*;").match(text, end)
                    return head, text[at + 1:end - 1], after.end() if after else end
                at = end
            elif text[at] in OPENING:
                at = skip(text, at)
            else:
                at += 1
        return text[start:at].strip(), None, at + 1

    def declaration(self, head, body, scope, owner, public):
        nested = re.match(r"(namespace|class|struct) +([\w:]+)", head)
        if nested and body is not None:
            name = nested[2]
            if nested[1] == "namespace":
                inner = scope + name.split("::")
                self.scopes.add("::".join(inner))
                self.read_scope(body, inner, (), True)
                return
            inner = (*owner, name)
            self.scopes.add("::".join([*scope, *inner]))
            if public:
                self.classes.append((scope, inner))
            self.read_scope(body, scope, inner, public and nested[1] == "struct")
        elif is_function(head):
            head = re.sub(r"\) :.*", ")", head)
            self.functions.append(Function(scope, owner, head, public))


# Members' initial values are used where an object begins, declared or not.
LIFE = """
template <class T>
void use_life(void* place, T& object) {
  if constexpr (std::is_default_constructible_v<T>) ::new (place) T{};
  object.~T();
}
"""


def program(reader):
    headers = [h.name for h in sorted(HEADERS.glob("*.h")) if h.name != "xtensor.h"]
    lines = [f"#include <gradgraph/{name}>" for name in headers]
    lines += ["#include <new>", "#include <ostream>", "#include <type_traits>", LIFE]
    for number, function in enumerate(f for f in reader.functions if f.callable()):
        namespace = [part for part in function.scope if part not in function.owner]
        lines.append(f"namespace {'::'.join(namespace)} {{ {function.use(number)} }}")
    for scope, names in reader.classes:
        lines.append(f"template void use_life(void*, {'::'.join([*scope, *names])}&);")
    return "\n".join([*lines, "int main() {}", ""])


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)
    return done.stdout


def exported_functions(library):
    """The names of those that are neither inline nor instances of templates."""
    for line in run("nm", "-DC", "--defined-only", library).splitlines():
        kind, name = line.split(" ", 2)[1:]
        if kind == "T" and name.startswith("gradgraph::"):
            yield re.sub(r"\[abi:\w+\]", "", re.match(r"(.*?(operator\(\))?)(\(|$)", name)[1])


def main():
    reader = Reader()
    # Interop headers are templates, which are made in the program.
    for header in sorted(HEADERS.glob("*.h")):
        if header.name != "xtensor.h":
            reader.read(header.read_text(encoding="utf-8"))
    library = BUILD / "src/libgradgraph.so"

    declared = {function.qualified_name for function in reader.functions}
    unknown = {name for name in exported_functions(library)
               if name.rsplit("::", 1)[0] in reader.scopes and name not in declared}
    if unknown:
        sys.exit("not found in the headers: " + ", ".join(sorted(unknown)))

    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "program.cpp"
        source.write_text(program(reader), encoding="utf-8")
        run(*os.environ.get("CXX", "c++").split(), "-std=c++20", "-O0", "-w",
            f"-I{ROOT / 'include'}", source, "-o", source.with_suffix(""), library)
    used = sum(function.callable() for function in reader.functions)
    print(f"{used} functions and the lives of {len(reader.classes)} classes")


if __name__ == "__main__":
    main()
